# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said about an installed PJSIP comes from the library, and covers one that does not load."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.gateway.pjsip import facts
from trunkline.gateway.pjsip.facts import PjsipFacts, describe, installed, shortcomings


@pytest.fixture
def library(
    monkeypatch: pytest.MonkeyPatch, fake_program: Callable[[str, str], Path]
) -> Callable[[str], None]:
    """Let the stop-gap be installed, with a probe that runs this script."""
    monkeypatch.setattr(facts, "_distribution", lambda: ("pjsua2-python", "stopgap"))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.15.1")
    monkeypatch.setattr(facts, "bundled_openssl", lambda name: "1.0.2k")

    def answers(script: str) -> None:
        monkeypatch.setattr(sys, "executable", str(fake_program("probe", script)))

    return answers


def test_the_stopgap_says_what_it_lacks(library: Callable[[str], None]) -> None:
    """Four calls, no Opus, an OpenSSL out of support: in one line for terminal, doctor and log."""
    answer = '{"version": "2.15.1", "max_calls": 4, "codecs": ["PCMA", "PCMU", "speex"]}'
    library(f"echo noise; echo '{answer}'")
    found = installed()
    assert found.max_calls == 4
    assert found.lacks == shortcomings_of_stopgap()
    line = describe(found)
    assert "stop-gap" in line
    assert "more than 4 calls" in line
    assert "opus" in line
    assert "OpenSSL" in line


def shortcomings_of_stopgap() -> tuple[str, ...]:
    """As the doctest of `shortcomings` has them."""
    return tuple(shortcomings(4, ("PCMU", "PCMA"), "1.0.2k"))


def test_a_full_build_lacks_nothing() -> None:
    """Ours: the system's OpenSSL, which is the distribution's business."""
    assert shortcomings(4096, ("G722", "L16", "opus", "PCMA", "PCMU"), "") == []
    assert shortcomings(4096, ("opus", "PCMA", "PCMU"), "3.0.2") == []


def test_a_library_that_does_not_load_is_a_problem_and_not_a_crash(library: Callable[[str], None]) -> None:
    """Built for another Python or distribution: the loader's last words are the reason."""
    library("echo Traceback >&2; echo 'ImportError: libsrtp2.so.1: cannot open' >&2; exit 1")
    assert installed().problem == "pjsua2 cannot be loaded: ImportError: libsrtp2.so.1: cannot open"
    library("kill -SEGV $$")
    assert "cannot be loaded" in installed().problem
    library("echo not json")
    assert "does not answer" in installed().problem


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No source, no calls, a problem."""
    monkeypatch.setattr(facts, "_distribution", lambda: ("", None))
    assert installed() == PjsipFacts(problem="no pjsua2 is installed")


def test_the_real_library_answers() -> None:
    """With the PJSIP of this environment, whichever it is."""
    found = installed()
    assert found.problem == ""
    assert found.version.startswith("2.")
    assert found.max_calls >= 4
    assert {"PCMU", "PCMA"} <= set(found.codecs)


def test_a_bundled_openssl_is_known_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """auditwheel names bundled libraries libssl-HASH.so.VERSION."""
    files = [
        "pjsua2_python.libs/libcrypto-d3570994.so.1.0.2k",
        "pjsua2_python.libs/libssl-cd1d6220.so.1.0.2k",
    ]
    paths = [importlib.metadata.PackagePath(name) for name in files]
    monkeypatch.setattr(importlib.metadata, "files", lambda name: paths)
    assert facts.bundled_openssl("pjsua2-python") == "1.0.2k"
    monkeypatch.setattr(importlib.metadata, "files", lambda name: None)
    assert facts.bundled_openssl("pjsua2") == ""
