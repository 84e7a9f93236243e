# SPDX-License-Identifier: GPL-2.0-or-later
"""Just enough of a TOML writer for the configurations of tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def dump(tables: Mapping[str, Any]) -> str:
    """Tables of the top level, and lists of tables within them, as TOML."""
    return "\n".join(_table(name, body) for name, body in tables.items())


def _table(name: str, body: Any) -> str:
    if isinstance(body, list):
        return "\n".join(_section(f"[[{name}]]", name, item) for item in body)
    return _section(f"[{name}]", name, body)


def _section(head: str, name: str, body: Mapping[str, Any]) -> str:
    nested = {k: v for k, v in body.items() if _is_table(v)}
    lines = [head, *(f"{key} = {_value(value)}" for key, value in body.items() if key not in nested)]
    return "\n".join([*lines, *(_table(f"{name}.{key}", value) for key, value in nested.items()), ""])


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    )


def _value(value: Any) -> str:
    return json.dumps(value)  # texts, numbers, booleans and lists of them are written alike in both
