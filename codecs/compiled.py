# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled twins of the loops that cost most, where they could be built: `native/`.

NumPy does a batch in a dozen passes, each of which costs a microsecond or two to begin and goes
through memory again; a compiled loop does one pass.  What is computed is the same, and each
caller keeps its NumPy code, which is what runs where there was no compiler, and what tests
compare with.

    kernel = compiled.bind("level", ...)    None where there is nothing compiled
    kernel = compiled.get("conceal")        the same, of a kernel of which nothing is fixed
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

Kernel = Callable[..., int]


def _load() -> Any:
    try:
        return importlib.import_module("trunkline.codecs._native")
    except ImportError:
        return None


native: Any = _load()
"the extension module, None where it could not be built or is not wanted"


def bind(name: str, *first: Any) -> Kernel | None:
    """The kernel of this name with its first arguments fixed; None where there is nothing compiled."""
    return None if native is None else native.bind(name, *first)


def get(name: str) -> Kernel | None:
    """The kernel of this name, with all arguments still to come; None where there is none, or older ones were built."""
    return _whole(native, name)


@functools.cache
def _whole(module: Any, name: str) -> Kernel | None:
    try:
        return None if module is None else module.bind(name)
    except LookupError:
        return None
