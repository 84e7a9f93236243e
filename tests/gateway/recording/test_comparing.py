# SPDX-License-Identifier: GPL-2.0-or-later
"""What callers hear of agents, and how two agents differ, on a clock of the test's own."""

from __future__ import annotations

import numpy as np

from support.audio import Pcm, speechlike
from trunkline.gateway.recording.comparing import Tolerance, compare, correlation
from trunkline.gateway.recording.contents import Word
from trunkline.gateway.recording.heard import Loudspeaker
from trunkline.gateway.recording.playing import Played

ONE, TWO = speechlike(0.5, seed=1), speechlike(0.5, seed=2)


def played(*turns: tuple[int, Pcm], said: tuple[str, ...] = ()) -> Played:
    """An agent that begins to speak at these milliseconds."""
    speaker, waiting = Loudspeaker(8000, 20), list(turns)
    for now_ms in range(0, 4000, 20):
        while waiting and waiting[0][0] <= now_ms:
            speaker.say(waiting.pop(0)[1])
        speaker.play()
    return Played(speaker, [Word(0, {"type": "mark", "channel": 1, "name": name}) for name in said])


def test_speech_in_any_pieces_is_one_turn_and_a_mark_is_where_it_was_set() -> None:
    speaker = Loudspeaker(8000, 20)
    for piece in np.split(ONE, [1, 100, 170, 1000]):
        speaker.say(piece)
    assert speaker.mark("end") == []
    reached = [speaker.play() for _ in range(40)]
    assert reached.index([("end", len(ONE))]) == len(ONE) // 160 - 1
    (turn,) = speaker.turns()
    assert turn.start_ms < 20 and correlation(turn.pcm, ONE) > 0.9999
    assert speaker.mark("nothing waits") == [("nothing waits", len(ONE))]


def test_a_clear_says_what_was_heard() -> None:
    speaker = Loudspeaker(8000, 20)
    speaker.say(ONE)
    speaker.mark("cut")
    for _ in range(5):
        speaker.play()
    assert speaker.clear() == (100, 400, ["cut"]) and speaker.queued_ms == 0
    for _ in range(50):
        speaker.play()
    assert abs(speaker.turns()[0].length_ms(8000) - 100) < 5


def test_the_same_is_the_same() -> None:
    result = compare(played((500, ONE), (2000, TWO)), played((580, ONE), (2100, TWO)), 8000, Tolerance())
    assert result.same and [turn.number for turn in result.turns] == [1, 2]
    assert all(turn.correlation is not None and turn.correlation > 0.999 for turn in result.turns)


def test_late_other_missing_and_new_turns_are_told() -> None:
    before = played((500, ONE), (2000, TWO))
    late = compare(before, played((1000, ONE), (2000, TWO)), 8000, Tolerance())
    assert late.differences == ["turn 1 begins 500 ms later"]
    other = compare(before, played((500, ONE), (2000, ONE)), 8000, Tolerance())
    assert len(other.differences) == 1 and other.differences[0].startswith("turn 2 sounds different")
    assert compare(before, played((500, ONE)), 8000, Tolerance()).differences == ["turn 2 is missing"]
    assert compare(played((500, ONE)), before, 8000, Tolerance()).differences == ["turn 2 is new"]
    assert compare(before, played(), 8000, Tolerance()).differences == ["turn 1 is missing", "turn 2 is missing"]


def test_commands_are_compared_in_order() -> None:
    result = compare(played(said=("a", "b")), played(said=("a", "c")), 8000, Tolerance())
    assert len(result.differences) == 1 and result.differences[0].startswith("command 2 was")
    fewer = compare(played(said=("a", "b")), played(said=("a",)), 8000, Tolerance())
    assert fewer.differences[0].endswith("is nothing")


def test_what_depends_on_the_moment_or_says_nothing_is_no_difference() -> None:
    before, now = played((500, ONE)), played((500, ONE))
    before.said += [Word(0, {"type": "accept"}), Word(5, {"type": "ack", "channel": 1, "position": 320})]
    now.said += [
        Word(0, {"type": "accept", "channel": 1, "answer": True, "headers": {}}),
        Word(5, {"type": "ack", "channel": 1, "position": 640}),
        Word(9, {"type": "ack", "channel": 1, "position": 960}),
        Word(9, {"type": "status", "channel": 1}),
    ]
    assert compare(before, now, 8000, Tolerance()).same
    now.said[0] = Word(0, {"type": "accept", "channel": 1, "answer": False, "headers": {}})
    assert compare(before, now, 8000, Tolerance()).differences[0].startswith("command 1 was")
