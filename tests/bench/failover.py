# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that outlive their agents: two agents, killed (SIGKILL) or stopped (SIGSTOP) in turn under the same calls.

    python -m bench.failover [--calls 10] [--kills 100] [--stops 10] [--hang-ms 500]

Every process is a real one, and the agents write down what they hear before they acknowledge it, so what is counted
here is theirs, not the gateway's word.  Time to the next agent: from the kill, as this program's clock has it, to the
gateway's event that another has taken the call.  Completeness: every frame after the last acknowledgement must have
reached the next agent, in order, without a hole.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import random
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from bench import tables
from bench.rig import RTP_PORTS, Program, Rig
from support.gateway import GatewayProcess
from support.waiting import wait_for

BETWEEN_S = 0.6
"From one agent's takeover to its own end: about as long as an acknowledgement takes, so that there is much to replay."
REPLAY_FLAG = 0x10


class Keeper:
    """An agent that is killed and started again; each life has its own record."""

    def __init__(self, folder: pathlib.Path, name: str) -> None:
        self.name, self._folder = name, folder
        self.address = f"unix:{folder}/{name}.sock"
        self.logs: list[pathlib.Path] = []
        self.start()

    def start(self) -> None:
        """A new life."""
        path = self._folder / f"{self.name}.sock"
        path.unlink(missing_ok=True)
        self.logs.append(self._folder / f"{self.name}-{len(self.logs)}.log")
        self._program = Program("keeping_agent", "--listen", str(path), "--log", str(self.logs[-1]))
        self.pid = self._program.pid

    def kill(self) -> None:
        """SIGKILL."""
        self._program.kill()


class FailoverRig(Rig):
    """Two agents for one route, a speaker, SIPp, and a gateway whose events are followed."""

    def __init__(self, calls: int, hang_ms: int) -> None:
        self._calls, self._hang_ms = calls, hang_ms
        self._folder = tempfile.TemporaryDirectory(prefix="tl-bench-")
        self.folder = pathlib.Path(self._folder.name)
        wanted = 2 * (calls + 20)
        first = random.randrange(RTP_PORTS.start, RTP_PORTS.stop - wanted, 2)
        self.rtp_ports = range(first, first + wanted)

    def __enter__(self) -> Self:
        self.agents = [Keeper(self.folder, name) for name in "ab"]
        self.agent = self.agents[0]  # type: ignore[assignment]
        try:
            self.speaker = Program("speaker", "--silent-ms", "10000")
            agents = [
                {"name": one.name, "address": one.address, "hang_timeout_ms": self._hang_ms} for one in self.agents
            ]
            self.gateway = GatewayProcess(  # type: ignore[assignment]
                self.folder,
                media={"port_range": [self.rtp_ports.start, self.rtp_ports.stop - 1], "workers": 1,
                       "no_media_timeout_s": 0},
                limits={"max_calls": len(self.rtp_ports) // 2, "max_worker_load": 0},
                logging={"level": "info"},
                agent=agents,
                route=[{"name": "all", "agents": ["a", "b"]}],
            )
            self.gateway.__enter__()
        except BaseException:
            self._end()
            raise
        return self

    def _end(self) -> None:
        for one in self.agents:
            one.kill()
        if hasattr(self, "speaker"):
            self.speaker.kill()
        self._folder.cleanup()


@dataclasses.dataclass
class Life:
    """What one agent heard of one call."""

    attempt: int
    position: int
    replay_ms: int
    frames: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)
    acked: int = 0


def lives(logs: list[pathlib.Path]) -> dict[str, list[Life]]:
    """Per call, in order."""
    found: dict[str, list[Life]] = defaultdict(list)
    for path in logs:
        channels: dict[str, Life] = {}
        for words in map(str.split, path.read_text().splitlines()):
            match words:
                case ["start", channel, call, attempt, position, replay_ms]:
                    life = channels[channel] = Life(int(attempt), int(position), int(replay_ms))
                    found[call].append(life)
                case ["frame", channel, position, samples, flags]:
                    channels[channel].frames.append((int(position), int(samples), int(flags)))
                case ["ack", channel, position]:
                    channels[channel].acked = int(position)
    return {call: sorted(each, key=lambda life: life.attempt) for call, each in found.items()}


def completeness(found: dict[str, list[Life]]) -> dict[str, Any]:
    """Frames that no agent can have: neither acknowledged by one nor heard by the next."""
    lost = doubled = replayed = frames = changes = wrong_flags = 0
    holes = []
    for call, each in found.items():
        acked = each[0].frames[0][0] if each[0].frames else 0
        for life in each:
            expected = min(life.position, acked) if life.attempt > 1 else acked
            if life.attempt > 1 and life.position > acked:
                lost += (life.position - acked) // 320
                holes.append((call, life.attempt, "not replayed from", acked, "but from", life.position))
            position = max(expected, life.position)
            for at, samples, _ in life.frames:
                if at > position:
                    lost += (at - position) // samples
                    holes.append((call, life.attempt, "nothing from", position, "to", at))
                doubled += at < position
                position = at + samples
            flagged = sum(bool(flags & REPLAY_FLAG) for _, _, flags in life.frames)
            wrong_flags += life is not each[-1] and bool(life.frames) and flagged * 20 > life.replay_ms
            replayed += flagged
            frames += len(life.frames)
            changes += life.attempt > 1
            acked = max(acked, life.acked)
    return {"calls": len(found), "changes": changes, "frames": frames, "replayed": replayed, "lost": lost,
            "doubled": doubled, "wrong_flags": wrong_flags, "holes": holes}  # fmt: skip


