# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent decides calls: before the answer, on hold, transfers, variables, headers; by an agent that does it by hand.

610 is accepted and not answered, 611 the same with all forbidden, 612 accepted.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from support.audio import compare, decode_g711, encode_g711, speechlike, tone, tone_share, write_wav
from support.gateway import TOKEN, TRUNKLINE, GatewayProcess
from support.phone import Phone
from support.rtp_endpoint import RtpEndpoint
from support.sipp import Sipp
from support.waiting import wait_for
from support.wire_agent import WireAgent, WireCall

SPEECH = speechlike(0.8)
MUSIC_HZ, JAZZ_HZ = 440.0, 620.0


@dataclasses.dataclass
class Scene:
    """A gateway and two agents."""

    gateway: GatewayProcess
    waiting: WireAgent
    "accepts without answering"
    ready: WireAgent
    "accepts, and the call is answered"


@pytest.fixture(scope="module")
def shared_scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="tl-") as name:
        folder = pathlib.Path(name)
        write_wav(folder / "hold.wav", tone(MUSIC_HZ, 1.0))
        write_wav(folder / "jazz.wav", tone(JAZZ_HZ, 1.0))
        with (
            WireAgent(f"unix:{folder}/waiting.sock", {"answer": False}) as waiting,
            WireAgent(f"unix:{folder}/ready.sock", {"headers": {"X-Agent": "ready"}}) as ready,
            GatewayProcess(
                folder,
                agent=[
                    {"name": "waiting", "address": waiting.address, "sample_rate_hz": 8000},
                    {"name": "ready", "address": ready.address, "sample_rate_hz": 8000},
                ],
                route=[
                    {"name": "waiting", "called": "610", "agent": "waiting", "answer_timeout_s": 1},
                    {"name": "shut", "called": "611", "agent": "waiting", "agent_may": []},
                    {
                        "name": "ready",
                        "called": "612",
                        "agent": "ready",
                        "hold_music": "hold.wav",
                        "music": {"jazz": "jazz.wav"},
                        "transfer_targets": ["7..", "sip:*@127.0.0.1:5999"],
                    },
                ],
            ) as gateway,
        ):
            yield Scene(gateway, waiting, ready)


@pytest.fixture
def scene(shared_scene: Scene) -> Iterator[Scene]:
    """Idle before and after."""
    for agent in (shared_scene.waiting, shared_scene.ready):
        agent.calls.clear()
    yield shared_scene
    try:
        shared_scene.gateway.assert_idle()
    except AssertionError:
        for call in shared_scene.gateway.calls():
            shared_scene.gateway.hang_up(call["id"])
        raise


def caller(scene: Scene, called: str, scenario: str = "uac_offer", **options: object) -> Phone:
    return Phone(scene.gateway, scenario, keys={"called": called, **options.pop("keys", {})}, **options)  # type: ignore[arg-type, dict-item]


# --- before the answer ----------------------------------------------------------------------


def test_early_audio_goes_both_ways_before_the_answer(scene: Scene) -> None:
    """183 with our SDP; what the agent says is heard at once, and what the caller says reaches it."""
    with caller(scene, "610", hold_ms=300) as phone:
        agent = scene.waiting.wait_call()
        assert agent.start["answered"] is False
        agent.play(SPEECH)  # waits: nobody has been told where to listen
        agent.say("ring", headers={"X-Tone": "soft"})
        agent.say("progress", headers={"X-Early": "yes"})
        agent.wait("call_state", state="early")
        phone.say(encode_g711(SPEECH, 0))
        phone.rtp.wait_received(45)
        wait_for(lambda: len(agent.pcm) > len(SPEECH) + 800, "the caller's early audio")
        assert not agent.told("call_state", state="answered")
        agent.say("answer", headers={"X-Answer": "now"})
        agent.wait("call_state", state="answered")
        assert phone.wait_end()["cause"] == "caller_hangup"
        early, answer = (phone.sipp.received(f"SIP/2.0 {code}")[0] for code in (183, 200))
        heard = phone.rtp.heard()
        ringing = phone.sipp.received("SIP/2.0 180")
    assert [one.header("X-Tone") for one in ringing] == ["", "soft"]
    assert early.header("X-Early") == "yes" and "m=audio" in early.body
    assert answer.header("X-Answer") == "now"
    assert compare(decode_g711(encode_g711(SPEECH, 0), 0), heard).correlation > 0.99
    assert compare(decode_g711(encode_g711(SPEECH, 0), 0), agent.pcm).correlation > 0.99
    positions = [position for position, _, _ in agent.frames]
    assert positions == list(range(0, 160 * len(positions), 160))


