# SPDX-License-Identifier: GPL-2.0-or-later
"""A telephone: SIPp signals as a scenario says, an RtpEndpoint speaks and listens, perhaps over a bad network.

    with Phone(gateway, "uac_hangup", said=payload) as phone:
        phone.wait_up()

It calls us, or with a scenario `uas_...` waits for a call of ours: `gateway.place(phone.uri)`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from support.gateway import GatewayProcess
from support.relay import Relay
from support.rtp_endpoint import RtpEndpoint
from support.sipp import Message, Sipp
from support.waiting import wait_for

_MEDIA = re.compile(r"^c=IN IP4 (\S+)$.*?^m=audio (\d+)", re.M | re.S)


class Phone:
    """One call's both halves; leaving the context ends SIPp and closes the audio."""

    def __init__(
        self,
        gateway: GatewayProcess,
        scenario: str = "uac_hangup",
        *,
        said: bytes | Sequence[bytes] = b"",
        digits: str = "",
        hold_ms: int = 50,
        endpoint: RtpEndpoint | None = None,
        relay: Relay | None = None,
        port: int = 0,
        sipp_port: int = 0,
        keys: Mapping[str, str] | None = None,
        **sipp_options: object,
    ) -> None:
        """`said` is spoken as soon as the call is answered, by a phone that calls; `hold_ms` is SIPp's pause.

        `port` is where it calls, when that is not the gateway itself; `sipp_port` is its own, 0: a free one.
        """
        self.gateway, self.relay = gateway, relay
        self._port, self._own_port = port or gateway.sip_port, sipp_port
        self.rtp = endpoint or RtpEndpoint()
        self._said, self._digits = said, digits
        self._scenario, self._keys, self._options = scenario, dict(keys or {}), sipp_options
        self._hold_ms = hold_ms
        self._stack = contextlib.ExitStack()
        self.sipp: Sipp
        self.call_id = ""
        "the gateway's id of the call, once it is known"

    def __enter__(self) -> Self:
        self._stack.enter_context(self.rtp)
        port = self.rtp.port
        if self.relay is not None:
            self.relay.endpoint = ("127.0.0.1", port)
            port = self._stack.enter_context(self.relay).far_port
        keys = {"sdp_port": str(port), **self._keys}
        self.sipp = self._stack.enter_context(
            Sipp(
                self._scenario, self._port, port=self._own_port, keys=keys, pause_ms=self._hold_ms,
                **self._options,  # type: ignore[arg-type]
            )
        )
        if self._said or self._digits:
            self.say(self._said, self._digits)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def uri(self) -> str:
        """Where it can be called."""
        return f"sip:600@{self.sipp.uri_host}"

    # --- signalling --------------------------------------------------------------------------

    def wait_sdp(self) -> str:
        """The first SDP of the other side."""

        def told() -> Message | None:
            return next(
                (one for one in self.sipp.messages() if not one.sent and _MEDIA.search(one.body)), None
            )

        return wait_for(told, "SDP of the other side").body  # type: ignore[union-attr]

    def wait_media(self) -> tuple[str, int]:
        """Where it wants our audio; our side is told all of it."""
        sdp = self.wait_sdp()
        self.rtp.agree(sdp)
        found = _MEDIA.search(sdp)
        assert found is not None
        return (found[1], int(found[2]))

    def wait_up(self) -> str:
        """Until the gateway says that the call is up; returns its id of it."""
        self.call_id = str(self.gateway.wait_call("up", **self._identity())["id"])
        return self.call_id

    def _identity(self) -> dict[str, str]:
        first = wait_for(self.sipp.messages, "a first message")[0]
        # Only calls to us are shown with the Call-ID; ours are known by the id that placing returned.
        return {"sip_call_id": first.header("Call-ID")} if first.sent else {}

    def wait_end(self) -> dict[str, object]:
        """Until the scenario is through and the gateway has summed the call up: its canonical log line."""
        self.sipp.wait()
        line = wait_for(
            lambda: self.gateway.log("call.ended", **self._identity()), "the call's last log line"
        )[0]
        self.call_id = line["call_id"]
        return line

    # --- audio -------------------------------------------------------------------------------

    def say(self, payload: bytes | Sequence[bytes] = b"", digits: str = "") -> None:
        """Speak, when the gateway has said where to."""
        remote = self.wait_media()
        if self.relay is not None:
            self.relay.gateway = remote
            remote = ("127.0.0.1", self.relay.near_port)
        self.rtp.send(remote, payload, digits)
