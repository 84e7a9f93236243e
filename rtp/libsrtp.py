# SPDX-License-Identifier: GPL-2.0-or-later
"""libsrtp 2 by ctypes: the C library that protects and unprotects packets in place.

Which copy: the one in the wheel of pylibsrtp (libsrtp 2.7 with OpenSSL 3.5), whose symbols are all
exported, and if that is ever built otherwise, the system's `libsrtp2.so.1`, which PJSIP needs anyway.
Debian's 2.5 is built with NSS, and a packet of 172 bytes with AES-CM and HMAC-SHA1 takes 2.6 us in it
against 0.75 us here; with AES-GCM 1.2 us against 0.5 us (Xeon, `python -m bench.srtp_cost`).

Why not pylibsrtp's own Python interface: it copies each packet twice (1.7 us), lacks
AES_256_CM_HMAC_SHA1_80 and MKI, and cannot set a rollover counter, which a call needs that goes on in
another process.

The layout of `srtp_policy_t` is written here by hand, so nothing is believed: `load` protects one packet
of each suite and compares what comes out (`_PROOF`), and what does not agree is not used.

Calls do not let go of the interpreter lock (PyDLL): each takes less time than that would.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterator

from trunkline.rtp.sdes import SUITES, CryptoKey

OK, AUTH_FAIL, REPLAY_FAIL, REPLAY_OLD = 0, 7, 9, 10
"srtp_err_status_t"
ANY_INBOUND, SPECIFIC = 2, 1
"srtp_ssrc_type_t"
REPLAY_WINDOW = 256
"""Packets behind the newest that may still come (RFC 3711 3.3.2 asks for 64 at least): what the reorder buffer of
the call could use."""

_SYSTEM = "libsrtp2.so.1"
_SETTERS = {
    "AES_CM_128_HMAC_SHA1_80": ("srtp_crypto_policy_set_rtp_default", "srtp_crypto_policy_set_rtcp_default"),
    "AES_CM_128_HMAC_SHA1_32": (
        "srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32",
        "srtp_crypto_policy_set_rtcp_default",
    ),
    "AES_256_CM_HMAC_SHA1_80": ("srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80",) * 2,
    "AEAD_AES_128_GCM": ("srtp_crypto_policy_set_aes_gcm_128_16_auth",) * 2,
    "AEAD_AES_256_GCM": ("srtp_crypto_policy_set_aes_gcm_256_16_auth",) * 2,
}


class SrtpUnavailable(ValueError):
    """No libsrtp that works; the text says what was tried. For a call it is like a codec that this build lacks."""


class _CryptoPolicy(ctypes.Structure):
    _fields_ = [
        ("cipher_type", ctypes.c_uint32),
        ("cipher_key_len", ctypes.c_int),
        ("auth_type", ctypes.c_uint32),
        ("auth_key_len", ctypes.c_int),
        ("auth_tag_len", ctypes.c_int),
        ("sec_serv", ctypes.c_int),
    ]


class _MasterKey(ctypes.Structure):
    _fields_ = [("key", ctypes.c_char_p), ("mki_id", ctypes.c_char_p), ("mki_size", ctypes.c_uint)]


class _Policy(ctypes.Structure):
    """srtp_policy_t of libsrtp 2.x."""

    _fields_ = [
        ("ssrc_type", ctypes.c_int),
        ("ssrc_value", ctypes.c_uint),
        ("rtp", _CryptoPolicy),
        ("rtcp", _CryptoPolicy),
        ("key", ctypes.c_char_p),
        ("keys", ctypes.POINTER(ctypes.POINTER(_MasterKey))),
        ("num_master_keys", ctypes.c_ulong),
        ("deprecated_ekt", ctypes.c_void_p),
        ("window_size", ctypes.c_ulong),
        ("allow_repeat_tx", ctypes.c_int),
        ("enc_xtn_hdr", ctypes.c_void_p),
        ("enc_xtn_hdr_count", ctypes.c_int),
        ("next", ctypes.c_void_p),
    ]


Function = Callable[..., int]


class Library:
    """The functions of one copy of the library. Addresses and handles are plain integers."""

    def __init__(self, path: str) -> None:
        """Load and initialise; OSError or AttributeError when it is not there or not complete."""
        self.path = path
        self.bundled = path != _SYSTEM
        "the copy that came with pylibsrtp"
        self._dll = dll = ctypes.PyDLL(path)
        pointer, unsigned = ctypes.c_void_p, ctypes.c_uint

        def function(name: str, *arguments: type) -> Function:
            found = getattr(dll, name)
            found.argtypes, found.restype = arguments, ctypes.c_int
            return found

        packet = (pointer, pointer, pointer)  # context, packet, address of its length (int)
        # Each argument costs 0.15 us, and nobody has an MKI.
        self.protect_plain = function("srtp_protect", *packet)
        self.unprotect_plain = function("srtp_unprotect", *packet)
        self.protect = function("srtp_protect_mki", *packet, unsigned, unsigned)
        self.unprotect = function("srtp_unprotect_mki", *packet, unsigned)
        self.protect_rtcp = function("srtp_protect_rtcp_mki", *packet, unsigned, unsigned)
        self.unprotect_rtcp = function("srtp_unprotect_rtcp_mki", *packet, unsigned)
        self._create = function("srtp_create", pointer, pointer)
        self._add = function("srtp_add_stream", pointer, pointer)
        self._dealloc = function("srtp_dealloc", pointer)
        self._set_roc = function("srtp_set_stream_roc", pointer, ctypes.c_uint32, ctypes.c_uint32)
        self._get_roc = function("srtp_get_stream_roc", pointer, ctypes.c_uint32, pointer)
        self._policies = {
            suite: tuple(function(name, pointer) for name in names) for suite, names in _SETTERS.items()
        }
        dll.srtp_get_version.restype = unsigned
        version = dll.srtp_get_version()
        self.version = f"{version >> 24}.{version >> 16 & 255}.{version >> 8 & 255}"
        # Whoever else in the process has initialised it before makes this fail, harmlessly: `_proven` tells.
        function("srtp_init")()

    def release(self) -> None:
        """Undo the initialisation: of the system's copy, which PJSIP in the same process must initialise itself.

        Nothing may be in use; what comes after needs another `Library`.
        """
        self._dll.srtp_shutdown()

    def create(self, key: CryptoKey, ssrc: int | None) -> int:
        """A context that sends as `ssrc`, or receives: from anybody if it is None."""
        handle = ctypes.c_void_p()
        status = self._create(ctypes.byref(handle), ctypes.byref(self._policy(key, ssrc)))
        if status != OK or handle.value is None:
            raise SrtpUnavailable(f"{self.path} makes no context for {key.suite}: status {status}")
        return handle.value

    def add(self, handle: int, key: CryptoKey, ssrc: int | None) -> None:
        """One more source in a context."""
        status = self._add(handle, ctypes.byref(self._policy(key, ssrc)))
        if status != OK:
            raise SrtpUnavailable(f"{self.path} adds no source for {key.suite}: status {status}")

    def dealloc(self, handle: int) -> None:
        """Free a context; its keys are wiped by the library."""
        self._dealloc(handle)

    def set_roc(self, handle: int, ssrc: int, roc: int) -> None:
        """Rollover counter of the next packet of that source."""
        self._set_roc(handle, ssrc, roc)

    def get_roc(self, handle: int, ssrc: int) -> int | None:
        """Rollover counter of a source; None if none of its packets has been taken."""
        roc = ctypes.c_uint32()
        return int(roc.value) if self._get_roc(handle, ssrc, ctypes.byref(roc)) == OK else None

    def _policy(self, key: CryptoKey, ssrc: int | None) -> _Policy:
        policy = _Policy()
        for part, setter in zip((policy.rtp, policy.rtcp), self._policies[key.suite], strict=True):
            setter(ctypes.byref(part))
        policy.ssrc_type = ANY_INBOUND if ssrc is None else SPECIFIC
        policy.ssrc_value = ssrc or 0
        policy.window_size = REPLAY_WINDOW
        if key.mki_bytes:
            mki = key.mki.to_bytes(key.mki_bytes, "big")
            master = _MasterKey(key.master, mki, key.mki_bytes)
            policy.keys = (ctypes.POINTER(_MasterKey) * 1)(ctypes.pointer(master))
            policy.num_master_keys = 1
        else:
            policy.key = key.master
        return policy


@functools.cache
def load() -> Library:
    """The library, once for all; SrtpUnavailable says what is missing."""
    tried = []
    for path in _candidates():
        try:
            library = Library(path)
        except (OSError, AttributeError) as error:
            tried.append(f"{path}: {error}")
            continue
        wrong = [suite for suite in SUITES if not _proven(library, suite)]
        if not wrong:
            return library
        tried.append(f"{path}: libsrtp {library.version} computes {', '.join(wrong)} wrongly")
    raise SrtpUnavailable(
        f"no libsrtp that works ({'; '.join(tried)}). `pip install pylibsrtp`, or the system's package libsrtp2-1"
    )


def _candidates() -> Iterator[str]:
    try:
        spec = importlib.util.find_spec("pylibsrtp._binding")
    except ImportError:
        spec = None
    if spec is not None and spec.origin:
        yield spec.origin
    yield _SYSTEM


_PROOF = {
    "AEAD_AES_256_GCM": "34c99da2122b01c4",
    "AEAD_AES_128_GCM": "65326bae98b574e5",
    "AES_256_CM_HMAC_SHA1_80": "b6222dd98aa16939",
    "AES_CM_128_HMAC_SHA1_80": "ab6ad488190f95ef",
    "AES_CM_128_HMAC_SHA1_32": "0703147fa3de35d1",
}
"""SHA-256, shortened, of the packet and the report that `_proven` protects; tests/rtp/test_srtp_vectors.py has them
computed by an implementation that knows the RFCs and not this library."""


def _proven(library: Library, suite: str) -> bool:
    """Whether one packet and one report come out as they must."""
    try:
        return proof(library, suite) == _PROOF[suite]
    except SrtpUnavailable:
        return False


def proof_packets(suite: str) -> tuple[CryptoKey, bytes, bytes]:
    """Key, RTP packet and RTCP packet that `proof` is about."""
    master = bytes(7 * i & 255 for i in range(SUITES[suite].master_bytes))
    rtp = bytes.fromhex("8000fffe00000064deadbeef") + bytes(range(160))
    return CryptoKey(suite, master), rtp, bytes.fromhex("80c80006deadbeef") + bytes(range(20))


def proof(library: Library, suite: str) -> str:
    """What the library makes of `proof_packets`, as `_PROOF` has it."""
    key, rtp, rtcp = proof_packets(suite)
    out = b""
    handle = library.create(key, 0xDEADBEEF)
    for function, packet in ((library.protect, rtp), (library.protect_rtcp, rtcp)):
        buffer, size = ctypes.create_string_buffer(packet, 512), ctypes.c_int(len(packet))
        if function(handle, ctypes.addressof(buffer), ctypes.addressof(size), 0, 0) == OK:
            out += buffer.raw[: size.value]
    library.dealloc(handle)
    return hashlib.sha256(out).hexdigest()[:16]
