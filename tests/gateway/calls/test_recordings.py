# SPDX-License-Identifier: GPL-2.0-or-later
"""Which calls are recorded, and where: the worker is played."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import Awaitable, Callable
from unittest import mock

import pytest

from support.call_rig import CONFIG, Rig
from trunkline.gateway.calls import recordings
from trunkline.gateway.calls.recorded import Recorded
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.config import load
from trunkline.gateway.media import channel, control
from trunkline.gateway.sip.events import CallState, SipMessage
from trunkline.gateway.sip.messages import Trace


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


def sip(call_id: str, text: str, outbound: bool = False, peer: str = "192.0.2.1:5070") -> SipMessage:
    return SipMessage(call_id, outbound, text, 1_700_000_000_000_000_000, peer, 5080)


def seen(rig: Rig) -> list[control.SipSeen]:
    return [one for one in rig.media.sent if isinstance(one, control.SipSeen)]


def test_sip_messages_go_into_the_recording_and_nowhere_else(tmp_path: pathlib.Path) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.sip(sip(call_id, "before"))
        await rig.service.start_recording(call_id, str(tmp_path / "1.pcapng"))
        assert rig.take(Trace) == [Trace(call_id, wanted=True)]
        await rig.sip(sip(call_id, "INFO", peer="[2001:db8::1%eth0]:5071"))
        await rig.sip(sip(call_id, "x" * 70_000, outbound=True, peer=""))
        await rig.sip(sip("another", "INFO"))
        first, second = seen(rig)
        assert (first.data, first.peer, first.port) == (b"INFO", ("2001:db8::1", 5071), 5080)
        assert second.outbound and second.peer == ("", 5060) and second.data == b"x" * recordings.SIP_BYTES
        assert len(control.encode(second)) < channel.MAX_MESSAGE_BYTES
        await rig.service.stop_recording(call_id)
        assert rig.take(Trace) == [Trace(call_id, wanted=False)]
        await rig.sip(sip(call_id, "after"))
        assert len(seen(rig)) == 2

    run(scenario)


def test_a_flood_of_sip_messages_ends_their_recording_alone(tmp_path: pathlib.Path) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.service.start_recording(call_id, str(tmp_path / "1.pcapng"))
        for _ in range(recordings.SIP_MESSAGES + 3):
            await rig.sip(sip(call_id, "INFO"))
        assert len(seen(rig)) == recordings.SIP_MESSAGES
        assert rig.take(Trace)[-1] == Trace(call_id, wanted=False)

    run(scenario)


def test_messages_wait_for_a_worker_some_of_them(tmp_path: pathlib.Path) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.service.start_recording(call_id, str(tmp_path / "1.pcapng"))
        with mock.patch.object(rig.media, "send", return_value=False):
            for number in range(30):
                await rig.sip(sip(call_id, str(number)))
        await rig.sip(sip(call_id, "30"))
        assert [one.data for one in seen(rig)] == [str(n).encode() for n in range(11, 31)]

    run(scenario)
