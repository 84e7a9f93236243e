# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents ask for in the worker: what a route forbids, what goes on to the gateway process, muting."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from support.agent_rig import Agent, AgentRig
from support.media_rig import DownlinkRig, UplinkRig, samples, voice
from trunkline.agent_bridge.dialect import FLAG_SPEECH
from trunkline.gateway.media import agent_asks, agent_news, control
from trunkline.gateway.media.agent_commands import ASKS_PER_SECOND, NEEDS
from trunkline.gateway.media.call_policy import PERMISSIONS
from trunkline.gateway.media.table import Stream

COMMANDS: dict[str, dict[str, Any]] = {
    "early_media": {"kind": "progress"}, "hold": {"kind": "hold", "held": True},
    "transfer": {"kind": "transfer", "target": "601"}, "dtmf": {"kind": "dtmf", "digits": "1"},
    "mute": {"kind": "mute", "uplink": True}, "hangup": {"kind": "hangup"},
    "variables": {"kind": "variables", "values": {"a": "b"}}, "headers": {"kind": "ring", "headers": {"X-A": "b"}},
}  # fmt: skip


def up(rig: AgentRig, **changes: Any) -> tuple[Agent, Stream]:
    """A call that its agent has accepted."""
    stream = rig.call(**changes)
    agent = rig.accept()
    rig.tick(times=2)
    agent.say("hello", version=1, agent="test")
    rig.tick(times=3)
    agent.say("accept", channel=stream.channel)
    rig.tick(times=3)
    agent.heard()
    return agent, stream


def said(rig: AgentRig, agent: Agent, stream: Stream, kind: str, **fields: Any) -> list[Any]:
    """Say one command; returns errors that come back."""
    agent.say(kind, channel=stream.channel, **fields)
    rig.tick(times=2)
    return [one for one in agent.heard() if one["type"] == "error"]


def test_every_permission_stands_for_a_command() -> None:
    assert set(NEEDS.values()) | {"headers"} == set(PERMISSIONS) == set(COMMANDS)


@pytest.mark.parametrize("word", PERMISSIONS)
def test_what_the_route_forbids_is_told_and_not_done(tmp_path: pathlib.Path, word: str) -> None:
    rig = AgentRig(tmp_path)
    agent, stream = up(rig, agent_may=tuple(one for one in PERMISSIONS if one != word))
    command = dict(COMMANDS[word])
    [error] = said(rig, agent, stream, command.pop("kind"), **command)
    assert error["code"] == "forbidden" and word in error["text"] and "all" in error["text"]
    posted = rig.of(agent_asks.AgentRing)
    assert posted == ([agent_asks.AgentRing(stream.call_id)] if word == "headers" else [])
    assert not rig.table.muted_up and not rig.of(control.AgentHangup) and not rig.of(control.DtmfQueued)


@pytest.mark.parametrize("within_ms", [0, 500])
@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("may", [False, True])
def test_a_forbidden_hangup_that_ends_the_connection_is_the_loss_of_the_agent(
    tmp_path: pathlib.Path, may: bool, closes: bool, within_ms: int
) -> None:
    """AudioSocket: nobody is there any more who could be told that it may not."""
    rig = AgentRig(tmp_path, dialect="audiosocket")
    words = tuple(one for one in PERMISSIONS if may or one != "hangup")
    stream = rig.call(agent_may=words, rescue=control.RescueParams(within_ms=within_ms))
    sock = rig.listener.accept()[0]
    rig.tick(times=5)
    assert stream.accepted
    sock.sendall(b"\x00\x00\x00")
    if closes:
        sock.close()
    rig.tick(times=5)
    if may:
        assert len(rig.of(control.AgentHangup)) == 1
        return
    assert not rig.of(control.AgentHangup)
    if within_ms:
        [lost] = rig.of(control.AgentEvent)
        assert lost.event == "lost" and ("agent_may" in str(lost.data["detail"]) or closes)
        rig.listener.accept()[0]
        rig.tick(times=5)
        assert stream.accepted, "it is asked again, as there is no other"
    else:
        assert [one.reason for one in rig.of(control.StreamFailed)] == ["agent_lost"]


def test_what_is_not_about_audio_is_for_the_gateway_process(tmp_path: pathlib.Path) -> None:
    rig = AgentRig(tmp_path)
    agent, stream = up(rig)
    call_id, headers = stream.call_id, {"X-A": "b"}
    for kind, fields in (
        ("ring", {"headers": headers}), ("progress", {}), ("answer", {}), ("hold", {"held": True, "music": "jazz"}),
        ("transfer", {"target": "601", "headers": headers}), ("transfer", {"attended": "other"}),
        ("variables", {"values": {"a": "b"}}), ("hangup", {"code": 486, "reason": "no", "headers": headers}),
    ):  # fmt: skip
        assert said(rig, agent, stream, kind, **fields) == []
    assert rig.posted[-8:] == [
        agent_asks.AgentRing(call_id, headers), agent_asks.AgentProgress(call_id), agent_asks.AgentAnswer(call_id),
        agent_asks.AgentHold(call_id, True, "jazz"), agent_asks.AgentTransfer(call_id, "601", "", headers),
        agent_asks.AgentTransfer(call_id, "", "other"), agent_asks.AgentVariables(call_id, {"a": "b"}),
        control.AgentHangup(call_id, "no", 486, headers),
    ]  # fmt: skip


