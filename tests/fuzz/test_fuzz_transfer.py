# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a peer says of a transfer: NOTIFYs of any kind, in any order, and names of dialogs with anything in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.uri import UriError, parse_uri
from trunkline.gateway.config.targets import check_target, may_call_number, may_call_uri
from trunkline.gateway.sip.events import TransferChanged
from trunkline.gateway.sip.leg import Step
from trunkline.gateway.sip.message import SipText
from trunkline.gateway.sip.messages import Transfer
from trunkline.gateway.sip.timers import Timer
from trunkline.gateway.sip.transfer import DialogName, Transfers, sipfrag_status

BODIES = st.one_of(
    st.text(max_size=200),
    st.builds("SIP/2.0 {} {}\r\n{}".format, st.integers(0, 1200), st.text(max_size=20), st.text(max_size=40)),
)
KINDS = st.sampled_from(["message/sipfrag", "message/sipfrag;version=2.0", "text/plain", ""])
EVENTS = st.sampled_from(["refer", "refer;id=1", "refer;id=2", "REFER", "presence", "", "refer;id=" + "9" * 400])
SUBSCRIPTIONS = st.sampled_from(["active;expires=60", "terminated;reason=noresource", "TERMINATED", "", "\x00"])
NOTIFIES = st.builds(
    lambda body, kind, event, state: SipText(
        "NOTIFY sip:x SIP/2.0", {"Content-Type": kind, "Event": event, "Subscription-State": state}, body
    ),
    BODIES, KINDS, EVENTS, SUBSCRIPTIONS,
)  # fmt: skip
CODES = st.sampled_from([200, 202, 299, 300, 401, 407, 405, 481, 501, 603])


class World:
    """The call around a transfer, and time that passes when the test says so."""

    call_id, dialog = "call", None

    def __init__(self) -> None:
        self.leg: Any = self
        self.told: list[TransferChanged] = []
        self.timers: list[Timer] = []

    def refer(self, target: str, headers: dict[str, str]) -> None:
        """Be the leg."""

    def emit(self, event: Any) -> None:
        self.told.append(event)

    def later(self, delay_s: float, action: Callable[[], None]) -> Timer:
        self.timers.append(Timer(action))
        return self.timers[-1]

    def pass_time(self) -> None:
        due, self.timers = self.timers, []
        for timer in due:
            if timer.action is not None:
                timer.action()

    @property
    def armed(self) -> int:
        return sum(timer.action is not None for timer in self.timers)


def answer(code: int, cseq: str, suppressed: bool) -> Step:
    headers = {"CSeq": f"{cseq} REFER", **({"Refer-Sub": "false"} if suppressed else {})}
    return Step(False, "REFER", 4, 3, code, "phrase", SipText("SIP/2.0", headers, ""), lambda code: False)


ACTIONS = st.lists(
    st.one_of(
        NOTIFIES.map(lambda message: ("notify", message)),
        st.tuples(st.just("answer"), CODES, st.sampled_from(["1", "2", ""]), st.booleans()),
        st.just(("time",)), st.just(("end",)), st.just(("again",)),
    ),
    max_size=12,
)  # fmt: skip


@given(ACTIONS)
def test_a_transfer_has_one_result_at_most_and_never_hangs(actions: list[tuple[Any, ...]]) -> None:
    """Each ask is answered once at the latest when time has passed, whatever the peer says; nothing is told after."""
    world = World()
    transfers = Transfers(world, world)  # type: ignore[arg-type]
    transfers.ask(Transfer("call", "sip:x@y"), None)
    asked, ended = 1, False
    for action in actions:
        match action:
            case ("notify", message):
                transfers.notified(message)
            case ("answer", code, cseq, suppressed):
                transfers.answered(answer(code, cseq, suppressed))
            case ("time",):
                world.pass_time()
            case ("end",):
                transfers.end()
                ended = True
            case ("again",):
                transfers.ask(Transfer("call", "sip:x@y"), None)
                asked += 1
        assert world.armed <= 1
    world.pass_time()
    finals = [one for one in world.told if one.state in ("done", "failed")]
    assert len(finals) <= asked and (ended or len(finals) == asked)
    assert world.armed == 0
    assert all(one.state in ("trying", "ringing", "done", "failed") for one in world.told)


@given(BODIES, KINDS)
def test_a_status_line_is_one_or_none(body: str, kind: str) -> None:
    found = sipfrag_status(SipText("", {"Content-Type": kind}, body))
    if found is not None:
        code, phrase = found
        assert 100 <= code <= 699 and len(phrase) <= 128 and phrase.isprintable()


@given(st.binary(max_size=400))
def test_any_bytes_are_read(data: bytes) -> None:
    message = SipText.parse(data.decode("utf-8", "surrogateescape"))
    sipfrag_status(message)
    DialogName.of(message, "From")


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_nothing_in_a_dialogs_name_leaves_its_parameter(call_id: str, ours: str, theirs: str) -> None:
    """Brackets, ampersands and line breaks of a peer's would make other headers of the INVITE that follows."""
    text = "".join(c for c in f"{call_id}{ours}{theirs}" if not 0xD800 <= ord(c) < 0xE000)
    name = DialogName(text, "o", "t")
    refer_to = name.refer_to("sip:a@b?Subject=x")
    match = re.fullmatch(r"<sip:a@b\?Replaces=([A-Za-z0-9%._~-]*)>", refer_to)
    assert match is not None and unquote(match[1]) == f"{text};to-tag=t;from-tag=o"


@given(st.text(max_size=40), st.text(max_size=40))
def test_targets_are_taken_or_refused_with_a_reason(entry: str, target: str) -> None:
    try:
        entries = [check_target(entry)]
    except ValueError:
        return
    may_call_number(entries, target)
    try:
        uri = parse_uri(target)
    except (UriError, CallRefused):
        return
    may_call_uri(entries, uri.user, uri.host)
