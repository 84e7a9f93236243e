# SPDX-License-Identifier: GPL-2.0-or-later
"""Second half of the downlink: blocks of PCM, or digits, to packets that leave.

    Downlink -> resample -> encode -> headers -> sockets

Digits take the place of audio (RFC 4733), so they are made here too.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media.batch import PACKET_BYTES
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.comfort_noise import ComfortNoise
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import HEADER_BYTES, write_headers

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Mask = NDArray[np.bool_]
Sizes = int | NDArray[np.int32]

PAUSE = np.frombuffer(bytes(ComfortNoise(-66)), np.uint8)
"""What a pause of an agent sounds like. Its own silence is digital, so there is no background to describe; but a
line that is alive is not quite silent. White noise at -66 dBov is 45 dB below speech."""


class PacketSink(Protocol):
    """Takes finished packets (udp.py).

    One that has `compiled_send` says with it what may be called in its place for the next batch: a bound
    `send_packets`, or None.
    """

    def send(
        self, rows: Rows, packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Send packets[n, bytes], one for each row; False where the kernel refused.

        Without `lengths` packets are as long as the array is wide.
        """


class PacketWriter:
    """Makes packets in one buffer and hands them to the sink; timestamps are the packet clock's business."""

    def __init__(self, table: Table, sink: PacketSink) -> None:
        self._table = table
        self._sink = sink
        self._buffer = np.zeros((256, PACKET_BYTES), np.uint8)

    @property
    def compiled_send(self) -> Kernel | None:
        """What may be called in place of `send_made` now."""
        kernel: Kernel | None = getattr(self._sink, "compiled_send", None)
        return kernel

    def send_audio(self, fmt: Format, rows: Rows, pcm: Pcm, marker: Mask) -> tuple[Mask, Sizes]:
        """One packet for each row, pcm[n, samples] at the agents' rate; which ones the kernel took, and their sizes.

        The size is that of the payload, in bytes; one number if all are alike, and 0 where the encoder had nothing
        to say, which is no refusal. Counting is the caller's; so are sequence numbers.
        """
        table = self._table
        table.last_sample[rows] = pcm[:, -1]
        return self.send_line(fmt, rows, fmt.down.process_rows(table.down_history, rows, pcm), marker)

    def send_line(self, fmt: Format, rows: Rows, pcm: Pcm, marker: Mask) -> tuple[Mask, Sizes]:
        """The same for pcm[n, samples] at the rate of the line."""
        table, c = self._table, self._table.shared
        payload, lengths = fmt.codec.encode(rows, pcm)
        if lengths is not None:
            return self._send_lengths(rows, payload, lengths, marker), lengths
        packets = self.room(len(rows))[:, : HEADER_BYTES + payload.shape[1]]
        write_headers(packets, table.send_pt[rows], marker, c.tx_seq[rows], c.tx_ts[rows], c.tx_ssrc[rows])
        packets[:, HEADER_BYTES:] = payload
        return self._sink.send(rows, packets), payload.shape[1]

    def _send_lengths(
        self, rows: Rows, payload: NDArray[np.uint8], lengths: NDArray[np.int32], marker: Mask
    ) -> Mask:
        """Payloads of several lengths. After those of length 0, which are not sent, comes a marker (RFC 3551 4.1)."""
        table, c, sent = self._table, self._table.shared, np.ones(len(rows), bool)
        marker = marker | table.left_out[rows]
        table.left_out[rows] = lengths == 0
        made = np.flatnonzero(lengths)
        if len(made):
            rows = rows[made]
            packets = self.room(len(made))[:, : HEADER_BYTES + payload.shape[1]]
            write_headers(packets, table.send_pt[rows], marker[made], c.tx_seq[rows], c.tx_ts[rows], c.tx_ssrc[rows])
            packets[:, HEADER_BYTES:] = payload[made]
            sent[made] = self._sink.send(rows, packets, HEADER_BYTES + lengths[made])
        return sent

    def send_made(self, rows: Rows, packets: NDArray[np.uint8]) -> Mask:
        """Packets[n, bytes] that are finished; which ones the kernel took."""
        return self._sink.send(rows, packets)

    def send_noise(self, rows: Rows) -> None:
        """Comfort noise for rows whose agent pauses (RFC 3389)."""
        table, c = self._table, self._table.shared
        packets = self.room(len(rows))[:, : HEADER_BYTES + len(PAUSE)]
        no_marker = np.zeros(len(rows), bool)
        number = table.send_cn_pt[rows].astype(np.uint8)
        write_headers(packets, number, no_marker, c.tx_seq[rows], c.tx_ts[rows], c.tx_ssrc[rows])
        packets[:, HEADER_BYTES:] = PAUSE
        self.account(rows, len(PAUSE), self._sink.send(rows, packets))

    def account(self, rows: Rows, payload_bytes: Sizes, sent: Mask) -> None:
        """Count packets; a refused one has used its sequence number, as if the network had lost it."""
        c = self._table.shared
        if not isinstance(payload_bytes, int):
            made = payload_bytes > 0
            rows, payload_bytes, sent = rows[made], payload_bytes[made], sent[made]
        c.tx_seq[rows] += 1
        if not sent.all():
            c.drops[rows[~sent], Drop.SEND_FAILED] += 1
            c.worker.drops[Drop.SEND_FAILED] += int((~sent).sum())
            rows = rows[sent]
            if not isinstance(payload_bytes, int):
                payload_bytes = payload_bytes[sent]
        c.packets_sent[rows] += 1
        c.octets_sent[rows] += payload_bytes
        c.worker.packets_sent[0] += len(rows)

    def send_digits(self, rows: Rows) -> Mask | None:
        """RFC 4733 events take the place of audio; returns which rows sent one, None if none did."""
        table, c = self._table, self._table.shared
        keyed: Mask | None = None
        for i, row in enumerate(rows.tolist()):
            if row not in table.keying:
                continue
            stream = table.streams[row]
            if stream is not None and stream.tones_out is not None and stream.tones_out.active:
                continue
            sender = stream.digits_out if stream is not None else None
            if sender is None or not sender.active:
                table.keying.discard(row)
                continue
            assert stream is not None
            event = sender.next_packet(int(c.tx_ts[row]))
            if event is None:  # the gap between two digits: silence or speech, as usual
                continue
            keyed = np.zeros(len(rows), bool) if keyed is None else keyed
            keyed[i] = True
            self._send_event(stream, event.payload, event.marker, event.timestamp)
        return keyed

    def send_tones(self, fmt: Format, rows: Rows) -> Mask | None:
        """Keys as sound, in place of audio; returns which rows of this format sent some, None if none did.

        The gap behind a key is part of it: what the agent says would hide the end of the tone.
        """
        table = self._table
        toned = np.zeros(len(rows), bool)
        frames: list[Pcm] = []
        for i, row in enumerate(rows.tolist()):
            stream = table.streams[row] if row in table.keying else None
            if stream is not None and stream.tones_out is not None and stream.tones_out.active:
                toned[i] = True
                frames.append(stream.tones_out.next_frame(fmt.packet_samples))
        if not frames:
            return None
        keyed = rows[toned]
        marker = table.last_sample[keyed] == 0
        marker &= table.shared.tx_talking[keyed] == 0
        sent, payload_bytes = self.send_audio(fmt, keyed, np.stack(frames), marker)
        self.account(keyed, payload_bytes, sent)
        return toned

    def _send_event(self, stream: Stream, payload: bytes, marker: bool, timestamp: int) -> None:
        c, one = self._table.shared, np.array([stream.row], np.intp)
        packets = self.room(1)[:, : HEADER_BYTES + len(payload)]
        write_headers(
            packets, np.array([stream.media.send_dtmf_pt], np.uint8), np.array([marker]), c.tx_seq[one],
            np.array([timestamp], np.int64), c.tx_ssrc[one],
        )  # fmt: skip
        packets[:, HEADER_BYTES:] = np.frombuffer(payload, np.uint8)
        self.account(one, len(payload), self._sink.send(one, packets))

    def room(self, n: int) -> NDArray[np.uint8]:
        """For so many packets: u8[n, PACKET_BYTES], until the next batch is made."""
        if len(self._buffer) < n:
            self._buffer = np.zeros((2 * n, PACKET_BYTES), np.uint8)
        return self._buffer[:n]
