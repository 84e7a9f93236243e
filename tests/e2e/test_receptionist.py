# SPDX-License-Identifier: GPL-2.0-or-later
"""A person's voice calls the receptionist through Asterisk, interrupts it, and gets the right answers.

    telephone == RTP ==> Asterisk == RTP ==> trunkline == PCM ==> receptionist
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from support.agents import AgentHost, Heard
from support.asterisk import CALLER_HOST, SECRET, USERNAME, Asterisk
from support.audio import Pcm, compare, decode_g711, encode_g711
from support.gateway import GatewayProcess
from support.phone import Phone
from support.rtp_endpoint import RtpEndpoint
from support.speaking import speak
from support.waiting import wait_for
from trunkline.agent_bridge import Call
from trunkline.agent_bridge.examples.receptionist import dialogue
from trunkline.agent_bridge.examples.receptionist.agent import Receptionist, Turn
from trunkline.agent_bridge.examples.receptionist.mouth import Mouth

pytestmark = pytest.mark.timeout(400)  # the first test may have to fetch 19 MB over a slow line
LOUD = 500


class Talk:
    """The telephone, and what the receptionist takes it to have said."""

    def __init__(self, phone: Phone, turns: list[Turn]) -> None:
        self.phone, self._turns = phone, turns

    def turn(self, number: int, asked: bool = True) -> Turn:
        """The receptionist's turn of that number, as soon as it has begun, or has been said to its end."""
        wait_for(lambda: len(self._turns) > number, f"turn {number}", 20)
        turn = self._turns[number]
        if asked:
            wait_for(lambda: turn.asked, f"the end of {turn.said}", 20)
        return turn

    def say(self, words: str) -> None:
        """Speak, with silence behind it, as a telephone sends it."""
        pcm = np.concatenate([speak(words), np.zeros(5600, np.int16)])
        self.phone.rtp.catch_up()
        self.phone.say(encode_g711(pcm, 0))


@pytest.fixture
def talk() -> Iterator[Talk]:
    turns: list[Turn] = []

    async def answer(call: Call, heard: Heard) -> None:
        await Receptionist(call, turns.append).run()

    with tempfile.TemporaryDirectory(prefix="tl-") as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        asterisk = stack.enter_context(Asterisk())
        agent = stack.enter_context(AgentHost(f"unix:{folder}/agent.sock", answer))
        pbx = f"127.0.0.1:{asterisk.sip_port}"
        register = {"server": f"sip:{pbx}", "username": USERNAME, "password_env": "PBX_PASSWORD"}
        gateway = stack.enter_context(
            GatewayProcess(
                folder,
                env={"PBX_PASSWORD": SECRET},
                trunk=[{"name": "pbx", "match": [pbx], "host": pbx, "register": register}],
                agent=[{"name": "receptionist", "address": agent.address}],
                route=[{"name": "all", "trunk": "pbx", "agent": "receptionist"}],
            )
        )
        wait_for(asterisk.registered, "registration at Asterisk")
        phone = Phone(
            gateway, "uac_hangup", port=asterisk.sip_port, source=CALLER_HOST, endpoint=RtpEndpoint(CALLER_HOST),
            keys={"called": "7001"}, timeout_s=60,
        )  # fmt: skip
        yield Talk(stack.enter_context(phone), turns)


def test_an_appointment_is_made_by_telephone(talk: Talk) -> None:
    greeting = talk.turn(0, asked=False)
    wait_for(lambda: np.abs(talk.phone.rtp.heard()).max(initial=0) > LOUD, "the caller hears the greeting")
    talk.phone.rtp.wait_received(len(talk.phone.rtp.received) + 40)
    talk.say("appointment please")
    date = talk.turn(1)
    assert greeting.interrupted and not greeting.asked
    assert (date.understood, date.question, date.heard) == ("appointment", "date", [dialogue.DATE])
    silent_s = silenced_after_s(talk.phone.rtp)
    assert 0 < silent_s < 0.8, f"the receptionist was silent {silent_s:.2f} s after the caller began"

    talk.say("on the twenty first of march")
    assert talk.turn(2).understood == "the twenty first of march"
    talk.say("yes please")
    assert talk.turn(3).question == "number"
    talk.say("four seven one one")
    confirm = talk.turn(4)
    assert (confirm.understood, confirm.question) == ("4711", "confirm")
    talk.say("yes")
    last = talk.turn(5)
    assert last.question == "" and last.heard == list(last.said)

    talk.phone.sipp.wait()
    line = wait_for(lambda: talk.phone.gateway.log("call.ended"), "end of the call")[0]
    assert (line["cause"], line["trunk"], line["packets_lost"]) == ("agent_hangup", "pbx", 0)
    everything = talk.phone.rtp.heard()
    for sentence in (
        "I understood: the twenty first of march.",
        "I understood: four, seven, one, one.",
        "We expect you on the twenty first of march.",
    ):
        match = compare(as_spoken(sentence), everything)
        assert match.correlation > 0.98, (sentence, match)
    other = compare(as_spoken("I understood: four, seven, nine, one."), everything)
    assert other.correlation < 0.9, "what was not said is not found"


def silenced_after_s(telephone: RtpEndpoint) -> float:
    """From the caller's first loud packet to the last one that he heard of what he interrupted."""
    began_ns = next(one.time_ns for one in telephone.sent if loud(one.payload))
    heard_ns = [one.time_ns for one in telephone.audio if loud(one.payload)]
    gap = next(i for i, (one, two) in enumerate(itertools.pairwise(heard_ns)) if two - one > 5e8)
    return (heard_ns[gap] - began_ns) / 1e9


def loud(payload: bytes) -> bool:
    """Whether somebody speaks in a packet."""
    return bool(np.abs(decode_g711(payload, 0)).max() > LOUD)


def as_spoken(sentence: str) -> Pcm:
    """What a caller hears of it, at 8 kHz."""

    async def speech() -> Pcm:
        async with contextlib.aclosing(Mouth(8000).speak(sentence)) as pieces:
            return np.concatenate([pcm async for pcm in pieces])

    return decode_g711(encode_g711(asyncio.run(speech()), 0), 0)
