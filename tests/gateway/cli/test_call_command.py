# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline call`: what it tells, and with which code it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time

import pytest

from support.waiting import wait_for
from trunkline.gateway.calls.view import PlaceRequest
from trunkline.gateway.cli import place, watching
from trunkline.gateway.cli.client import ClientError, Gateway
from trunkline.gateway.cli.locating import connect

CALL = ("call", "sip:600@pbx", "--agent", "echo")


def plays(*steps):
    """A far end: each step is (event, fields), a moment apart."""

    async def script(service, view):
        for event, fields in steps:
            await asyncio.sleep(0.1)
            service.change(view.id, event, None, **fields)

    return script


def answered():
    """200 came."""
    return "call.up", {"state": "up", "answered": time.time()}


def ended(cause, code=200, reason="OK"):
    """It is over, with its figures."""
    return "call.ended", {
        "state": "ended", "ended": time.time() + 62, "cause": cause, "sip_code": code, "sip_reason": reason,
    }  # fmt: skip


def test_a_call_is_followed_from_ringing_to_its_end(gateway, service, trunkline):
    """Each state is a line, the end is summed up, and the code is 0."""
    service.script = plays(("call.ringing", {"state": "ringing"}), answered(), ended("callee_hangup"))
    result = trunkline(
        *CALL, "--header", "X-A: b:c", "--metadata", "k=v=w", "--from", "1001", "--timeout", "7", "--dtmf-audio", "cut"
    )
    assert result.exit_code == 0
    lines = [" ".join(line.split()[2:]) for line in result.stdout.splitlines()]
    assert lines[0] == "calling sip:600@pbx through trunk pbx, agent echo, id 00000000"
    assert lines[1:3] == ["ringing", "answered"]
    assert "ended after 1:02: callee hangup, SIP 200 OK" in result.stdout
    [(_, request)] = service.asked
    assert request.headers == {"X-A": "b:c"} and request.metadata == {"k": "v=w"}
    assert request.from_ == "1001" and request.timeout_s == 7 and request.dtmf_audio == "cut"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (ended("busy", 486, "Busy Here"), 3),
        (ended("declined", 603, "Decline"), 3),
        (ended("no_answer", 480, "Temporarily Unavailable"), 3),
        (ended("no_answer", 408, "Request Timeout"), 4),
        (ended("peer_unreachable", 408, "Request Timeout"), 4),
        (ended("agent_unreachable", 503, "Service Unavailable"), 2),
    ],
)
def test_a_call_that_is_not_answered_tells_sip_code_and_reason(gateway, service, trunkline, end, code):
    """The far end's refusal, a time-out and our own failure have different codes."""
    service.script = plays(end)
    result = trunkline(*CALL)
    assert result.exit_code == code
    assert f"SIP {end[1]['sip_code']} {end[1]['sip_reason']}" in result.stdout


def test_an_answered_call_that_a_fault_ends_is_not_a_success(gateway, service, trunkline):
    """A script must notice that its agent died."""
    service.script = plays(answered(), ended("agent_lost", 0, ""))
    result = trunkline(*CALL)
    assert result.exit_code == 5 and "agent lost" in result.stdout


def test_a_refusal_of_the_gateway_is_a_sentence_and_code_2(gateway, service, trunkline, refusal):
    """What the gateway says is what the user reads."""
    service.refuse = refusal(422, "unknown_agent", "no agent is called `echo`; there is `eco`")
    result = trunkline(*CALL)
    assert result.exit_code == 2 and "no agent is called `echo`; there is `eco`" in result.stderr


def test_what_cannot_be_asked_for_is_said_in_our_own_words(gateway, service, trunkline):
    """Not in those of the library that checks it."""
    result = trunkline("call", "sip:1@127.0.0.1")
    said = " ".join(result.stderr.split())
    assert result.exit_code == 1 and "Invalid value: name an agent, or a route" in said, said