def test_nothing_is_sent_before_the_agent_asks_for_it(scene: Scene) -> None:
    with caller(scene, "610", "uac_offer", hold_ms=200) as phone:
        agent = scene.waiting.wait_call()
        agent.play(SPEECH)
        phone.rtp.wait_quiet(0.4)
        assert not phone.rtp.received and not agent.frames
        agent.say("answer")
        phone.rtp.wait_received(5)
        phone.wait_end()


def test_early_audio_is_reliable_for_those_who_ask(scene: Scene) -> None:
    """The answer comes on the heels of the 183, whose PRACK is still on its way: it waits for that."""
    with caller(scene, "610", "uac_early_prack", hold_ms=200) as phone:
        agent = scene.waiting.wait_call()
        wait_for(lambda: any(one.sent and one.start_line.startswith("PRACK") for one in phone.sipp.messages()), "PRACK")
        agent.say("progress")
        agent.say("answer")
        assert phone.wait_end()["cause"] == "caller_hangup"
        assert phone.sipp.received("SIP/2.0 183")[0].header("RSeq")


def test_an_agent_refuses_with_code_reason_and_header_after_ringing(scene: Scene) -> None:
    with caller(scene, "610", "uac_refused") as phone:
        agent = scene.waiting.wait_call()
        agent.say("ring")
        agent.say("hangup", code=486, reason="In a meeting", headers={"X-Back": "at five"})
        line = phone.wait_end()
        refused = phone.sipp.received("SIP/2.0 486")[0]
    assert refused.start_line == "SIP/2.0 486 In a meeting" and refused.header("X-Back") == "at five"
    assert (line["cause"], line["sip_code"], line["duration_s"]) == ("agent_hangup", 486, 0)


def test_an_agent_that_never_answers_costs_the_caller_a_second(scene: Scene) -> None:
    with caller(scene, "610", "uac_refused") as phone:
        line = phone.wait_end()
    assert (line["cause"], line["sip_code"], line["level"]) == ("agent_no_answer", 480, "warning")


def test_a_caller_who_gives_up_while_the_agent_lets_it_ring(scene: Scene) -> None:
    with caller(scene, "610", "uac_cancel") as phone:
        scene.waiting.wait_call()
        assert phone.wait_end()["cause"] == "caller_cancelled"


def test_the_agent_of_an_outbound_call_hears_and_is_told_how_far_it_is(scene: Scene) -> None:
    with Phone(scene.gateway, "uas_early", hold_ms=600) as phone:
        call_id = scene.gateway.place(phone.uri, "ready", trunk="local")
        agent = scene.ready.wait_call(call_id)
        agent.wait("call_state", state="answered")
        scene.gateway.hang_up(call_id)
        phone.sipp.wait()
    states = [one["state"] for one in agent.told("call_state")]
    assert states[-2:] == ["early", "answered"] and agent.start["answered"] is False


