# SPDX-License-Identifier: GPL-2.0-or-later
"""SRTP from the RFCs, packet by packet and slowly: the independent twin of trunkline.rtp.srtp.

AES, GCM and HMAC are those of `cryptography` and the standard library; all that is SRTP (RFC 3711,
RFC 6188, RFC 7714) is written down here from the text, and checked by the RFCs' own vectors in
tests/rtp/test_srtp_vectors.py.
"""

from __future__ import annotations

import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trunkline.rtp.sdes import SUITES, CryptoKey


def aes_cm(key: bytes, iv: int, n: int) -> bytes:
    """Keystream of AES in counter mode (RFC 3711 4.1.1); `iv` is the first counter block."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv.to_bytes(16, "big"))).encryptor()
    return encryptor.update(bytes(n))


def derive(master_key: bytes, salt: bytes, label: int, n: int) -> bytes:
    """Session key (RFC 3711 4.3, key derivation rate 0); AES of the master key's size (RFC 6188)."""
    x = int.from_bytes(salt.ljust(14, b"\0"), "big") ^ label << 48
    return aes_cm(master_key, x << 16, n)


def header_bytes(packet: bytes) -> int:
    """Length of an RTP header with its CSRCs and extension."""
    size = 12 + 4 * (packet[0] & 15)
    if packet[0] & 0x10:
        size += 4 + 4 * int.from_bytes(packet[size + 2 : size + 4], "big")
    return size


class Reference:
    """Protects packets of one source; the caller says each packet's index."""

    def __init__(self, key: CryptoKey) -> None:
        suite = SUITES[key.suite]
        master, salt = key.master[: suite.key_bytes], key.master[suite.key_bytes :]
        sizes = (suite.key_bytes, 20, suite.salt_bytes)
        self.suite = suite
        self.rtp = [derive(master, salt, label, n) for label, n in zip((0, 1, 2), sizes, strict=True)]
        self.rtcp = [derive(master, salt, label, n) for label, n in zip((3, 4, 5), sizes, strict=True)]
        self.mki = key.mki.to_bytes(key.mki_bytes, "big")

    def protect(self, packet: bytes, roc: int) -> bytes:
        """SRTP packet (RFC 3711 3.1, RFC 7714 5)."""
        size = header_bytes(packet)
        head, plain = packet[:size], packet[size:]
        ssrc, index = packet[8:12], roc << 16 | int.from_bytes(packet[2:4], "big")
        key, auth, salt = self.rtp
        if self.suite.aead:
            iv = struct.pack(">H4sIH", 0, ssrc, roc, index & 0xFFFF)  # RFC 7714 8.1
            return head + AESGCM(key).encrypt(xor(iv, salt), plain, head) + self.mki
        body = head + xor(plain, self._stream(key, salt, ssrc, index, len(plain)))
        tag = hmac.digest(auth, body + roc.to_bytes(4, "big"), "sha1")[: self.suite.rtp_tag_bytes]
        return body + self.mki + tag

    def protect_rtcp(self, packet: bytes, index: int) -> bytes:
        """SRTCP packet, encrypted (RFC 3711 3.4, RFC 7714 9)."""
        head, plain, ssrc = packet[:8], packet[8:], packet[4:8]
        key, auth, salt = self.rtcp
        word = (1 << 31 | index).to_bytes(4, "big")
        if self.suite.aead:
            iv = struct.pack(">H4sHI", 0, ssrc, 0, index)  # RFC 7714 9.1
            return head + AESGCM(key).encrypt(xor(iv, salt), plain, head + word) + word + self.mki
        body = head + xor(plain, self._stream(key, salt, ssrc, index, len(plain))) + word
        return body + self.mki + hmac.digest(auth, body, "sha1")[: self.suite.rtcp_tag_bytes]

    def unprotect(self, packet: bytes, roc: int) -> bytes | None:
        """The RTP packet, None if the tag is wrong."""
        size, end = header_bytes(packet), len(packet) - len(self.mki)
        if self.suite.aead:
            iv = struct.pack(">H4sIH", 0, packet[8:12], roc, int.from_bytes(packet[2:4], "big"))
            try:
                plain = AESGCM(self.rtp[0]).decrypt(xor(iv, self.rtp[2]), packet[size:end], packet[:size])
            except InvalidTag:
                return None
            return packet[:size] + plain
        body = packet[: end - self.suite.rtp_tag_bytes]
        again = packet[:size] + xor(body[size:], self._stream_of(packet, roc, len(body) - size))
        return again if self.protect(again, roc) == packet else None

    def _stream_of(self, packet: bytes, roc: int, n: int) -> bytes:
        index = roc << 16 | int.from_bytes(packet[2:4], "big")
        return self._stream(self.rtp[0], self.rtp[2], packet[8:12], index, n)

    @staticmethod
    def _stream(key: bytes, salt: bytes, ssrc: bytes, index: int, n: int) -> bytes:
        iv = int.from_bytes(salt, "big") << 16 ^ int.from_bytes(ssrc, "big") << 64 ^ index << 16
        return aes_cm(key, iv, n)


def xor(left: bytes, right: bytes) -> bytes:
    """Of one length."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
