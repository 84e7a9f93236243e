# SPDX-License-Identifier: GPL-2.0-or-later
"""PJSIP's source out of Debian's source package of asterisk.

Debian ships no pjproject package; asterisk's source package carries it as an
extra upstream tarball (`...orig-Xpjproject.tar.xz`).  The suites that have it
are newer than the machine's, so apt is run with a sources list, list folder and
cache of its own: the machine's configuration is neither read for sources nor
changed, no root is needed, and apt still checks Debian's signature, the index
and the tarball's hash.  Proxy settings of the machine do apply.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from trunkline.gateway.pjsip.errors import NoSource

SUITES = ("forky", "sid")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/debian/"
"used where apt has no Debian mirror configured (Ubuntu)"

_NAME_IT = (
    "name a folder or tarball of pjproject: trunkline pjsip build --source PATH (or TRUNKLINE_PJPROJECT=PATH)"
)


def fetch_tarball(folder: Path) -> Path:
    """Download pjproject's tarball into `folder`; raises NoSource."""
    if shutil.which("apt-get") is None:
        raise NoSource("this system has no apt-get, so Debian's source package cannot be fetched", _NAME_IT)
    if not KEYRING.exists():
        raise NoSource(
            f"{KEYRING} is missing, so Debian's signature cannot be checked",
            f"apt-get install debian-archive-keyring, or {_NAME_IT}",
        )
    why = ""
    for suite in SUITES:
        with tempfile.TemporaryDirectory(prefix="apt-", dir=folder) as scratch:
            try:
                tarball = _download(Path(scratch), suite)
            except subprocess.CalledProcessError as error:
                why = _complaint(error.stderr)
                continue
            return tarball.replace(folder / tarball.name)
    raise NoSource(f"Debian's source package of asterisk could not be fetched: {why}", _NAME_IT)


def _download(scratch: Path, suite: str) -> Path:
    """Let apt fetch the source package of one suite; raises CalledProcessError."""
    sources = scratch / "sources.list"
    sources.write_text(f"deb-src [signed-by={KEYRING}] {debian_mirror()} {suite} main\n", encoding="utf-8")
    for name in ("lists/partial", "cache/archives/partial", "source"):
        (scratch / name).mkdir(parents=True)
    apt = [
        "apt-get",
        "--quiet",
        *("-o", f"Dir::Etc::sourcelist={sources}"),
        *("-o", "Dir::Etc::sourceparts=/dev/null"),
        *("-o", f"Dir::State::lists={scratch / 'lists'}"),
        *("-o", f"Dir::Cache={scratch / 'cache'}"),
        # apt drops to the user _apt, who cannot write below a home directory.
        *("-o", "APT::Sandbox::User="),
    ]
    # Without this an unreachable mirror is only a warning, and the error comes later and says less.
    _run([*apt, "-o", "APT::Update::Error-Mode=any", "update"], scratch)
    _run([*apt, "source", "--download-only", "asterisk"], scratch / "source")
    tarballs = sorted((scratch / "source").glob("*pjproject*.tar.*"))
    if not tarballs:
        complaint = f"asterisk in {suite} no longer carries pjproject"
        raise subprocess.CalledProcessError(1, apt, stderr=complaint)
    return tarballs[-1]


def debian_mirror() -> str:
    """The Debian mirror that apt already uses, so that a local one is used here too."""
    query = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    for line in answer.stdout.splitlines():
        origin, _, uri = line.partition(" ")
        # The security archive has the same origin and not these suites.
        if origin == "Debian" and "security" not in uri:
            return uri
    return MIRROR


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)


def _complaint(stderr: str) -> str:
    """apt's first error, without its prefix; what follows it is usually a consequence."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "Err:"))]
    return (errors or lines or ["apt gave no reason"])[0].removeprefix("E:").strip()
