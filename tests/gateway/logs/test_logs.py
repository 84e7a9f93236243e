# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines carry the call, sum it up once, and keep its numbers and our secrets to themselves."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from trunkline.gateway import logs
from trunkline.gateway.calls.view import CallView, MediaView
from trunkline.gateway.config.model import Logging


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Other tests find logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def configured(
    form: Literal["console", "json"] = "json",
    level: Literal["debug", "info"] = "info",
    redact: bool = False,
    *secrets: str,
) -> io.StringIO:
    """Logging set up; what it writes."""
    out = io.StringIO()
    logs.configure(Logging(format=form, level=level, redact_numbers=redact), map(SecretStr, secrets), out)
    return out


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    """What was written, as JSON."""
    return [json.loads(line) for line in out.getvalue().splitlines()]


def fail(error: Exception) -> None:
    """Raise it, for a traceback with the number or secret in it."""
    raise error


def view(**changes: Any) -> CallView:
    """A call that is over."""
    base = CallView(
        id="7d3f5a52-0000-4000-8000-000000000001",
        direction="inbound",
        state="ended",
        caller="+4930111222",
        called="600",
        trunk="pbx",
        route="sales",
        agent="echo",
        sip_call_id="abc@host",
        created=1000.0,
        answered=1000.05,
        ended=1012.3,
        cause="caller_hangup",
        sip_code=200,
        sip_reason="OK",
        media=MediaView(
            codec="PCMU",
            remote="192.0.2.1:4000",
            local="192.0.2.2:16384",
            ptime_ms=20,
            packets_received=610,
            packets_sent=612,
            packets_lost=3,
            loss_percent=0.5,
            jitter_ms=1.25,
            frames_to_agent=613,
            frames_from_agent=600,
            uplink_ms_p50=0.2,
            uplink_ms_p99=1.5,
            downlink_ms_p50=0.3,
            downlink_ms_p99=2.0,
            mos=4.05,
            r_factor=80.7,
            bursts=1,
            burst_ms=140.0,
            peer_mos=3.9,
            drops={"late": 2},
        ),
    )
    return base.model_copy(update=changes)


@pytest.mark.parametrize("form", ["console", "json"])
def test_the_canonical_line_answers_what_is_usually_asked(form: Literal["console", "json"]) -> None:
    """One line: who, route, agent, codec, duration, cause, code, loss, jitter, delays, packets, frames."""
    out = configured(form)
    logs.log_summary(view())
    (line,) = out.getvalue().splitlines()
    for key, value in {
        "caller": "+4930111222", "called": "600", "route": "sales", "agent": "echo", "codec": "PCMU",
        "duration_s": 12.25, "setup_s": 0.05, "cause": "caller_hangup", "sip_code": 200, "packets_lost": 3,
        "loss_percent": 0.5, "jitter_ms": 1.25, "uplink_ms_p50": 0.2, "uplink_ms_p99": 1.5,
        "downlink_ms_p50": 0.3, "downlink_ms_p99": 2.0, "packets_received": 610, "frames_to_agent": 613,
        "call_id": view().id,
        "mos": 4.05, "r_factor": 80.7, "bursts": 1, "burst_ms": 140.0, "peer_mos": 3.9,
    }.items():  # fmt: skip
        assert (f"{key}={value}" if form == "console" else f'"{key}": {json.dumps(value)}') in line
    assert "rtt_ms" not in line


def test_a_call_without_answer_or_media_is_summed_up_as_well() -> None:
    """Duration 0, the time until it was given up, no media figures."""
    summary = logs.call_summary(view(answered=None, media=None, cause="caller_cancelled", ended=1003.0))
    assert (summary["duration_s"], summary["setup_s"]) == (0.0, 3.0)
    assert "codec" not in summary


@pytest.mark.parametrize(
    ("cause", "level"),
    [("caller_hangup", "info"), ("no_media", "warning"), ("agent_lost", "error"), ("gibberish", "error")],
)
def test_the_level_follows_the_cause(cause: str, level: str) -> None:
    """An alert on errors needs no list of causes."""
    out = configured()
    logs.log_summary(view(cause=cause))
    assert lines(out)[0]["level"] == level


def test_a_call_logger_carries_the_id() -> None:
    """Bound once; the numbers travel along and are not written."""
    out = configured()
    logs.call_logger("a", "600").info("x", called="600")
    (line,) = lines(out)
    assert (line["call_id"], line["called"]) == ("a", "600")
    assert logs.NUMBERS_KEY not in line


