# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the small C programs of the bench, once, into the cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from trunkline.gateway.bench.errors import BenchError
from trunkline.gateway.pjsip.paths import cache_folder

FLAGS = ("-O2", "-std=gnu11")
LIMIT_S = 60.0


class NoCompiler(BenchError):
    """There is none."""


def compiler() -> str | None:
    """$CC, or the first of cc, gcc, clang that is there."""
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def program(source: Path, *options: str) -> Path:
    """The program of a C file; built unless this very source has been. Raises BenchError.

    `options` come behind the source: macros, libraries.
    """
    digest = hashlib.sha256(source.read_bytes() + " ".join([*FLAGS, *options]).encode()).hexdigest()[:16]
    target = cache_folder("bench") / f"{source.stem}-{os.uname().machine}-{digest}"
    if target.exists():
        return target
    found = compiler()
    if found is None:
        raise NoCompiler(
            f"no C compiler to build {source.name} with: install one (Debian: apt install gcc libc6-dev), or set CC"
        )
    fresh = target.with_suffix(f".{os.getpid()}")
    try:
        done = subprocess.run(
            [found, *FLAGS, "-o", str(fresh), str(source), *options],
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            said = "\n".join(done.stderr.strip().splitlines()[:8])
            raise BenchError(f"{found} could not build {source.name}:\n{said}")
        fresh.replace(target)  # a run at the same time sees the whole file or none
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{found} could not build {source.name}: {error}") from None
    finally:
        fresh.unlink(missing_ok=True)
    return target
