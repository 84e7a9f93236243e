# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow one call from a terminal until it ends.

Events say when something happens; the call itself, asked for again after each
event and once a second, says what is so.  So a lost event costs a second, not
the truth.  The stream is read on a thread of its own, because nothing can wait
for a line of HTTP and for a second to pass at the same time.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from trunkline.gateway.calls.view import CallEvent, CallView
from trunkline.gateway.cli.client import ClientError, Gateway
from trunkline.gateway.outcome import outcome

ANSWERED_AND_ENDED = 0
REFUSED = 2
NOT_ANSWERED = 3
TIMED_OUT = 4
BROKEN = 5
INTERRUPTED = 130

POLL_S = 1.0
HANGUP_PATIENCE_S = 5.0
"After Ctrl-C: a BYE is answered within a round trip, and longer nobody wants to wait."

FAR_END = frozenset(
    {"busy", "no_answer", "declined", "not_found", "auth_failed", "peer_unavailable", "call_failed"}
    | {"no_common_codec", "caller_hangup", "callee_hangup", "api_hangup"}
)
"Causes before the answer that are the other side's; the rest is the gateway's or the agent's."


class Feed:
    """The event stream, read by a thread; `next` waits for an event no longer than it is told."""

    def __init__(self, events: Iterator[CallEvent]) -> None:
        self._queue: queue.SimpleQueue[CallEvent | Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(events,), daemon=True, name="events")
        self._thread.start()

    def _read(self, events: Iterator[CallEvent]) -> None:
        try:
            for event in events:
                self._queue.put(event)
            self._queue.put(ClientError("the gateway has stopped"))
        except Exception as problem:  # noqa: BLE001 - whatever it is belongs to the thread that waits
            self._queue.put(problem)

    def next(self, timeout_s: float) -> CallEvent | None:
        """The next event, or None after `timeout_s`; raises what ended the stream."""
        try:
            item = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item


def follow(
    gateway: Gateway,
    feed: Feed,
    view: CallView,
    changed: Callable[[CallView], None],
    told: Callable[[CallEvent], None],
    until: Callable[[CallView], bool],
) -> CallView:
    """Report each new state to `changed` and each event of the call to `told`, until `until`."""
    changed(view)
    over = False
    while not over and not until(view):
        event = feed.next(POLL_S)
        if event is not None:
            if event.call_id != view.id:
                continue
            told(event)
        view = gateway.call(view.id)
        changed(view)
        # `ended` is shown from the first sign of the end; the figures are final with its time.
        over = view.state == "ended" and view.ended is not None
    return view


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """SIGTERM behaves as Ctrl-C: the call is hung up, not left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def hang_up(gateway: Gateway, call_id: str) -> CallView:
    """End the call and wait for its end, but not for long."""
    view = gateway.call(call_id)
    if view.state != "ended":
        gateway.hangup(call_id, "interrupted at the command line")
    give_up = time.monotonic() + HANGUP_PATIENCE_S
    while view.ended is None and time.monotonic() < give_up:
        time.sleep(0.05)
        view = gateway.call(call_id)
    return view


def exit_code(view: CallView) -> int:
    """What the end of a call means to a script; the README documents it."""
    if view.answered is not None:
        return ANSWERED_AND_ENDED if outcome(view.cause).ok else BROKEN
    if view.cause == "peer_unreachable" or (view.cause == "no_answer" and view.sip_code == 408):
        return TIMED_OUT
    return NOT_ANSWERED if view.cause in FAR_END else REFUSED
