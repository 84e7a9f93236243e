# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of another Debian release, unpacked into a folder of the cache: no root, nothing installed.

A lock file names the packages: version, size, SHA-256 and place in the archive.  They are
fetched from the mirror that apt uses, and kept.  A mirror keeps a version only until the
next arrives; then apt itself fetches what the suite has now, all packages of that day,
with its signatures checked.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import NamedTuple

from trunkline.gateway.pjsip.debian import KEYRING, debian_mirror

ATTEMPTS = 3
TIMEOUT_S = 60
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/lib/systemd")


class FetchFailed(AssertionError):
    """The packages cannot be had: a test that needs them has failed, not been skipped."""


class Package(NamedTuple):
    """A line of the lock file."""

    name: str
    version: str
    size_bytes: int
    sha256: str
    path: str

    @property
    def file(self) -> str:
        """Its name in the cache."""
        return self.path.rpartition("/")[2]


def cache_folder(name: str) -> pathlib.Path:
    """`$XDG_CACHE_HOME/trunkline/<name>`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = pathlib.Path(base).expanduser() / "trunkline" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_lock(path: pathlib.Path) -> tuple[str, list[Package]]:
    """Suite and packages: a comment `# suite date`, then a line of tab-separated fields for each package."""
    head, *lines = path.read_text().splitlines()
    rows = (line.split("\t") for line in lines)
    return head.split()[1], [
        Package(name, version, int(size), sha, where) for name, version, size, sha, where in rows
    ]


def unpacked(lock: pathlib.Path, cache: pathlib.Path) -> pathlib.Path:
    """A folder with all packages unpacked; made at the first call, by one process at a time."""
    suite, packages = read_lock(lock)
    root = cache / f"root-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with (cache / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not root.exists():
            _unpack(_fetch(suite, packages, cache), root)
    return root


def _fetch(suite: str, packages: Sequence[Package], cache: pathlib.Path) -> list[pathlib.Path]:
    try:
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            return list(pool.map(functools.partial(_locked, mirror=_mirror(), cache=cache), packages))
    except OSError as gone:
        # All or none: libraries of two different days may not fit each other.
        return _current(suite, [package.name for package in packages], cache, why=gone)


@functools.cache
def _mirror() -> str:
    return debian_mirror().rstrip("/")


def _locked(package: Package, *, mirror: str, cache: pathlib.Path) -> pathlib.Path:
    """The very file of the lock, from the cache or the mirror; raises OSError."""
    file = cache / package.file
    if file.exists() and _sha256(file.read_bytes()) == package.sha256:
        return file
    data = _patiently(lambda: _get(f"{mirror}/{package.path}"))
    if _sha256(data) != package.sha256:
        raise FetchFailed(f"{mirror}/{package.path} has not the checksum of the lock file")
    part = file.with_suffix(f".{os.getpid()}")
    part.write_bytes(data)
    return part.rename(file)


def _patiently(action: Callable[[], bytes]) -> bytes:
    """A few attempts, except where a second one would hear the same."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except urllib.error.HTTPError as error:
            if error.code in (403, 404, 410) or attempt == ATTEMPTS - 1:
                raise
        except OSError:
            if attempt == ATTEMPTS - 1:
                raise
        time.sleep(1 + attempt)
    raise AssertionError("unreachable")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        return bytes(answer.read())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _current(suite: str, names: Sequence[str], cache: pathlib.Path, why: Exception) -> list[pathlib.Path]:
    """What the suite has now, by apt with a sources list, state and cache of its own."""
    print(f"{why}: taking what Debian {suite} has now instead of the locked files")
    folder = cache / "current"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix="apt-") as scratch_name:
        scratch = pathlib.Path(scratch_name)
        for name in ("lists/partial", "cache/archives/partial"):
            (scratch / name).mkdir(parents=True)
        (scratch / "status").touch()
        sources = scratch / "sources.list"
        sources.write_text(f"deb [arch=amd64 signed-by={KEYRING}] {_mirror()} {suite} main\n")
        options = {
            "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null", "APT::Sandbox::User": "",
            "Dir::State::lists": scratch / "lists", "Dir::State::status": scratch / "status",
            "Dir::Cache": scratch / "cache", "APT::Update::Error-Mode": "any", "Acquire::Languages": "none",
        }  # fmt: skip
        apt = [
            "apt-get",
            "--quiet",
            *(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
        ]
        for command in ([*apt, "update"], [*apt, "download", *names]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise FetchFailed(
                    f"neither the locked packages ({why}) nor those of Debian {suite}:\n{done.stderr}"
                )
    return sorted(folder.glob("*.deb"))


def _unpack(files: Sequence[pathlib.Path], root: pathlib.Path) -> None:
    part = root.with_name(f"{root.name}.{os.getpid()}")
    part.mkdir()
    for file in files:
        subprocess.run(["dpkg-deb", "-x", str(file), str(part)], check=True)
    for name in UNUSED:
        shutil.rmtree(part / name, ignore_errors=True)
    part.rename(root)
