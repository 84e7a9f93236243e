# SPDX-License-Identifier: GPL-2.0-or-later
"""Starts the load generator: the one in C, or the one in Python where there is no compiler."""

from __future__ import annotations

from pathlib import Path

from trunkline.gateway.bench import build, signal
from trunkline.gateway.bench.carrier import HOST
from trunkline.gateway.bench.errors import BenchError
from trunkline.gateway.bench.keys import Keys
from trunkline.gateway.bench.lossy import parts_per_million
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.processes import Child, python
from trunkline.gateway.bench.spoken import spoken
from trunkline.rtp.sdes import SUITES

SOURCE = Path(__file__).with_name("generator.c")
SRTP_OPTIONS = ("-DWITH_SRTP", "-lsrtp2")
PYTHON_CALLS = 100
"The generator in Python keeps up with so many; beyond, its own lateness would be the result."


def generator_command(plan: Plan) -> tuple[list[str], str]:
    """The program, and a remark for the user or nothing. Raises BenchError."""
    try:
        return [str(build.program(SOURCE, *(SRTP_OPTIONS if plan.srtp else ())))], ""
    except build.NoCompiler as error:
        if plan.srtp:
            raise BenchError(f"{error}. For SRTP there is no generator in Python") from None
        if plan.calls > PYTHON_CALLS:
            raise BenchError(
                f"{error}. Without one, a generator in Python serves up to {PYTHON_CALLS} calls"
            ) from None
        return python("slow_generator"), f"{error}; using the generator in Python"
    except BenchError as error:
        if plan.srtp and "srtp" in str(error):
            raise BenchError(f"{error}\nFor --srtp the generator needs libsrtp2 (Debian: libsrtp2-dev)") from None
        raise


def start_generator(plan: Plan, keys: Keys, command: list[str], folder: Path) -> tuple[Child, Path]:
    """Start it; returns it, and where it will leave its record."""
    said = spoken(plan)
    count, width = said.payloads.shape
    parts = [one.tobytes() for one in (said.pattern, said.lengths, said.payloads)]
    plan_file = folder / "plan"
    plan_file.touch(mode=0o600)  # it holds keys
    plan_file.write_bytes(b"".join([*parts, bytes(keys)]))
    record = folder / "generated"
    window = signal.window_bytes(plan)
    numbers = [plan.calls, plan.packet_ns, plan.timestamp_step, plan.payload_type, count, width]
    numbers += [len(said.pattern), said.step, window.start if window else 0]
    numbers.append(SUITES[plan.srtp].master_bytes if plan.srtp else 0)
    numbers.append(parts_per_million(plan.loss_percent))
    arguments = [*map(str, numbers), plan.srtp or "-", HOST, str(plan_file), str(record)]
    return Child("generator", [*command, *arguments], folder), record
