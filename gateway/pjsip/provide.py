# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole way to an installed PJSIP: cached wheel, else a build, else the stop-gap."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from trunkline.gateway.pjsip import facts, install
from trunkline.gateway.pjsip.build import LABEL, build_wheel, cached_wheel
from trunkline.gateway.pjsip.errors import PjsipError
from trunkline.gateway.pjsip.facts import PjsipFacts
from trunkline.gateway.pjsip.paths import only_one_build
from trunkline.gateway.pjsip.recipe import Recipe
from trunkline.gateway.pjsip.source import Source
from trunkline.gateway.pjsip.steps import Watcher


@dataclasses.dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel in the cache."""

    path: Path
    key: str
    built_now: bool


def provide_wheel(source: Source, watcher: Watcher, *, force: bool = False) -> Wheel:
    """A wheel made from `source`, out of the cache unless `force`; raises BuildFailed."""
    key = Recipe().key(source.version, source.digest)
    with only_one_build():
        cached = None if force else cached_wheel(key)
        return Wheel(cached or build_wheel(source, watcher), key, built_now=cached is None)


def install_built(wheel: Wheel) -> PjsipFacts:
    """Install the wheel unless that very build is installed and works; raises PjsipError."""
    before = facts.installed()
    if not wheel.built_now and before.package.endswith(f"+{LABEL}.{wheel.key}") and not before.problem:
        return before
    install.install_wheel(wheel.path)
    after = facts.installed()
    if after.problem:
        raise PjsipError(f"the wheel is installed, but {after.problem}", "trunkline pjsip build --force")
    return after


def install_stopgap() -> PjsipFacts:
    """Install PyPI's wheel, unless some usable pjsua2 is there already; raises PjsipError."""
    before = facts.installed()
    if not before.problem:
        return before
    install.install_stopgap()
    after = facts.installed()
    if after.problem:
        raise PjsipError(f"the stop-gap is installed, but {after.problem}", "name a source of pjproject")
    return after