@pytest.fixture(autouse=True)
def ordinary_signals():
    """As a terminal's: who runs the tests in the background may have passed on that they are ignored."""
    ordinary = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    inherited = {number: signal.signal(number, handler) for number, handler in ordinary.items()}
    yield
    for number, handler in inherited.items():
        signal.signal(number, handler)


def signal_once_placed(service, number):
    """Send ourselves a signal when the command has placed its call: not before it minds them."""

    def wait_and_send():
        while not service.asked:
            time.sleep(0.02)
        time.sleep(0.4)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait_and_send, daemon=True).start()


def test_ctrl_c_hangs_up_and_an_answered_call_is_still_a_success(gateway, service, trunkline):
    """The call does not outlive its command."""
    service.script = plays(answered())
    signal_once_placed(service, signal.SIGINT)
    result = trunkline(*CALL)
    assert result.exit_code == 0 and "hanging up" in result.stdout
    assert [ask[0] for ask in service.asked] == ["place", "hangup"]


def test_sigterm_before_the_answer_cancels_the_call(gateway, service, trunkline):
    """And says with its code that nobody had answered."""
    signal_once_placed(service, signal.SIGTERM)
    result = trunkline(*CALL)
    assert result.exit_code == 130
    assert [ask[0] for ask in service.asked] == ["place", "hangup"]


def test_detach_leaves_an_answered_call_up(gateway, service, trunkline):
    """It says how to end it later."""
    service.script = plays(("call.ringing", {"state": "ringing"}), answered())
    result = trunkline(*CALL, "--detach")
    assert result.exit_code == 0 and "trunkline hangup 00000000" in result.stdout
    assert [ask[0] for ask in service.asked] == ["place"]


def test_no_wait_prints_the_id_and_nothing_else(gateway, service, trunkline):
    """For scripts that follow it in their own way."""
    result = trunkline(*CALL, "--no-wait")
    assert result.exit_code == 0 and result.stdout.split() == list(service.calls)


def test_a_gateway_that_stops_during_the_call_is_told(gateway, service, trunkline):
    """Not mistaken for the end of the call, which is named: nobody knows what became of it."""
    service.script = plays(answered())

    def stop() -> None:
        wait_for(lambda: service.calls and service.subscribers, "the call is up, and watched")
        time.sleep(0.2)
        gateway.stop()

    threading.Thread(target=stop).start()
    result = trunkline(*CALL)
    [call_id] = service.calls
    assert result.exit_code == 1 and "gateway" in result.stderr
    assert (
        f"call {call_id} may still be up; once the gateway answers: trunkline hangup {call_id}"
        in result.stderr
    )


def drops_streams(service):
    """The event stream ends, as behind a proxy that restarts."""
    for queue in service.subscribers:
        queue.put_nowait(None)


def test_a_lost_event_stream_does_not_lose_the_call(gateway, service, trunkline):
    """The stream is opened again, the call is asked for meanwhile, and both go on to its end."""

    async def script(service, view):
        service.change(view.id, *answered()[:1], None, **answered()[1])
        drops_streams(service)
        await asyncio.sleep(1)
        assert service.subscribers
        service.publish("call.dtmf", view.id, {"digit": "7"})
        service.change(view.id, "call.ended", None, **ended("callee_hangup")[1])

    service.script = script
    result = trunkline(*CALL)
    assert result.exit_code == 0 and "ended after 1:03: callee hangup" in result.stdout
    assert "the far end pressed 7" in result.stdout
    assert [ask[0] for ask in service.asked] == ["place"]


def test_without_any_event_stream_the_call_is_followed_by_asking(gateway, service, trunkline, monkeypatch):
    """It takes a second longer."""
    subscribe = service.subscribe

    async def script(service, view):
        service.subscribe = None  # every further stream fails
        drops_streams(service)
        await asyncio.sleep(0.3)
        service.change(view.id, "", None, **(answered()[1] | ended("callee_hangup")[1]))

    service.script = script
    result = trunkline(*CALL)
    service.subscribe = subscribe
    assert result.exit_code == 0 and "ended after 1:02: callee hangup" in result.stdout


