# SPDX-License-Identifier: GPL-2.0-or-later
"""What we take of a peer's offer: one m-line, and one speech encoding of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from trunkline.rtp.audio_line import AudioLine, NegotiationError, read_audio_line
from trunkline.rtp.line_formats import OfferedFormat, names
from trunkline.rtp.line_keys import Wanted
from trunkline.rtp.payload import PayloadFormat
from trunkline.rtp.sdp import SessionDescription


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What we take of an offer."""

    line: AudioLine
    index: int
    "of its m-line"
    offered: OfferedFormat
    "the speech encoding, with the offerer's payload type"
    codec: PayloadFormat
    "the same as one of ours"


def choose(
    offer: SessionDescription, codecs: Sequence[str], local_host: str, wanted: Wanted, *, follow_peer: bool
) -> Choice:
    """The first m-line that we can use, an encrypted one before others, and its best encoding.

    `codecs` are ours in order of preference; `follow_peer` takes the peer's order
    instead.  The NegotiationError says for each line what is wrong with it.
    """
    refusals: list[NegotiationError] = []
    choices: list[Choice] = []
    for index, media in enumerate(offer.media):
        try:
            line = read_audio_line(offer, media, local_host, wanted)
            offered, codec = _best(line, codecs, follow_peer=follow_peer)
        except NegotiationError as error:
            refusals.append(NegotiationError(error.code, f"m-line {index + 1} {error.reason}"))
        else:
            choices.append(Choice(line, index, offered, codec))
    if choices:
        return next((choice for choice in choices if choice.line.encrypted), choices[0])
    if not refusals:
        raise NegotiationError(488, "the offer has no m-line")
    code = 488 if any(refusal.code == 488 for refusal in refusals) else 400
    raise NegotiationError(code, "; ".join(refusal.reason for refusal in refusals[:4]))


def _best(
    line: AudioLine, codecs: Sequence[str], *, follow_peer: bool
) -> tuple[OfferedFormat, PayloadFormat]:
    common = [(f, f.audio) for f in line.formats if f.audio is not None and f.audio.name in codecs]
    if not common:
        raise NegotiationError(488, f"offers {names(line.formats)}; taken are {', '.join(codecs)}")
    return common[0] if follow_peer else min(common, key=lambda pair: codecs.index(pair[1].name))
