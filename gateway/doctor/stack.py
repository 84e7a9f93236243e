# SPDX-License-Identifier: GPL-2.0-or-later
"""The libraries and programs that calls are made of."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trunkline.codecs import opus_native
from trunkline.gateway.config import Config
from trunkline.gateway.doctor.finding import Finding, fail, ok, warn
from trunkline.gateway.media import compiled
from trunkline.gateway.media.warm import warm_up
from trunkline.gateway.pjsip import packages
from trunkline.gateway.pjsip.facts import PjsipFacts, describe
from trunkline.rtp import libsrtp

BUILD = "trunkline pjsip build"
MODULES = ("trunkline.codecs._native", "trunkline.gateway.media._native")
"compiled when trunkline is installed"
COMPILER = frozenset({"build-essential", "python3-dev"})
"packages that it takes"


def examine(config: Config, pjsip: PjsipFacts) -> Iterator[Finding]:
    """Python, compiled kernels, PJSIP, libopus, libsrtp, SIPp."""
    yield ok("Python", f"{platform.python_version()}, trunkline {importlib.metadata.version('trunkline')}")
    yield about_kernels()
    yield from about_pjsip(config, pjsip)
    yield about_libopus()
    yield about_libsrtp(config)
    yield about_sipp()


def about_kernels() -> Finding:
    """Media workers do without, at the price of CPU time for each call."""
    name, costs = "compiled kernels", "each call costs more CPU time"
    if os.environ.get(compiled.SWITCH) == "0":
        return warn(name, f"switched off by {compiled.SWITCH}=0: {costs}", f"unset {compiled.SWITCH}")
    for module in MODULES:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            return warn(name, f"not built when trunkline was installed: {costs}", kernels_cure())
        except ImportError as error:
            return warn(name, f"cannot be loaded ({error}): {costs}", kernels_cure())
    if problem := warm_up():
        return warn(name, f"{problem.splitlines()[0].partition(';')[0]}: {costs}", kernels_cure())
    return ok(name, "built, and used by media workers")


def kernels_cure() -> str:
    """A compiler and Python.h, where they are missing, and trunkline once more."""
    needed = [package for package in packages.missing("build") if COMPILER.intersection(package.names)]
    options = ["--force-reinstall", "--no-deps", "--no-cache-dir"]
    again = [sys.executable, "-m", "pip", "install", *options, *installed_from()]
    return " && ".join([*([packages.install_command(needed)] if needed else []), shlex.join(again)])


def installed_from() -> list[str]:
    """What pip was given to install trunkline: a folder (PEP 610), or its name."""
    told = importlib.metadata.distribution("trunkline").read_text("direct_url.json")
    origin = json.loads(told) if told else {}
    if vcs := origin.get("vcs_info"):
        return [f"{vcs['vcs']}+{origin['url']}@{vcs['commit_id']}"]
    if "dir_info" not in origin:
        return [origin.get("url", "trunkline")]
    folder = str(Path(unquote(urlsplit(origin["url"]).path)))
    return ["-e", folder] if origin["dir_info"].get("editable") else [folder]


def about_pjsip(config: Config, pjsip: PjsipFacts) -> Iterator[Finding]:
    """Is there one, is it ours, does it have the calls and codecs that are configured?"""
    if pjsip.problem:
        yield fail("PJSIP", pjsip.problem, build_cure())
        return
    if pjsip.lacks:
        yield warn("PJSIP", describe(pjsip).removeprefix("PJSIP "), build_cure())
    else:
        yield ok("PJSIP", describe(pjsip).removeprefix("PJSIP "))
    wanted = config.sip_call_slots
    if wanted > pjsip.max_calls:
        found = f"{pjsip.max_calls} at once, the configuration wants {wanted}"
        yield warn(
            "PJSIP calls", found, f"set limits.max_calls to {max(1, pjsip.max_calls - 1)}, or {build_cure()}"
        )
    known = {codec.upper() for codec in pjsip.codecs}
    for trunk in config.trunks:
        unknown = [codec for codec in trunk.codecs if codec.upper() not in known]
        if unknown:
            found = f"trunk {trunk.name} wants {', '.join(unknown)}, which this PJSIP does not know"
            judge = fail if len(unknown) == len(trunk.codecs) else warn
            yield judge("PJSIP codecs", found, f"take them off trunk.codecs, or {build_cure()}")


def build_cure() -> str:
    """How to get a PJSIP, packages first when they are missing."""
    lacking = packages.missing("build")
    return f"{packages.install_command(lacking)} && {BUILD}" if lacking else BUILD


def about_libopus() -> Finding:
    """Opus is optional, but most callers from the web come with it."""
    try:
        return ok("libopus", opus_native.library().version)
    except opus_native.OpusUnavailable as error:
        return warn("libopus", f"no Opus: {error.found}", apt("call", "libopus0"))


def about_libsrtp(config: Config) -> Finding:
    """Loading it proves that it protects packets as the RFCs say. The system's copy will do, but takes longer."""
    judge = fail if any(trunk.srtp != "off" for trunk in config.trunks) else warn
    try:
        library = libsrtp.load()
    except libsrtp.SrtpUnavailable as error:
        return judge("libsrtp", str(error), "pip install 'trunkline[gateway]'")
    if not library.bundled:
        found = f"{library.version} of the system, whose packets take three times as long as with pylibsrtp's"
        return warn("libsrtp", found, "pip install 'trunkline[gateway]'")
    return ok("libsrtp", f"{library.version}, of pylibsrtp {importlib.metadata.version('pylibsrtp')}")


def about_sipp() -> Finding:
    """SIPp is the caller of the demonstration and of the tests; calls of others do not need it."""
    program = shutil.which("sipp")
    if program is None:
        return warn("SIPp", "not found: no `trunkline demo`, no end-to-end tests", apt("call", "sip-tester"))
    # It prints its version and exits with 99.
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=10).stdout
    version = re.search(r"SIPp v(\S+?)[-,\s]", said)
    return ok("SIPp", f"{version[1] if version else 'of unknown version'}, {program}")


def apt(group: str, name: str) -> str:
    """The command that installs one package of the list."""
    return packages.install_command([p for p in packages.listed() if p.group == group and name in p.names])
