# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration file: what may stand in it, how it is read, what is wrong with it."""

from trunkline.gateway.config.errors import ConfigError, Problem
from trunkline.gateway.config.loading import load, parse
from trunkline.gateway.config.model import Agent, Config, Registration, Route, Trunk

__all__ = ["Agent", "Config", "ConfigError", "Problem", "Registration", "Route", "Trunk", "load", "parse"]
