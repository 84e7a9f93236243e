# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of keys in a TOML text, because tomllib tells only values.

This is a scan for table headers and `key =`, not a second parser: the text has
passed tomllib before.  Keys inside inline tables are found at the line of the
table, which is where the eye finds them.
"""

from __future__ import annotations

import re
from pathlib import Path

from trunkline.gateway.config.errors import Location, Problem

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_TABLE = re.compile(rf"[ \t]*\[[ \t]*({_KEY})[ \t]*\]")
_ARRAY = re.compile(rf"[ \t]*\[\[[ \t]*({_KEY})[ \t]*\]\]")
_PAIR = re.compile(rf"[ \t]*({_KEY})[ \t]*=")
_LONG_STRING = re.compile(r'"""|' + "'''")


def located(source: Path | None, problems: list[Problem]) -> list[Problem]:
    """Problems that were found later than the file was read, with their lines in it, as far as it is there still."""
    try:
        lines = KeyLines(source.read_text(encoding="utf-8")) if source is not None else None
    except (OSError, UnicodeDecodeError):
        lines = None
    if lines is None:
        return problems
    return [Problem(one.location, one.message, one.line or lines.find(one.location)) for one in problems]


class KeyLines:
    """Where each key and table of a text begins."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Location, int] = {}
        self._entries: dict[Location, int] = {}
        self._table: Location = ()
        inside: str | None = None
        for number, line in enumerate(text.splitlines(), start=1):
            if inside is None:
                self._read(line, number)
            inside = _open_string(line, inside)

    def find(self, location: Location) -> int | None:
        """Line of a key, else of the nearest table around it, counted from 1."""
        for length in range(len(location), 0, -1):
            if line := self._lines.get(location[:length]):
                return line
        return None

    def _read(self, line: str, number: int) -> None:
        if match := _ARRAY.match(line):
            *above, name = _parts(match[1])
            path = (*self._expand(above), name)
            self._lines.setdefault(path, number)
            self._entries[path] = self._entries.get(path, -1) + 1
            self._table = (*path, self._entries[path])
            self._lines[self._table] = number
        elif match := _TABLE.match(line):
            self._table = self._expand(_parts(match[1]))
            self._lines.setdefault(self._table, number)
        elif match := _PAIR.match(line):
            path = self._table
            for part in _parts(match[1]):
                path = (*path, part)
                self._lines.setdefault(path, number)

    def _expand(self, parts: list[str]) -> Location:
        """The path of a header: a name that is an array of tables means its last entry so far."""
        path: Location = ()
        for part in parts:
            path = (*path, part)
            if path in self._entries:
                path = (*path, self._entries[path])
        return path


def _parts(key: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, key)]


def _open_string(line: str, inside: str | None) -> str | None:
    """The quotes of a multi-line string that is open at the end of the line, or None."""
    for match in _LONG_STRING.finditer(line):
        if inside is None and "#" not in line[: match.start()]:
            inside = match[0]
        elif inside == match[0]:
            inside = None
    return inside
