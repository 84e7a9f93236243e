# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that are refused: with which code, and with which reason in the log."""

from __future__ import annotations

from typing import Any

import pytest

from support.phone import Phone
from support.sipp import Message, Sipp
from support.stage import Stage


def refused(stage: Stage, sipp: Sipp, code: int) -> tuple[Message, dict[str, Any]]:
    """The refusal on the wire, and what the event stream says of it; the log must say the same."""
    sipp.wait()
    answer = sipp.received(f"SIP/2.0 {code}")[0]
    facts = stage.gateway.wait_event("call.refused", source=f"{sipp.source}:{sipp.port}")["data"]
    # Scanners would flood the log: a source and cause that repeat get one line in ten seconds.
    host = sipp.source
    assert any(
        line["source"].startswith(host) for line in stage.gateway.log("call.refused", cause=facts["cause"])
    )
    return answer, facts


def test_a_stranger_gets_403_and_the_log_says_whom_to_let_in(stage: Stage) -> None:
    with Sipp("uac_refused", stage.gateway.sip_port, source="127.0.0.9") as caller:
        answer, line = refused(stage, caller, 403)
    assert line["cause"] == "unknown_peer" and "127.0.0.9" in line["detail"] and line["code"] == 403
    assert stage.gateway.metric("trunkline_calls_refused_total", cause="unknown_peer") >= 1
    assert "trunkline" not in answer.header("Reason"), "a stranger learns nothing"


def test_a_number_without_route_gets_404(stage: Stage) -> None:
    with Sipp("uac_refused", stage.gateway.sip_port, keys={"called": "12345"}) as caller:
        _, line = refused(stage, caller, 404)
    assert line["cause"] == "no_route" and "12345 from local" in line["detail"]


def test_a_route_may_refuse_with_a_code_and_phrase_of_its_own(stage: Stage) -> None:
    with Sipp("uac_refused", stage.gateway.sip_port, keys={"called": "603"}) as caller:
        answer, line = refused(stage, caller, 603)
    assert answer.start_line == "SIP/2.0 603 Closed today"
    assert line["cause"] == "route_refused" and "closed" in line["detail"]


def test_an_agent_that_is_down_gives_503_with_retry_after(stage: Stage) -> None:
    with Phone(stage.gateway, "uac_refused", keys={"called": "699"}) as caller:
        line = caller.wait_end()
        answer = caller.sipp.received("SIP/2.0 503")[0]
    assert int(answer.header("Retry-After")) >= 1
    assert (line["cause"], line["agent"], line["sip_code"]) == ("agent_unreachable", "dead", 503)
    assert "no_agent" not in line and line["level"] == "error"


def test_an_agent_may_refuse_a_call_with_a_code_of_its_own(stage: Stage) -> None:
    stage.picky.refusal = (486, "Not now")
    with Phone(stage.gateway, "uac_refused", keys={"called": "602"}) as caller:
        line = caller.wait_end()
        answer = caller.sipp.received("SIP/2.0 486")[0]
    assert answer.start_line == "SIP/2.0 486 Not now"
    assert (line["cause"], line["sip_code"], line["sip_reason"]) == ("agent_rejected", 486, "Not now")


def test_no_common_codec_gives_488(stage: Stage) -> None:
    with Sipp("uac_no_codec", stage.gateway.sip_port, keys={"called": "600"}) as caller:
        _, line = refused(stage, caller, 488)
    assert line["cause"] == "no_common_codec"


def test_an_offer_that_is_no_sdp_gives_400(stage: Stage) -> None:
    with Sipp("uac_bad_sdp", stage.gateway.sip_port, keys={"called": "600"}) as caller:
        _, line = refused(stage, caller, 400)
    assert line["cause"] in ("bad_sdp", "bad_request", "sip_stack")


def test_a_trunk_that_is_full_gives_503_and_is_open_again_afterwards(stage: Stage) -> None:
    gateway = stage.gateway
    with Phone(gateway, "uac_hangup", source="127.0.0.7") as first:
        call_id = first.wait_up()
        with Sipp("uac_refused", gateway.sip_port, source="127.0.0.7") as second:
            answer, line = refused(stage, second, 503)
        assert line["cause"] == "limit_trunk" and "small" in line["detail"]
        assert int(answer.header("Retry-After")) >= 1
        gateway.hang_up(call_id)
        first.wait_end()
    with Sipp("uac_basic", gateway.sip_port, source="127.0.0.7") as third:
        third.wait()


def test_a_session_interval_that_is_too_short_gets_422_with_the_least(stage: Stage) -> None:
    with Sipp("uac_session_timer_short", stage.gateway.sip_port, keys={"called": "600"}) as caller:
        caller.wait()
        assert caller.received("SIP/2.0 422")[0].header("Min-SE") == "90"


@pytest.mark.parametrize("scenario", ["uac_message", "uac_subscribe", "uac_replaces"])
def test_what_we_do_not_do_is_refused_as_the_rfc_says(stage: Stage, scenario: str) -> None:
    header = {"header": "Replaces: nobody@nowhere;to-tag=1;from-tag=2"} if scenario == "uac_replaces" else {}
    with Sipp(scenario, stage.gateway.sip_port, keys={"called": "600", **header}) as caller:
        caller.wait()
    assert not stage.gateway.calls()
