# SPDX-License-Identifier: GPL-2.0-or-later
"""A call's media leg while the call lives: its start, and what offer and answer make of it."""

from __future__ import annotations

import dataclasses

from trunkline.gateway.calls import recordings
from trunkline.gateway.calls.agent_url import for_call
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, Call, Phase, Trigger
from trunkline.gateway.calls.ending import Ending
from trunkline.gateway.calls.rescue_use import patience_s, rescue_params
from trunkline.gateway.media.call_policy import PERMISSIONS, TurnParams
from trunkline.gateway.media.control import DigitParams, StartStream
from trunkline.gateway.media.pool import NoWorker
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.payload import AUDIO_FORMATS

AGENT_MARGIN_S = 3.0
"The worker reports an agent that does not answer; this much later we stop waiting for the report."

_UNANSWERED = frozenset({Phase.PREPARING, Phase.CALLING, Phase.RINGING, Phase.EARLY})


class Streams:
    """Starts and updates streams of the book's calls."""

    def __init__(self, book: Book, ending: Ending) -> None:
        self._book, self._ending = book, ending

    def start(self, call: Call) -> None:
        """Connect the agent. Audio waits for an answer, except where the caller's offer has settled all.

        Then it may flow as soon as the agent has accepted, which is when our 200 leaves: the caller has
        been ready to receive since its offer (RFC 3264 5.1), and not a packet of its is missed.
        """
        agents = (call.agent, *call.others)
        call.wait(patience_s(call.route, agents) + AGENT_MARGIN_S, "agent")
        try:
            agreed = call.session.description()
            call.media = None if agreed is None else for_worker(call, agreed)
            start = StartStream(
                call.info,
                call.media or _placeholder(call, self._book.config.media.packet_time_ms),
                for_call(self._book.agent_params[call.agent.name], call.info),
                digits=DigitParams(call.trunk.dtmf == "inband", call.trunk.dtmf_detect, call.cut_tones),
                turns=_turns(call),
                hold_media=call.media is None,
                rescue=rescue_params(call.route, agents, self._path_of),
                first_agent=call.agent.name,
                others=tuple(for_call(self._book.agent_params[agent.name], call.info) for agent in call.others),
                agent_may=PERMISSIONS if call.route is None else tuple(call.route.agent_may),
                variables=dict(call.variables),
                recording=recordings.of_route(self._book, call),
            )
            self._book.media.start_stream(start, call.ports)
        except NoWorker as problem:
            self._ending.end(call, "no_worker", str(problem))
        except Exception as error:  # noqa: BLE001 - whatever it is, the call ends
            # Nobody knows how far it got: forget the stream, or the end would wait for a worker's report.
            log.exception("media.start_failed", call_id=call.id)
            self._book.media.forget(call.id)
            self._ending.end(call, "internal_error", f"{type(error).__name__}: {error}")

    def _path_of(self, text: str) -> str:
        """A file of the configuration, wherever a worker may stand."""
        return str(self._book.config.resolve_path(text)) if text else ""

    def refresh(self, call: Call) -> None:
        """An offer/answer exchange has completed, or the call was answered: tell the worker what holds now."""
        agreed = call.session.description()
        if agreed is None or call.closing:
            return
        if call.direction == "inbound" and call.phase is Phase.RINGING:
            return  # the agent has not asked for audio yet (answering.py)
        media = for_worker(call, agreed)
        if media != call.media:
            call.media = media
            self._book.media.update(call.id, media)
        if call.phase in ANSWERED:
            held = bool(call.session.held)
            if call.apply(Trigger.HOLD if held else Trigger.RESUME):
                self._book.publish("call.held" if held else "call.resumed", call)


def for_worker(call: Call, agreed: MediaDescription) -> MediaDescription:
    """What was agreed on, less what this call does not do."""
    if call.direction == "outbound" and call.phase in _UNANSWERED and agreed.send:
        # Early media is for listening: a greeting spoken into the ringing would be lost, so it waits.
        agreed = dataclasses.replace(agreed, send=False)
    if call.holding and agreed.receive:
        agreed = dataclasses.replace(agreed, receive=False)  # whatever the peer makes of our hold
    if call.trunk.dtmf in ("info", "inband") and agreed.send_dtmf_pt >= 0:
        agreed = dataclasses.replace(agreed, send_dtmf_pt=-1)
    return agreed


def _turns(call: Call) -> TurnParams:
    """Who speaks, as the call's route has it."""
    return TurnParams() if call.route is None else TurnParams(**call.route.turns.model_dump())


def _placeholder(call: Call, ptime_ms: int) -> MediaDescription:
    """Media of a call for which nothing has been agreed on: held, the peer unknown."""
    payload = AUDIO_FORMATS[call.trunk.codecs[0]]
    pt = 0 if payload.static_pt is None else payload.static_pt
    ptime_ms = min(payload.packet_times_ms, key=lambda ms: abs(ms - ptime_ms))  # not all encodings have all of them
    return MediaDescription(
        payload.name,
        pt,
        pt,
        "",
        0,
        "",
        0,
        ptime_ms,
        send=False,
        receive=False,
        dtmf_clock_hz=payload.clock_hz,
    )
