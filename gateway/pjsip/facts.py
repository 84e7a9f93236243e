# SPDX-License-Identifier: GPL-2.0-or-later
"""What the installed PJSIP is and what it lacks.

The limits come from the library itself, asked in a process of its own
(gateway/sip/probe.py): a package's name or version would only say what was
meant to be in it, and a library that cannot even be loaded ends that process
and not ours.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
import subprocess
import sys
from typing import Literal

from trunkline.gateway.pjsip.install import BUILT, STOPGAP

PROBE_TIMEOUT_S = 20
USEFUL_CALLS = 32
"below this a build is worth a remark"
OPENSSL_SUPPORTED = 3
"major version; 1.0.2 ended in 2019 and 1.1.1 in 2023"


@dataclasses.dataclass(frozen=True, slots=True)
class PjsipFacts:
    """The installed PJSIP; `version` is empty when it is missing or cannot be loaded."""

    version: str = ""
    "pjproject's, as the library reports it"
    package: str = ""
    "distribution and version as installed; its local part names our build"
    source: Literal["built", "stopgap"] | None = None
    max_calls: int = 0
    "compiled-in limit of simultaneous calls"
    codecs: tuple[str, ...] = ()
    "names that PJMEDIA can negotiate, such as PCMU or opus"
    lacks: tuple[str, ...] = ()
    "what is missing, each a phrase that follows `it lacks`"
    problem: str = ""
    "why it cannot be used at all"


def installed() -> PjsipFacts:
    """Ask the packages and the library; takes 0.1 s."""
    name, source = _distribution()
    if source is None:
        return PjsipFacts(problem="no pjsua2 is installed")
    package = f"{name} {importlib.metadata.version(name)}"
    command = [sys.executable, "-m", "trunkline.gateway.sip.probe"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
        answer = json.loads(result.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        last_words = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        return PjsipFacts(
            package=package, source=source, problem=f"pjsua2 cannot be loaded: {last_words[-1]}"
        )
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return PjsipFacts(package=package, source=source, problem=f"pjsua2 does not answer: {error}")
    codecs = tuple(answer["codecs"])
    return PjsipFacts(
        version=answer["version"],
        package=package,
        source=source,
        max_calls=answer["max_calls"],
        codecs=codecs,
        lacks=tuple(shortcomings(answer["max_calls"], codecs, bundled_openssl(name))),
    )


def shortcomings(max_calls: int, codecs: tuple[str, ...], openssl: str) -> list[str]:
    """What such a PJSIP lacks.

    >>> shortcomings(4, ("PCMU", "PCMA"), "1.0.2k")
    ['room for more than 4 calls at once', 'the codec opus', 'a supported OpenSSL (it bundles 1.0.2k)']
    """
    lacks = []
    if max_calls < USEFUL_CALLS:
        lacks.append(f"room for more than {max_calls} calls at once")
    lacks += [f"the codec {name}" for name in ("PCMU", "PCMA", "opus") if name not in codecs]
    if openssl and int(openssl.partition(".")[0]) < OPENSSL_SUPPORTED:
        lacks.append(f"a supported OpenSSL (it bundles {openssl})")
    return lacks


def bundled_openssl(distribution: str) -> str:
    """Version of the OpenSSL that a wheel carries along, from the library's name; empty when it uses the system's."""
    for file in importlib.metadata.files(distribution) or []:
        found = re.match(r"libssl-\w+\.so\.(.+)", file.name)
        if found:
            return found[1]
    return ""


def describe(facts: PjsipFacts) -> str:
    """One line for a terminal or a log."""
    if facts.problem:
        return facts.problem
    kind = "built here" if facts.source == "built" else f"the stop-gap {STOPGAP} of PyPI"
    line = f"PJSIP {facts.version}, {kind}, {facts.max_calls} calls, {', '.join(facts.codecs)}"
    return f"{line}; it lacks {', '.join(facts.lacks)}" if facts.lacks else line


def _distribution() -> tuple[str, Literal["built", "stopgap"] | None]:
    kinds: tuple[tuple[str, Literal["built", "stopgap"]], ...] = ((BUILT, "built"), (STOPGAP, "stopgap"))
    for name, source in kinds:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name, source
    return "", None
