# SPDX-License-Identifier: GPL-2.0-or-later
"""All examinations in the order of the report."""

from __future__ import annotations

import itertools
from pathlib import Path

from trunkline.gateway.config import Config, ConfigError, load
from trunkline.gateway.doctor import access, certificates, machine, ports, stack
from trunkline.gateway.doctor.finding import Finding, fail, ok, warn
from trunkline.gateway.pjsip import facts


def examine(config_file: Path | None) -> list[Finding]:
    """Everything about this machine, measured against a configuration or the defaults."""
    config, about_config = read(config_file)
    return [
        *about_config,
        *itertools.chain(
            stack.examine(config, facts.installed()),
            machine.examine(config),
            ports.examine(config),
            access.examine(config),
            certificates.examine(config),
        ),
    ]


def read(config_file: Path | None) -> tuple[Config, list[Finding]]:
    """The configuration, or the defaults when there is none or it is wrong."""
    if config_file is None:
        return Config(), []
    name = "configuration"
    cure = f"trunkline check {config_file}"
    try:
        config = load(config_file)
    except ConfigError as error:
        return Config(), [fail(name, f"{error} (what follows is measured against the defaults)", cure)]
    doubts = [warn(name, doubt, cure) for doubt in config.warnings]
    return config, doubts or [ok(name, str(config_file))]