def test_an_agent_that_asks_too_often_does_not_fill_the_channel(tmp_path: pathlib.Path) -> None:
    """One error says so; a second later it may ask again, and it may always hang up."""
    rig = AgentRig(tmp_path)
    agent, stream = up(rig)
    for i in range(100):
        agent.say("variables", channel=stream.channel, values={"i": str(i)})
    agent.say("hangup", channel=stream.channel)
    rig.tick(times=4)
    assert [one["code"] for one in agent.heard() if one["type"] == "error"] == ["too_many"]
    assert len(rig.of(agent_asks.AgentVariables)) == ASKS_PER_SECOND and len(rig.of(control.AgentHangup)) == 1
    rig.tick(ms=1000)
    assert said(rig, agent, stream, "variables", values={"i": "x"}) == []
    assert len(rig.of(agent_asks.AgentVariables)) == ASKS_PER_SECOND + 1


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("variables", {"values": {"a": "y" * 65_000}}, "too_long"),
        ("ring", {"headers": {"X": "y" * 40_000}}, "bad_header"),
    ],
)
def test_texts_that_no_message_could_carry_are_refused(
    tmp_path: pathlib.Path, kind: str, fields: dict[str, Any], code: str
) -> None:
    rig = AgentRig(tmp_path)
    agent, stream = up(rig)
    assert [one["code"] for one in said(rig, agent, stream, kind, **fields)] == [code]


def test_headers_that_the_route_forbids_do_not_stop_the_acceptance(tmp_path: pathlib.Path) -> None:
    rig = AgentRig(tmp_path)
    accepted: list[Any] = []
    rig.links.on_accepted = lambda stream, now_ns, how: accepted.append(how)
    stream = rig.call(agent_may=())
    agent = rig.accept()
    rig.tick(times=2)
    agent.say("hello", version=1, agent="test")
    rig.tick(times=3)
    agent.say("accept", channel=stream.channel, headers={"X-A": "b"}, answer=False)
    rig.tick(times=3)
    assert [(one.answer, dict(one.headers)) for one in accepted] == [(False, {})]
    assert [one["code"] for one in agent.heard() if one["type"] == "error"] == ["forbidden"]


def test_the_agent_is_told_of_its_call(tmp_path: pathlib.Path) -> None:
    rig = AgentRig(tmp_path)
    agent, stream = up(rig)
    call_id = stream.call_id
    for message in (
        control.TellCallState(call_id, "answered"), control.TellTransfer(call_id, "failed", 486, "Busy Here"),
        control.CommandRefused(call_id, "not_now", "why"), control.SetVariables(call_id, {"a": "b"}),
        control.Drain(),
    ):  # fmt: skip
        agent_news.tell(rig.links.telling, stream, message)
    rig.tick()
    told = [{key: value for key, value in one.items() if key != "channel"} for one in agent.heard()]
    assert told == [
        {"type": "call_state", "state": "answered"},
        {"type": "transfer", "state": "failed", "code": 486, "reason": "Busy Here"},
        {"type": "error", "code": "not_now", "text": "why"},
    ]
    assert stream.start.answered and stream.start.variables == {"a": "b"}, "for the next agent"


def test_a_muted_caller_is_silence_at_the_same_positions() -> None:
    """And no speech; the call beside it is heard as ever."""
    rig = UplinkRig(calls=2)
    for seq in range(30):
        rig.table.mute(0, uplink=10 <= seq < 20, downlink=False)
        for row in (0, 1):
            rig.packet(voice(seq), row=row)
        rig.run(20)
    muted, heard = rig.frames[0], rig.frames[1]
    assert [one.position for one in muted] == [one.position for one in heard]
    silent = [not one.pcm.any() for one in muted]
    assert 9 <= sum(silent) <= 11 and silent[:9] == [False] * 9 and not silent[-1]
    assert not any(one.flags & FLAG_SPEECH for one, quiet in zip(muted, silent, strict=True) if quiet)
    assert all(one.pcm.any() for one in heard)


def test_a_muted_agent_speaks_to_nobody_and_its_time_goes_on() -> None:
    """The caller hears silence for as long, marks come when they would have, and what follows is heard."""
    heard = []
    for mute in (False, True):
        rig = DownlinkRig()
        rig.speak(np.full(160 * 30, 4000))
        rig.playback.mark(rig.stream, "end")
        rig.run(200)
        rig.table.mute(rig.stream.row, uplink=False, downlink=mute)
        rig.run(200)
        rig.table.mute(rig.stream.row, uplink=False, downlink=False)
        rig.run(400)
        marks = [(one.data[:2], rig.now_ns) for one in rig.link.said if one.kind == "mark"]
        heard.append((np.concatenate([samples(packet) for _, packet in rig.sent]), marks))
    (loud, _), (muted, _) = heard
    assert heard[0][1] == heard[1][1] and heard[0][1][0][0] == ("end", 160 * 30)
    different = np.flatnonzero(loud != muted)
    assert len(different) == 160 * 10 and (np.diff(different) == 1).all(), "200 ms in one piece"
    assert not muted[different].any() and (loud[different] > 3000).all()


def test_a_row_that_ends_leaves_nobody_muted() -> None:
    rig = UplinkRig(calls=1)
    rig.table.mute(0, uplink=True, downlink=True)
    rig.table.release(rig.streams[0])
    assert not rig.table.muted_up and not rig.table.muted_down
