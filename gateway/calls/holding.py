# SPDX-License-Identifier: GPL-2.0-or-later
"""Putting the other party on hold, and taking it back (RFC 3264 8.4).

We offer `sendonly`: the other party goes on hearing us, which is the route's music in
place of the agent, and sends nothing; what a peer sends all the same is not delivered.
The agent's timeline goes on, as silence flagged as a gap.  A peer that refuses the
re-INVITE is on hold all the same: it hears music, and nobody hears it.
"""

from __future__ import annotations

from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, Call
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.streams import Streams
from trunkline.gateway.media import control
from trunkline.gateway.sip.messages import Reinvite


class Holding:
    """Our hold; that of the other party is `Phase.HELD`, and both may hold at once."""

    def __init__(self, book: Book, streams: Streams) -> None:
        self._book, self._streams = book, streams

    def hold(self, call: Call, *, held: bool, music: str = "") -> None:
        """Hold or resume; nothing happens when it is so already. Raises CallRefused."""
        if call.phase not in ANSWERED:
            raise CallRefused("not_now", "a call can be held only while it is up", 409)
        sound = self._sound(call, music)
        if call.holding == held:
            return
        call.holding, call.hold_sound = held, sound
        self._book.post(Reinvite(call.id, hold=held))
        self._streams.refresh(call)
        message = control.PlaySound(call.id, sound, loop=True) if held else control.StopSound(call.id)
        self._book.media.send(message)
        log.debug("call.hold", call_id=call.id, held=held)
        self._book.publish("call.held" if held else "call.resumed", call, by="us")

    def _sound(self, call: Call, music: str) -> str:
        """File of the music; empty for the built-in one."""
        named = call.route.music if call.route is not None else {}
        if music and music not in named:
            known = ", ".join(named) or "none"
            raise CallRefused("no_such_music", f"the route has no music {music[:64]!r}; it has: {known}")
        path = named[music] if music else call.route.hold_music if call.route is not None else ""
        return str(self._book.config.resolve_path(path)) if path else ""

    def again(self, call: Call) -> None:
        """Another worker has the call: it knows nothing of the music."""
        if call.holding and not call.closing:
            self._book.media.send(control.PlaySound(call.id, call.hold_sound, loop=True))
