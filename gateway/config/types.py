# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of values in the configuration: each checks itself and says what is allowed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trunkline.gateway.config import addresses, patterns, targets
from trunkline.rtp.payload import AUDIO_FORMATS
from trunkline.rtp.sdes import ALIASES, SUITES


@dataclasses.dataclass(frozen=True, slots=True)
class Allowed:
    """What a type takes, in words: for the reference and for error messages."""

    text: str


def _matching(expression: str, allowed: str) -> Callable[[str], str]:
    """A validator for text of a certain form; `allowed` completes the error message."""
    compiled = re.compile(expression)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(allowed)
        return text

    return check


def _ip(text: str) -> str:
    if not addresses.is_ip(text):
        raise ValueError("an IP address is needed, such as 127.0.0.1, 0.0.0.0 or ::1, without brackets and port")
    return text


def _advertise_media(text: str) -> str:
    return text if text == "auto" else _ip(text)


def _api_bind(text: str) -> str:
    try:
        return text if text == "localhost" else str(addresses.split_source(text)[0])
    except ValueError:
        raise ValueError("an IP address or localhost is needed") from None


def _optional_host(text: str) -> str:
    if text and not addresses.is_host(text) and not addresses.is_ip(text):
        raise ValueError("an IP address or a host name is needed, without brackets and port")
    return text


def _optional_host_port(text: str) -> str:
    if text:
        addresses.split_host_port(text)
    return text


def _source(text: str) -> str:
    addresses.SourceMatch.parse(text)
    return text


def _sip_uri(text: str) -> str:
    match = re.fullmatch(r"sips?:(?:[^@\s<>]+@)?([^@;?\s<>]+)([;?][^\s<>]*)?", text)
    if not match:
        raise ValueError("a SIP URI is needed, such as sip:pbx.example.com:5060")
    addresses.split_host_port(match[1])
    return text


def _optional_sip_uri(text: str) -> str:
    return _sip_uri(text) if text else text


def _number_pattern(text: str) -> str:
    patterns.parse_number_pattern(text)
    return text


def _pattern(text: str) -> str:
    patterns.Pattern.parse(text)
    return text


def _codec(text: str) -> str:
    if text.upper() not in AUDIO_FORMATS:
        raise ValueError(f"allowed: {', '.join(AUDIO_FORMATS)}")
    return text.upper()


def _suite(text: str) -> str:
    name = ALIASES.get(text.upper(), text.upper())
    if name not in SUITES:
        raise ValueError(f"allowed: {', '.join(SUITES)}")
    return name


_HEADER = r"[A-Za-z0-9!%'_`~+.-]"

Name = Annotated[
    str,
    AfterValidator(
        _matching(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, '_', '-' and '.' are allowed")
    ),
    Allowed("1 to 64 letters, digits, `_`, `-`, `.`"),
]
"Names label metrics and log lines, and stand in URLs of the API: so no spaces, and short."

EnvName = Annotated[
    str,
    AfterValidator(_matching(r"([A-Za-z_][A-Za-z0-9_]*)?", "the name of an environment variable is needed")),
    Allowed("name of a variable"),
]
HeaderName = Annotated[
    str, AfterValidator(_matching(rf"{_HEADER}+", "the name of a SIP header is needed, without ':'"))
]
HeaderGlob = Annotated[
    str,
    AfterValidator(_matching(rf"{_HEADER}*\*?", "a header name is needed, or its beginning and '*'")),
    Allowed("header names, also with `*` at the end"),
]
UriUser = Annotated[
    str,
    # No quotes, brackets or control characters: the text goes into headers as it is.
    AfterValidator(_matching(r"[A-Za-z0-9_.!~*'()&=+$,;?/#%-]*", "the user part of a SIP URI is needed")),
    Allowed("user part of a SIP URI"),
]
ReasonPhrase = Annotated[
    str,
    AfterValidator(_matching(r"[\x20-\x7e]{0,128}", "at most 128 printable ASCII characters are allowed")),
]
Ip = Annotated[str, AfterValidator(_ip), Allowed("IP address")]
AdvertiseMedia = Annotated[str, AfterValidator(_advertise_media), Allowed("IP address or `auto`")]
ApiBind = Annotated[str, AfterValidator(_api_bind), Allowed("IP address or `localhost`")]
OptionalHost = Annotated[str, AfterValidator(_optional_host), Allowed("IP address or name")]
CertificateName = Annotated[
    str,
    AfterValidator(_matching(r"[A-Za-z0-9.:_-]{1,253}", "a name or address as in a certificate is needed")),
    Allowed("names or addresses"),
]
OptionalHostPort = Annotated[str, AfterValidator(_optional_host_port), Allowed("`host` or `host:port`")]
Source = Annotated[str, AfterValidator(_source), Allowed("`address`, `address:port` or `network/bits`")]
SipUri = Annotated[str, AfterValidator(_sip_uri), Allowed("SIP URI")]
OptionalSipUri = Annotated[str, AfterValidator(_optional_sip_uri), Allowed("SIP URI")]
AgentAddress = Annotated[
    str,
    AfterValidator(addresses.check_agent_address),
    Allowed("`unix:/path`, `tcp:host:port`, `ws://host:port/path` or `wss://host:port/path`"),
]
HttpHeaderName = Annotated[
    str,
    AfterValidator(_matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "the name of an HTTP header is needed, without ':'")),
]
HttpHeaderValue = Annotated[
    str,
    AfterValidator(
        _matching(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", "printable ASCII is needed, without blanks at the ends")
    ),
]
HttpUser = Annotated[
    str,
    AfterValidator(_matching(r"[\x20-\x39\x3b-\x7e]*", "printable ASCII without ':' is needed")),
]
NumberPattern = Annotated[str, AfterValidator(_number_pattern), Allowed("pattern")]
TransferTarget = Annotated[
    str, AfterValidator(targets.check_target), Allowed("patterns of numbers, or `sip:user@host` with patterns")
]
Destination = Annotated[str, AfterValidator(targets.check_destination), Allowed("number or SIP URI")]
ValuePattern = Annotated[str, AfterValidator(_pattern), Allowed("patterns")]
Codec = Annotated[
    str,
    AfterValidator(_codec),
    Allowed(", ".join(f"`{name}`" for name in AUDIO_FORMATS)),
]
SrtpSuite = Annotated[str, AfterValidator(_suite), Allowed(", ".join(f"`{name}`" for name in SUITES))]
Reference = Annotated[Name, Allowed("name of one that the file has")]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0)]
FrameMs = Literal[10, 20, 30, 40, 60]
SampleRateHz = Literal[8000, 16000, 24000, 48000]
