# SPDX-License-Identifier: GPL-2.0-or-later
"""The little that is read out of SIP messages as text (RFC 3261 section 7).

PJSIP has parsed and checked every message before we see it; its Python binding
hands over the text only, so headers and body are taken from there again.
"""

from __future__ import annotations

import dataclasses
import re

from trunkline.gateway.sip.headers import COMPACT

_LINE_END = re.compile(r"\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]+")
_NAME_ADDR = re.compile(r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[^<"]*?))\s*<(?P<uri>[^>]*)>')


@dataclasses.dataclass(frozen=True, slots=True)
class SipText:
    """A request or response, taken apart."""

    start_line: str
    headers: dict[str, str]
    "first value of each, names as sent except that compact forms are spelled out"
    body: str
    record_routes: tuple[str, ...] = ()
    "URIs of all Record-Route headers, in order"

    @classmethod
    def parse(cls, text: str) -> SipText:
        """Never fails: what is not understood is left out, for PJSIP has judged it already."""
        if (
            not text.isascii()
        ):  # the binding keeps bytes that are no UTF-8 as lone surrogates, which nobody can write
            text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        head, _, body = text.partition("\r\n\r\n") if "\r\n\r\n" in text else text.partition("\n\n")
        lines = _LINE_END.split(_FOLD.sub(" ", head))
        headers: dict[str, str] = {}
        seen: set[str] = set()
        routes: list[str] = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            name = name.strip()
            name = COMPACT.get(name.lower(), name)
            if name.lower() == "record-route":
                routes += re.findall(r"<([^>]*)>", value)
            if colon and name and name.lower() not in seen:
                seen.add(name.lower())
                headers[name] = value.strip()
        return cls(lines[0], headers, body, tuple(routes))

    def header(self, name: str) -> str:
        """First value of a header, in any case of letters; empty when it is missing."""
        value = self.headers.get(name)
        if value is not None:
            return value
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), "")

    @property
    def request_uri(self) -> str:
        parts = self.start_line.split(" ")
        return parts[1] if len(parts) == 3 and parts[2].startswith("SIP/") else ""

    @property
    def status(self) -> tuple[int, str]:
        """Code and reason phrase of a response, (0, "") of a request."""
        version, _, rest = self.start_line.partition(" ")
        code, _, phrase = rest.partition(" ")
        return (int(code), phrase) if version.startswith("SIP/") and code.isdigit() else (0, "")

    @property
    def media_type(self) -> str:
        """Content-Type without parameters, lower case."""
        return self.header("Content-Type").partition(";")[0].strip().lower()

    @property
    def sdp(self) -> str:
        """The SDP body, also out of a multipart one (RFC 5621); empty when there is none."""
        if not self.body.strip():
            return ""
        if self.media_type == "application/sdp":
            return self.body
        return (
            _sdp_part(self.header("Content-Type"), self.body)
            if self.media_type.startswith("multipart/")
            else ""
        )


def _sdp_part(content_type: str, body: str) -> str:
    boundary = re.search(r'boundary="?([^";]+)"?', content_type, re.I)
    for part in body.split(f"--{boundary[1]}") if boundary else []:
        head, _, content = part.lstrip("\r\n").partition("\r\n\r\n")
        if re.search(r"^content-type:\s*application/sdp", head, re.I | re.M):
            return content.removesuffix("\r\n") + "\r\n" if not content.endswith("\r\n\r\n") else content[:-2]
    return ""


def name_and_uri(value: str) -> tuple[str, str]:
    """Display name and URI of a From, To or Contact header (RFC 3261 section 20.10)."""
    match = _NAME_ADDR.match(value)
    if match is None:
        return "", value.partition(";")[0].strip()
    name = match["token"] if match["quoted"] is None else re.sub(r"\\(.)", r"\1", match["quoted"])
    return name.strip(), match["uri"].strip()


def reason_text(value: str, *, told_only: bool = False) -> str:
    """What a Reason header says (RFC 3326): its text, or protocol and cause; empty for an empty one.

    `told_only` leaves protocol and cause out: beside the phrase of a response they tell a person nothing.
    """
    text = re.search(r';\s*text\s*=\s*"((?:[^"\\]|\\.)*)"', value, re.I)
    if text is not None or told_only:
        return re.sub(r"\\(.)", r"\1", text[1]) if text else ""
    cause = re.search(r";\s*cause\s*=\s*(\d+)", value, re.I)
    protocol = value.partition(";")[0].strip()
    return f"{protocol} {cause[1]}" if cause else protocol
