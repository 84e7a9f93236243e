# SPDX-License-Identifier: GPL-2.0-or-later
"""What is printed of a call: whole where there is room, and harmless whoever wrote it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from support.fake_calls import FakeService
from trunkline.gateway.calls.view import CallEvent, CallView, MediaView
from trunkline.gateway.cli.call_text import as_json, calls_table, ending, event_line, quality, shown
from trunkline.gateway.demo.live import call_panel, plain_line

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[red]x\r\nfake"
STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
PROGRESS = {"sent": 1, "received": 1, "said": 0.0, "heard": 0.0}


def printed(what: RenderableType, width: int = 200, terminal: bool = False) -> str:
    """As a console shows it."""
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False).print(what)
    return out.getvalue()


def call(**fields: object) -> CallView:
    """A call that somebody else exists in."""
    return FakeService().add("0b8f5e7e-0000-4000-8000-000000000000", **fields)


def hostile() -> CallView:
    """One whose peer has written into everything that a peer can."""
    media = MediaView(codec=EVIL, remote=EVIL, local="h:1", ptime_ms=20)
    return call(
        caller=EVIL, called=EVIL, sip_code=486, sip_reason=EVIL, detail=EVIL, cause="busy", media=media
    )


@pytest.mark.parametrize(
    "show",
    [
        lambda view: calls_table([view], plain=False),
        lambda view: calls_table([view], plain=True, width=80),
        ending,
        lambda view: quality(view.media),
        lambda view: event_line(
            CallEvent(time=1.0, call_id=EVIL, event=EVIL, data={EVIL: EVIL, "n": [EVIL]})
        ),
        lambda view: call_panel(view, PROGRESS, [(0.0, 0.0)], 9.0, 200),
        lambda view: plain_line(view, PROGRESS),
        lambda view: shown(EVIL),
    ],
    ids=["table", "narrow table", "ending", "quality", "event", "demo panel", "demo line", "shown"],
)
def test_no_peer_can_steer_the_terminal(show: Callable[[CallView], RenderableType]) -> None:
    """Its escape sequences, line ends, direction marks and our own markup are shown, not obeyed."""
    text = printed(show(hostile()))
    assert STEERING.search(text) is None
    assert "\nfake" not in text


def test_markup_of_a_peer_is_shown() -> None:
    """Not taken for ours."""
    assert printed(shown("[red]x[/]")) == "[red]x[/]\n"


def test_json_is_plain_ascii() -> None:
    """C1 controls are legal in JSON, and terminals obey them."""
    view = hostile()
    text = as_json(view)
    assert text.isascii() and text.isprintable()
    assert CallView.model_validate(json.loads(text)) == view


def test_a_narrow_terminal_shows_what_tells_calls_apart() -> None:
    """At 80 columns: six columns, none of them cut off, however long a number is."""
    number = "sip:a.very.long.name@a.very.long.domain.example.com"
    text = printed(calls_table([call(caller=number, agent="receptionist")], plain=False, width=80), 80)
    assert re.findall(r"[A-Z]\w+", text.splitlines()[1]) == ["ID", "State", "From", "To", "Agent", "Time"]
    assert "0b8f5e7e" in text and " up " in text and "…" not in text
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    assert "".join(row[2] for row in cells) == number
    assert "".join(row[4] for row in cells) == "receptionist"
    assert max(map(len, text.splitlines())) <= 80


def test_a_wide_terminal_shows_all() -> None:
    """From 120 columns."""
    text = printed(calls_table([call()], plain=False, width=120), 120)
    assert "Jitter" in text and "PCMU" in text and "MOS" in text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "PCMU 20 ms, packets in 0 out 0, loss 0.0 %, jitter 0.0 ms"),
        ({"mos": 4.18}, "PCMU 20 ms, packets in 0 out 0, loss 0.0 %, jitter 0.0 ms, MOS 4.2"),
        (
            {"mos": 4.18, "peer_mos": 3.9, "rtt_ms": 41.7},
            "PCMU 20 ms, packets in 0 out 0, loss 0.0 %, jitter 0.0 ms, MOS 4.2, peer 3.9, round trip 42 ms",
        ),
    ],
)
def test_quality_in_a_line(fields: dict[str, float], text: str) -> None:
    """What is not known is not there."""
    assert quality(MediaView(codec="PCMU", remote="a:1", local="b:2", ptime_ms=20, **fields)) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"cause": "agent_timeout", "sip_code": 503, "sip_reason": "Service Unavailable", "detail": "no hello"},
         "agent timeout, SIP 503 Service Unavailable: no hello"),
        ({"cause": "caller_hangup", "sip_code": 200, "sip_reason": "OK"}, "caller hangup, SIP 200 OK"),
        ({}, "no reason given"),
    ],
)  # fmt: skip
def test_an_end_is_told_with_all_that_is_known(fields: dict[str, object], text: str) -> None:
    """Our word, SIP's, and the sentence of whoever knew better."""
    assert ending(call(**fields)) == text
