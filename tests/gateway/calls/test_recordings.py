# SPDX-License-Identifier: GPL-2.0-or-later
"""Which calls are recorded, and where: the worker is played."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import Awaitable, Callable

import pytest

from support.call_rig import CONFIG, Rig
from trunkline.gateway.calls.recorded import Recorded
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.config import load
from trunkline.gateway.media import control
from trunkline.gateway.sip.events import CallState


def run(scenario: Callable[[Rig], Awaitable[None]], config: str = CONFIG) -> None:
    async def play() -> None:
        rig = Rig(config)
        try:
            await scenario(rig)
        finally:
            rig.service.stop()

    asyncio.run(play())


def recording(folder: str, megabytes: int = 1) -> str:
    return CONFIG.replace(
        'name = "all"\n', f'name = "all"\nrecord = "{folder}"\nrecord_folder_mb = {megabytes}\n'
    )


def ended(call_id: str, path: str, outcome: str = "complete", octets: int = 10) -> control.RecordingEnded:
    return control.RecordingEnded(call_id, path, octets, 0, outcome)


def test_a_call_has_one_recording_at_a_time(tmp_path: pathlib.Path) -> None:
    """A second request is told where the first one goes, until that one has ended."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        first, second = str(tmp_path / "1.pcapng"), str(tmp_path / "2.pcapng")
        await rig.service.start_recording(call_id, first)
        with pytest.raises(CallRefused, match=r"1\.pcapng") as refused:
            await rig.service.start_recording(call_id, second)
        assert refused.value.http_status == 409
        await rig.service.stop_recording(call_id)
        await rig.service.start_recording(call_id, second)
        rig.service.media_message(ended(call_id, first))
        with pytest.raises(CallRefused):
            await rig.service.start_recording(call_id, first)
        rig.service.media_message(ended(call_id, second, "failed"))
        await rig.service.start_recording(call_id, first)
        assert len([one for one in rig.media.sent if isinstance(one, control.StartRecording)]) == 3

    run(scenario)


@pytest.mark.parametrize("outcome", ["limit", "failed"])
def test_a_recording_that_has_ended_does_not_begin_again_with_another_worker(
    tmp_path: pathlib.Path, outcome: str
) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        started = rig.media.started[call_id].recording
        assert started is not None and started.path == str(tmp_path / f"{call_id}.pcapng")
        rig.service.media_message(ended(call_id, started.path, outcome))
        assert rig.media.started[call_id].recording is None

    run(scenario, recording(str(tmp_path)))


def test_a_folder_is_relative_to_the_configuration(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "trunkline.toml"
    file.write_text(recording("calls"))
    monkeypatch.chdir(tmp_path)

    async def scenario() -> None:
        rig = Rig()
        rig.service._book.config = load(file)
        call_id = await rig.invite()
        started = rig.media.started[call_id].recording
        assert started is not None and pathlib.Path(started.path).parent == tmp_path / "etc" / "calls"
        rig.service.stop()

    asyncio.run(scenario())


def test_a_full_folder_takes_no_more_and_is_not_listed_for_each_call(tmp_path: pathlib.Path) -> None:
    """What ends adds up at once; what somebody deletes is seen within a minute, by a thread."""

    async def counted(rig: Rig) -> None:
        rig.service._recount_at = time.monotonic() - 1
        rig.service._sweep()
        await asyncio.sleep(0.1)

    async def scenario(rig: Rig) -> None:
        await asyncio.sleep(0.1)
        call_id = await rig.up()
        path = rig.media.started[call_id].recording.path  # type: ignore[union-attr]
        (tmp_path / "other.txt").write_bytes(bytes(2_000_000))
        await counted(rig)
        rig.service.media_message(ended(call_id, path, octets=1_000_000))
        assert rig.media.started[await rig.invite()].recording is None
        await counted(rig)
        assert rig.media.started[await rig.invite()].recording is not None, "it was not there, after all"
        (tmp_path / "old.pcapng").write_bytes(bytes(1_000_000))
        await counted(rig)
        assert rig.media.started[await rig.invite()].recording is None
        await rig.state(call_id, CallState.ENDED, 200)

    run(scenario, recording(str(tmp_path)))


def test_a_folder_that_cannot_be_read_counts_as_before(tmp_path: pathlib.Path) -> None:
    recorded, folder = Recorded(), tmp_path / "later"
    recorded.count([folder])
    assert recorded.octets(folder) == 0
    recorded.add(folder / "a.pcapng", 5)
    recorded.add(tmp_path / "elsewhere.pcapng", 7)
    recorded.count([folder])
    assert recorded.octets(folder) == 5 and recorded.octets(tmp_path) == 0
