# SPDX-License-Identifier: GPL-2.0-or-later
"""How much trunkline carries, at what cost, how late, and whether anything is left behind.

    make bench-load                          everything, 15 minutes
    make bench-load ARGS="calls 100"         100 calls at once with speech both ways
    make bench-load ARGS="churn"             10,000 calls at 100 a second, three rounds
    make bench-load ARGS="setup"             CPU for one call set up and torn down
    make bench-load ARGS="memory 500"        what 500 calls take, process by process
    make bench-load ARGS="kill 500"          a worker with 500 calls is killed: what each call sees of it

Real processes over the loopback: `trunkline run`, SIPp for the signalling, a speaker
for the callers' audio, an agent.  Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys
from typing import Any

from bench import calls, churn, kill, memory, setup_cost


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="bench.load", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    top.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write all figures there")
    modes = top.add_subparsers(dest="mode")
    one = modes.add_parser("calls", help="calls at once, with speech")
    one.add_argument("count", type=int, help="how many")
    one.add_argument("--seconds", type=float, default=20.0, help="measured while all are up")
    one.add_argument("--rate", type=int, default=20, help="calls begun in a second")
    one.add_argument("--workers", type=int, default=1, help="media workers")
    one.add_argument(
        "--agent", choices=("counting", "echo"), default="counting", help="echo: `trunkline agent echo`"
    )
    one.add_argument("--sample-rate", type=int, default=16000, help="of the agent, in Hz")
    many = modes.add_parser("churn", help="calls that come and go")
    many.add_argument("--count", type=int, default=10_000, help="calls in a round")
    many.add_argument("--rate", type=int, default=100, help="calls begun in a second")
    many.add_argument("--rounds", type=int, default=3)
    many.add_argument("--hold", type=float, default=1.0, help="seconds that a call lasts")
    many.add_argument("--wait", type=float, default=70.0, help="seconds after a round")
    many.add_argument("--mute", action="store_true", help="no audio from the callers")
    cost = modes.add_parser("setup", help="CPU per call set up and torn down")
    cost.add_argument("--count", type=int, default=1000, help="calls of one measurement")
    cost.add_argument("--rates", type=int, nargs="+", default=[50, 100, 200], help="calls begun in a second")
    cost.add_argument("--repeat", type=int, default=3, help="measurements, of which the median is told")
    space = modes.add_parser("memory", help="memory of calls that are up")
    space.add_argument("count", type=int, help="calls")
    space.add_argument("--rate", type=int, default=50, help="calls begun in a second")
    space.add_argument("--agent", choices=("counting", "echo"), default="counting")
    space.add_argument("--mute", action="store_true", help="no audio from the callers")
    death = modes.add_parser("kill", help="a media worker is killed under its calls")
    death.add_argument("count", type=int, help="calls")
    death.add_argument("--workers", type=int, default=1, help="media workers")
    death.add_argument("--kills", type=int, default=1, help="how often, each successor included")
    death.add_argument("--rate", type=int, default=50, help="calls begun in a second")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; print it; 1 when a target is missed."""
    options = parser().parse_args(arguments)
    runs: list[tuple[Any, Any]] = []
    match options.mode:
        case "calls":
            chosen = calls.Options(
                options.count,
                options.seconds,
                options.rate,
                options.workers,
                options.agent,
                options.sample_rate,
            )
            runs.append((calls, chosen))
        case "churn":
            chosen_churn = churn.Options(
                options.count, options.rate, options.rounds, options.hold, options.wait, options.mute
            )
            runs.append((churn, chosen_churn))
        case "memory":
            runs.append((memory, memory.Options(options.count, options.rate, options.agent, options.mute)))
        case "kill":
            runs.append((kill, kill.Options(options.count, options.workers, options.kills, options.rate)))
        case "setup":
            runs.append((setup_cost, setup_cost.Options(options.count, tuple(options.rates), options.repeat)))
        case _:
            runs += [(calls, calls.Options(1)), (calls, calls.Options(100))]
            runs += [(setup_cost, setup_cost.Options()), (churn, churn.Options())]
    figures, missed = [], False
    for module, settings in runs:
        result = module.run(settings)
        figures.append({"mode": module.__name__.rpartition(".")[2], **result})
        print(module.render(result), "\n", flush=True)
        missed |= not all(entry[-1] for entry in module.verdicts(result))
    if options.json:
        options.json.write_text(json.dumps(_finite(figures), indent=1), encoding="utf-8")
    return int(missed)


def _finite(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
