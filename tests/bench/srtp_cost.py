# SPDX-License-Identifier: GPL-2.0-or-later
"""What SRTP costs a packet: our batch functions, pylibsrtp's own interface, and the library alone in C.

    python -m bench.srtp_cost [--packets 20000] [--bytes 172]

Each figure is the least CPU time of five rounds, in us for a packet.  The C figure is a loop around the same
functions of the same library, and needs a compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.tables import table as text_table
from trunkline.rtp import libsrtp, sdes, srtp

ROUNDS = 5
SSRC = 1
PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": 1,
    "AES_CM_128_HMAC_SHA1_32": 2,
    "AEAD_AES_128_GCM": 7,
    "AEAD_AES_256_GCM": 8,
}

LOOP = r"""
#include <time.h>
typedef int (*call)(void *, void *, int *, unsigned, unsigned);
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}
/* us per packet of n calls, or -1 if any failed */
double loop(call f, void *context, unsigned char *packets, int *lengths, int n) {
    double begun = now();
    int bad = 0;
    for (int i = 0; i < n; i++) bad |= f(context, packets + i * 2048, lengths + i, 0, 0);
    return bad ? -1 : (now() - begun) / n;
}
"""


def rounds(work: Callable[[], tuple[float, float]]) -> list[float]:
    """The least of each of the two figures."""
    return [min(pair) for pair in zip(*(work() for _ in range(ROUNDS)), strict=True)]


def packets_of(n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """n RTP packets, numbered, in rows of 2048 bytes; and their lengths."""
    packets = np.zeros((n, 2048), np.uint8)
    packets[:, 0] = 0x80
    packets[:, 2], packets[:, 3] = np.arange(n) >> 8 & 255, np.arange(n) & 255
    packets[:, 11] = SSRC
    return packets, np.full(n, size, np.int32)


def ours(key: sdes.CryptoKey, n: int, size: int, batch: int = 100) -> tuple[float, float]:
    """Protect and unprotect by the functions that the engine uses, a hundred at a time."""
    sender, receiver = srtp.Sender(key, SSRC), srtp.Receiver(key)
    packets, lengths = packets_of(n, size)
    mkis = np.zeros(batch, np.int64)
    spent = []
    for function, context in ((srtp.protect, sender), (srtp.unprotect, receiver)):
        handles = np.full(batch, context.handle, np.int64)
        begun = time.process_time()
        for at in range(0, n, batch):
            function(handles, mkis, packets[at : at + batch], lengths[at : at + batch])
        spent.append((time.process_time() - begun) / n * 1e6)
    assert (lengths == size).all()
    return spent[0], spent[1]


def alone(key: sdes.CryptoKey, n: int, size: int, loop: Callable[..., float]) -> tuple[float, float]:
    """The library in a loop in C."""
    library = libsrtp.load()
    sender, receiver = srtp.Sender(key, SSRC), srtp.Receiver(key)
    packets, lengths = packets_of(n, size)
    spent = []
    for function, context in ((library.protect, sender), (library.unprotect, receiver)):
        pointer = ctypes.cast(function, ctypes.c_void_p).value
        spent.append(loop(pointer, context.handle, packets.ctypes.data, lengths.ctypes.data, n))
    assert (lengths == size).all() and min(spent) > 0
    return spent[0], spent[1]


def pylibsrtp_own(key: sdes.CryptoKey, n: int, size: int) -> tuple[float, float]:
    """bytes in, bytes out."""
    import pylibsrtp

    def session(kind: int) -> pylibsrtp.Session:
        policy = pylibsrtp.Policy(key=key.master, ssrc_type=kind, srtp_profile=PROFILES[key.suite])
        return pylibsrtp.Session(policy)

    packets, _ = packets_of(n, size)
    plain = [bytes(packet[:size]) for packet in packets]
    out = session(pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
    begun = time.process_time()
    protected = [out.protect(packet) for packet in plain]
    middle = time.process_time()
    into = session(pylibsrtp.Policy.SSRC_ANY_INBOUND)
    for packet in protected:
        into.unprotect(packet)
    return (middle - begun) / n * 1e6, (time.process_time() - middle) / n * 1e6


def compiled(folder: Path) -> Callable[..., float]:
    """The loop in C."""
    (folder / "loop.c").write_text(LOOP)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", folder / "loop.so", folder / "loop.c"], check=True)
    loop = ctypes.CDLL(str(folder / "loop.so")).loop
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int]
    return loop


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=172)
    options = parser.parse_args()
    n, size = options.packets, options.bytes
    print(f"libsrtp {libsrtp.load().version}, {libsrtp.load().path}")
    with tempfile.TemporaryDirectory() as folder:
        loop = compiled(Path(folder))
        rows = []
        for suite in sdes.SUITES:
            key = sdes.new_key(suite)
            row = [
                *rounds(lambda key=key: ours(key, n, size)),
                *rounds(lambda key=key: alone(key, n, size, loop)),
            ]
            own = rounds(lambda key=key: pylibsrtp_own(key, n, size)) if suite in PROFILES else ["-", "-"]
            rows.append([suite, *row, *own])
    head = ["suite", "protect", "unprotect", "in C", "in C", "pylibsrtp", "pylibsrtp"]
    print(text_table(f"CPU, us per packet of {size} bytes", head, rows))


if __name__ == "__main__":
    main()