def rounds(rig: FailoverRig, count: int, sign: int) -> Iterator[list[dict[str, float]]]:
    """One agent after the other is ended; for each call the times until another has it."""
    gateway, seen = rig.gateway, len(changes(rig))
    for _ in range(count):
        having = next(one for one in rig.agents if one.name == holder(rig))
        begun = time.time()
        os.kill(having.pid, sign)
        wait_for(lambda wanted=seen + rig._calls: len(changes(rig)) >= wanted, "the calls have changed over", 15, 0.01)
        events = changes(rig)[seen:]
        seen += rig._calls
        yield [{"from_kill": (one["time"] - begun) * 1000, "from_loss": one["data"]["took_ms"]} for one in events]
        having.kill()
        having.start()
        time.sleep(BETWEEN_S)
    assert not gateway.log("call.internal_error")


def changes(rig: FailoverRig) -> list[dict[str, Any]]:
    """Events of calls that have another agent."""
    return [one for one in rig.gateway.events if one["event"] == "agent.changed" and one["data"]["to"]]


def holder(rig: FailoverRig) -> str:
    """The agent that has the calls."""
    names = {str(one["agent"]) for one in rig.gateway.api.get("/v1/calls").json()}
    assert len(names) == 1, names
    return names.pop()


def run(calls: int, kills: int, stops: int, hang_ms: int) -> dict[str, Any]:
    """Measure."""
    hold_s = 15 + (kills + stops) * 4
    with FailoverRig(calls, hang_ms) as rig, rig.sipp(
        calls=calls, rate=20, hold_ms=hold_s * 1000, timeout_s=hold_s + 60
    ):  # fmt: skip
        wait_for(lambda: rig.gateway.status()["calls_by_state"].get("up", 0) >= calls, "the calls are up", 30, 0.1)
        time.sleep(1.5)
        killed = [one for each in rounds(rig, kills, signal.SIGKILL) for one in each]
        stopped = [one for each in rounds(rig, stops, signal.SIGSTOP) for one in each]
        time.sleep(1.0)
        status = rig.gateway.status()
        up, restarts = status["calls_by_state"].get("up", 0), status["workers"]["restarts"]
        for call in rig.gateway.api.get("/v1/calls").json():
            rig.gateway.hang_up(call["id"])
        wait_for(lambda: not rig.gateway.status()["calls"], "the calls are over", 10, 0.1)
        found = lives([log for agent in rig.agents for log in agent.logs])
    figures = {"calls": calls, "kills": kills, "stops": stops, "hang_ms": hang_ms, "up": up, "restarts": restarts}
    counts = {f"c_{key}": value for key, value in completeness(found).items()}
    return {**figures, "killed": killed, "stopped": stopped, **counts}


def spread(entries: list[dict[str, float]], key: str) -> dict[str, float]:
    """p50, p99 and most."""
    if not entries:
        return {"count": 0}
    values = np.array([one[key] for one in entries])
    return {"count": len(values), "p50_ms": float(np.median(values)), "p99_ms": float(np.percentile(values, 99)),
            "max_ms": float(values.max())}  # fmt: skip


def render(figures: dict[str, Any]) -> str:
    """The tables."""
    hang = f"SIGSTOP -> another agent has the call (hang_timeout_ms = {figures['hang_ms']})"
    delays = [
        tables.spread_row("SIGKILL -> another agent has the call", spread(figures["killed"], "from_kill")),
        tables.spread_row("  of this, from the loss as the worker sees it", spread(figures["killed"], "from_loss")),
        tables.spread_row(hang, spread(figures["stopped"], "from_kill")),
        tables.spread_row("  of this, from the loss as the worker sees it", spread(figures["stopped"], "from_loss")),
    ]
    counts = [
        ["changes of agent", figures["c_changes"]],
        ["frames that agents heard", figures["c_frames"]],
        ["  of these as replay", figures["c_replayed"]],
        ["frames neither acknowledged nor heard by the next agent", figures["c_lost"]],
        ["frames twice or out of order to one agent", figures["c_doubled"]],
        ["lives with more replay than they were told of", figures["c_wrong_flags"]],
        ["calls up at the end", figures["up"]],
        ["media workers replaced meanwhile (each takes its rings along)", figures["restarts"]],
    ]
    n = figures["calls"]
    worst = max((one["from_loss"] for one in figures["killed"]), default=float("nan"))
    entries = [
        ("frames lost", figures["c_lost"], "0", figures["c_lost"] == 0),
        ("calls up at the end", figures["up"], str(n), figures["up"] == n),
        ("loss to the next agent, the slowest, ms", worst, "2000", worst < 2000),
    ]
    return "\n".join([
        f"== {n} calls, {figures['kills']} kills, {figures['stops']} stops",
        tables.table("delays, ms", ["", "p50", "p99", "max", "n"], delays),
        tables.table("replay", ["", "count"], counts),
        tables.verdicts(entries),
        *(f"  hole: {hole}" for hole in figures["c_holes"][:20]),
    ])  # fmt: skip


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(prog="bench.failover", description=__doc__)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=10)
    parser.add_argument("--hang-ms", type=int, default=500)
    options = parser.parse_args()
    print(render(run(options.calls, options.kills, options.stops, options.hang_ms)))


if __name__ == "__main__":
    main()
