# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls are recorded by their route or on demand, and played again to an agent that does the same, or does not."""

from __future__ import annotations

import json
import pathlib
import stat
import subprocess
import sys
import time

import dpkt
import numpy as np
import pytest

import trunkline.agent_bridge
from support.agents import AgentHost, Heard, listen
from support.audio import Pcm, compare, encode_g711, speechlike, tone
from support.gateway import TOKEN, TRUNKLINE, GatewayProcess
from support.phone import Phone
from support.waiting import wait_for
from trunkline.agent_bridge import Call
from trunkline.gateway import demo
from trunkline.gateway.recording import contents, pcapng
from trunkline.gateway.recording.contents import Sound, Word

CALLER = speechlike(1.0, seed=7)
ANSWER = speechlike(0.6, 16000, seed=8)
QUIET = encode_g711(np.zeros(6400, np.int16), 0)
VOICE = QUIET + pathlib.Path(demo.__file__).with_name("speech.ulaw").read_bytes()[:12000] + QUIET
"A person who says something, and is silent."


def answering(answer: Pcm, after_ms: int = 0) -> object:
    """Says something when the caller has spoken for half a second, marks it, and takes keys."""

    async def script(call: Call, heard: Heard) -> None:
        loud_ms = 0
        async for frame in call:
            heard.frames.append(frame)
            loud_ms += 20 if np.abs(frame.pcm).max() > 1000 else 0
            if loud_ms >= 500 + after_ms:
                call.play(answer)
                call.mark("answered")
                break
        await listen(call, heard)

    return script


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [TRUNKLINE, *arguments]
    env = {"PATH": "/usr/bin", **env}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


def test_a_route_records_and_replay_tells_agents_apart(short_path: pathlib.Path) -> None:
    folder = short_path / "recordings"
    with AgentHost(f"unix:{short_path}/a.sock", answering(ANSWER)) as agent:
        route = {"name": "all", "agent": "a", "record": str(folder)}
        with GatewayProcess(
            short_path, agent=[{"name": "a", "address": agent.address}], route=[route], logging={"redact_numbers": True}
        ) as gateway:
            with Phone(gateway, "uac_offer", said=encode_g711(CALLER, 0), digits="5", hold_ms=2600) as phone:
                phone.wait_end()
            line = wait_for(lambda: gateway.log("recording.ended"), "end of the recording")[0]
            assert (line["outcome"], line["left_out"], line["call_id"]) == ("complete", 0, phone.call_id)
            assert gateway.metric("trunkline_recordings_total", outcome="complete") == 1
            heard = agent.wait_call()
            received, sent = len(phone.rtp.received), len(phone.rtp.sent)
        file = folder / f"{phone.call_id}.pcapng"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and line["octets"] == file.stat().st_size
        found = contents.read(file)
        check(found, heard, received, sent)
        messages = sip_in(file)
        lines = " ".join(line.split(":")[0].removeprefix("SIP/2.0 ") for line, *_ in messages)
        assert lines == "INVITE sip 100 Trying 180 Ringing 200 OK ACK sip BYE sip 200 OK"
        assert all(b"6001" not in one.data and b"1000@" not in one.data for *_, one in messages), "numbers are hidden"

        again = run("replay", str(file), "--agent", agent.address, "--json")
        assert again.returncode == 0, again.stdout + again.stderr
        said = json.loads(again.stdout)
        assert said["same"] and [one["type"] for one in said["now"]] == ["accept", "mark"]
        assert len(said["turns"]) == 1 and said["turns"][0]["correlation"] > 0.999
        second = agent.calls[-1]
        assert second.digits == "5"
        assert [frame.position for frame in second.frames[:100]] == [frame.position for frame in heard.frames[:100]]
        assert all((one.pcm == two.pcm).all() for one, two in zip(heard.frames, second.frames, strict=False))

        agent.script = answering(tone(500, 0.6, 16000), after_ms=400)  # type: ignore[assignment]
        other = run("replay", str(file), "--agent", agent.address, "--within-ms", "150")
        assert other.returncode == 3, other.stdout + other.stderr
        assert "later and sounds different" in other.stdout.replace("\n", " ")
    nobody = run("replay", str(file), "--agent", agent.address)
    assert nobody.returncode == 1 and "no agent at" in nobody.stderr


