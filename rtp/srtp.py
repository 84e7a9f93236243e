# SPDX-License-Identifier: GPL-2.0-or-later
"""SRTP and SRTCP (RFC 3711): packets protected and unprotected in place, batch by batch.

    sender = Sender(key, ssrc, roc)        one direction of a call: key of ours, source of ours
    receiver = Receiver(key)               the other one: key of the peer, whoever has it may send
    protect(handles, mkis, packets, lengths), unprotect(...)   rows of a batch, one call into the library each

The library is libsrtp (libsrtp.py).  A packet whose tag is wrong, or that has been seen, changes nothing in a
context.  Its bytes may have changed all the same (AES-GCM decrypts as it checks): drop it, or keep a copy.

A context knows the rollover counter of each source (RFC 3711 3.3.1).  One that goes on where another left off
(`Sender(roc=...)`, `Receiver.resume`) is told where that was.  SRTCP has an index of its own, which the library
only lets go up by one: `Sender.skip_rtcp` does that.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from trunkline.rtp.libsrtp import OK, REPLAY_FAIL, REPLAY_OLD, load
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.sdes import CryptoKey

TRAILER_BYTES = 16 + 128 + 4
"Most that protection adds to a packet: tag, MKI, index of SRTCP. Buffers need this much room behind it."
_MAX_PACKET_BYTES = 2048

Bytes = NDArray[np.uint8]
Lengths = NDArray[np.int32]
Handles = NDArray[np.int64]


class _Context:
    """What sender and receiver share: a handle of the library, and when it is given back."""

    def __init__(self, key: CryptoKey, ssrc: int | None) -> None:
        self._library = load()
        self.key = key
        self.handle = self._library.create(key, ssrc)
        self.mki = int(key.mki_bytes > 0)
        "1: packets carry one"

    def close(self) -> None:
        """Free it; it must not be used afterwards."""
        handle, self.handle = self.handle, 0
        if handle:
            self._library.dealloc(handle)

    def __del__(self) -> None:
        if getattr(self, "handle", 0):
            self.close()


class Sender(_Context):
    """Protects what one source of ours sends."""

    def __init__(self, key: CryptoKey, ssrc: int, roc: int = 0) -> None:
        """`roc` is the rollover counter of the next packet."""
        super().__init__(key, ssrc)
        self._ssrc = ssrc
        if roc:
            self._library.set_roc(self.handle, ssrc, roc)

    def protect(self, packet: bytes) -> bytes | None:
        """One RTP packet; None if the library refuses (its number was used before)."""
        return _one(self._library.protect, packet, self.handle, self.mki, 0)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """One compound RTCP packet."""
        return _one(self._library.protect_rtcp, packet, self.handle, self.mki, 0)

    def skip_rtcp(self, count: int) -> None:
        """Use up so many SRTCP indexes: a predecessor has."""
        buffer = ctypes.create_string_buffer(64)
        report = bytes.fromhex("80c90001") + self._ssrc.to_bytes(4, "big")
        size = ctypes.c_int()
        for _ in range(count):
            ctypes.memmove(buffer, report, len(report))
            size.value = len(report)
            self._library.protect_rtcp(self.handle, ctypes.addressof(buffer), ctypes.addressof(size), 0, 0)


class Receiver(_Context):
    """Unprotects what comes from whoever has the key."""

    def __init__(self, key: CryptoKey) -> None:
        super().__init__(key, None)

    def resume(self, ssrc: int, index: int) -> None:
        """Take source `ssrc` to have sent packets up to `index` (rollover counter << 16 | sequence number).

        The library is given a packet of that index, made with the same key: so it stands exactly where it
        stood, with that packet seen, and finds later ones by its own rules.
        """
        library, handle = self._library, self.handle
        library.add(handle, self.key, ssrc)
        twin = Sender(self.key, ssrc, index >> 16)
        header = (
            bytes.fromhex("8000") + (index & 0xFFFF).to_bytes(2, "big") + bytes(4) + ssrc.to_bytes(4, "big")
        )
        packet = twin.protect(header)
        twin.close()
        library.set_roc(handle, ssrc, index >> 16)
        if packet is not None:
            self.unprotect(packet)

    def roc(self, ssrc: int) -> int | None:
        """Rollover counter of a source, None if nothing of it has been taken."""
        return self._library.get_roc(self.handle, ssrc)

    def unprotect(self, packet: bytes) -> bytes | Drop:
        """One SRTP packet, or why it is none; scalar twin of the batch function."""
        return self._open(self._library.unprotect, packet)

    def unprotect_rtcp(self, packet: bytes) -> bytes | Drop:
        """One SRTCP packet, or why it is none."""
        return self._open(self._library.unprotect_rtcp, packet)

    def _open(self, function: Callable[..., int], packet: bytes) -> bytes | Drop:
        buffer = ctypes.create_string_buffer(packet, max(len(packet), _MAX_PACKET_BYTES))
        size = ctypes.c_int(len(packet))
        status = function(self.handle, ctypes.addressof(buffer), ctypes.addressof(size), self.mki)
        return buffer.raw[: size.value] if status == OK else drop_reason(status)


def protect(handles: Handles, mkis: Handles, packets: Bytes, lengths: Lengths) -> NDArray[np.bool_]:
    """Protect packets[n, width] in place, one of each sender; lengths[n] grow. False where the library refused.

    `handles` and `mkis` [n] are those of the senders. `packets` must be one block of memory with
    TRAILER_BYTES of room behind each packet.
    """
    addresses, sizes = _places(packets, lengths, None)
    if mkis.any():
        statuses = list(map(load().protect, handles.tolist(), addresses, sizes, mkis.tolist(), repeat(0)))
    else:
        statuses = list(map(load().protect_plain, handles.tolist(), addresses, sizes))
    return np.array(statuses) == OK if any(statuses) else np.ones(len(statuses), bool)


def unprotect(
    handles: Handles, mkis: Handles, packets: Bytes, lengths: Lengths, which: NDArray[np.intp] | None = None
) -> list[int]:
    """Unprotect packets[n, width] in place, one of each receiver; lengths[n] shrink where it succeeds.

    `handles` and `mkis` [n] are those of the receivers; with `which` [n], only packets[which] are meant.
    Returns a status of the library for each, 0 for those that are good: `drop_reason` tells what others mean.
    """
    addresses, sizes = _places(packets, lengths, which)
    if mkis.any():
        return list(map(load().unprotect, handles.tolist(), addresses, sizes, mkis.tolist()))
    return list(map(load().unprotect_plain, handles.tolist(), addresses, sizes))


def drop_reason(status: int) -> Drop:
    """What a status of `unprotect` other than 0 means for the packet."""
    return Drop.SRTP_REPLAY if status in (REPLAY_FAIL, REPLAY_OLD) else Drop.SRTP_AUTH


def _places(
    packets: Bytes, lengths: Lengths, which: NDArray[np.intp] | None
) -> tuple[Iterable[int], Iterable[int]]:
    """Addresses of each packet and of its length."""
    n, stride = len(packets), packets.strides[0]
    assert packets.flags.c_contiguous
    assert lengths.flags.c_contiguous
    assert lengths.dtype == np.int32
    base, size = packets.ctypes.data, lengths.ctypes.data
    if which is None:
        return range(base, base + n * stride, stride), range(size, size + 4 * n, 4)
    return (base + which * stride).tolist(), (size + 4 * which).tolist()


def _one(function: Callable[..., int], packet: bytes, *context: int) -> bytes | None:
    handle, mki, index = context
    buffer = ctypes.create_string_buffer(packet, len(packet) + TRAILER_BYTES)
    size = ctypes.c_int(len(packet))
    status = function(handle, ctypes.addressof(buffer), ctypes.addressof(size), mki, index)
    return buffer.raw[: size.value] if status == OK else None
