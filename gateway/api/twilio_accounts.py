# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may use the paths of Twilio's REST API: agents that speak its dialect, each for its own calls.

Their clients know no bearer token: they send the account's SID and its auth token by basic
authentication (RFC 7617), as they would to Twilio.  The same token signs the WebSocket's
handshake.  Whoever has it may end the calls of agents that are configured with it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hmac
from collections.abc import Sequence

from starlette.responses import JSONResponse

PREFIX = "/2010-04-01/"
_NOBODY = b"no account has this token, and comparing takes as long"


@dataclasses.dataclass(frozen=True, slots=True)
class TwilioAccount:
    """One agent."""

    sid: str
    token: str = dataclasses.field(repr=False)
    agent: str


class TwilioAccounts:
    """All agents with an auth token."""

    def __init__(self, accounts: Sequence[TwilioAccount]) -> None:
        self._accounts = tuple(accounts)

    def concern(self, path: str) -> bool:
        """Whether this path is theirs; without any account, none is."""
        return bool(self._accounts) and path.startswith(PREFIX)

    def agents(self, authorization: bytes, sid: str = "") -> frozenset[str]:
        """Agents that these credentials are good for, `sid` being the account that is asked about, if any."""
        user, token = _basic(authorization)
        found = set()
        for account in self._accounts:  # all of them, every time: how long it takes tells nothing
            same = hmac.compare_digest(account.sid.encode(), user) and sid in ("", account.sid)
            if hmac.compare_digest(account.token.encode() if same else _NOBODY, token) and same:
                found.add(account.agent)
        return frozenset(found)

    def refusal(self, authorization: bytes) -> JSONResponse | None:
        """The answer to somebody else; None for one of them."""
        return None if self.agents(authorization) else unauthorized()


def unauthorized() -> JSONResponse:
    """As Twilio says it."""
    answer = twilio_error(401, 20003, "Authenticate")
    answer.headers["WWW-Authenticate"] = 'Basic realm="trunkline"'
    return answer


def twilio_error(status: int, code: int, message: str) -> JSONResponse:
    """An error in Twilio's shape."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return JSONResponse({"code": code, "message": message, "more_info": more, "status": status}, status)


def _basic(authorization: bytes) -> tuple[bytes, bytes]:
    scheme, _, given = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return b"", b""
    try:
        user, _, password = base64.b64decode(given.strip(), validate=True).partition(b":")
    except binascii.Error:
        return b"", b""
    return user, password