def test_a_call_that_rings_outlives_its_media_worker(scene: Scene) -> None:
    """The agent takes it again, which answers nothing; then it answers, and both hear each other."""
    with caller(scene, "610", hold_ms=1500, timeout_s=20) as phone:
        agent = scene.waiting.wait_call()
        agent.say("variables", values={"a": "b"})
        scene.gateway.wait_event("call.variables", call_id=agent.id)
        kill_worker(scene)
        wait_for(lambda: len(scene.waiting.calls) == 2, "the agent has it again")
        again = scene.waiting.calls[-1]
        assert (again.start["answered"], again.start["variables"], again.id) == (False, {"a": "b"}, agent.id)
        assert scene.gateway.call(agent.id)["state"] == "ringing" and not phone.rtp.received
        again.say("answer")
        again.wait("call_state", state="answered")
        again.play(SPEECH)
        phone.wait_end()
        heard = phone.rtp.heard()
    assert compare(decode_g711(encode_g711(SPEECH, 0), 0), heard).correlation > 0.95


def test_hold_and_mute_outlive_the_media_worker(scene: Scene) -> None:
    endpoint = RtpEndpoint()
    keys = {"moved_port": str(endpoint.port)}
    with caller(scene, "612", "uac_reinvited", hold_ms=300, endpoint=endpoint, keys=keys) as phone:
        call_id = phone.wait_up()
        agent = scene.ready.wait_call(call_id)
        agent.say("mute", downlink=True)
        scene.gateway.wait_event("agent.muted", call_id=call_id)
        agent.say("hold", held=True)
        wait_for(lambda: len(phone.sipp.received("ACK")) == 1, "the hold is agreed on")
        kill_worker(scene)
        wait_for(lambda: len(scene.ready.calls) == 2, "the agent has it again")
        before = len(endpoint.audio)
        endpoint.wait_received(before + 40)
        music = decode_g711(b"".join(one.payload for one in endpoint.audio[before + 10 :]), 0)
        again = scene.ready.calls[-1]
        again.play(SPEECH)
        again.say("hold", held=False)
        wait_for(lambda: len(phone.sipp.received("ACK")) == 2, "the end of it is agreed on")
        after = len(endpoint.audio)
        phone.wait_end()
        muted = decode_g711(b"".join(one.payload for one in endpoint.audio[after + 2 :]), 0)
    assert again.start["resumed"] and "answered" not in again.start
    assert tone_share(music, MUSIC_HZ) > 0.9 and np.abs(muted.astype(int)).max() < 300


def kill_worker(scene: Scene) -> None:
    """As if it had crashed."""
    [pid] = scene.gateway.status()["workers"]["pids"]
    os.kill(pid, signal.SIGKILL)


def test_what_a_route_forbids_is_refused_and_harms_nothing(scene: Scene) -> None:
    with caller(scene, "611", hold_ms=300) as phone:
        agent = scene.waiting.wait_call()
        commands = (
            ("progress", {}), ("transfer", {"target": "700"}), ("hold", {"held": True}), ("mute", {"uplink": True}),
            ("dtmf", {"digits": "1"}), ("hangup", {}), ("variables", {"values": {"a": "b"}}),
        )  # fmt: skip
        for kind, fields in commands:
            agent.say(kind, **fields)
        agent.say("answer", headers={"X-A": "b"})
        agent.wait("call_state", state="answered")
        assert phone.wait_end()["cause"] == "caller_hangup"
        assert not phone.sipp.received("SIP/2.0 200")[0].header("X-A")
    assert len(agent.told("error", code="forbidden")) == len(commands) + 1


# --- during the call ------------------------------------------------------------------------


