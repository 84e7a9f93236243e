# SPDX-License-Identifier: GPL-2.0-or-later
"""Session descriptions (RFC 8866, which replaces RFC 4566): text to objects and back.

`SessionDescription.parse` takes what telephone systems really send: lines that
end in LF only, missing s=, t= or o=, empty lines, spaces at the end, unknown
letters, which are kept.  What has no meaning at all is a `SdpSyntaxError` with the
number of the line; nothing else is ever raised.  `str()` writes the order of
RFC 8866 section 9 with CRLF, and parsing that gives an equal object.

What an attribute says is another matter, `sdp_attributes.py`: a broken a=rtpmap
of a video stream must not cost a call its audio.
"""

from __future__ import annotations

import dataclasses
import re

MAX_CHARACTERS = 65536
"more than any UDP datagram holds; a limit for what comes over TCP"

# Where lines stand within a section (RFC 8866 section 9). Letters that it does not know
# are written before the attributes. t=, r= and z= belong together and keep their order.
_ORDER = {letter: place for place, letter in enumerate("vosiuepcbt?k")} | {"r": 9, "z": 9}

Lines = list[tuple[str, str]]
"lines that are only kept: letter and value"


class SdpSyntaxError(ValueError):
    """Text that is not a session description."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"SDP line {line}: {why}")
        self.line = line
        "counted from 1"
        self.why = why


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """o=: who made this description, and which version of it this is."""

    username: str
    session_id: str
    version: str
    address_type: str
    address: str
    network: str = "IN"

    def __str__(self) -> str:
        parts = (self.username, self.session_id, self.version, self.network, self.address_type, self.address)
        return " ".join(parts)


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """c=: where media goes."""

    address_type: str
    "IP4 or IP6"
    address: str
    "as written, with a multicast TTL if there is one"
    network: str = "IN"

    def __str__(self) -> str:
        return f"{self.network} {self.address_type} {self.address}"


@dataclasses.dataclass(slots=True)
class Section:
    """What the session level and a media level have in common."""

    connection: Connection | None = None
    attributes: list[tuple[str, str | None]] = dataclasses.field(default_factory=list)
    "a= lines in order: name, and value if there is a colon"
    lines: Lines = dataclasses.field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """Values of all attributes of that name, in order."""
        return [value for key, value in self.attributes if key == name and value is not None]

    def has(self, name: str) -> bool:
        """Whether there is an attribute of that name, with or without a value."""
        return any(key == name for key, _ in self.attributes)

    def _body(self) -> Lines:
        lines = list(self.lines)
        if self.connection is not None:
            lines.insert(0, ("c", str(self.connection)))
        lines.sort(key=_place)
        return lines + [("a", key if value is None else f"{key}:{value}") for key, value in self.attributes]


@dataclasses.dataclass(slots=True)
class Media(Section):
    """m= and the lines that follow it."""

    kind: str = "audio"
    port: int = 0
    "0: refused, or switched off"
    port_count: int = 1
    profile: str = "RTP/AVP"
    formats: list[str] = dataclasses.field(default_factory=list)
    "payload type numbers, for RTP profiles"


@dataclasses.dataclass(slots=True)
class SessionDescription(Section):
    """One SDP body."""

    origin: Origin | None = None
    name: str | None = "-"
    "s="
    media: list[Media] = dataclasses.field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> SessionDescription:
        """Read a body; SdpSyntaxError says which line makes no sense, and why."""
        if len(text) > MAX_CHARACTERS:
            raise SdpSyntaxError(1, f"{len(text)} characters, more than {MAX_CHARACTERS}")
        description = cls(name=None)
        section: Section = description
        version_seen = False
        for number, raw in enumerate(re.split("\r\n|\n|\r", text), 1):
            line = raw.rstrip(" \t")
            if not line:
                continue
            letter, value = line[0], line[2:]
            if line[1:2] != "=" or not (letter.isascii() and letter.isalpha()) or "\0" in line:
                raise SdpSyntaxError(number, f"{_shown(line, text)} is not of the form x=...")
            if not version_seen and line != "v=0":
                raise SdpSyntaxError(number, f"starts with {_shown(line, text)} instead of v=0")
            if letter == "m":
                section = _parse_media(number, value, text)
                description.media.append(section)
            elif letter == "v":
                if version_seen:
                    raise SdpSyntaxError(number, "a second v= line")
                version_seen = True
            else:
                _parse_line(number, letter, value, section, text)
        if not version_seen:
            raise SdpSyntaxError(1, "empty")
        for part in (description, *description.media):
            part.lines.sort(key=_place)
        return description

    def __str__(self) -> str:
        """The body as it goes on the wire."""
        head: Lines = [("v", "0")]
        if self.origin is not None:
            head.append(("o", str(self.origin)))
        if self.name is not None:
            head.append(("s", self.name))
        lines = head + self._body()
        for media in self.media:
            count = f"/{media.port_count}" if media.port_count != 1 else ""
            words = (media.kind, f"{media.port}{count}", media.profile, *media.formats)
            lines += [("m", " ".join(words)), *media._body()]
        text = "".join(f"{letter}={value}\r\n" for letter, value in lines)
        # A line break inside a value would let whoever chose that value add lines of their own.
        if text.count("\n") != len(lines) or text.count("\r") != len(lines):
            raise ValueError("line break inside an SDP value")
        return text


def _place(line: tuple[str, str]) -> int:
    return _ORDER.get(line[0], _ORDER["?"])


def _shown(line: str, text: str) -> str:
    """The beginning of a line for an error; only its length where it may be a piece of a key."""
    if re.search("inline:|a=crypto", re.sub(r"\s", "", text), re.IGNORECASE):
        return f"{len(line)} characters"
    return repr(re.sub("[A-Za-z0-9+/]{16,}.*", "...", line, flags=re.DOTALL)[:40])


def _parse_line(number: int, letter: str, value: str, section: Section, text: str) -> None:
    """Any line but v= and m=, into its section."""
    if letter == "a":
        name, colon, rest = value.partition(":")
        if not name or " " in name:
            raise SdpSyntaxError(number, f"attribute without a name: {_shown(value, text)}")
        section.attributes.append((name, rest if colon else None))
    elif letter == "c" and section.connection is None:
        words = value.split()
        if len(words) != 3:
            raise SdpSyntaxError(number, f"c= needs network, address type and address, found {_shown(value, text)}")
        section.connection = Connection(words[1], words[2], words[0])
    elif letter == "o" and isinstance(section, SessionDescription) and section.origin is None:
        section.origin = _parse_origin(number, value, text)
    elif letter == "s" and isinstance(section, SessionDescription) and section.name is None:
        section.name = value
    elif letter in "os":
        raise SdpSyntaxError(number, f"a second or misplaced {letter}= line")
    else:
        section.lines.append((letter, value))


def _parse_origin(number: int, value: str, text: str) -> Origin:
    # From the right: some devices put a display name with spaces in the place of the user.
    words = value.rsplit(maxsplit=5)
    if len(words) != 6:
        raise SdpSyntaxError(number, f"o= needs six fields, found {_shown(value, text)}")
    username, session_id, version, network, address_type, address = words
    return Origin(username, session_id, version, address_type, address, network)


def _parse_media(number: int, value: str, text: str) -> Media:
    words = value.split()
    if len(words) < 3:
        raise SdpSyntaxError(number, f"m= needs media, port, profile and formats, found {_shown(value, text)}")
    match = re.fullmatch(r"(\d{1,5})(?:/(\d{1,5}))?", words[1], re.ASCII)
    if match is None or int(match[1]) > 65535:
        raise SdpSyntaxError(number, f"port {_shown(words[1], text)} is not a number from 0 to 65535")
    return Media(
        kind=words[0], port=int(match[1]), port_count=int(match[2] or 1), profile=words[2], formats=words[3:]
    )
