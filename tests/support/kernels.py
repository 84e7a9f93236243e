# SPDX-License-Identifier: GPL-2.0-or-later
"""The same code with and without its compiled kernels, in one process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from trunkline.codecs import compiled as of_codecs
from trunkline.codecs import level, resample
from trunkline.gateway.media import compiled as of_media

there = of_media.native is not None and of_codecs.native is not None


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """What is made in here has no kernels, and has none later on, but for what is bound at its first use."""
    resamplers, levels = resample.get_resampler, level._kernel
    with (
        mock.patch.object(of_codecs, "native", None),
        mock.patch.object(of_media, "native", None),
    ):
        resamplers.cache_clear()
        levels.cache_clear()
        try:
            yield
        finally:
            resamplers.cache_clear()
            levels.cache_clear()
