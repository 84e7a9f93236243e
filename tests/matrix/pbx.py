# SPDX-License-Identifier: GPL-2.0-or-later
"""Asterisk for the matrix: an endpoint for each codec, packet time and way of SRTP, and an extension that
plays a voice and keeps what it hears, both with Asterisk's own codecs."""

from __future__ import annotations

import pathlib

import numpy as np

from matrix.agents import SILENCE, VOICE_S
from matrix.cells import PTIMES_MS, VOICES, Cell
from support.asterisk import Asterisk
from support.audio import Pcm
from support.line_codecs import ENCODINGS
from support.ports import free_port
from support.voice import resample, voice
from support.waiting import wait_for

ALLOW = {
    "PCMU": "ulaw", "PCMA": "alaw", "G722": "g722", "L16/8000": "slin", "L16/16000": "slin16",
    "L16/44100": "slin44", "OPUS": "opus",
}  # fmt: skip
"Asterisk's names"
RAW = {8000: "sln", 16000: "sln16", 44100: "sln44", 48000: "sln48"}
"""Asterisk's names of files of samples. It plays and keeps them at the rate of the codec, so that nothing but the codec
is between us: its own resampler halves the loudness of 44.1 kHz."""
SHORT_TAG = "AES_CM_128_HMAC_SHA1_32"
MODULES = (
    "codec_g722", "codec_opus_open_source", "res_format_attr_opus", "res_srtp", "res_clioriginate",
    "app_record",
)  # fmt: skip

# Record and not MixMonitor, which could listen while the voice plays: that loses packets of 60 ms now and then.
EXTENSION = """
[matrix]
exten => _65XXXX,1,Answer()
 same => n,Playback(@VAR@/sounds/voice${EXTEN:5})
 same => n,Record(@VAR@/heard/${EXTEN}.${FORMAT},0,10,qk)
 same => n,Hangup()
"""
TRANSPORT = """
[secure]
type = transport
protocol = udp
bind = 127.0.0.1:{port}
"""
ENDPOINT = """
[{name}]
type = endpoint
context = matrix
disallow = all
allow = {codec}:{ptime}
use_ptime = no
direct_media = no
timers = no
identify_by = username
from_domain = 127.0.0.1
set_var = FORMAT={format}
"""
SECURE = """transport = secure
media_encryption = sdes
srtp_tag_32 = {short}
"""


def endpoint_name(cell: Cell) -> str:
    """The endpoint that a cell is called from or to."""
    return _name(cell.codec, cell.ptime_ms, cell.suite)


def _name(codec: str, ptime_ms: int, suite: str) -> str:
    way = "clear" if not suite else "short" if suite == SHORT_TAG else "secure"
    return f"{ALLOW[codec]}-{ptime_ms}-{way}"


def configured() -> tuple[Asterisk, int]:
    """An Asterisk that is not started yet, and its port for SRTP."""
    port = free_port()
    pjsip = TRANSPORT.format(port=port)
    for codec in ENCODINGS:
        for ptime in PTIMES_MS:
            for suite in ("", SHORT_TAG, "any"):
                name, raw = _name(codec, ptime, suite), RAW[ENCODINGS[codec].rate_hz]
                pjsip += ENDPOINT.format(name=name, codec=ALLOW[codec], ptime=ptime, format=raw)
                pjsip += SECURE.format(short="yes" if suite == SHORT_TAG else "no") if suite else "transport = udp\n"
    modules = "".join(f"load = {one}.so\n" for one in MODULES)
    asterisk = Asterisk({"pjsip.conf": pjsip, "extensions.conf": EXTENSION, "modules.conf": modules})
    (asterisk.folder / "heard").mkdir()
    for seed in range(VOICES):
        said = np.concatenate([voice(VOICE_S, seed), SILENCE])
        for rate, name in RAW.items():
            data = resample(said, 16000, rate).astype("<i2").tobytes()
            (asterisk.folder / f"sounds/voice{seed}.{name}").write_bytes(data)
    return asterisk, port


def place(asterisk: Asterisk, cell: Cell, gateway: str) -> None:
    """Let Asterisk call `host:port`, and do there what it does in the extension."""
    said = asterisk.rx(
        f"channel originate PJSIP/{endpoint_name(cell)}/sip:{cell.extension}@{gateway} "
        f"extension {cell.extension}@matrix"
    )
    assert not said.strip(), said


def heard(asterisk: Asterisk, cell: Cell) -> Pcm:
    """What Asterisk has heard in the cell's last call, once it has ended; at 16 kHz."""
    path = _recording(asterisk, cell)
    wait_for(lambda: cell.extension not in asterisk.rx("core show channels concise"), "Asterisk's end of the call")
    wait_for(path.exists, f"recording of {cell}")
    data = path.read_bytes()
    pcm = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)
    return resample(pcm, ENCODINGS[cell.codec].rate_hz, 16000)


def forget(asterisk: Asterisk, cell: Cell) -> None:
    """The next call of the cell begins a recording anew."""
    _recording(asterisk, cell).unlink(missing_ok=True)


def _recording(asterisk: Asterisk, cell: Cell) -> pathlib.Path:
    return asterisk.folder / f"heard/{cell.extension}.{RAW[ENCODINGS[cell.codec].rate_hz]}"
