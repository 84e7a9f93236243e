# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths of recordings that the API asks for and that no file can have: a refusal, not a fault of ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from trunkline.gateway.calls import recordings
from trunkline.gateway.calls.call import ANSWERED
from trunkline.gateway.calls.refused import CallRefused


@pytest.mark.parametrize(
    ("path", "cause"),
    [(f"/tmp/{'a' * 300}.pcapng", "bad_path"), (f"/{'b' * 300}/c", "bad_path"), ("/nowhere/c", "no_folder")],
)
def test_a_path_that_no_file_can_have_is_refused(path: str, cause: str) -> None:
    """A name of 300 characters; a folder that is not there."""
    call = cast("Any", SimpleNamespace(id="x", phase=next(iter(ANSWERED)), recording=""))
    with pytest.raises(CallRefused) as refused:
        recordings.start(cast("Any", SimpleNamespace()), call, path)
    assert (refused.value.cause, refused.value.http_status) == (cause, 422)