def test_libraries_lines_have_our_form() -> None:
    """uvicorn and asyncio use the standard library's logging; exceptions are one JSON line, too."""
    out = configured()
    logging.getLogger("uvicorn.error").warning("port %d taken", 8070)
    logging.getLogger("uvicorn.access").info("GET /calls")
    try:
        fail(ValueError("bad\nthing"))
    except ValueError:
        logging.getLogger("asyncio").exception("loop")
    first, second = lines(out)
    assert (first["event"], first["level"], first["logger"]) == (
        "port 8070 taken",
        "warning",
        "uvicorn.error",
    )
    assert "ValueError: bad" in second["exception"]


def test_lines_below_the_level_are_not_written() -> None:
    """Ours and the libraries'."""
    out = configured(level="info")
    logs.get_logger().debug("x")
    logging.getLogger("lib").debug("x")
    assert out.getvalue() == ""
    out = configured(level="debug")
    logs.get_logger().debug("x")
    assert [line["event"] for line in lines(out)] == ["x"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_are_in_no_line(form: Literal["console", "json"]) -> None:
    """Neither as values of telling keys nor inside texts, exceptions or library lines."""
    out = configured(form, "debug", False, "hunter2!")
    log = logs.get_logger()
    log.info("hunter2!", password="hunter2!", detail="sent hunter2! to pbx")
    log.info("x", token="other-secret", headers={"authorization": "Bearer other-secret"})
    logging.getLogger("lib").info("login %s", "hunter2!")
    try:
        fail(ValueError("hunter2!"))
    except ValueError:
        log.exception("failed")
    assert len(out.getvalue()) > 100
    assert "hunter2!" not in out.getvalue()
    assert "other-secret" not in out.getvalue()


NUMBERS = st.from_regex(r"\+?[1-9][0-9]{8,14}", fullmatch=True)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(caller=NUMBERS, called=NUMBERS, form=st.sampled_from(["console", "json"]))
def test_no_number_of_a_call_survives_in_any_line(
    caller: str, called: str, form: Literal["console", "json"]
) -> None:
    """A whole life of a call, with numbers in URIs, headers, errors, library lines and the summary."""
    out = configured(form, "debug", True)
    call_id = view().id
    dashed = "-".join(called.lstrip("+"))
    log = logs.call_logger(call_id, caller, called)
    log.info("call.incoming", from_uri=f'"{caller}" <sip:{caller}@192.0.2.1>;tag=1', source="192.0.2.1:5060")
    log.warning("call.refused", detail=f"no route takes {called} from pbx")
    log.debug("headers", headers={"Diversion": f"<tel:{caller}>", "X-Called": dashed})
    event = f"dial plan: {called}"
    log.debug(event)
    logging.getLogger("pjsip").info("INVITE sip:%s@pbx;user=phone SIP/2.0", called)
    try:
        fail(LookupError(f"sip:{called}@pbx is unknown"))
    except LookupError:
        log.exception("call.failed")
    # By loggers that were never told of this call.
    logs.get_logger("sip").info("options", to=f"sip:{called}@pbx", text=f"for {caller}")
    logs.log_summary(view(caller=caller, called=called, sip_reason=f"{called} is busy"))
    text = out.getvalue().replace(call_id, "")
    assert text.count("call.ended") == 1
    assert "192.0.2.1:5060" in text
    # Without times, whose digits are many and by chance those of a number; then without punctuation.
    bare = re.sub(r"[\-.() +]", "", re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+", "", text))
    for number in (caller, called):
        digits = number.lstrip("+")
        assert digits not in bare
        assert digits[:-2] not in bare
        assert f"***{digits[-2:]}" in text


@pytest.mark.parametrize("called", ["699", "44321", "+49 30 123"])
def test_a_refusal_hides_the_numbers_that_it_is_told(called: str) -> None:
    """There is no call yet whose logger could know them, and an extension looks like any other number."""
    out = configured(redact=True)
    from_uri, request_uri = '"Ann" <sip:5512@192.0.2.1>;tag=1', f"sip:{called.replace(' ', '-')}@gw"
    logs.get_logger().warning(
        "call.refused",
        detail=f"no route takes {called} from pbx, whose 5512 asks",
        code=404,
        source="192.0.2.1:5060",
        **logs.hiding(from_uri, request_uri),
    )
    (line,) = lines(out)
    tail = re.sub(r"\D", "", called)[-2:]
    assert line["detail"] == f"no route takes ***{tail} from pbx, whose ***12 asks"
    assert (line["code"], line["source"]) == (404, "192.0.2.1:5060")
    assert logs.NUMBERS_KEY not in line
