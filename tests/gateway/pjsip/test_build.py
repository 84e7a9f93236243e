# SPDX-License-Identifier: GPL-2.0-or-later
"""A build from source to installed package, with a pjproject that is built in a second."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.gateway.pjsip import build, facts, install, provide
from trunkline.gateway.pjsip.errors import BuildFailed
from trunkline.gateway.pjsip.facts import PjsipFacts
from trunkline.gateway.pjsip.recipe import MAX_CALLS, PATCHES, Recipe
from trunkline.gateway.pjsip.source import describe


@dataclasses.dataclass
class Witness:
    """Remembers what was shown."""

    started: list[str] = dataclasses.field(default_factory=list)
    lines: list[str] = dataclasses.field(default_factory=list)
    ended: list[bool] = dataclasses.field(default_factory=list)

    def step_started(self, title: str) -> None:
        self.started.append(title)

    def step_output(self, line: str) -> None:
        self.lines.append(line)

    def step_ended(self, *, ok: bool) -> None:
        self.ended.append(ok)


check_tools = build.check_tools


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built here needs make only."""
    monkeypatch.setattr(build, "check_tools", lambda: None)


def test_a_build_leaves_a_wheel_and_a_log_and_nothing_else(tarball: Path, cache: Path) -> None:
    """The wheel carries our limits and the key in its version; the build tree is gone."""
    witness = Witness()
    source = describe(tarball)
    wheel = provide.provide_wheel(source, witness)
    assert wheel.built_now
    assert wheel.path == cache / "wheels" / f"pjsua2-9.1+trunkline.{wheel.key}-py3-none-any.whl"
    with zipfile.ZipFile(wheel.path) as content:
        assert f"PJSUA_MAX_CALLS                 {MAX_CALLS}" in content.read("pjsua2.py").decode()
    assert [path.name for path in (cache / "build").iterdir()] == ["lock"]
    log = build.log_path().read_text()
    assert "configured --with-external-srtp" in log
    assert witness.started[:3] == ["unpack pjproject 9.1", "configure", "compile pjlib"]
    assert witness.ended == [True] * len(witness.started)


@pytest.mark.parametrize("found", [True, False])
def test_a_source_is_changed_where_it_reads_as_expected(pjproject: Path, cache: Path, found: bool) -> None:
    """Elsewhere it stays as it is, and the log says what that costs."""
    patch = PATCHES[0]
    file = pjproject / patch.file
    file.parent.mkdir(parents=True, exist_ok=True)
    before = f"head\n{patch.before if found else 'another'}tail\n"
    file.write_text(before)
    build.log_path().write_text("")
    build.apply_patch(pjproject, patch)
    assert file.read_text() == (before.replace("head\n", f"head\n{patch.insert}") if found else before)
    assert (f"calls fail of {patch.what}" in build.log_path().read_text()) is not found


def test_the_second_time_the_wheel_comes_from_the_cache(tarball: Path) -> None:
    """Unless it is forced."""
    source = describe(tarball)
    first = provide.provide_wheel(source, Witness())
    witness = Witness()
    assert provide.provide_wheel(source, witness) == dataclasses.replace(first, built_now=False)
    assert witness.started == []
    assert provide.provide_wheel(source, witness, force=True).built_now


def test_another_limit_or_source_is_another_build(tarball: Path) -> None:
    """The key covers whatever changes the outcome."""
    source = describe(tarball)
    key = Recipe().key(source.version, source.digest)
    assert re.fullmatch("[0-9a-f]{12}", key)
    assert Recipe(config_site="#define PJSUA_MAX_CALLS 4").key(source.version, source.digest) != key
    assert Recipe(configure=("--disable-video",)).key(source.version, source.digest) != key
    assert Recipe().key(source.version, "other") != key
    assert Recipe().key("2.18", source.digest) != key


def test_a_failing_step_says_its_last_words_and_names_the_log(pjproject: Path) -> None:
    """Nobody should have to open the log to see what went wrong."""
    (pjproject / "pjnath/build/Makefile").write_text("lib:\n\t@echo pjnath.c: no such header; exit 1\n")
    witness = Witness()
    with pytest.raises(BuildFailed) as failure:
        provide.provide_wheel(describe(pjproject), witness)
    assert "compile pjnath failed" in failure.value.reason
    assert "no such header" in failure.value.reason
    assert failure.value.log == build.log_path()
    assert "no such header" in build.log_path().read_text()
    assert witness.ended[-1] is False
    assert "no such header" in witness.lines[-2] + witness.lines[-1]


def test_a_make_around_us_does_not_set_our_jobs(pjproject: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make setup` exports MAKEFLAGS; a jobserver of a make that has ended would stop the build."""
    monkeypatch.setenv("MAKEFLAGS", "--no-such-option")
    assert provide.provide_wheel(describe(pjproject), Witness()).built_now


def test_missing_packages_are_named_with_the_command(
    fake_program: Callable[[str, str], Path],
) -> None:
    """Before anything is built."""
    fake_program("dpkg-query", 'case "$*" in *swig*) echo not-installed ;; *) echo installed ;; esac')
    with pytest.raises(BuildFailed, match=r"packages are missing: swig$") as failure:
        check_tools()
    assert failure.value.cure.endswith("apt-get install swig")


def test_an_installed_build_is_left_alone(tarball: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key in the version tells; a wheel of another key, or a broken one, is replaced."""
    wheel = dataclasses.replace(provide.provide_wheel(describe(tarball), Witness()), built_now=False)
    installed: list[Path] = []
    state = PjsipFacts(version="9.1", package=f"pjsua2 9.1+trunkline.{wheel.key}", source="built")
    monkeypatch.setattr(facts, "installed", lambda: state)
    monkeypatch.setattr(install, "install_wheel", installed.append)
    assert provide.install_built(wheel) is state
    assert installed == []
    state = dataclasses.replace(state, package="pjsua2 9.1+trunkline.000000000000")
    provide.install_built(wheel)
    assert installed == [wheel.path]


def test_the_stopgap_never_replaces_a_usable_pjsip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed rebuild must not cost the user the PJSIP of yesterday."""
    good = PjsipFacts(version="2.17", package="pjsua2 2.17", source="built", max_calls=MAX_CALLS)
    monkeypatch.setattr(facts, "installed", lambda: good)
    monkeypatch.setattr(install, "install_stopgap", lambda: pytest.fail("it was replaced"))
    assert provide.install_stopgap() is good
