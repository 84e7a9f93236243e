# SPDX-License-Identifier: GPL-2.0-or-later
"""How long an agent is heard after the caller has begun to speak: real calls over loopback, recorded voices.

    make bench-barge-in                (ARGS="--times 40")

Each call is one of SIPp's, on a route of its own with `barge_in`; its agent says a tone of -22 dBov whenever the
caller has been silent for 0.6 s.  The caller's line has noise of -60 dBov, and every 2.6 s a beginning of recorded
speech (speech.py), anywhere within a packet.  Measured is from its first sample, as the caller said it (a
packet leaves when its last sample has been said), until the last packet with anything but silence has come
back, fade and all.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import pathlib
import tempfile

import numpy as np

from bench.speech import clips
from bench.tables import table
from support.agents import AgentHost, Heard
from support.gateway import GatewayProcess
from support.line_codecs import decode
from support.line_endpoint import RATE_HZ, LineEndpoint
from support.phone import Phone
from support.talk import Pcm, TalkRig, at_level, noise
from support.voice import resample
from trunkline.agent_bridge import Call

SPEECH_S, PAUSE_S = 0.6, 2.0
QUIET_FRAMES = 30
"The agent begins again after so many frames of 20 ms without speech."
TONE_DBOV = -22.0
LOUD = 200
"An amplitude that no silence has, of any codec: 25 dB below the tone."
ONSET_DBOV = -42.0
"The first 5 ms of a recording that are louder begin its speech."


@dataclasses.dataclass(frozen=True)
class Kind:
    """One call."""

    codec: str
    min_speech_ms: int
    policy: str = "clear"
    ptime_ms: int = 20

    @property
    def called(self) -> str:
        """Number of its route."""
        return f"7{KINDS.index(self):02}"

    def route(self) -> dict[str, object]:
        """It."""
        turns = {"barge_in": self.policy, "min_speech_ms": self.min_speech_ms}
        return {"name": f"r{self.called}", "called": self.called, "agent": "tone", "turns": turns}


KINDS = [
    *(Kind("PCMU", ms) for ms in (20, 40, 60, 100, 200)),
    Kind("PCMU", 40, ptime_ms=30), Kind("PCMU", 40, "pause"), Kind("G722", 40), Kind("OPUS", 40),
]  # fmt: skip


async def tone(call: Call, heard: Heard) -> None:
    """Speak whenever the caller does not, for longer than it will be let."""
    count = call.sample_rate * 4
    peak = 32768 * 10 ** (TONE_DBOV / 20) * np.sqrt(2)
    sound = (peak * np.sin(2 * np.pi * 400 * np.arange(count) / call.sample_rate)).astype(np.int16)
    quiet, spoken = 0, False
    async for frame in call:
        heard.frames.append(frame)
        quiet = 0 if frame.speech else quiet + 1
        if frame.speech:
            spoken = False
        elif quiet >= QUIET_FRAMES and not spoken:
            call.play(sound)
            spoken = True


def beginnings() -> list[Pcm]:
    """Of recorded speech, at 16 kHz: each from its first sample on."""
    found = []
    for clip in clips(6):
        blocks = np.abs(clip[: len(clip) // 40 * 40].reshape(-1, 40)).astype(float)
        loud = np.sqrt((blocks**2).mean(axis=1)) > 32768 * 10 ** (ONSET_DBOV / 20)
        for at in np.flatnonzero(loud):
            if at >= 40 and not loud[at - 40 : at].any() and loud[at : at + 40].mean() > 0.8:
                start = at * 40
                found.append(resample(clip[start : start + round(SPEECH_S * 8000)], 8000, RATE_HZ))
    return found


def script(times: int, seed: int) -> tuple[Pcm, list[int]]:
    """What a caller sends, at 16 kHz, and the first samples of its speeches."""
    rng = np.random.default_rng(seed)
    voices = beginnings()
    said = noise(2 + times * (SPEECH_S + PAUSE_S + 0.02), -60, seed, RATE_HZ).astype(np.int32)
    firsts, at = [], 2 * RATE_HZ
    for _ in range(times):
        at += int(rng.integers(RATE_HZ // 50))
        voice = voices[int(rng.integers(len(voices)))]
        said[at : at + len(voice)] += voice
        firsts.append(at)
        at += round((SPEECH_S + PAUSE_S) * RATE_HZ)
    return np.clip(said[:at], -32768, 32767).astype(np.int16), firsts


def measure(gateway: GatewayProcess, kind: Kind, times: int) -> list[float]:
    """One call: ms of each interruption, without those where the agent went on, or did not speak."""
    endpoint = LineEndpoint(kind.codec, kind.ptime_ms)
    said, firsts = script(times, seed=KINDS.index(kind))
    packets = endpoint.packets(said)
    hold_ms = round(len(packets) * kind.ptime_ms) + 500
    keys = {"called": kind.called, **endpoint.offer()}
    with Phone(
        gateway, "uac_offer", said=packets, endpoint=endpoint, hold_ms=hold_ms, timeout_s=hold_ms // 1000 + 30,
        keys=keys,
    ) as phone:  # fmt: skip
        phone.sipp.wait()
        heard = endpoint.audio
    loud = [np.abs(part.astype(int)).max() > LOUD for part in decode(kind.codec, [one.payload for one in heard])]
    came = np.array([one.time_ns for one, is_loud in zip(heard, loud, strict=True) if is_loud])
    per_packet = RATE_HZ * kind.ptime_ms // 1000
    out = []
    for first in firsts:
        packet, offset = divmod(first, per_packet)
        began_ns = endpoint.sent[packet].time_ns - (per_packet - offset) * 1_000_000_000 // RATE_HZ
        before = (came > began_ns - 100_000_000) & (came < began_ns)
        after = came[(came >= began_ns) & (came < began_ns + int(SPEECH_S * 1e9))]
        stopped = before.any() and (not len(after) or after[-1] < began_ns + 500_000_000)
        if stopped:
            out.append((after[-1] - began_ns) / 1e6 if len(after) else 0.0)
    return out


def in_virtual_time(min_speech_ms: int) -> list[float]:
    """By the media engine alone, each beginning once: what detection and packet clocks take, and no machine."""
    rig, rng = TalkRig(2.5, barge_in="clear", min_speech_ms=min_speech_ms), np.random.default_rng(min_speech_ms)
    saying = at_level(np.sin(2 * np.pi * 400 * np.arange(4 * 8000) / 8000), TONE_DBOV)
    rig.hear(noise(1, -60))
    out = []
    for number, voice in enumerate(beginnings()):
        rig.say(saying)
        rig.hear(noise(0.6, -60, number))
        first = int(rng.integers(160))
        heard = noise(SPEECH_S, -60, number).astype(np.int32)
        said = resample(voice, RATE_HZ, 8000)[: len(heard) - first]
        heard[first : first + len(said)] += said
        # A packet comes with the next tick, 20 ms after its first sample was said.
        began_ns, cleared = rig.now_ns + 2_500_000 - 20_000_000 + first * 125_000, len(rig.told("cleared"))
        rig.hear(np.clip(heard, -32768, 32767).astype(np.int16))
        if len(rig.told("cleared")) > cleared:
            out.append((rig.loud_until_ns() - began_ns) / 1e6)
        rig.hear(noise(0.8, -60, number))
        rig.agent.say("clear", channel=next(iter(rig.agent.channels)))
        rig.hear(noise(0.1, -60))
    return out


def main() -> None:
    """The table of the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=25, help="interruptions of each kind")
    parser.add_argument("--together", type=int, default=3, help="calls at a time")
    parser.add_argument("--virtual", action="store_true", help="in virtual time, by the media engine alone")
    options = parser.parse_args()
    if options.virtual:
        rows = []
        for min_speech_ms in (20, 40, 60, 100, 200):
            ms = in_virtual_time(min_speech_ms)
            under = sum(one < 80 for one in ms)
            shown = [round(np.percentile(ms, share)) for share in (50, 90, 99)]
            rows.append([min_speech_ms, f"{len(ms)} of {len(beginnings())}", *shown, f"{100 * under / len(ms):.0f}"])
        head = ["min_speech_ms", "interrupted", "p50", "p90", "p99", "under 80 ms, %"]
        print(table("the same in virtual time, PCMU", head, rows))
        return
    with tempfile.TemporaryDirectory(prefix="tl-") as name:
        folder = pathlib.Path(name)
        address = f"unix:{folder}/tone.sock"
        with AgentHost(address, tone), GatewayProcess(
            folder, trunk=[{"name": "local", "match": ["127.0.0.1"]}], agent=[{"name": "tone", "address": address}],
            route=[kind.route() for kind in KINDS],
        ) as gateway, concurrent.futures.ThreadPoolExecutor(options.together) as pool:  # fmt: skip
            results = list(pool.map(lambda kind: measure(gateway, kind, options.times), KINDS))
    rows = []
    for kind, ms in zip(KINDS, results, strict=True):
        shown = [round(np.percentile(ms, share)) for share in (50, 99, 100)] if ms else ["", "", ""]
        where = [kind.codec, kind.ptime_ms, kind.policy, kind.min_speech_ms]
        rows.append([*where, f"{len(ms)} of {options.times}", *shown])
    head = ["codec", "packet, ms", "policy", "min_speech_ms", "interrupted", "p50", "p99", "most"]
    print(table("first sample of the caller's speech to the last packet of the agent's, ms", head, rows))


if __name__ == "__main__":
    main()