@pytest.mark.parametrize(("music", "hz"), [("", MUSIC_HZ), ("jazz", JAZZ_HZ)])
def test_a_held_caller_hears_music_and_is_not_heard(scene: Scene, music: str, hz: float) -> None:
    endpoint = RtpEndpoint()
    keys = {"moved_port": str(endpoint.port)}
    with caller(scene, "612", "uac_reinvited", hold_ms=1200, endpoint=endpoint, keys=keys) as phone:
        call_id = phone.wait_up()
        agent = scene.ready.wait_call(call_id)
        agent.say("hold", held=True, music=music)
        scene.gateway.wait_event("call.held", call_id=call_id)
        assert scene.gateway.call(call_id)["state"] == "held"
        wait_for(lambda: len(phone.sipp.received("ACK")) == 1, "the hold is agreed on")
        before, first = len(endpoint.audio), len(agent.frames)
        phone.say(encode_g711(SPEECH, 0))  # a peer that speaks all the same
        endpoint.wait_received(before + 45)
        held = [pcm for _, _, pcm in agent.frames[first + 5 : first + 35]]
        heard = decode_g711(b"".join(one.payload for one in endpoint.audio[before + 5 : before + 40]), 0)
        agent.say("hold", held=False)
        scene.gateway.wait_event("call.resumed", call_id=call_id)
        agent.play(SPEECH)
        endpoint.wait_received(before + 92)
        phone.wait_end()
        after = decode_g711(b"".join(one.payload for one in endpoint.audio[before + 45 :]), 0)
    assert tone_share(heard, hz) > 0.9, "music"
    assert len(held) == 30 and np.abs(np.concatenate(held).astype(int)).max() < 300, "nobody is heard"
    assert compare(decode_g711(encode_g711(SPEECH, 0), 0), after).correlation > 0.95, "the agent again"
    assert not agent.told("hold"), "that is for holds of the other party"


def test_a_peer_that_refuses_the_hold_hears_music_all_the_same(scene: Scene) -> None:
    with Phone(scene.gateway, "uas_refuse_reinvite") as phone:
        call_id = scene.gateway.place(phone.uri, "ready", trunk="local", route="ready")
        agent = scene.ready.wait_call(call_id)
        agent.wait("call_state", state="answered")
        agent.say("hold", held=True)
        scene.gateway.wait_event("call.offer_failed", call_id=call_id)
        before, first = len(phone.rtp.audio), len(agent.frames)
        phone.say(encode_g711(SPEECH, 0))
        phone.rtp.wait_received(before + 40)
        heard = decode_g711(b"".join(one.payload for one in phone.rtp.audio[before + 5 :]), 0)
        scene.gateway.hang_up(call_id)
        phone.sipp.wait()
    assert tone_share(heard, MUSIC_HZ) > 0.9
    assert np.abs(np.concatenate([pcm for _, _, pcm in agent.frames[first + 5 :]]).astype(int)).max() < 300


def test_hold_and_resume_by_the_command_line(scene: Scene) -> None:
    with Phone(scene.gateway, "uas_hold") as phone:
        call_id = scene.gateway.place(phone.uri, "ready", trunk="local")
        scene.gateway.wait_call("up", id=call_id)
        assert "holding" in trunkline(scene, "hold", call_id).stdout
        wait_for(lambda: len(phone.sipp.received("ACK")) == 2, "the hold is agreed on")
        assert "resumed" in trunkline(scene, "resume", call_id).stdout
        wait_for(lambda: len(phone.sipp.received("ACK")) == 3, "the end of it is agreed on")
        scene.gateway.hang_up(call_id)
        phone.sipp.wait()


def test_muting_silences_one_way_at_a_time(scene: Scene) -> None:
    with caller(scene, "612", hold_ms=2500) as phone:
        call_id = phone.wait_up()
        agent = scene.ready.wait_call(call_id)
        agent.say("mute", uplink=True, downlink=True)
        scene.gateway.wait_event("agent.muted", call_id=call_id)
        first, before = len(agent.frames), len(phone.rtp.audio)
        agent.play(SPEECH)
        agent.say("mark", name="said")
        phone.say(encode_g711(SPEECH, 0))
        mark = agent.wait("mark")
        muted = np.concatenate([pcm for _, _, pcm in agent.frames[first:]])
        silence = decode_g711(b"".join(one.payload for one in phone.rtp.audio[before:]), 0)
        agent.say("mute", uplink=False, downlink=False)
        scene.gateway.wait_event("agent.muted", call_id=call_id, uplink=False)
        agent.play(SPEECH)
        phone.say(encode_g711(SPEECH, 0))
        phone.wait_end()
        heard = phone.rtp.heard()
    assert mark["position"] == len(SPEECH), "what nobody heard was said all the same"
    assert not muted.any() and np.abs(silence.astype(int)).max() < 300
    said = decode_g711(encode_g711(SPEECH, 0), 0)
    assert compare(said, heard).correlation > 0.95 and compare(said, agent.pcm).correlation > 0.95


