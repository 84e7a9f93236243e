# SPDX-License-Identifier: GPL-2.0-or-later
"""What callers of G.722 and Opus say is known at the agent, and what is not it is told apart."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from support import played_bench as played
from trunkline.codecs.registry import open_codec
from trunkline.codecs.resample import get_resampler
from trunkline.gateway.bench import generating, signal
from trunkline.gateway.bench.errors import BenchError
from trunkline.gateway.bench.keys import Keys
from trunkline.gateway.bench.matching import match_down, match_up
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.spoken import alike, expected, spoken
from trunkline.rtp.sdes import SUITES

WITH_MEMORY = [("G722", 20, 16000), ("G722", 30, 48000), ("OPUS", 20, 16000), ("OPUS", 60, 48000), ("OPUS", 10, 8000)]
CALL = 3


def decoded(plan: Plan, packets: int) -> np.ndarray:
    """What an agent hears of a call: a decoder that begins where the call does, frame by frame."""
    said, codec = spoken(plan), open_codec(plan.codec, 1, plan.agent_rate_hz)
    resampler = get_resampler(codec.sample_rate_hz, plan.agent_rate_hz)
    history, row, out = resampler.new_history(1), np.zeros(1, np.intp), []
    for k in range(packets):
        which = said.pattern[(CALL * said.step + k) % len(said.pattern)]
        payload = np.ascontiguousarray(said.payloads[which][None, : said.lengths[which]])
        samples = codec.sample_rate_hz * plan.ptime_ms // 1000
        if codec.variable:
            pcm = codec.decode_variable(row, payload, np.array([payload.shape[1]], np.int32), samples)
        else:
            pcm = codec.decode(row, payload)
        pcm, history = resampler.process(history, pcm)
        out.append(pcm[0])
    return np.array(out)


@pytest.mark.parametrize(("codec", "ptime_ms", "rate_hz"), WITH_MEMORY)
def test_a_call_that_begins_amid_the_stream_is_told_packet_by_packet(
    codec: str, ptime_ms: int, rate_hz: int
) -> None:
    """Over the seam, too, where the clip begins anew; and one packet off is nearly always told."""
    plan = Plan(1, codec, ptime_ms, agent_rate_hz=rate_hz)
    count = len(spoken(plan).pattern) + 40
    frames, warm = decoded(plan, count), 60
    assert expected(codec, ptime_ms, rate_hz).shape == (count - 40, plan.frame_samples)
    at = signal.window(plan.frame_samples, rate_hz)
    number = np.arange(count)
    call = np.full(count, CALL)
    assert alike(plan, frames[:, at], call, number)[warm:].mean() > 0.995
    loud = np.square(frames[:, at].astype(float)).mean(axis=1) > 500**2
    assert loud.mean() > 0.3, "speech, not silence"
    for off in (-1, 1, 7):
        assert alike(plan, frames[:, at], call, number + off)[loud].mean() < 0.1
    assert alike(plan, np.zeros_like(frames[:, at]), call, number)[loud].mean() < 0.02


def test_a_run_with_a_codec_that_has_a_memory_is_judged_by_what_was_heard() -> None:
    plan = played.plan(codec="G722")
    sent = played.generated(dataclasses.replace(plan, codec="PCMU"))
    frames = played.frames(plan, sent)
    at = signal.window(plan.frame_samples, plan.agent_rate_hz)
    said = spoken(plan)
    number = (frames.position // plan.frame_samples) - played.LEAD
    which = said.pattern[(frames.call * said.step + number) % len(said.pattern)]
    frames.window[:] = expected(plan.codec, plan.ptime_ms, plan.agent_rate_hz)[which][:, at]
    up = match_up(plan, sent, frames)
    assert (up.lost, up.wrong, up.unmatched_calls) == (0, 0, 0) and len(up.delay_ms) == up.sent
    assert match_down(plan, sent).unmatched_calls == 0, "its numbers alone tell of what comes back"
    frames.window[frames.call == 1] = 7000
    up = match_up(plan, sent, frames)
    assert up.unmatched_calls == 1 and up.wrong == 200 and up.lost == 200


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"codec": "GSM"}, "--codec: no codec 'GSM'"),
        ({"codec": "OPUS", "ptime_ms": 30}, "--ptime 30: packets of OPUS have 10, 20, 40, 60 ms"),
        ({"codec": "L16/44100", "ptime_ms": 20}, "--ptime 20: packets of L16/44100 have 10 ms"),
        ({"codec": "G722", "dialect": "audiosocket", "agent_rate_hz": 8000}, "use --dialect trunkline"),
        ({"srtp": "NULL"}, "--srtp 'NULL': it is one of AEAD_AES_256_GCM"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(options: dict[str, object], why: str) -> None:
    with pytest.raises(BenchError, match=re.escape(why)):
        Plan(1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("suite", SUITES)
def test_each_call_has_two_keys_of_its_own_and_no_text_shows_them(suite: str) -> None:
    plan = Plan(3, srtp=suite)
    keys = Keys.of(plan)
    masters = {one.master for one in keys.caller + keys.worker}
    assert len(masters) == 6 and len(bytes(keys)) == 6 * SUITES[suite].master_bytes
    assert keys.of_call(1) == (keys.worker[1], keys.caller[1])
    assert not any(repr(master) in repr(keys) for master in masters)
    assert (bytes(Keys.of(Plan(3))), Keys.of(Plan(3)).of_call(0)) == (b"", (None, None))


def test_srtp_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(generating.build, "compiler", lambda: None)
    with pytest.raises(BenchError, match="For SRTP there is no generator in Python"):
        generating.generator_command(Plan(5, srtp="AEAD_AES_128_GCM"))
