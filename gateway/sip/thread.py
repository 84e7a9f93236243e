# SPDX-License-Identifier: GPL-2.0-or-later
"""The one thread that owns PJSIP, and the door to it for everybody else.

Only `post` and `stop` may be called from other threads, and neither touches PJSIP:
calling it from several Python threads deadlocks between its locks and the GIL
(pjproject #3125).
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable

import structlog

from trunkline.gateway.sip.engine import Engine
from trunkline.gateway.sip.events import Event, ThreadFailed
from trunkline.gateway.sip.messages import Command, Screen
from trunkline.gateway.sip.settings import SipConfig, SipStartError
from trunkline.gateway.sip.sockets import Waker

log = structlog.get_logger(__name__)

POLL_MS = 100
"Longest wait when a datagram can end it; it bounds how long a lost one matters."
BLIND_POLL_MS = 8
"Longest wait without a UDP transport, and so without a way to be woken."
DOCTOR = "Cure: `trunkline doctor` says what this machine lacks"
START_TIMEOUT_S = 30.0
DESTROY_MARGIN_S = 10.0


class SipThread:
    """PJSIP on a thread of its own. One in a process at a time."""

    def __init__(self, config: SipConfig, screen: Screen, on_event: Callable[[Event], None]) -> None:
        """`on_event` is called on the SIP thread and must not block."""
        self._config, self._screen, self._on_event = config, screen, on_event
        self._commands: collections.deque[Command] = collections.deque()
        self._waker: Waker | None = None
        self._started = threading.Event()
        self._start_error: SipStartError | None = None
        self._stop_within_s: float | None = None
        self._thread = threading.Thread(target=self._main, name="sip", daemon=True)
        self.ports: list[int] = []
        "where the transports listen, in the order of the configuration; known after `start`"

    def start(self) -> None:
        """Return when all transports listen; raises SipStartError."""
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S):
            raise SipStartError(f"PJSIP did not start within {START_TIMEOUT_S:.0f} s. Cure: see the log")
        if self._start_error is not None:
            self._thread.join(DESTROY_MARGIN_S)
            raise self._start_error

    def post(self, command: Command) -> None:
        """Have `command` executed soon; callable from any thread, never blocks."""
        self._commands.append(command)
        # With more than one waiting, whoever appended the first has woken the thread, which takes all.
        if len(self._commands) == 1 and self._waker is not None:
            self._waker.wake()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Hang up all calls, wait at most so long for the answers, and end the thread; blocks until it has ended."""
        if not self._thread.is_alive():
            return
        self._stop_within_s = deadline_s
        if self._waker is not None:
            self._waker.wake()
        self._thread.join(deadline_s + DESTROY_MARGIN_S)
        if self._thread.is_alive():
            log.error("sip.stop_overdue", deadline_s=deadline_s)

    # --- on the thread ------------------------------------------------------------------------

    def _main(self) -> None:
        engine = Engine(self._config, self._screen, self._on_event)
        try:
            engine.start()
            self._listen_for_wakes(engine)
        except BaseException as error:  # noqa: BLE001 - goes to whoever called `start`
            named = isinstance(error, SipStartError)
            self._start_error = SipStartError(
                str(error) if named else f"PJSIP cannot start: {error}. {DOCTOR}"
            )
            self._destroy(engine)
            self._started.set()
            return
        self._started.set()
        try:
            self._loop(engine)
        except BaseException as error:
            log.exception("sip.thread_failed")
            engine.emit(ThreadFailed(f"{type(error).__name__}: {error}"))
        finally:
            self._destroy(engine)

    def _listen_for_wakes(self, engine: Engine) -> None:
        self.ports = [engine.ports[transport] for transport in self._config.transports]
        for transport, port in engine.ports.items():
            if transport.protocol == "udp":
                self._waker = Waker(transport, port)
                return

    def _loop(self, engine: Engine) -> None:
        longest_ms = BLIND_POLL_MS if self._waker is None else POLL_MS
        while self._stop_within_s is None:
            self._execute_all(engine)
            engine.turn(longest_ms)
        self._execute_all(engine)
        deadline_ns = time.monotonic_ns() + int(self._stop_within_s * 1e9)
        engine.begin_stop()
        engine.turn(0)
        while not engine.idle and time.monotonic_ns() < deadline_ns:
            engine.turn(BLIND_POLL_MS)

    def _execute_all(self, engine: Engine) -> None:
        while self._commands:
            command = self._commands.popleft()
            try:
                engine.execute(command)
            except Exception:
                log.exception("sip.command_failed", command=type(command).__name__, call_id=command.call_id)

    def _destroy(self, engine: Engine) -> None:
        try:
            engine.destroy()
        except Exception:
            log.exception("sip.destroy_failed")
        if self._waker is not None:
            self._waker.close()
