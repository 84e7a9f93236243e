# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures for all tests."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

# How long an example takes says how busy the machine is; no test is about time.
hypothesis.settings.register_profile("trunkline", deadline=None)
hypothesis.settings.load_profile("trunkline")


@pytest.fixture(scope="session", autouse=True)
def _no_state_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write what trunkline keeps for the user who runs them."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["XDG_STATE_HOME"]
    else:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture
def short_path() -> Iterator[pathlib.Path]:
    """A scratch folder with a short name: a Unix socket's path has room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        yield pathlib.Path(folder)
