# SPDX-License-Identifier: MIT
"""What a connection has heard of a call, in the words that handlers see."""

from __future__ import annotations

from trunkline.agent_bridge import agent_events as ev
from trunkline.agent_bridge import call_events as news


def news_of(
    event: ev.DtmfPressed
    | ev.HoldChanged
    | ev.QualityReported
    | ev.NetworkChanged
    | ev.SpeechChanged
    | ev.TurnReported
    | ev.UnderrunReported
    | ev.CallStateChanged
    | ev.TransferReported
    | ev.CommandRefused,
) -> news.CallEvent:
    """The same, for `Call.events()`."""
    match event:
        case ev.DtmfPressed():
            return news.Dtmf(event.digit, event.duration_ms, event.method)
        case ev.HoldChanged():
            return news.Hold(event.held)
        case ev.QualityReported():
            return news.Quality(event.stats)
        case ev.NetworkChanged():
            return news.Network(event.silent, event.idle_ms)
        case ev.SpeechChanged():
            return news.Speech(event.started, event.position, event.level_dbov)
        case ev.TurnReported():
            return news.Turn(event.turn)
        case ev.UnderrunReported():
            return news.Underrun(event.position, event.missing_ms)
        case ev.CallStateChanged():
            return news.CallState(event.state)
        case ev.TransferReported():
            return news.TransferProgress(event.state, event.code, event.reason)
        case ev.CommandRefused():
            return news.Refused(event.code, event.text)
