# SPDX-License-Identifier: GPL-2.0-or-later
"""Log lines: one form for ours and for the libraries', with the call id, without secrets.

A line goes through these steps:

    logger, level -> texts of exceptions
      -> Cleaner: secrets out, numbers redacted if asked, control characters made visible
      -> time -> console or JSON

A call's id and its numbers are bound to its logger (`call_logger`); who logs about a
call that never came to be tells the numbers with the line (`hiding`).

Nothing is logged per packet.  A finished call gets one canonical line that tells
all that is usually asked (`call_summary`); everything else is detail.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import structlog
from pydantic import SecretStr
from structlog.typing import FilteringBoundLogger, Processor

from trunkline.gateway import outcome
from trunkline.gateway.calls.view import CallView
from trunkline.gateway.config.model import Logging
from trunkline.gateway.redaction import NUMBERS_KEY, Cleaner

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_QUIET = {
    "uvicorn.access": logging.WARNING,
    "uvicorn.error": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
}
"Libraries that have a line for every request of a live view."


def configure(config: Logging, secrets: Iterable[SecretStr] = (), stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging, to `stream` (default: standard error).

    May be called again: with the secrets, once they are known.
    """
    out = sys.stderr if stream is None else stream
    cleaner = Cleaner(redact_numbers=config.redact_numbers, secrets=secrets)
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        cleaner,
        structlog.processors.TimeStamper(fmt="iso", utc=config.format == "json"),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if config.format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=out.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[config.level])
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, _LEVELS[config.level]))
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[config.level]),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str = "trunkline") -> FilteringBoundLogger:
    """A logger; `log.info("agent.connected", agent="echo")`: an event in words, facts as keys."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def call_logger(call_id: str, *numbers: str, name: str = "trunkline.call") -> FilteringBoundLogger:
    """A logger whose lines carry the call id, and hide this call's `numbers` (or URIs) when that is asked."""
    return get_logger(name).bind(call_id=call_id, **hiding(*numbers))


def hiding(*numbers: str) -> dict[str, tuple[str, ...]]:
    """Keys for one line: `log.warning("call.refused", detail=..., **hiding(from_uri, request_uri))`.

    The `numbers` (or URIs) are not written; they are what this line must not show.
    """
    return {NUMBERS_KEY: numbers}


def call_summary(view: CallView) -> dict[str, Any]:
    """All that is usually asked of a finished call, as the keys of its canonical line."""
    answered, ended = view.answered, view.ended
    summary: dict[str, Any] = {
        "direction": view.direction,
        "caller": view.caller,
        "called": view.called,
        "trunk": view.trunk,
        "route": view.route,
        "agent": view.agent,
        "cause": view.cause,
        "sip_code": view.sip_code,
        "sip_reason": view.sip_reason,
        "duration_s": round(ended - answered, 3) if answered and ended else 0.0,
        "setup_s": round((answered or ended or view.created) - view.created, 3),
        "sip_call_id": view.sip_call_id,
        "agents": ",".join(view.agents),
        "attempts": view.attempts if view.attempts > 1 else None,
        "variables": view.variables,
    }
    if view.media is not None:
        summary.update(view.media.model_dump(include=set(_MEDIA_KEYS)))
    return {key: value for key, value in summary.items() if value not in ("", None, {})}


def log_summary(view: CallView, logger: FilteringBoundLogger | None = None) -> None:
    """Write the canonical line, at the level that the cause deserves."""
    log = logger or call_logger(view.id, view.caller, view.called)
    level = _LEVELS[outcome.outcome(view.cause).level]
    log.log(level, "call.ended", **call_summary(view))


_MEDIA_KEYS = (
    "codec",
    "encryption",
    "ptime_ms",
    "remote",
    "packets_received",
    "packets_sent",
    "packets_lost",
    "loss_percent",
    "discard_percent",
    "jitter_ms",
    "mos",
    "mos_min",
    "r_factor",
    "bursts",
    "burst_ms",
    "burst_loss_percent",
    "gap_loss_percent",
    "delay_ms",
    "frames_to_agent",
    "frames_from_agent",
    "frames_played",
    "frames_concealed",
    "frames_gap",
    "frames_comfort_noise",
    "underruns",
    "peer_lost",
    "peer_jitter_ms",
    "peer_loss_percent",
    "peer_mos",
    "rtt_ms",
    "uplink_ms_p50",
    "uplink_ms_p99",
    "downlink_ms_p50",
    "downlink_ms_p99",
    "drops",
    "underrun_ms",
    "turns",
    "turn_agent_ms_p50",
    "turn_agent_ms_max",
    "turn_gateway_ms_p50",
    "turn_gateway_ms_max",
    "turn_total_ms_p50",
    "turn_total_ms_max",
    "barge_in_ms_p50",
    "barge_in_ms_max",
    "frames_withheld",
    "barge_ins",
)
