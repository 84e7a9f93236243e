# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow one call from a terminal until it ends.

Events say when something happens; the call itself, asked for again after each
event and once a second, says what is so.  So a lost event costs a second, not
the truth, and a lost stream is opened again.  The stream is read on a thread of its
own, because nothing can wait for a line of HTTP and for a second to pass at the same
time.

A call does not outlive the command that placed it: whatever ends the command hangs it
up, and where even that fails, the call is named.
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
from trunkline.gateway.cli.client import ClientError, Gateway, RefusedError
from trunkline.gateway.outcome import outcome

ANSWERED_AND_ENDED = 0
REFUSED = 2
NOT_ANSWERED = 3
TIMED_OUT = 4
BROKEN = 5
INTERRUPTED = 130

POLL_S = 1.0
RETRY_S = 0.2
LOST_PATIENCE_S = 3.0
"A gateway that is busy answers within that; one that is gone has taken its calls along."
HANGUP_PATIENCE_S = 5.0
"After Ctrl-C: a BYE is answered within a round trip, and longer nobody wants to wait."

FAR_END = frozenset(
    {"busy", "no_answer", "declined", "not_found", "auth_failed", "peer_unavailable", "call_failed"}
    | {"no_common_codec", "caller_hangup", "callee_hangup", "api_hangup"}
)
"Causes before the answer that are the other side's; the rest is the gateway's or the agent's."


class Feed:
    """The event stream, read by a thread; `next` waits for an event no longer than it is told."""

    def __init__(self, gateway: Gateway) -> None:
        """Subscribe; raises ClientError."""
        self._gateway = gateway
        self._stack = contextlib.ExitStack()
        self._queue: _Queue = queue.SimpleQueue()
        self.subscribe()

    def subscribe(self) -> None:
        """Events from now on, also after the stream was lost. Raises ClientError, as will `next` then."""
        self.close()
        # A new queue: what the old thread still says is about the old stream.
        self._queue = queue.SimpleQueue()
        try:
            events = self._stack.enter_context(self._gateway.events())
        except ClientError as problem:
            self._queue.put(problem)
            raise
        threading.Thread(target=_read, args=(events, self._queue), daemon=True, name="events").start()

    def close(self) -> None:
        """Give the connection back; the thread ends with it."""
        with contextlib.suppress(Exception):  # its thread may be reading at this moment
            self._stack.close()

    def next(self, timeout_s: float) -> CallEvent | None:
        """The next event, or None after `timeout_s`; raises ClientError once the stream has ended."""
        try:
            item = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, ClientError):
            raise item
        return item


_Queue = queue.SimpleQueue[CallEvent | ClientError]


def _read(events: Iterator[CallEvent], heard: _Queue) -> None:
    """On the thread: everything of one stream, and last why it ended."""
    try:
        for event in events:
            heard.put(event)
        heard.put(ClientError("the gateway has stopped"))
    except ClientError as problem:
        heard.put(problem)
    except Exception as problem:  # noqa: BLE001 - whatever it is belongs to the thread that waits
        heard.put(ClientError(f"the event stream was lost: {problem}"))


def follow(
    gateway: Gateway,
    feed: Feed,
    view: CallView,
    changed: Callable[[CallView], None],
    told: Callable[[CallEvent], None],
    until: Callable[[CallView], bool],
) -> CallView:
    """Report each new state to `changed` and each event of the call to `told`, until `until`.

    Raises ClientError when nothing can be learned of the call any more.
    """
    changed(view)
    over = False
    while not over and not until(view):
        event = _event(feed)
        if event is not None:
            if event.call_id != view.id:
                continue
            told(event)
        view = _ask(gateway, view)
        changed(view)
        # `ended` is shown from the first sign of the end; the figures are final with its time.
        over = view.state == "ended" and view.ended is not None
    return view


def _event(feed: Feed) -> CallEvent | None:
    """The next event, if one comes. A lost stream is tried again; meanwhile asking once a second will do."""
    try:
        return feed.next(POLL_S)
    except ClientError:
        time.sleep(RETRY_S)
        with contextlib.suppress(ClientError):
            feed.subscribe()
        return None


def _ask(gateway: Gateway, view: CallView) -> CallView:
    """The call as it is now; a gateway that does not answer is asked again for a while."""
    give_up = time.monotonic() + LOST_PATIENCE_S
    while True:
        try:
            return gateway.call(view.id)
        except ClientError as problem:
            if isinstance(problem, RefusedError) and problem.status == 404:
                code = 1 if view.answered is None else BROKEN
                raise ClientError(f"the gateway knows nothing of call {view.id} any more", code) from None
            if time.monotonic() >= give_up:
                raise abandoned(gateway, view, problem) from None
        time.sleep(RETRY_S)


def abandoned(gateway: Gateway, view: CallView, problem: ClientError) -> ClientError:
    """What to say when a call cannot be followed any more: it is hung up if that still goes, else named."""
    try:
        gateway.hangup(view.id, "the command line lost sight of it")
    except ClientError:
        fate = f"call {view.id} may still be up; once the gateway answers: trunkline hangup {view.id}"
    else:
        fate = f"call {view.id} was hung up"
    return ClientError(f"{problem}; {fate}")


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """SIGTERM, and the end of the terminal, behave as Ctrl-C: the call is hung up, not left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def hang_up(gateway: Gateway, view: CallView) -> CallView:
    """End the call and wait for its end, but not for long; raises ClientError that names a call left up."""
    try:
        view = gateway.call(view.id)
        if view.state != "ended":
            gateway.hangup(view.id, "interrupted at the command line")
        give_up = time.monotonic() + HANGUP_PATIENCE_S
        while view.ended is None and time.monotonic() < give_up:
            time.sleep(0.05)
            view = gateway.call(view.id)
    except ClientError as problem:
        raise abandoned(gateway, view, problem) from None
    return view


def exit_code(view: CallView) -> int:
    """What the end of a call means to a script; the README documents it."""
    if view.answered is not None:
        return ANSWERED_AND_ENDED if outcome(view.cause).ok else BROKEN
    if view.cause == "peer_unreachable" or (view.cause == "no_answer" and view.sip_code == 408):
        return TIMED_OUT
    return NOT_ANSWERED if view.cause in FAR_END else REFUSED