def test_a_call_that_cannot_be_followed_is_hung_up(gateway, service, trunkline, monkeypatch):
    """The gateway takes orders, but tells nothing of the call any more."""

    def dumb(*_):
        raise ClientError("it answers 500")

    monkeypatch.setattr(watching, "LOST_PATIENCE_S", 0.5)
    monkeypatch.setattr(Gateway, "call", dumb)
    result = trunkline(*CALL)
    [call_id] = service.calls
    assert result.exit_code == 1 and f"it answers 500; call {call_id} was hung up" in result.stderr
    assert [ask[0] for ask in service.asked] == ["place", "hangup"]


def test_a_call_that_the_gateway_has_forgotten_is_over(gateway, service, trunkline):
    """It was restarted, and what runs there now has other calls."""

    async def script(service, view):
        service.change(view.id, *answered()[:1], None, **answered()[1])
        await asyncio.sleep(0.3)
        del service.calls[view.id]
        service.publish("call.up", view.id)

    service.script = script
    result = trunkline(*CALL)
    assert result.exit_code == 5 and "knows nothing of call 00000000-" in result.stderr
    assert [ask[0] for ask in service.asked] == ["place"]


def test_a_call_does_not_outlive_its_reader(gateway, service, monkeypatch):
    """`trunkline call ... | head -1`: the pipe breaks at the second line."""

    def broken(*_):
        raise BrokenPipeError

    monkeypatch.setattr(place.Story, "told", broken)
    service.script = plays(("call.ringing", {"state": "ringing"}))
    with contextlib.closing(connect(None, None, None)) as client, pytest.raises(BrokenPipeError):
        place._stay(client, PlaceRequest(to="sip:600@pbx", agent="echo"), detach=False)
    assert [ask[0] for ask in service.asked] == ["place", "hangup"]


def test_the_end_of_the_terminal_hangs_up(gateway, service, trunkline):
    """Closing the window is as good as Ctrl-C, unless the command was started to outlive it (nohup)."""
    service.script = plays(answered())
    signal_once_placed(service, signal.SIGHUP)
    assert trunkline(*CALL).exit_code == 0
    assert [ask[0] for ask in service.asked] == ["place", "hangup"]


def test_silence_is_told_once(gateway, service, trunkline):
    """The event comes again and again while it lasts; the next silence is another one."""
    quiet, loud = ("media.silent", {}), ("media.resumed", {})
    service.script = plays(answered(), quiet, quiet, quiet, loud, quiet, quiet, ended("callee_hangup"))
    result = trunkline(*CALL)
    assert result.stdout.count("no audio comes from the far end") == 2
    assert result.stdout.count("audio comes again") == 1


def test_the_end_is_told_with_its_detail(gateway, service, trunkline):
    """What the cause alone does not say, and without any power over the terminal."""
    event, fields = ended("agent_timeout", 503, "Service\x1b[2J Unavailable")
    service.script = plays((event, fields | {"detail": "said no hello\x1b[2J within 2 s"}))
    result = trunkline(*CALL)
    assert "SIP 503 Service\\x1b[2J Unavailable: said no hello\\x1b[2J within 2 s" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ("call",), ("call", "sip:1@x"), (*CALL, "--header", "nonsense"), (*CALL, "--timeout", "0"),
        (*CALL, "--dtmf-audio", "x"),
    ],
)
def test_wrong_usage_is_1_because_2_says_refused(gateway, service, trunkline, wrong):
    """And nothing is placed."""
    assert trunkline(*wrong).exit_code == 1
    assert service.asked == []


def test_a_call_too_short_to_be_seen_up_was_still_answered(gateway, service, trunkline):
    """Ringing, answer and end in one moment: all are told, in their order."""
    up = answered()[1]

    async def script(service, view):
        service.publish("call.ringing", view.id)
        service.change(view.id, "call.ended", None, **(up | ended("callee_hangup")[1]))

    service.script = script
    result = trunkline(*CALL)
    assert result.exit_code == 0
    places = [result.stdout.index(word) for word in ("ringing", "answered", "ended after 1:02")]
    assert places == sorted(places)
