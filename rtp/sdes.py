# SPDX-License-Identifier: GPL-2.0-or-later
"""SDES: keys of SRTP in a line of SDP (RFC 4568; suites of RFC 6188 and RFC 7714).

    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:<base64 of key and salt>|2^31|1:4 KDR=1
             |            |                        |                   |    |    |
            tag         suite               40 characters        lifetime  MKI  session parameters

`parse_crypto` takes what can be used as it stands.  All else is a `CryptoError` whose text names
what is wrong and never shows a key: the texts end up in logs and in answers.  Refused are, among
others, several keys in one line (the peer may change between them as it likes, and we would hear
nothing from then on) and session parameters that would switch off what SRTP is for.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import secrets

MAX_LIFETIME = 1 << 48
"packets under one master key (RFC 3711 9.2)"
MAX_MKI_BYTES = 128
"RFC 4568 6.1"
MAX_CHARACTERS = 4096
"of one line; the longest sensible one has a tenth of it"


class CryptoError(ValueError):
    """A line that cannot be used, and why; never shows a key."""


@dataclasses.dataclass(frozen=True, slots=True)
class Suite:
    """How packets are protected."""

    name: str
    "as SDP names it"
    key_bytes: int
    salt_bytes: int
    rtp_tag_bytes: int
    "what SRTP adds to a packet, without MKI"
    rtcp_tag_bytes: int
    "what SRTCP adds, without MKI and the 4 bytes of its index"
    aead: bool = False

    @property
    def master_bytes(self) -> int:
        """Length of what stands in base64: key and salt."""
        return self.key_bytes + self.salt_bytes


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("AEAD_AES_256_GCM", 32, 12, 16, 16, aead=True),
        Suite("AEAD_AES_128_GCM", 16, 12, 16, 16, aead=True),
        Suite("AES_256_CM_HMAC_SHA1_80", 32, 14, 10, 10),
        Suite("AES_CM_128_HMAC_SHA1_80", 16, 14, 10, 10),
        # The short tag is for speech only: SRTCP keeps the long one (RFC 4568 6.2.2).
        Suite("AES_CM_128_HMAC_SHA1_32", 16, 14, 4, 10),
    )
}
"""The suites that we have, by name."""

ALIASES = {"AES_CM_256_HMAC_SHA1_80": "AES_256_CM_HMAC_SHA1_80"}
"Names of the drafts before RFC 6188, which some phones and libraries still write."

_SESSION_PARAMETERS_REFUSED = {
    "UNENCRYPTED_SRTP": "would leave the audio in the clear",
    "UNENCRYPTED_SRTCP": "would leave the reports in the clear",
    "UNAUTHENTICATED_SRTP": "would let anybody forge packets",
    "KDR": "asks to derive keys anew in mid-stream, which we cannot",
    "FEC_ORDER": "asks for error correction, which we do not do",
    "FEC_KEY": "asks for error correction, which we do not do",
}


@dataclasses.dataclass(frozen=True, slots=True)
class CryptoKey:
    """One direction's master key."""

    suite: str
    "key of SUITES"
    master: bytes = dataclasses.field(repr=False)
    "key, then salt"
    mki: int = 0
    mki_bytes: int = 0
    "0: packets carry no MKI"
    lifetime: int = 0
    "packets that it may protect; 0: as many as the suite allows"

    def __post_init__(self) -> None:
        """Whoever has one need not check it again."""
        suite = SUITES.get(self.suite)
        if suite is None:
            raise CryptoError(f"no suite {self.suite[:40]!r}; there are {', '.join(SUITES)}")
        if len(self.master) != suite.master_bytes:
            raise CryptoError(
                f"key and salt of {self.suite} have {suite.master_bytes} bytes, here {len(self.master)}"
            )
        if not 0 <= self.mki_bytes <= MAX_MKI_BYTES or not 0 <= self.mki < 1 << 8 * self.mki_bytes:
            raise CryptoError(f"an MKI of {self.mki_bytes} bytes cannot be {self.mki}")
        if not 0 <= self.lifetime <= MAX_LIFETIME:
            raise CryptoError(f"a lifetime of {self.lifetime} packets; the most is 2^48")


@dataclasses.dataclass(frozen=True, slots=True)
class Crypto:
    """One a=crypto line."""

    tag: int
    key: CryptoKey
    parameters: tuple[str, ...] = ()
    "session parameters as they were written; none of them changes what we do"


def new_key(suite: str) -> CryptoKey:
    """A key that nobody knows."""
    name = ALIASES.get(suite, suite)
    if name not in SUITES:
        raise CryptoError(f"no suite {suite[:40]!r}; there are {', '.join(SUITES)}")
    return CryptoKey(name, secrets.token_bytes(SUITES[name].master_bytes))


