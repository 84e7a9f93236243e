# SPDX-License-Identifier: GPL-2.0-or-later
"""The E-model (ITU-T G.107): from loss and delay to a rating R, and from that to a MOS.

    R = Ro - Is - Id(delay) - Ie,eff(codec, loss) + A

Everything that RTP knows nothing of (loudness, noise, echo) has the default value that
G.107 gives it, so an undisturbed G.711 call has R = 93.2.  The parts that hang on these
defaults are worked out once, with the formulas of clause 7; what a call changes, delay
and loss, is vectorised.

    R    90 and more  80           70               60              50
         very         satisfied    some are not     many are not    nearly all are not
    MOS  4.34         4.03         3.60             3.10            2.58
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class CodecImpairment:
    """What a codec costs (G.113 appendix I)."""

    ie: float
    "equipment impairment without loss"
    bpl: float
    "packet-loss robustness: the larger, the less a lost packet is heard"


G711_PLAIN = CodecImpairment(0.0, 4.3)
"G.711 that plays silence in place of a lost packet."
G711_CONCEALED = CodecImpairment(0.0, 25.1)
"G.711 with the concealment of its appendix I, or one as good."
CODECS: dict[str, CodecImpairment] = {"PCMU": G711_CONCEALED, "PCMA": G711_CONCEALED}
"By encoding name, as we play them. Wideband codecs have a scale of their own (G.107.1)."


# -- clause 7 with the defaults of table 2: send and receive loudness, masking, noise, echo
_SLR, _RLR, _STMR, _LSTR, _DS, _DR = 8.0, 2.0, 15.0, 18.0, 3.0, 3.0
_TELR, _WEPL, _NC, _NFOR, _PS, _PR = 65.0, 110.0, -70.0, -64.0, 35.0, 35.0
_OLR = _SLR + _RLR


def _noise() -> float:
    """No: all noise, referred to the 0 dBr point (7-3 to 7-7)."""
    sender = _PS - _SLR - _DS - 100 + 0.004 * (_PS - _OLR - _DS - 14) ** 2
    room = _PR + 10 * math.log10(1 + 10 ** ((10 - _LSTR) / 10))
    receiver = _RLR - 121 + room + 0.008 * (room - 35) ** 2
    return 10 * math.log10(sum(10 ** (level / 10) for level in (_NC, sender, receiver, _NFOR + _RLR)))


def _simultaneous_impairment(noise: float, basic: float) -> float:
    """Is: too loud, wrong side tone, quantising (7-8 to 7-16), one G.711 coding."""
    x = _OLR + 0.2 * (64 + noise - _RLR)
    loud = 20 * ((1 + (x / 8) ** 8) ** (1 / 8) - x / 8)
    side = -10 * math.log10(10 ** (-_STMR / 10) + 10 ** (-_TELR / 10))
    tone = 12 * (1 + ((side - 13) / 6) ** 8) ** (1 / 8)
    tone -= 28 * (1 + ((side + 1) / 19.4) ** 35) ** (1 / 35)
    tone -= 13 * (1 + ((side - 3) / 33) ** 13) ** (1 / 13) - 29
    q = 37.0  # one quantising distortion unit
    g = 1.07 + 0.258 * q + 0.0602 * q * q
    y, z = (basic - 100) / 15 + 46 / 8.4 - g / 9, 46 / 30 - g / 40
    return loud + tone + 15 * math.log10(1 + 10**y + 10**z)


_NO = _noise()
_RO = 15 - 1.5 * (_SLR + _NO)
UNDISTURBED = _RO - _simultaneous_impairment(_NO, _RO)
"Ro - Is"


def delay_impairment_one(one_way_ms: float) -> float:
    """Id (7-17 to 7-28) of a delay from mouth to ear, its echo at the default loudness included."""
    t = max(one_way_ms, 0.0)
    echo = _TELR - 40 * math.log10((1 + t / 10) / (1 + t / 150)) + 6 * math.exp(-0.3 * t * t)
    apart = -1.5 * (_NO - _RLR) - (80 + 2.5 * (echo - 14))
    talker = (apart / 2 + math.sqrt(apart * apart / 4 + 100) - 1) * (1 - math.exp(-t))
    apart = _RO - 10.5 * (_WEPL + 7) * (2 * t + 1) ** -0.25
    listener = apart / 2 + math.sqrt(apart * apart / 4 + 169)
    if t <= 100:
        return talker + listener
    x = math.log2(t / 100)
    return talker + listener + 25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)


DELAYS_MS = np.concatenate([np.arange(0, 20, 0.5), np.arange(20, 1000, 5.0), np.arange(1000, 10001, 100.0)])
DELAY_IMPAIRMENTS = np.array([delay_impairment_one(ms) for ms in DELAYS_MS])
"Id of each of `DELAYS_MS`."


def delay_impairment(one_way_ms: Floats) -> Floats:
    """Id of delays f64[n], from a table of `delay_impairment_one`; off by less than 0.05 (tested)."""
    return np.asarray(np.interp(one_way_ms, DELAYS_MS, DELAY_IMPAIRMENTS), np.float64)


def effective_impairment(ie: Floats, bpl: Floats, missing_percent: Floats, burst_ratio: Floats) -> Floats:
    """Ie,eff (7-29), each f64[n]: what codec and missing packets cost together.

    `burst_ratio` is the mean length of runs of missing packets over that of random
    loss: 1 when loss is random, more when it comes in bursts.
    """
    return ie + (95 - ie) * missing_percent / (missing_percent / burst_ratio + bpl)


def effective_impairment_one(
    codec: CodecImpairment, missing_percent: float, burst_ratio: float = 1.0
) -> float:
    """Scalar twin of `effective_impairment`."""
    robust = missing_percent / burst_ratio + codec.bpl
    return codec.ie + (95 - codec.ie) * missing_percent / robust


def burst_ratio(loss_run: Floats, missing_percent: Floats) -> Floats:
    """BurstR f64[n] of a mean run of missing packets: random loss of share p has runs of 1 / (1 - p)."""
    return np.maximum(loss_run * (1 - missing_percent / 100), 1.0)


def burst_ratio_one(loss_run: float, missing_percent: float) -> float:
    """Scalar twin of `burst_ratio`."""
    return max(loss_run * (1 - missing_percent / 100), 1.0)


def rating(delay: Floats, equipment: Floats) -> Floats:
    """R f64[n], 0..100, from Id and Ie,eff."""
    return np.minimum(np.maximum(UNDISTURBED - delay - equipment, 0.0), 100.0)


def rating_one(delay: float, equipment: float) -> float:
    """Scalar twin of `rating`."""
    return min(max(UNDISTURBED - delay - equipment, 0.0), 100.0)


def mos(r: Floats) -> Floats:
    """Mean opinion score f64[n], 1..4.5, of ratings (annex B); below R = 6.5 the cubic dips under 1."""
    return np.maximum(1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6, 1.0)


def mos_one(r: float) -> float:
    """Scalar twin of `mos`."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6, 1.0)
