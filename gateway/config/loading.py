# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a configuration file, and collect everything that is wrong with it at once.

    text -> tomllib -> pydantic (keys and values) -> checks.py (how parts fit together)

So that a wrong value in one place does not hide a wrong reference in another,
what pydantic refuses is cut out of a copy and the rest is still checked.
"""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trunkline.gateway.config import checks, explain
from trunkline.gateway.config.errors import ConfigError, Location, Problem
from trunkline.gateway.config.lines import KeyLines
from trunkline.gateway.config.model import Config


def load(path: str | Path) -> Config:
    """Read and validate the file at `path`; raises ConfigError.

    Secrets are not looked up: `secrets.resolve` does that when the gateway starts.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(str(path), [Problem((), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ConfigError(str(path), [Problem((), "is not UTF-8 text, which TOML must be", line)]) from None
    config = parse(text, str(path))
    return config.read_from(path.absolute(), config.warnings)


def parse(text: str, file: str = "configuration") -> Config:
    """Validate TOML text; `file` names it in errors. Raises ConfigError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(file, [_syntax_problem(error, text)]) from None
    lines = KeyLines(text)
    problems: list[Problem] = []
    config, kept = _validate(data, problems)
    names = checks.Names.of(data)
    problems += names.duplicates()
    cross, doubts = checks.check(config, names)
    problems += [_in_file(problem, kept) for problem in cross]
    if problems:
        raise ConfigError(file, [_with_line(problem, lines) for problem in problems])
    return config.read_from(None, [_with_line(doubt, lines).text(file) for doubt in doubts])


Kept = dict[str, list[int]]
"Per list of tables, where its entries stood in the file: entry 0 of the checked copy may be number 2."


def _validate(data: dict[str, Any], problems: list[Problem]) -> tuple[Config, Kept]:
    """A configuration of what is valid in `data`; the rest is told in `problems`."""
    try:
        return Config.model_validate(data), {}
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems.extend(explain.problem(detail) for detail in details)
    rest, kept = _without(data, [detail["loc"] for detail in details])
    try:
        return Config.model_validate(rest), kept
    except ValidationError:
        # Something required was cut out: the file is too broken for more to be said.
        return Config(), {}


def _without(data: dict[str, Any], refused: list[Location]) -> tuple[dict[str, Any], Kept]:
    """A copy without the refused values: entries of lists go as a whole, others by their key."""
    rest = copy.deepcopy(data)
    holes: dict[str, set[int]] = {}
    for top, *below in refused:
        section = rest.get(str(top))
        if isinstance(section, list) and below and isinstance(below[0], int):
            holes.setdefault(str(top), set()).add(below[0])
        elif isinstance(section, dict) and below:
            section.pop(str(below[0]), None)
        else:
            rest.pop(str(top), None)
    kept: Kept = {}
    for name, gone in holes.items():
        kept[name] = [index for index in range(len(rest[name])) if index not in gone]
        rest[name] = [rest[name][index] for index in kept[name]]
    return rest, kept


def _in_file(problem: Problem, kept: Kept) -> Problem:
    """The same problem with the index that its entry has in the file."""
    top, *below = problem.location or ("",)
    if top in kept and below and isinstance(below[0], int):
        return Problem((top, kept[str(top)][below[0]], *below[1:]), problem.message)
    return problem


def _with_line(problem: Problem, lines: KeyLines) -> Problem:
    return Problem(problem.location, problem.message, lines.find(problem.location))


def _syntax_problem(error: tomllib.TOMLDecodeError, text: str) -> Problem:
    """TOML's own complaint, with its line where an editor finds it."""
    message = str(error)
    if match := re.fullmatch(r"(.*?) \(at line (\d+), column (\d+)\)", message, re.DOTALL):
        return Problem((), f"not TOML: {match[1]} (column {match[3]})", int(match[2]))
    # `(at end of document)`: something above was never closed.
    return Problem((), f"not TOML: {message}", max(1, len(text.splitlines())))
