# SPDX-License-Identifier: GPL-2.0-or-later
"""[route.turns]: what it takes, what cannot work, and how it reaches the media worker."""

from __future__ import annotations

import asyncio
import importlib.util

import pytest

from support.call_rig import CONFIG, Rig
from trunkline.gateway.config import parse
from trunkline.gateway.config.errors import ConfigError
from trunkline.gateway.media.call_policy import TurnParams


def errors(turns: str, *, dialect: str = "trunkline", target: str = 'agent = "a"') -> str:
    """What is said of a route with these turns."""
    try:
        parse(
            f'[[trunk]]\nname = "t"\nmatch = ["192.0.2.1"]\n[[agent]]\nname = "a"\naddress = "unix:/a"\n'
            f'dialect = "{dialect}"\n[[route]]\nname = "r"\n{target}\n[route.turns]\n{turns}\n'
        )
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("turns", "word"),
    [
        ('detector = "ears"', "detector"),
        ("min_speech_ms = 5", "min_speech_ms"),
        ('barge_in = "shout"', "barge_in"),
        ("resume_ms = 500", 'goes with barge_in = "pause" only'),
        ('detector = "off"\nbarge_in = "clear"', "needs to know who speaks"),
        ('detector = "off"\nwithhold_silence = true', "needs to know who speaks"),
    ],
)
def test_what_cannot_work_is_said(turns: str, word: str) -> None:
    assert word in errors(turns)


def test_what_works_is_taken() -> None:
    assert not errors('detector = "neural"\nbarge_in = "pause"\nresume_ms = 500\nwithhold_silence = true')
    assert not errors('detector = "off"')


def test_audiosocket_has_no_positions_and_a_refusal_no_turns() -> None:
    assert "AudioSocket" in errors("withhold_silence = true", dialect="audiosocket")
    assert "goes with an agent" in errors("min_speech_ms = 100", target="refuse = 486")


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'trunkline[vad]'" in errors('detector = "neural"')


def test_a_call_has_the_turns_of_its_route() -> None:
    async def started() -> list[TurnParams]:
        rig = Rig(CONFIG.replace('metadata = { b = "route" }', '[route.turns]\nbarge_in = "clear"\nmin_speech_ms = 40'))
        await rig.invite()
        return [start.turns for start in rig.media.started.values()]

    assert asyncio.run(started()) == [TurnParams(barge_in="clear", min_speech_ms=40)]


def test_defaults_of_the_route_are_those_of_the_worker() -> None:
    """A call without a route is treated as one whose route says nothing."""
    assert TurnParams(**parse(CONFIG).routes[-1].turns.model_dump()) == TurnParams()