def write_crypto(tag: int, key: CryptoKey) -> str:
    """The value of a=crypto."""
    words = [f"inline:{base64.b64encode(key.master).decode()}"]
    if key.lifetime:
        power = key.lifetime.bit_length() - 1
        words.append(f"2^{power}" if key.lifetime == 1 << power else str(key.lifetime))
    if key.mki_bytes:
        words.append(f"{key.mki}:{key.mki_bytes}")
    return f"{tag} {key.suite} {'|'.join(words)}"


def parse_crypto(value: str) -> Crypto:
    """Read the value of a=crypto; CryptoError says why it cannot be used."""
    if len(value) > MAX_CHARACTERS:
        raise CryptoError(f"{len(value)} characters")
    # By space and tab only: other white space is no separator, and ends in an error below.
    words = [word for word in re.split("[ \t]+", value) if word]
    if len(words) < 3:
        raise CryptoError("needs a tag, a suite and a key")
    if re.fullmatch(r"\d{1,9}", words[0], re.ASCII) is None:
        raise CryptoError("the tag is not a number of at most nine digits")
    suite = SUITES.get(ALIASES.get(words[1].upper(), words[1].upper()))
    if suite is None:
        # Shown only if it can be a name: where the suite is left out, the key stands in its place.
        named = "_" in words[1] and re.fullmatch("[A-Z0-9_]{1,40}", words[1]) is not None
        raise CryptoError(
            f"suite {words[1]} is not one that we have" if named else "the suite is none that we have"
        )
    key = _parse_key(suite, words[2])
    for parameter in words[3:]:
        _check_parameter(parameter)
    return Crypto(int(words[0]), key, tuple(words[3:]))


def _parse_key(suite: Suite, text: str) -> CryptoKey:
    """`inline:` with what follows."""
    if ";" in text:
        raise CryptoError("several keys in one line; we take one")
    method, _, info = text.partition(":")
    if method.lower() != "inline":
        raise CryptoError("the key method is not inline")
    encoded, *rest = info.split("|")
    mki = mki_bytes = lifetime = 0
    # The lifetime and the MKI may each be absent, and only the MKI has a colon (RFC 4568 6.1).
    if rest and ":" not in rest[0]:
        lifetime = _parse_lifetime(rest.pop(0))
    if rest:
        mki, mki_bytes = _parse_mki(rest.pop(0))
    if rest:
        raise CryptoError("more fields behind the key than lifetime and MKI")
    return CryptoKey(suite.name, _parse_base64(encoded), mki, mki_bytes, lifetime)


def _parse_base64(text: str) -> bytes:
    """Key and salt. The padding may be missing, as some peers leave it out for the longer keys."""
    bare = text.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if len(text) > len(padded):  # padding beyond what belongs there
        raise CryptoError("the key is not base64")
    try:
        return base64.b64decode(padded, validate=True)
    except ValueError:  # its subclass binascii.Error, and what is not ASCII
        raise CryptoError("the key is not base64") from None


def _parse_lifetime(text: str) -> int:
    """`2^n` or a decimal number."""
    match = re.fullmatch(r"(2\^)?(\d{1,15})", text, re.ASCII)
    if match is None:
        raise CryptoError("the lifetime is neither a number nor 2^n")
    number = int(match[2])
    if match[1] and number > 48:
        raise CryptoError("the lifetime is more than 2^48 packets")
    lifetime = 1 << number if match[1] else number
    if not 0 < lifetime <= MAX_LIFETIME:
        raise CryptoError("the lifetime is not between 1 and 2^48 packets")
    return lifetime


def _parse_mki(text: str) -> tuple[int, int]:
    """`value:length`."""
    match = re.fullmatch(r"(\d{1,309}):(\d{1,3})", text, re.ASCII)  # 128 bytes are 309 digits
    if match is None:
        raise CryptoError("the MKI is not of the form value:length")
    mki, mki_bytes = int(match[1]), int(match[2])
    if not 1 <= mki_bytes <= MAX_MKI_BYTES:
        raise CryptoError(f"the MKI's length is not between 1 and {MAX_MKI_BYTES} bytes")
    if mki >= 1 << 8 * mki_bytes:
        raise CryptoError(f"the MKI does not fit its {mki_bytes} bytes")
    return mki, mki_bytes


def _check_parameter(parameter: str) -> None:
    """Refuse a session parameter that we would have to follow and cannot (RFC 4568 6.3)."""
    name = parameter.partition("=")[0].upper()
    if name in _SESSION_PARAMETERS_REFUSED:
        raise CryptoError(f"session parameter {name} {_SESSION_PARAMETERS_REFUSED[name]}")
    # WSH is a hint for the replay window, and a leading minus says that it may be ignored (6.3.7).
    if name == "WSH":
        if re.fullmatch(r"WSH=\d{2,4}", parameter, re.ASCII | re.IGNORECASE) is None:
            raise CryptoError("session parameter WSH is not a number")
    elif not parameter.startswith("-"):
        raise CryptoError("an unknown session parameter")
