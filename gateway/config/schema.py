# SPDX-License-Identifier: GPL-2.0-or-later
"""Ask the model about itself: which keys a table has, and what each of them takes.

Error messages and the reference tell the same, because both ask here.
"""

from __future__ import annotations

import dataclasses
import types as python_types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import annotated_types
from pydantic.fields import FieldInfo

from trunkline.gateway.config.errors import Location
from trunkline.gateway.config.model import Config, Section
from trunkline.gateway.config.types import Allowed

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key of a table."""

    name: str
    "as in TOML"
    annotation: Any
    info: FieldInfo

    @property
    def allowed(self) -> str:
        """What the key takes, in words."""
        return describe(self.annotation)

    @property
    def section(self) -> type[Section] | None:
        """The table that stands under this key, if one does."""
        return next((part for part in _walk(self.annotation) if _is_section(part)), None)

    @property
    def repeated(self) -> bool:
        """Whether that table is written `[[name]]`."""
        return typing.get_origin(_bare(self.annotation)) is list


def keys(section: type[Section]) -> list[Key]:
    """All keys of a table, in the order of the model."""
    hints = typing.get_type_hints(section, include_extras=True)
    return [Key(info.alias or name, hints[name], info) for name, info in section.model_fields.items()]


def key_at(location: Location) -> Key | None:
    """The key that a location leads to, None when there is no such key or it is free text."""
    found: Key | None = None
    section: type[Section] | None = Config
    for part in location:
        if isinstance(part, int):
            continue
        if section is None:
            return found if found and _is_free_table(found.annotation) else None
        found = next((key for key in keys(section) if key.name == part), None)
        if found is None:
            return None
        section = found.section
    return found


def section_at(location: Location) -> type[Section] | None:
    """The table at a location."""
    if not location:
        return Config
    key = key_at(location)
    return key.section if key else None


def describe(annotation: Any) -> str:
    """An annotation in words: `udp` or `tcp`; whole number from 1 to 65535; list of ..."""
    metadata: tuple[Any, ...] = getattr(annotation, "__metadata__", ())
    for mark in reversed(metadata):  # the outermost comes last and knows best
        if isinstance(mark, Allowed):
            return mark.text
    base = _bare(annotation)
    origin = typing.get_origin(base)
    if origin is Literal:
        return _alternatives([f"`{value}`" for value in typing.get_args(base)])
    if origin is list:
        return f"list of {describe(typing.get_args(base)[0])}"
    if origin is dict:
        return f"table of {describe(typing.get_args(base)[1])}"
    if origin in (typing.Union, python_types.UnionType):
        return describe(next(part for part in typing.get_args(base) if part is not type(None)))
    if _is_section(base):
        return "table"
    return _PLAIN[base] + _range(metadata)


def _range(metadata: tuple[Any, ...]) -> str:
    """Limits of a number in words; they stand in pydantic's Field or as annotated_types."""
    low = high = None
    for mark in metadata:
        for limit in mark.metadata if isinstance(mark, FieldInfo) else [mark]:
            low = limit.ge if isinstance(limit, annotated_types.Ge) else low
            high = limit.le if isinstance(limit, annotated_types.Le) else high
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return "" if low is None else f", at least {low}"


def _alternatives(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _bare(annotation: Any) -> Any:
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def _walk(annotation: Any) -> Iterator[Any]:
    """An annotation and all that it is made of."""
    yield annotation
    for part in typing.get_args(annotation):
        yield from _walk(part)


def _is_section(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, Section)


def _is_free_table(annotation: Any) -> bool:
    return typing.get_origin(_bare(annotation)) is dict
