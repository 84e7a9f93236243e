# SPDX-License-Identifier: MIT
"""The receptionist's ears and mouth, and a whole talk in sound, without telephony."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import numpy as np
import pytest

from support.audio import Pcm, compare, decode_g711, encode_g711, frequency_hz, tone, tone_share
from support.speaking import speak
from support.voice import resample
from trunkline.agent_bridge import Agent, Call
from trunkline.agent_bridge.examples.receptionist import dialogue
from trunkline.agent_bridge.examples.receptionist.agent import Receptionist, Turn
from trunkline.agent_bridge.examples.receptionist.ears import Began, Endpointer, Recogniser, Said
from trunkline.agent_bridge.examples.receptionist.mouth import Mouth
from trunkline.agent_bridge.examples.receptionist.resampling import Resampler
from trunkline.agent_bridge.link_events import Clear, Hangup, Mark
from trunkline.agent_bridge.testing import GatewayDouble

ANSWERS = (
    ("menu", "appointment please"),
    ("menu", "opening hours"),
    ("menu", "operator"),
    ("date", "on the twenty first of march"),
    ("date", "october the second"),
    ("number", "four seven one one"),
    ("number", "zero three nine five eight two"),
    ("confirm", "yes please"),
    ("confirm", "no"),
)
OTHERS = (
    ("menu", "what is the weather like"),
    ("date", "next tuesday"),
    ("number", "the third of december"),
    ("menu", "bananas"),
    ("menu", "four seven"),
    ("confirm", "maybe"),
)


def on_the_line(text: str) -> Pcm:
    """As it comes from a telephone: 8 kHz, mu-law, with silence around it."""
    pcm = decode_g711(encode_g711(speak(text), 0), 0)
    return np.concatenate([np.zeros(3200, np.int16), pcm, np.zeros(8000, np.int16)])


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser(8000)


@pytest.mark.parametrize(("question", "words"), ANSWERS)
def test_an_answer_is_understood_word_by_word(recogniser: Recogniser, question: str, words: str) -> None:
    assert recogniser.words(question, on_the_line(words)) == words


@pytest.mark.parametrize(("question", "words"), OTHERS)
def test_what_is_no_answer_is_not_taken_for_one(recogniser: Recogniser, question: str, words: str) -> None:
    assert recogniser.words(question, on_the_line(words)) == ""


def test_silence_is_no_answer(recogniser: Recogniser) -> None:
    assert recogniser.words("menu", np.zeros(8000, np.int16)) == ""


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_a_caller_begins_and_ends_where_he_does(rate_hz: int) -> None:
    pcm = resample(on_the_line("four seven one one"), 8000, rate_hz)
    pcm = np.concatenate([np.zeros(rate_hz, np.int16), pcm])
    endpointer, frame = Endpointer(rate_hz, 20), rate_hz // 50
    found = [(i, endpointer.hear(pcm[i : i + frame], False)) for i in range(0, len(pcm) - frame + 1, frame)]
    events = [(i / rate_hz, what) for i, what in found if what is not None]
    assert [type(what) for _, what in events] == [Began, Said]
    assert 1.4 < events[0][0] < 1.7, "0.4 s of silence stand before it"
    said = events[1][1]
    assert isinstance(said, Said) and compare(said.pcm, pcm).correlation == 1.0


@pytest.mark.parametrize(("from_hz", "to_hz"), [(22050, 8000), (22050, 16000), (8000, 16000), (16000, 16000)])
def test_resampling_in_pieces_is_resampling_at_once(from_hz: int, to_hz: int) -> None:
    pcm = tone(1000, 1.0, from_hz)
    whole, pieces = Resampler(from_hz, to_hz), Resampler(from_hz, to_hz)
    at_once = np.concatenate([whole.take(pcm), whole.end()])
    cut = [0, 1, 2, 500, 501, 9000, len(pcm)]
    parts = [pieces.take(pcm[a:b]) for a, b in itertools.pairwise(cut)]
    assert (np.concatenate([*parts, pieces.end()]) == at_once).all()
    assert abs(len(at_once) - to_hz) <= 1
    middle = at_once[200:-200]
    assert frequency_hz(middle, to_hz) == pytest.approx(1000, abs=0.5)
    assert tone_share(middle, 1000, to_hz) > 0.999
    assert np.abs(middle).max() == pytest.approx(8000, rel=0.01)


def test_what_a_lower_rate_cannot_have_is_gone() -> None:
    resampler = Resampler(22050, 8000)
    out = resampler.take(tone(5000, 1.0, 22050))
    assert np.abs(out[200:]).max() < 80, "40 dB below"


async def test_the_mouth_begins_before_it_has_finished() -> None:
    async with contextlib.aclosing(Mouth(16000).speak("Please say appointment, or opening hours.")) as pieces:
        sizes = [len(pcm) async for pcm in pieces]
    assert len(sizes) > 5 and 1.5 < sum(sizes) / 16000 < 5


async def test_a_talk_with_an_interruption() -> None:
    """The caller breaks in on the greeting, is heard, and the date is read back."""
    turns: asyncio.Queue[Turn] = asyncio.Queue()

    async def handler(call: Call) -> None:
        await Receptionist(call, turns.put_nowait).run()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(sample_rate_hz=8000, playback="manual")
        greeting = await turns.get()
        await call.hear(8000)
        call.play_out(500)
        call.say(on_the_line("appointment please"))
        assert (await turns.get()).understood == "appointment"
        assert greeting.interrupted and not greeting.heard
        await call.event(Clear)
        call.press("2103")
        assert (await turns.get()).understood == "the twenty first of march"
        call.hang_up()


async def test_a_caller_who_says_nothing_is_asked_and_then_let_go() -> None:
    turns: asyncio.Queue[Turn] = asyncio.Queue()

    async def handler(call: Call) -> None:
        await Receptionist(call, turns.put_nowait).run()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(sample_rate_hz=8000)
        for question in ("menu", "menu", "menu", ""):
            turn = await turns.get()
            assert turn.question == question
            await call.event(Mark, len(turn.said))
            if question:
                call.said.clear()
                await asyncio.sleep(0.05)  # eight seconds come at once, and the agent must have read the mark
                call.say(np.zeros(8000 * 8, np.int16))
        assert turn.said == (dialogue.SILENT, dialogue.GOODBYE)
        await call.event(Hangup)