def test_variables_and_headers_and_the_cause_of_the_end(scene: Scene) -> None:
    with caller(scene, "612", "uac_hangup") as phone:
        call_id = phone.wait_up()
        agent = scene.ready.wait_call(call_id)
        agent.say("variables", values={"customer": "4711"})
        scene.gateway.wait_event("call.variables", call_id=call_id)
        put = scene.gateway.api.put(f"/v1/calls/{call_id}/variables", json={"values": {"mood": "good"}})
        assert put.json()["variables"] == {"customer": "4711", "mood": "good"}
        agent.say("variables", values={"": "x"})
        assert agent.wait("error")["code"] == "bad_variable"
        agent.say("hangup", code=503, reason="Out of order", headers={"X-Why": "fire"})
        line = phone.wait_end()
        bye = phone.sipp.received("BYE")[0]
        answer = phone.sipp.received("SIP/2.0 200")[0]
    assert bye.header("Reason") == 'SIP;cause=503;text="Out of order"' and bye.header("X-Why") == "fire"
    assert answer.header("X-Agent") == "ready"
    assert line["variables"] == {"customer": "4711", "mood": "good"} and line["cause"] == "agent_hangup"
    assert scene.gateway.wait_event("call.ended", call_id=call_id)["data"]["variables"] == line["variables"]


# --- transfer -------------------------------------------------------------------------------


def states(agent: WireCall) -> list[tuple[str, int]]:
    return [(one["state"], one["code"]) for one in agent.told("transfer")]


def test_an_agent_transfers_its_caller(scene: Scene) -> None:
    """Blind, to a number, which is called at the host that the caller came from; then the call has ended."""
    with caller(scene, "612", "uac_transferred") as phone:
        call_id = phone.wait_up()
        agent = scene.ready.wait_call(call_id)
        agent.say("transfer", target="700", headers={"X-Ticket": "17"})
        line = phone.wait_end()
        refer = phone.sipp.received("REFER")[0]
        agent.wait("stop")
    assert refer.header("Refer-To") == f"<sip:700@{phone.sipp.uri_host}>" and refer.header("X-Ticket") == "17"
    assert states(agent) == [("trying", 202), ("done", 200)] and line["cause"] == "transferred"
    assert agent.told("stop")[0]["reason"] == "transferred"
    assert scene.gateway.metric("trunkline_transfers_total", kind="blind", result="done") >= 1


def test_whom_the_route_does_not_allow_is_not_called(scene: Scene) -> None:
    with caller(scene, "612", hold_ms=700) as phone:
        call_id = phone.wait_up()
        agent = scene.ready.wait_call(call_id)
        for target in ("800", "sip:700@192.0.2.1", "nonsense"):
            agent.say("transfer", target=target)
        agent.say("transfer", attended="f" * 36)
        wait_for(lambda: len(agent.told("error")) == 4, "four refusals")
        assert [one["code"] for one in agent.told("error")] == ["forbidden", "forbidden", "bad_target", "bad_target"]
        assert phone.wait_end()["cause"] == "caller_hangup" and not phone.sipp.received("REFER")


