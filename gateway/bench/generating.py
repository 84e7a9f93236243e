# SPDX-License-Identifier: GPL-2.0-or-later
"""Starts the load generator: the one in C, or the one in Python where there is no compiler."""

from __future__ import annotations

from pathlib import Path

from trunkline.gateway.bench import build, signal
from trunkline.gateway.bench.carrier import HOST
from trunkline.gateway.bench.errors import BenchError
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.processes import Child, python

SOURCE = Path(__file__).with_name("generator.c")
PYTHON_CALLS = 100
"The generator in Python keeps up with so many; beyond, its own lateness would be the result."


def generator_command(calls: int) -> tuple[list[str], str]:
    """The program, and a remark for the user or nothing. Raises BenchError."""
    try:
        return [str(build.program(SOURCE))], ""
    except build.NoCompiler as error:
        if calls > PYTHON_CALLS:
            raise BenchError(
                f"{error}. Without one, a generator in Python serves up to {PYTHON_CALLS} calls"
            ) from None
        return python("slow_generator"), f"{error}; using the generator in Python"


def start_generator(plan: Plan, command: list[str], folder: Path) -> tuple[Child, Path]:
    """Start it; returns it, and where it will leave its record."""
    payloads = signal.payloads(plan)
    per_sample = payloads.shape[1] == plan.audio_codec.samples_for(payloads.shape[1])
    window = signal.window(payloads.shape[1], plan.audio_codec.sample_rate_hz).start if per_sample else 0
    (folder / "plan").write_bytes(signal.pattern().tobytes() + payloads.tobytes())
    record = folder / "generated"
    numbers = [plan.calls, plan.packet_ns, plan.timestamp_step, plan.payload_type, payloads.shape[1]]
    numbers += [signal.PATTERN_LENGTH, signal.PATTERN_STEP, window]
    arguments = [*map(str, numbers), HOST, str(folder / "plan"), str(record)]
    return Child("generator", [*command, *arguments], folder), record