@pytest.mark.parametrize(("name", "commands"), [("echo", []), ("barge_in", ["state", "variables"])])
def test_an_agent_that_has_not_changed_does_the_same(
    short_path: pathlib.Path, name: str, commands: list[str]
) -> None:
    """The SDK's examples are recorded, and played the call again; another agent is told apart."""
    address, folder = f"unix:{short_path}/x.sock", short_path / "recordings"
    program = pathlib.Path(trunkline.agent_bridge.__file__).with_name("examples") / f"{name}.py"
    with subprocess.Popen([sys.executable, program, address], stdout=subprocess.DEVNULL) as example:
        try:
            wait_for((short_path / "x.sock").exists, "the example")
            agents = [{"name": "a", "address": address}]
            routes = [{"name": "all", "agent": "a", "record": str(folder), "turns": {"barge_in": "clear"}}]
            with GatewayProcess(short_path, agent=agents, route=routes) as gateway:
                with Phone(gateway, "uac_offer", said=VOICE, hold_ms=len(VOICE) // 8 + 1200) as phone:
                    phone.wait_end()
                wait_for(lambda: gateway.log("recording.ended"), "end of the recording")
            file = str(folder / f"{phone.call_id}.pcapng")
            again = run("replay", file, "--agent", address, "--json")
            assert again.returncode == 0, again.stdout + again.stderr
            now = json.loads(again.stdout)
            assert now["turns"] and [one["type"] for one in now["now"]][1:3] == commands
        finally:
            example.terminate()
    with AgentHost(f"unix:{short_path}/y.sock", answering(ANSWER)) as other:
        differs = run("replay", file, "--agent", other.address, "--speed", "3")
        assert differs.returncode == 3, differs.stdout + differs.stderr


def check(found: contents.Contents, heard: Heard, received: int, sent: int) -> None:
    """What the file says is what agent and telephone had."""
    assert found.start["call"]["caller"] == "***", "numbers are redacted"
    frames = [item for item in found.told if isinstance(item, Sound)]
    assert [one.position for one in frames] == [one.position for one in heard.frames]
    assert all((one.pcm == two.pcm).all() for one, two in zip(frames, heard.frames, strict=True))
    told = [item.kind for item in found.told if isinstance(item, Word)]
    assert told[-1] == "stop" and {"dtmf", "mark"} <= set(told)
    speech = np.concatenate([item.pcm for item in found.said if isinstance(item, Sound)])
    assert (speech == ANSWER).all()
    words = [item.kind for item in found.said if isinstance(item, Word)]
    assert [word for word in words if word != "ack"] == ["accept", "mark"]
    assert received <= found.rtp_out <= received + 3, "RTP, and a report or two that go to another port"
    assert found.rtp_in >= sent


def test_a_call_that_is_up_is_recorded_on_demand(short_path: pathlib.Path) -> None:
    file = short_path / "call.pcapng"
    with AgentHost(f"unix:{short_path}/a.sock") as agent:
        agents, routes = [{"name": "a", "address": agent.address}], [{"name": "all", "agent": "a"}]
        with (
            GatewayProcess(short_path, agent=agents, route=routes) as gateway,
            Phone(gateway, "uac_hangup", said=encode_g711(CALLER, 0)) as phone,
        ):
            where = {"TRUNKLINE_API_TOKEN": TOKEN, "TRUNKLINE_API_URL": f"http://127.0.0.1:{gateway.api_port}"}
            phone.wait_up()
            begun = run("record", phone.call_id, "--to", str(file), **where)
            assert begun.returncode == 0, begun.stderr
            time.sleep(0.5)
            twice = run("record", phone.call_id, "--to", str(file), **where)
            assert twice.returncode == 2 and "is there already" in twice.stderr
            assert run("record", phone.call_id, "--stop", **where).returncode == 0
            wait_for(lambda: gateway.log("recording.ended", outcome="complete"), "end of the recording")
            frames = len(agent.wait_call().frames)
            gateway.hang_up(phone.call_id)
            phone.wait_end()
        found = contents.read(file)
        recorded = [item for item in found.told if isinstance(item, Sound)]
        assert 15 < len(recorded) < frames and recorded[0].position == found.start["position"]
        pcm = np.concatenate([item.pcm for item in agent.calls[0].frames])
        first = recorded[0].position
        here = np.concatenate([one.pcm for one in recorded])
        assert compare(here, pcm[first : first + len(here)]).correlation == 1.0 or not here.any()


def test_a_recording_that_cannot_be_written_costs_the_call_nothing(short_path: pathlib.Path) -> None:
    closed = short_path / "a file"
    closed.write_text("in the way")
    with AgentHost(f"unix:{short_path}/a.sock") as agent:
        route = {"name": "all", "agent": "a", "record": str(closed)}
        agents = [{"name": "a", "address": agent.address}]
        with GatewayProcess(short_path, agent=agents, route=[route]) as gateway:
            with Phone(gateway, "uac_offer", said=encode_g711(CALLER, 0), hold_ms=1200) as phone:
                line = phone.wait_end()
            assert line["cause"] == "caller_hangup" and gateway.log("recording.failed")
    assert closed.read_text() == "in the way"


def sip_in(file: pathlib.Path) -> list[tuple[str, bool, dpkt.udp.UDP]]:
    """SIP messages of a recording as another program reads it: first line, whether we sent it, datagram."""
    found = []
    inbound = [one.inbound for one in pcapng.packets(file.read_bytes())]
    with file.open("rb") as stream:
        packets = [data for _, data in dpkt.pcapng.Reader(stream)]
    for is_inbound, data in zip(inbound, packets, strict=True):
        datagram = dpkt.ip.IP(data).data if data[:1] == b"E" else None
        if isinstance(datagram, dpkt.udp.UDP) and datagram.data[:1] < b"\x80":
            kind = dpkt.sip.Response if datagram.data.startswith(b"SIP/") else dpkt.sip.Request
            kind(datagram.data)  # raises what is no message
            line = datagram.data.split(b"\r\n")[0].decode().removesuffix(" SIP/2.0")
            found.append((line, not is_inbound, datagram))
    return found


def test_sip_messages_are_in_the_file(short_path: pathlib.Path) -> None:
    """All that crossed the wire in its order, with the ports; but what PJSIP does not tell of an end of ours."""
    folder = short_path / "recordings"
    with AgentHost(f"unix:{short_path}/a.sock") as agent:
        routes = [{"name": "all", "agent": "a", "record": str(folder)}]
        trunks = [{"name": "local", "match": ["127.0.0.1"], "host": "127.0.0.1"}]
        agents = [{"name": "a", "address": agent.address}]
        with GatewayProcess(short_path, agent=agents, route=routes, trunk=trunks) as gateway:
            with Phone(gateway, "uac_hangup") as phone:
                phone.wait_up()
                gateway.hang_up(phone.call_id)
                phone.wait_end()
                answered = phone.sipp.messages()
            with Phone(gateway, "uas_bye") as called:
                called.call_id = gateway.place(called.uri, "a", route="all")
                called.sipp.wait()
                gateway.wait_end(called.call_id)
                placed = called.sipp.messages()
            wait_for(lambda: len(gateway.log("recording.ended")) == 2, "end of the recordings")
        assert answered[5].start_line.startswith("BYE") and not answered[5].sent, "ours, which PJSIP does not show"
        for one, crossed in ((phone, answered[:5]), (called, placed)):
            found = sip_in(folder / f"{one.call_id}.pcapng")
            wanted = [(message.start_line.removesuffix(" SIP/2.0"), not message.sent) for message in crossed]
            assert [(line, ours) for line, ours, _ in found] == wanted
            for _, ours, datagram in found:
                ports = (datagram.sport, datagram.dport) if ours else (datagram.dport, datagram.sport)
                assert ports == (gateway.sip_port, one.sipp.port)
