# SPDX-License-Identifier: GPL-2.0-or-later
"""A caller that is nothing but one INVITE with the SDP that a test wants, and the shortest end to it.

SIPp needs a scenario for each message; here the SDP is what differs, a hundred times.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

WAIT_S = 8.0
_branches = itertools.count(1)


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A final response."""

    code: int
    reason: str
    sdp: str


class BareCaller:
    """One call by UDP; leaving the context ends it."""

    def __init__(self, port: int, host: str = "127.0.0.1", called: str = "600") -> None:
        self._target = (host, port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.settimeout(WAIT_S)
        self._host = f"[{host}]" if ":" in host else host
        self._uri = f"sip:{called}@{self._host}:{port}"
        self._here = f"{self._host}:{self._socket.getsockname()[1]}"
        self._call_id = f"bare-{next(_branches)}-{self._here}"
        self._to = f"<{self._uri}>"
        self._cseq = 0
        self._up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._up:
            self._send("BYE")
            self._final()
        self._socket.close()

    def invite(self, sdp: str, answer: Callable[[str], str] | None = None) -> Reply:
        """INVITE or re-INVITE, and its final response; `answer` makes the SDP of the ACK out of theirs."""
        branch = self._send("INVITE", sdp)
        reply = self._final()
        ok = reply.code < 300
        self._send("ACK", answer(reply.sdp) if answer and ok else "", None if ok else branch)
        self._up = self._up or ok
        return reply

    def _send(self, method: str, sdp: str = "", branch: str | None = None) -> str:
        branch = branch or f"z9hG4bK-bare-{next(_branches)}"
        self._cseq += method != "ACK"
        lines = [
            f"{method} {self._uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._here};branch={branch};rport",
            f"From: <sip:bare@{self._here}>;tag=bare",
            f"To: {self._to}",
            f"Call-ID: {self._call_id}",
            f"CSeq: {self._cseq} {method}",
            f"Contact: <sip:bare@{self._here}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if sdp else []),
            f"Content-Length: {len(sdp.encode())}",
        ]
        self._socket.sendto(("\r\n".join(lines) + "\r\n\r\n" + sdp).encode(), self._target)
        return branch

    def _final(self) -> Reply:
        while True:
            text = self._socket.recv(65535).decode()
            head, _, body = text.partition("\r\n\r\n")
            found = re.match(r"SIP/2.0 (\d{3}) (.*)", head)
            if found is None or int(found[1]) < 200 or f"CSeq: {self._cseq} " not in head:
                continue
            to = re.search(r"^To: (.*)$", head, re.MULTILINE)
            if to is not None and int(found[1]) < 300:
                self._to = to[1].strip()
            return Reply(int(found[1]), found[2].strip(), body)
