# SPDX-License-Identifier: GPL-2.0-or-later
"""The key-by-key reference as Markdown, made from the model so that it cannot be wrong."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from trunkline.gateway.config import schema
from trunkline.gateway.config.model import Config, Section

BEGIN = "<!-- config:begin -->"
END = "<!-- config:end -->"
"gateway/config/README.md carries `reference()` between these two lines."


def example() -> str:
    """The commented example that ships with the package."""
    return importlib.resources.files(__package__).joinpath("example.toml").read_text(encoding="utf-8")


def reference() -> str:
    """All tables and keys, as Markdown. Ends with a newline."""
    parts = [_table(header, section) for header, section in _sections(Config, "", False)]
    return "\n".join(parts)


def _sections(section: type[Section], path: str, repeated: bool) -> Iterator[tuple[str, type[Section]]]:
    """Each table with its TOML header, in the order in which one would write them."""
    if path:
        yield (f"[[{path}]]" if repeated else f"[{path}]"), section
    for key in schema.keys(section):
        if key.section is not None:
            yield from _sections(key.section, f"{path}.{key.name}".lstrip("."), key.repeated)


def _table(header: str, section: type[Section]) -> str:
    lines = [f"#### `{header}`", "", _one_line(section.__doc__ or ""), ""]
    rows = [_row(key) for key in schema.keys(section) if key.section is None]
    if rows:
        lines += ["| key | takes | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(key: schema.Key) -> str:
    meaning = _one_line(key.info.description or "")
    cells = [f"`{key.name}`", key.allowed, _default(key), meaning[:1].upper() + meaning[1:]]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(key: schema.Key) -> str:
    """The default as TOML, `required`, or nothing when absence is what it means."""
    if key.info.is_required():
        return "required"
    default: Any = key.info.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined or isinstance(default, BaseModel):
        return ""
    return f"`{json.dumps(default)}`"


def _one_line(text: str) -> str:
    return " ".join(text.split())
