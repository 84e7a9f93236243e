# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes in a configuration, told so that they can be mended without the manual."""

from __future__ import annotations

import dataclasses

Location = tuple[str | int, ...]
"Keys and list indices that lead to a value: `('trunk', 0, 'register', 'server')`."


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One mistake."""

    location: Location
    message: str
    "what was found and what is allowed"
    line: int | None = None
    "line in the file, when it could be found; counted from 1"

    @property
    def key(self) -> str:
        """The location as text: `trunk[0].register.server`."""
        text = ""
        for part in self.location:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return text

    def text(self, file: str) -> str:
        """`file:line: key: message`, as compilers say it and editors follow it."""
        where = file if self.line is None else f"{file}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.location else f"{where}: {self.message}"


class ConfigError(Exception):
    """A configuration that cannot be used: all its problems, in the order of the file."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("\n".join(problem.text(file) for problem in self.problems))
