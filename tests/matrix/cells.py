# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix: codec x packet time x who calls x SRTP, with SIPp and with Asterisk; and what must be heard in each.

A cell is one call with speech both ways at once.  `why_not` says which cells cannot be, and why.
"""

from __future__ import annotations

import dataclasses
import itertools

from support.line_codecs import ENCODINGS
from support.voice import Likeness
from trunkline.gateway.config.peers import Trunk
from trunkline.rtp.payload import AUDIO_FORMATS

PEERS = ("sipp", "asterisk")
PTIMES_MS = (10, 20, 30, 40, 60)
SUITES = (
    "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_80", "AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM",
)  # fmt: skip
SHORT_SUITE = {
    "": "clear", "AES_CM_128_HMAC_SHA1_80": "128/80", "AES_CM_128_HMAC_SHA1_32": "128/32",
    "AES_256_CM_HMAC_SHA1_80": "256/80", "AEAD_AES_128_GCM": "GCM128", "AEAD_AES_256_GCM": "GCM256",
}  # fmt: skip
VOICES = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One call."""

    number: int
    peer: str
    codec: str
    ptime_ms: int
    inbound: bool
    "they call us"
    suite: str = ""
    "of SRTP; empty: in the clear"

    @property
    def extension(self) -> str:
        """The number that is called; no other cell has it."""
        return f"65{self.number:04d}"

    @property
    def seeds(self) -> tuple[int, int]:
        """Speakers: the caller's side, the agent."""
        return self.number % VOICES, VOICES + self.number % VOICES

    def __str__(self) -> str:
        way = "in" if self.inbound else "out"
        return f"{self.peer} {self.codec} {self.ptime_ms} ms {way} {SHORT_SUITE[self.suite]}"


def all_cells() -> list[Cell]:
    """Every combination, those too that cannot be."""
    found = itertools.product(PEERS, ENCODINGS, PTIMES_MS, (True, False), ("", *SUITES))
    return [Cell(number, *one) for number, one in enumerate(found)]


def why_not(cell: Cell) -> str:
    """Why there is no such call, or nothing."""
    if cell.codec not in AUDIO_FORMATS:
        return "trunkline has no such codec"
    if cell.suite and "srtp" not in Trunk.model_fields:
        return "trunkline has no SRTP"
    if why := ENCODINGS[cell.codec].why_not(cell.ptime_ms):
        return why
    if cell.peer == "asterisk":
        return _not_with_asterisk(cell)
    return ""


def _not_with_asterisk(cell: Cell) -> str:
    if cell.suite not in ("", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"):
        return "Debian's Asterisk has AES_CM_128_HMAC_SHA1_80 and _32 alone: it answers 488"
    return ""


def representative() -> list[Cell]:
    """A subset for every test run: each codec, packet time and suite both ways at least once, with each peer."""
    possible = [one for one in all_cells() if not why_not(one)]
    chosen: list[Cell] = []
    for peer, inbound in itertools.product(PEERS, (True, False)):
        here = [one for one in possible if (one.peer, one.inbound) == (peer, inbound)]
        wanted = {part for one in here for part in _parts(one)}
        while wanted:
            best = max(here, key=lambda one: (len(wanted & _parts(one)), -one.number))
            chosen.append(best)
            wanted -= _parts(best)
    return chosen


def _parts(cell: Cell) -> set[str]:
    return {cell.codec, f"{cell.ptime_ms} ms", cell.suite or "clear"}


@dataclasses.dataclass(frozen=True, slots=True)
class Demand:
    """What a way must sound like at least."""

    correlation: float
    snr_db: float
    wide: float = 0.0
    "correlation above 4 kHz"


DEMANDS = {
    "PCMU": Demand(0.999, 28), "PCMA": Demand(0.999, 28), "G722": Demand(0.998, 24, 0.9),
    "L16/8000": Demand(0.999, 30), "L16/16000": Demand(0.9999, 40, 0.99), "L16/44100": Demand(0.999, 30, 0.99),
    "OPUS": Demand(0.93, 8, 0.6),
}  # fmt: skip


def misheard(cell: Cell, way: str, found: Likeness) -> str:
    """What is wrong with what was heard, or nothing."""
    demand = DEMANDS[cell.codec]
    narrow = found.narrow
    if not found.whole:
        return f"{way}: not all of it was heard (correlation {narrow.correlation:.3f})"
    if narrow.correlation < demand.correlation or narrow.snr_db < demand.snr_db:
        return f"{way}: correlation {narrow.correlation:.4f}, {narrow.snr_db:.1f} dB"
    if found.wide < demand.wide:
        return f"{way}: correlation above 4 kHz {found.wide:.2f}"
    return ""
