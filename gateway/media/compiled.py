# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiled kernels of the media worker (`native/`), where they could be built; as codecs/compiled.py says.

`TRUNKLINE_COMPILED=0` in the environment keeps a worker to NumPy, to compare the two or to rule the kernels out.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from trunkline.codecs import compiled as of_codecs
from trunkline.codecs.compiled import Kernel

SWITCH = "TRUNKLINE_COMPILED"


def _load() -> Any:
    if os.environ.get(SWITCH) == "0":
        of_codecs.native = None
        return None
    try:
        return importlib.import_module("trunkline.gateway.media._native")
    except ImportError:
        return None


native: Any = _load()
"the extension module, None where it could not be built or is not wanted"


class Stale(Exception):
    """The extension module was built from other sources; from now on nothing is compiled."""


def bind(name: str, *first: Any) -> Kernel | None:
    """The kernel of this name with its first arguments fixed; None where there is nothing compiled.

    Raises Stale if there is no such kernel, or it takes something else.
    """
    global native  # noqa: PLW0603 - one module, one answer
    if native is None:
        return None
    try:
        return native.bind(name, *first)
    except (LookupError, TypeError) as error:
        native = of_codecs.native = None
        raise Stale(f"compiled kernels were built from other sources: {error}") from None


def in_use() -> str:
    """What media workers run: "compiled", or "numpy"; they are started from here and load what is loaded here."""
    return "numpy" if native is None else "compiled"
