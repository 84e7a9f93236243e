# SPDX-License-Identifier: GPL-2.0-or-later
"""Who took how long for a turn: the agent or we; and how soon a caller who interrupts is let speak."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.media_rig import MS, DownlinkRig, UplinkRig, voice
from trunkline.agent_bridge.dialect import FLAG_SPEECH
from trunkline.gateway.media.agent_asks import TurnTaken
from trunkline.gateway.media.downlink import Downlink
from trunkline.gateway.media.playback import Playback
from trunkline.rtp.packet import Packet
from trunkline.rtp.payload import AUDIO_FORMATS

HANGOVER_MS = 200
"Of the detector that these tests stand for."
RATE = AUDIO_FORMATS["PCMU"].clock_hz


class Talk:
    """A caller whose speech is found by a simple detector, and an agent who answers."""

    def __init__(self, **start: object) -> None:
        self.rig = DownlinkRig(**start)
        self.begin_ns = self.rig.now_ns
        self.rig.run(500)

    @property
    def position(self) -> int:
        """Of the caller's sample that comes in now; the uplink has it at once."""
        position = (self.rig.now_ns - self.begin_ns) * RATE // 1_000_000_000
        self.rig.table.shared.up_position[0] = position
        return position

    def caller_speaks(self, ms: float) -> int:
        """Speech that is found 60 ms after it began and `HANGOVER_MS` after it ended; when it ended."""
        first = self.position
        self.rig.run(60)
        self.found(True, first)
        self.rig.run(ms - 60)
        last, end_ns = self.position, self.rig.now_ns
        self.rig.run(HANGOVER_MS)
        self.found(False, last)
        return end_ns

    def found(self, started: bool, position: int) -> None:
        assert self.position >= position  # and the uplink is up to date
        self.rig.playback.ledger.speech(self.rig.stream, started, position, self.rig.now_ns)

    def agent_speaks(self, ms: int, level: int = 8031) -> None:
        self.rig.speak(np.full(ms * RATE // 1000, level, np.int16))

    @property
    def turns(self) -> list[dict[str, float]]:
        """Told to the agent; the gateway is told the same."""
        told = [reply.data[0] for reply in self.rig.link.said if reply.kind == "turn"]
        assert told == [m.turn for m in self.rig.posted if isinstance(m, TurnTaken)]
        return told  # type: ignore[return-value]


def first_packet_ns(rig: DownlinkRig, after_ns: int) -> int:
    return next(at for at, packet in rig.sent if at > after_ns and packet.payload.strip(b"\xff"))


def test_a_turn_is_parted_between_agent_and_gateway() -> None:
    """The agent thinks for 350 ms from when it is told; detection, cushion and packet clock are ours."""
    talk = Talk()
    end_ns = talk.caller_speaks(900)
    talk.rig.run(350)
    talk.agent_speaks(200)
    talk.rig.run(100)
    (turn,) = talk.turns
    assert turn["agent_ms"] == pytest.approx(350, abs=0.1)
    assert turn["detect_ms"] == pytest.approx(HANGOVER_MS, abs=0.2)
    assert turn["speech_ms"] == pytest.approx(900, abs=0.2)
    assert turn["total_ms"] == pytest.approx((first_packet_ns(talk.rig, end_ns) - end_ns) / MS, abs=0.2)
    assert turn["total_ms"] == pytest.approx(turn["agent_ms"] + turn["gateway_ms"], abs=0.11)
    assert turn["gateway_ms"] == pytest.approx(turn["detect_ms"] + turn["play_ms"], abs=0.11)
    assert 0 < turn["play_ms"] <= 25
    assert "barge_in_ms" not in turn


def test_every_answer_is_one_turn() -> None:
    """What the agent says on, or says once more, is no further turn; the next question begins the next."""
    talk = Talk()
    for thought_ms in (100, 300, 200):
        talk.caller_speaks(500)
        talk.rig.run(thought_ms)
        for _ in range(3):
            talk.agent_speaks(200)
            talk.rig.run(700)
    assert [round(turn["agent_ms"]) for turn in talk.turns] == [100, 300, 200]


def test_an_agent_that_listens_for_itself_is_quicker_than_we_tell_it() -> None:
    """Its part then goes from the end of speech to its answer, and nothing of it is our detector's."""
    talk = Talk()
    first = talk.position
    talk.rig.run(60)
    talk.found(True, first)
    talk.rig.run(740)
    last, end_ns = talk.position, talk.rig.now_ns
    talk.rig.run(90)
    talk.agent_speaks(400)
    talk.rig.run(HANGOVER_MS - 90)
    assert talk.turns == []  # nobody knows yet that the caller has stopped
    talk.found(False, last)
    (turn,) = talk.turns
    assert turn["agent_ms"] == pytest.approx(90, abs=0.2)
    assert turn["detect_ms"] == 0
    assert turn["total_ms"] == pytest.approx((first_packet_ns(talk.rig, end_ns) - end_ns) / MS, abs=0.2)


def test_a_caller_who_goes_on_before_there_is_an_answer_has_not_ended_the_turn() -> None:
    """One turn, whose speech is both parts, and whose end is the last one."""
    talk = Talk()
    talk.caller_speaks(400)
    talk.rig.run(100)
    end_ns = talk.caller_speaks(600)
    talk.rig.run(150)
    talk.agent_speaks(100)
    talk.rig.run(60)
    (turn,) = talk.turns
    assert turn["speech_ms"] == pytest.approx(1000, abs=0.4)
    assert turn["agent_ms"] == pytest.approx(150, abs=0.1)
    assert turn["total_ms"] == pytest.approx((first_packet_ns(talk.rig, end_ns) - end_ns) / MS, abs=0.2)


def test_what_is_said_over_the_caller_is_no_answer() -> None:
    """A word of the agent's in the middle of the caller's speech; the answer comes after it."""
    talk = Talk()
    first = talk.position
    talk.rig.run(60)
    talk.found(True, first)
    talk.agent_speaks(80)
    talk.rig.run(700)
    last = talk.position
    talk.rig.run(HANGOVER_MS)
    talk.found(False, last)
    assert talk.turns == []
    talk.rig.run(250)
    talk.agent_speaks(100)
    talk.rig.run(60)
    (turn,) = talk.turns
    assert turn["agent_ms"] == pytest.approx(250, abs=0.1)


def test_an_interrupted_agent_that_stops() -> None:
    """From the caller's first sample to the last packet of the agent's; the answer is what it says after that."""
    talk = Talk()
    seen: list[float] = []
    talk.rig.playback.ledger.on_barge_in = lambda stream, ms, now_ns: seen.append(ms)
    talk.agent_speaks(5000)
    talk.rig.run(1000)
    first, first_ns = talk.position, talk.rig.now_ns
    talk.rig.run(60)
    talk.found(True, first)
    talk.rig.playback.clear(talk.rig.stream)
    cleared_ns = talk.rig.now_ns
    talk.rig.run(700)
    last = talk.position
    talk.rig.run(HANGOVER_MS)
    talk.found(False, last)
    talk.rig.run(120)
    talk.agent_speaks(100)
    talk.rig.run(60)
    (turn,) = talk.turns
    last_packet = max(at for at, packet in talk.rig.sent if at <= cleared_ns)
    assert turn["barge_in_ms"] == pytest.approx((last_packet - first_ns) / MS, abs=0.2)
    assert turn["barge_in_ms"] <= 60
    assert seen == pytest.approx([turn["barge_in_ms"]], abs=0.1)
    assert turn["agent_ms"] == pytest.approx(120, abs=0.1)


def test_an_agent_that_speaks_on_over_the_caller_answers_when_it_has_finished() -> None:
    """What was queued when the caller stopped is no answer, nor what is added to it."""
    talk = Talk()
    talk.agent_speaks(2000)
    talk.rig.run(300)
    talk.caller_speaks(500)
    talk.agent_speaks(300)
    talk.rig.run(2000)
    assert talk.turns == []
    talk.agent_speaks(100)
    talk.rig.run(60)
    assert len(talk.turns) == 1
    assert "barge_in_ms" not in talk.turns[0]


def test_a_pause_that_is_taken_back_is_no_answer() -> None:
    """The caller said yes in between; the agent was paused, and goes on."""
    talk = Talk()
    ledger, stream = talk.rig.playback.ledger, talk.rig.stream
    talk.agent_speaks(2000)
    talk.rig.run(300)
    first = talk.position
    talk.rig.run(60)
    talk.found(True, first)
    ledger.silenced(stream, talk.rig.now_ns)
    talk.rig.run(100)
    last = talk.position
    talk.rig.run(HANGOVER_MS)
    ledger.goes_on(stream)
    talk.found(False, last)
    talk.agent_speaks(500)
    talk.rig.run(3000)
    assert talk.turns == []


def test_silence_of_an_agent_that_never_pauses_is_no_answer() -> None:
    """It sends a packet each 20 ms, speech or not."""
    talk = Talk()

    def silent(ms: int) -> None:
        for _ in range(ms // 20):
            talk.agent_speaks(20, level=0)
            talk.rig.run(20)

    silent(400)
    first = talk.position
    silent(60)
    talk.found(True, first)
    silent(400)
    last = talk.position
    silent(200)
    talk.found(False, last)
    silent(300)
    assert talk.turns == []
    talk.agent_speaks(100)
    talk.rig.run(60)
    (turn,) = talk.turns
    assert turn["agent_ms"] == pytest.approx(300, abs=0.1)


def test_an_answer_that_is_cleared_before_anybody_heard_it_was_none() -> None:
    talk = Talk()
    talk.caller_speaks(500)
    talk.rig.run(100)
    talk.agent_speaks(200)
    talk.rig.playback.clear(talk.rig.stream)
    talk.rig.run(400)
    assert talk.turns == []
    talk.agent_speaks(200)
    talk.rig.run(60)
    (turn,) = talk.turns
    assert turn["agent_ms"] == pytest.approx(500, abs=0.1)


def test_a_packet_that_the_kernel_refuses_was_not_heard() -> None:
    """The answer begins with the next one that leaves."""
    talk = Talk()
    talk.caller_speaks(500)
    talk.rig.refuse = True
    talk.agent_speaks(200)
    talk.rig.run(50)
    assert talk.turns == []
    talk.rig.refuse = False
    talk.rig.run(25)
    (turn,) = talk.turns
    assert turn["play_ms"] >= 50


def test_nothing_is_kept_of_a_call_that_is_over() -> None:
    talk = Talk()
    ledger = talk.rig.playback.ledger
    talk.caller_speaks(500)
    assert ledger.watching == 1
    talk.rig.playback.end(talk.rig.stream)
    assert (ledger.watching, ledger.targets) == (0, 0)
    talk.agent_speaks(100)
    talk.rig.run(100)
    assert talk.turns == []


class Conversation(UplinkRig):
    """RTP both ways on one row; the caller's speech is found by the flags of frames, with a hangover."""

    def __init__(self, agent_thinks_ms: int) -> None:
        super().__init__(rate_hz=16000)
        self.playback = Playback(self.table, Downlink(self.table, self, send_silence=True), self.posted.append)
        self.playback.telling.speech = self._told  # type: ignore[method-assign]
        self.line = self.playback._downlink
        self.line.begin(0, self.now_ns)
        self._thinks_ns = agent_thinks_ms * MS
        self._speaking, self._quiet = False, 0
        self._answer_ns = 0
        self.heard_ns: list[int] = []
        "when packets left that are not silence"

    @property
    def posted(self) -> list[object]:
        """For the gateway."""
        return self.__dict__.setdefault("_posted", [])

    def deliver(
        self,
        rows: NDArray[np.intp],
        positions: NDArray[np.int64],
        flags: NDArray[np.uint16],
        pcm: NDArray[np.int16],
    ) -> None:
        """A detector for one row: three frames of speech begin it, ten without end it."""
        voice = bool(flags[0] & FLAG_SPEECH)
        self._quiet = 0 if voice else self._quiet + 1
        position = int(positions[0]) + pcm.shape[1]
        if voice and not self._speaking:
            self._speaking = True
            self._change(True, int(positions[0]))
        elif self._speaking and self._quiet == 10:
            self._speaking = False
            self._change(False, position - 10 * pcm.shape[1])

    def _change(self, started: bool, position: int) -> None:
        stream = self.streams[0]
        self.playback.telling.speech(stream, started, position, -20.0)
        self.playback.ledger.speech(stream, started, position, self.now_ns)

    def _told(self, stream: object, started: bool, position: int, level_dbov: float) -> None:
        """The agent hears that the caller has stopped, and thinks."""
        self._answer_ns = 0 if started else self.now_ns + self._thinks_ns

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Be the packet sink."""
        if packets[0, 12:].tobytes().strip(b"\xff\x7f\x7e\xfe"):
            self.heard_ns.append(self.now_ns)
        return np.ones(len(rows), bool)

    def run(self, ms: float, step_ms: float = 1.0) -> None:
        """Let time pass, tick by tick; the agent answers when it has thought."""
        for _ in range(round(ms / step_ms)):
            super().run(step_ms, step_ms)
            if self._answer_ns and self.now_ns >= self._answer_ns:
                self._answer_ns = 0
                self.playback.push(np.zeros(1, np.intp), np.full((1, 3200), 8000, np.int16), self.now_ns)
            self.line.advance(self.now_ns)


@pytest.mark.parametrize("thinks_ms", [0, 130, 777])
def test_a_turn_from_packet_to_packet(thinks_ms: int) -> None:
    """Through the whole uplink and downlink: the total is from the last packet of speech to the first of the answer."""
    talk = Conversation(thinks_ms)
    for sequence in range(120):
        loud = sequence < 40
        talk.packet(Packet(0, sequence, sequence * 160, 5, voice(sequence).payload if loud else b"\xff" * 160))
        if sequence == 39:
            last_ns = talk.now_ns
        talk.run(20)
    (turn,) = [message.turn for message in talk.posted if isinstance(message, TurnTaken)]
    assert turn["agent_ms"] == pytest.approx(thinks_ms, abs=1.1)
    assert turn["total_ms"] == pytest.approx((talk.heard_ns[0] - last_ns) / MS, abs=1.1)
    assert turn["detect_ms"] == pytest.approx(10 * 20, abs=1.1)
    assert turn["speech_ms"] == pytest.approx(40 * 20, abs=40)


steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "stop", "speak", "hush", "clear", "pause", "resume", "wait", "refuse", "end"]),
        st.integers(1, 300),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_happens_turns_add_up(script: list[tuple[str, int]]) -> None:
    """In any order: parts are not negative and add up, and counters are those of the rows that wait."""
    talk = Talk()
    ledger, stream = talk.rig.playback.ledger, talk.rig.stream
    for step, ms in script:
        match step:
            case "start" | "stop":
                talk.found(step == "start", max(talk.position - ms, 0))
            case "speak" | "hush":
                talk.agent_speaks(ms, 8031 if step == "speak" else 0)
            case "clear":
                talk.rig.playback.clear(stream)
            case "pause":
                ledger.silenced(stream, talk.rig.now_ns)
            case "resume":
                ledger.goes_on(stream)
            case "refuse":
                talk.rig.refuse = not talk.rig.refuse
            case "end":
                ledger.forget(stream.row)
        talk.rig.run(ms / 3, step_ms=5)
        assert (ledger.watching, ledger.targets) == (
            int(ledger._watched.sum()),
            int((ledger._target < 1 << 62).sum()),
        )
    for turn in talk.turns:
        assert min(turn.values()) >= 0
        assert turn["total_ms"] == pytest.approx(turn["agent_ms"] + turn["gateway_ms"], abs=0.2)
        assert turn["gateway_ms"] == pytest.approx(turn["detect_ms"] + turn["play_ms"], abs=0.2)