@pytest.mark.parametrize(
    ("scenario", "words", "told"),
    [
        ("uas_refer", {}, [("trying", 202), ("ringing", 180), ("failed", 486)]),
        ("uas_refer_refused", {"REFUSAL": "501 Not Implemented"}, [("failed", 501)]),
        ("uas_refer_silent", {}, [("trying", 202), ("failed", 408)]),
    ],
)
def test_after_a_transfer_that_failed_the_call_goes_on(
    scene: Scene, scenario: str, words: dict[str, str], told: list[tuple[str, int]]
) -> None:
    """The API's, out of a hold: the agent is told, takes the other party back and goes on speaking."""
    gateway = scene.gateway
    with Phone(gateway, scenario, keys={"final": "SIP/2.0 486 Busy Here"}, words=words) as phone:
        call_id = gateway.place(phone.uri, "ready", trunk="local")
        agent = scene.ready.wait_call(call_id)
        agent.wait("call_state", state="answered")
        asked = {"target": f"sip:700@{phone.sipp.uri_host}", "timeout_s": 1}
        gateway.api.post(f"/v1/calls/{call_id}/transfer", json=asked).raise_for_status()
        agent.wait("transfer", state="failed")
        again = gateway.api.post(f"/v1/calls/{call_id}/hold", json={"held": False})
        assert again.status_code == 202 and gateway.call(call_id)["state"] == "up"
        before = len(phone.rtp.audio)
        agent.play(SPEECH)
        phone.rtp.wait_received(before + 45)
        agent.say("hangup")
        phone.sipp.wait()
        assert gateway.wait_end(call_id)["cause"] == "agent_hangup"
        heard = phone.rtp.heard()
    assert states(agent) == told
    assert compare(decode_g711(encode_g711(SPEECH, 0), 0), heard).correlation > 0.95


def test_a_peer_that_says_nothing_more_and_hangs_up_was_transferred(scene: Scene) -> None:
    with Phone(scene.gateway, "uas_refer_leaves") as phone:
        call_id = scene.gateway.place(phone.uri, "ready", trunk="local")
        scene.gateway.wait_call("up", id=call_id)
        scene.gateway.api.post(f"/v1/calls/{call_id}/transfer", json={"target": phone.uri}).raise_for_status()
        phone.sipp.wait()
        line = scene.gateway.wait_end(call_id)
    assert line["cause"] == "transferred" and "before it had said" in line["detail"]


def test_trunkline_transfer_says_how_it_goes(scene: Scene) -> None:
    with Phone(scene.gateway, "uas_refer", keys={"final": "SIP/2.0 200 OK"}) as phone:
        call_id = scene.gateway.place(phone.uri, "ready", trunk="local")
        scene.gateway.wait_call("up", id=call_id)
        done = trunkline(scene, "transfer", call_id, f"sip:700@{phone.sipp.uri_host}")
        phone.sipp.wait()
        scene.gateway.wait_end(call_id)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[:3] == ["trying (202 Accepted)", "ringing (180 Ringing)", "done (200 OK)"]
    assert "transferred" in done.stdout


def test_an_attended_transfer_puts_two_parties_together(scene: Scene) -> None:
    """The caller is told to call the Contact of whom the agent has asked, in place of that dialog; both calls end."""
    with Sipp("uas_basic", scene.gateway.sip_port, timeout_s=20) as colleague, caller(
        scene, "612", "uac_transferred"
    ) as phone:
        inbound = phone.wait_up()
        consulting = scene.gateway.place(f"sip:601@{colleague.uri_host}", "ready", trunk="local")
        scene.gateway.wait_call("up", id=consulting)
        agent = scene.ready.wait_call(inbound)
        agent.say("transfer", attended=consulting)
        assert phone.wait_end()["cause"] == "transferred"
        colleague.wait()
        assert scene.gateway.wait_end(consulting)["cause"] == "transferred"
        refer = phone.sipp.received("REFER")[0].header("Refer-To")
        answered = next(one for one in colleague.messages() if one.sent and "m=audio" in one.body)
    tag = answered.header("To").rpartition("tag=")[2]
    wanted = rf"<sip:{colleague.uri_host}[^?]*\?Replaces=.+%3Bto-tag%3D{re.escape(tag)}%3Bfrom-tag.+>"
    assert re.fullmatch(wanted, refer)
    assert states(agent)[-1] == ("done", 200)


def trunkline(scene: Scene, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, against the gateway."""
    return subprocess.run(
        [TRUNKLINE, *words, "--api-url", f"http://127.0.0.1:{scene.gateway.api_port}"],
        env={**os.environ, "TRUNKLINE_API_TOKEN": TOKEN}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
