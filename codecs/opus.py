# SPDX-License-Identifier: GPL-2.0-or-later
"""Opus (RFC 6716) by libopus, in rows: libopus reads and writes payloads and PCM where they lie.

**Rates.** The RTP clock is 48 kHz always, while libopus takes and gives PCM at any rate of
its own.  So a codec object has the rate of the agent, and no resampler of ours is needed.

**State.** Each row has an encoder and a decoder, made when they are first needed and
dropped by `forget`.  They are mono: a stream in stereo is mixed by its decoder.

**Loss.** An empty payload stands for a packet that did not come.  Its decoder conceals it,
and what `conceal` names, from its own state or from the copy in the packet behind the gap,
and fades.  A malformed packet has no duration (`durations`); if it is decoded all the same,
it counts as lost.

**Delay.** A decoder's output lags the encoder's input by `delay_samples`: 6.5 ms.

A batch is a loop, as each frame is a call into libopus.  Around it are as few calls of NumPy as
can be: after milliseconds in libopus, the code of each is cold, and takes 5 us instead of 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trunkline.codecs import opus_native, opus_packet
from trunkline.codecs.opus_native import BANDWIDTHS, Get, Set, address_of
from trunkline.codecs.opus_sending import Loss, OpusSettings, Sending, sending
from trunkline.rtp import opus_fmtp
from trunkline.rtp.opus_fmtp import OpusFmtp

RATES_HZ = (8000, 16000, 24000, 48000)
"of PCM: libopus's own, but for 12 kHz, which no agent has"
PACKET_TIMES_MS = (10, 20, 40, 60)
"of packets that we send: what one frame of speech can be (RFC 6716 table 2)"
WIDTH = opus_packet.MAX_FRAME_BYTES
"room for a packet that we send; libopus keeps to it"
DTX_BYTES = 2
"a packet that is no longer need not be sent (opus_encode); there is none without DTX"
LONGEST_MS = 120
"what libopus decodes or conceals in one call"

Pcm = NDArray[np.int16]
Bytes = NDArray[np.uint8]
Rows = NDArray[np.intp]


class OpusCodec:
    """Opus for all rows of a table. Raises OpusUnavailable where there is no libopus."""

    name = "OPUS"
    variable = True
    conceals = True
    decode_table = None
    encode_table = None

    def __init__(self, rows: int, sample_rate_hz: int = 48000, settings: OpusSettings | None = None) -> None:
        if sample_rate_hz not in RATES_HZ:
            raise ValueError(f"Opus has PCM of {', '.join(map(str, RATES_HZ))} Hz, not of {sample_rate_hz}")
        self.sample_rate_hz = sample_rate_hz
        self.settings = settings or OpusSettings()
        self._native = opus_native.library()
        self._encoders = [0] * rows
        "address of each row's state; 0: none yet"
        self._decoders = [0] * rows
        self._memory: dict[int, Bytes] = {}
        "what keeps the states alive, by address"
        self._peers: dict[int, OpusFmtp] = {}
        self._losses: dict[int, Loss] = {}
        self._applied: dict[int, Sending] = {}
        "settings that a row's encoder has"
        self._quantum = sample_rate_hz // 400
        "2.5 ms: libopus conceals multiples of it"
        self._longest = sample_rate_hz * LONGEST_MS // 1000
        self._packet_sizes = {sample_rate_hz * ms // 1000 for ms in PACKET_TIMES_MS}
        self._spare = np.empty(self._quantum, np.int16)

    @property
    def delay_samples(self) -> int:
        """By which a decoder's output lags the encoder's input."""
        state = self._native.new_encoder(self.sample_rate_hz)
        return self._native.get(address_of(state), Get.LOOKAHEAD)

    @property
    def state_bytes(self) -> int:
        """Memory of all encoders and decoders."""
        return sum(state.nbytes for state in self._memory.values())

    def samples_for(self, payload_bytes: int) -> int:
        """0: the size of a payload does not tell."""
        return 0

    def durations(self, payload: Bytes, lengths: NDArray[np.int32]) -> NDArray[np.int64]:
        """Samples in each of u8[n, width], i32[n]; 0 where it is malformed or empty."""
        return opus_packet.durations(payload, lengths, self.sample_rate_hz)

    def forget(self, row: int) -> None:
        """The row's call is over, or its stream begins anew: its states and what its peer wished are gone."""
        for addresses in (self._encoders, self._decoders):
            self._memory.pop(addresses[row], None)
            addresses[row] = 0
        for known in (self._peers, self._losses, self._applied):
            known.pop(row, None)

    # --- receiving ----------------------------------------------------------------------

    def decode(self, rows: Rows, payload: Bytes) -> Pcm:
        """`decode_variable` of packets that fill their rows and are as long as the first one."""
        lengths = _full(payload)
        return self.decode_variable(rows, payload, lengths, self._samples_of_first(payload, lengths))

    def decode_variable(self, rows: Rows, payload: Bytes, lengths: NDArray[np.int32], samples: int) -> Pcm:
        """u8[n, width] and i32[n] to i16[n, samples]; a length of 0 is a packet that was lost."""
        return self._decode(self._decoders_of(rows), payload, lengths, samples)

    def look_ahead(self, rows: Rows, payload: Bytes, lengths: NDArray[np.int32] | None = None) -> Pcm:
        """What `decode_variable` would give, for as long as the first packet is; no state is moved."""
        lengths = _full(payload) if lengths is None else lengths
        copies = [self._memory[state].copy() for state in self._decoders_of(rows)]
        samples = self._samples_of_first(payload, lengths)
        return self._decode([address_of(copy) for copy in copies], payload, lengths, samples)

    def conceal(self, rows: Rows, samples: int, following: Sequence[bytes] | None = None) -> Pcm:
        """i16[n, samples] in place of what was lost; the states move on.

        `following` is the packet of each row that begins where the gap ends, or b"": the
        last frame of the gap comes from the copy in it, if it has one.
        """
        pcm = np.empty((len(rows), samples), np.int16)
        behind = following or [b""] * len(rows)
        for state, line, packet in zip(self._decoders_of(rows), pcm, behind, strict=True):
            self._conceal(state, line, packet)
        return pcm

    def _decoders_of(self, rows: Rows) -> list[int]:
        return [self._decoders[row] or self._new_decoder(row) for row in rows.tolist()]

    def _new_decoder(self, row: int) -> int:
        state = self._native.new_decoder(self.sample_rate_hz)
        return self._keep(state, self._decoders, row)

    def _decode(self, states: list[int], payload: Bytes, lengths: NDArray[np.int32], samples: int) -> Pcm:
        pcm = np.empty((len(states), samples), np.int16)
        payload = _readable(payload, np.uint8, len(states))
        sizes, width = lengths.tolist(), payload.shape[1]
        if max(sizes, default=0) > width:
            sizes = [min(size, width) for size in sizes]
        decode = self._native.decode
        done = [
            decode(state, packet, size, target, samples, 0)
            for state, packet, size, target in zip(states, _addresses(payload), sizes, _addresses(pcm))  # noqa: B905
        ]
        if done.count(samples) != len(done):  # a packet was not what it was taken for
            for state, line, count in zip(states, pcm, done, strict=True):
                self._conceal(state, line[max(count, 0) :], b"")
        return pcm

    def _conceal(self, state: int, line: Pcm, following: bytes) -> None:
        """Fill one row."""
        decode, odd = self._native.decode, len(line) % self._quantum
        if odd:  # no packet time is; libopus is asked for more than is wanted
            decode(state, None, 0, address_of(self._spare), self._quantum, 0)
            line[:odd] = self._spare[:odd]
            line = line[odd:]
        while len(line):
            # What is far from the end is cut off first, so that the copy comes last.
            count = min(len(line), self._longest)
            last = count == len(line) and opus_packet.packet_us(following) > 0
            packet = following if last else None
            target = address_of(line)
            if decode(state, packet, len(following) if last else 0, target, count, int(last)) != count:
                line[:count] = 0
            line = line[count:]

    def _samples_of_first(self, payload: Bytes, lengths: NDArray[np.int32]) -> int:
        return int(self.durations(payload[:1], lengths[:1]).sum())

    # --- sending ------------------------------------------------------------------------

    def encode(self, rows: Rows, pcm: Pcm) -> tuple[Bytes, NDArray[np.int32]]:
        """PCM, i16[n, samples] of 10, 20, 40 or 60 ms, to u8[n, width] and i32[n].

        A length of 0: silence that need not be sent.
        """
        samples = pcm.shape[1]
        if samples not in self._packet_sizes:
            times = ", ".join(map(str, PACKET_TIMES_MS))
            raise ValueError(
                f"Opus is sent in packets of {times} ms, not of {1000 * samples / self.sample_rate_hz:g}"
            )
        numbers, pcm = rows.tolist(), _readable(pcm, np.int16, len(rows))
        states = [self._encoders[row] or self._new_encoder(row) for row in numbers]
        payload = np.empty((len(numbers), WIDTH), np.uint8)
        encode = self._native.encode
        sizes = [
            encode(state, source, samples, target, WIDTH)
            for state, source, target in zip(states, _addresses(pcm), _addresses(payload))  # noqa: B905
        ]
        if min(sizes, default=WIDTH) <= DTX_BYTES:
            sizes = [size if size > DTX_BYTES else 0 for size in sizes]
        return payload[:, : max(sizes, default=0)], np.array(sizes, np.int32)

    def configure(self, row: int, parameters: str) -> None:
        """What the peer's a=fmtp asks of what we send; at once, also in mid-call."""
        self._peers[row] = opus_fmtp.parse(parameters)
        self._apply(row)

    def note_loss(self, rows: Rows, percent: ArrayLike) -> None:
        """What the peer's receiver reports say that it lost of our stream since the last one, f64[n]."""
        reported: Iterable[float] = np.broadcast_to(np.asarray(percent, float), len(rows)).tolist()
        for row, one in zip(rows.tolist(), reported, strict=True):
            self._losses[row] = self._losses.get(row, Loss()).after(one)
            self._apply(row)

    def sending(self, row: int) -> Sending:
        """The settings that the row's stream is sent with."""
        peer, loss = self._peers.get(row, OpusFmtp()), self._losses.get(row, Loss())
        return sending(self.settings, self.sample_rate_hz, peer, loss)

    def _new_encoder(self, row: int) -> int:
        state = self._keep(self._native.new_encoder(self.sample_rate_hz), self._encoders, row)
        self._native.set(state, Set.COMPLEXITY, self.settings.complexity)
        self._apply(row)
        return state

    def _apply(self, row: int) -> None:
        """Tell the encoder what has changed, once there is one."""
        state, wanted, had = self._encoders[row], self.sending(row), self._applied.get(row)
        if not state or wanted == had:
            return
        self._native.set(state, Set.MAX_BANDWIDTH, BANDWIDTHS[wanted.bandwidth_hz])
        self._native.set(state, Set.BITRATE, wanted.bitrate_bps)
        self._native.set(state, Set.VBR, wanted.vbr)
        self._native.set(state, Set.DTX, wanted.dtx)
        self._native.set(state, Set.INBAND_FEC, wanted.fec)
        self._native.set(state, Set.PACKET_LOSS_PERCENT, wanted.loss_percent)
        self._applied[row] = wanted

    def _keep(self, state: Bytes, addresses: list[int], row: int) -> int:
        address = addresses[row] = address_of(state)
        self._memory[address] = state
        return address


def _full(payload: Bytes) -> NDArray[np.int32]:
    return np.full(len(payload), payload.shape[1], np.int32)


def _readable(array: NDArray[Any], kind: type[np.generic], rows: int) -> NDArray[Any]:
    """So many rows, each with its items side by side: libopus would read beyond whatever is smaller."""
    if len(array) != rows:
        raise ValueError(f"{len(array)} packets or frames for {rows} rows")
    ready = array.dtype == kind and array.strides[1] == array.itemsize
    return array if ready else np.ascontiguousarray(array, kind)


def _addresses(array: NDArray[Any]) -> Iterable[int]:
    """Of its rows, endlessly: to be zipped behind something that ends."""
    return itertools.count(address_of(array), array.strides[0])
