# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels are there where they can be: setuptools leaves out, without a word, what does not compile."""

from __future__ import annotations

import importlib.util
import shutil

import pytest


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("module", ["trunkline.codecs._native", "trunkline.gateway.media._native"])
def test_kernels_are_built_where_there_is_a_compiler(module: str) -> None:
    assert importlib.util.find_spec(module), f"{module} did not compile: `pip install -v -e .` says why"
