# SPDX-License-Identifier: GPL-2.0-or-later
"""The routes for calls: what reaches call control, and what comes back."""

from __future__ import annotations

import pytest


def test_place_hands_the_whole_request_to_call_control(ask, service):
    """Every field of the request arrives, and the answer says where the call is found."""
    body = {
        "to": "sip:600@pbx",
        "agent": "echo",
        "trunk": "pbx",
        "from": "1001",
        "headers": {"X-A": "b"},
        "metadata": {"k": "v"},
        "timeout_s": 12.5,
    }
    answer = ask("POST", "/v1/calls", json=body)
    assert answer.status_code == 201
    view = answer.json()
    assert view["state"] == "calling" and view["called"] == "sip:600@pbx"
    assert answer.headers["location"] == f"/v1/calls/{view['id']}"
    [(verb, request)] = service.asked
    assert verb == "place" and request.from_ == "1001" and request.timeout_s == 12.5
    assert request.headers == {"X-A": "b"} and request.metadata == {"k": "v"} and request.trunk == "pbx"


def test_a_refusal_of_call_control_keeps_its_status_word_and_sentence(ask, service, refusal):
    """A limit is 503 with its cause, not an internal error."""
    service.refuse = refusal(503, "limit", "1000 calls are up, which is the limit")
    answer = ask("POST", "/v1/calls", json={"to": "sip:1@x", "agent": "echo"})
    assert answer.status_code == 503
    assert answer.json() == {"error": "limit", "detail": "1000 calls are up, which is the limit"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"to": "sip:1@x", "agent": "e", "trnk": "pbx"}, "unknown field `trnk`; did you mean `trunk`?"),
        (
            {"to": "sip:1@x", "agent": "e", "zzz": 1},
            "unknown field `zzz`; known fields: to, agent, trunk, from",
        ),
        ({"agent": "e"}, "`to` is missing"),
        ({"to": "sip:1@x", "agent": "e", "timeout_s": 0}, "`timeout_s`: Input should be greater than 0"),
    ],
)
def test_a_wrong_body_is_refused_with_the_name_of_the_field(ask, service, body, sentence):
    """Nothing is silently ignored, and nothing wrong reaches call control."""
    answer = ask("POST", "/v1/calls", json=body)
    assert answer.status_code == 422 and answer.json()["error"] == "invalid_request"
    assert sentence in answer.json()["detail"]
    assert service.asked == []


def test_a_body_that_is_not_json_is_refused_with_its_reason(ask):
    """The sentence says what is wrong with the body."""
    answer = ask("POST", "/v1/calls", content=b"{to:", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and "not JSON" in answer.json()["detail"]


def test_list_is_oldest_first(ask, service):
    """The order does not depend on call control's table."""
    service.add("b", created=20.0)
    service.add("a", created=10.0)
    assert [view["id"] for view in ask("GET", "/v1/calls").json()] == ["a", "b"]


def test_one_call_carries_its_media(ask, service):
    """The view of one call has the audio's numbers."""
    service.add("abc")
    view = ask("GET", "/v1/calls/abc").json()
    assert view["media"]["codec"] == "PCMU" and view["media"]["packets_lost"] == 0


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/dtmf"), ("POST", "/clear")]
)
def test_an_unknown_call_is_404_everywhere(ask, service, method, path):
    """Whatever is asked of it, and call control is not bothered."""
    answer = ask(method, f"/v1/calls/nope{path}", json={"digits": "1"} if path == "/dtmf" else None)
    assert answer.status_code == 404 and answer.json()["error"] == "no_such_call"
    assert service.asked == []


def test_hangup_passes_the_reason(ask, service):
    """The reason of the client is what call control logs."""
    service.add("abc")
    assert ask("DELETE", "/v1/calls/abc", params={"reason": "done"}).status_code == 202
    assert service.asked == [("hangup", "abc", "done")]


def test_digits_and_their_times_arrive(ask, service):
    """Defaults are filled in, given values kept."""
    service.add("abc")
    assert ask("POST", "/v1/calls/abc/dtmf", json={"digits": "12#", "gap_ms": 100}).status_code == 202
    assert service.asked == [("dtmf", "abc", "12#", 160, 100)]
    assert ask("POST", "/v1/calls/abc/dtmf", json={"digits": "12x"}).status_code == 422


def test_a_call_can_be_recorded(ask, service):
    """Into a file that is named in full, or not at all."""
    service.add("abc")
    url = "/v1/calls/abc/recording"
    assert ask("POST", url, json={"file": "/tmp/a.pcapng"}).status_code == 202
    assert ask("DELETE", url).status_code == 202
    assert service.asked == [("record", "abc", "/tmp/a.pcapng"), ("stop recording", "abc")]
    for file in ("a.pcapng", "/etc/passwd", "", "/tmp/a\0.pcapng"):
        assert ask("POST", url, json={"file": file}).status_code == 422, file


def test_the_agents_queue_can_be_cleared(ask, service):
    """What it has said and nobody heard yet is thrown away."""
    service.add("abc")
    assert ask("POST", "/v1/calls/abc/clear").status_code == 202
    assert service.asked == [("clear", "abc")]


@pytest.mark.parametrize(
    ("field", "spelled"),
    [
        ("to", r'"sip:\ud800@h"'),
        ("from", r'"sip:\ud800@h"'),
        ("to", r'"sip:6\u0000@h"'),
        ("from", r'"1\u001b[2J"'),
        ("agent", r'"\ud800"'),
        ("trunk", r'"\u0085"'),
        ("headers", r'{"X-A": "\udfff"}'),
        ("headers", r'{"X-\ud800": "a"}'),
        ("headers", r'{"X-A": "b\r\nFrom: c"}'),
        ("metadata", r'{"a": "\ud800"}'),
        ("metadata", r'{"\ud800": "a"}'),
        ("metadata", r'{"a": "\u001b[2J"}'),
    ],
)
def test_text_that_nobody_could_write_again_is_refused_with_its_field(ask, service, field, spelled):
    """JSON can spell half a surrogate; in the list of calls it would break the list for everybody."""
    fields = {"to": '"sip:1@x"', "agent": '"e"', field: spelled}
    body = "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"
    answer = ask("POST", "/v1/calls", content=body.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and answer.json()["error"] == "invalid_request"
    assert field in answer.json()["detail"]
    assert service.asked == []


def test_a_field_whose_name_nobody_could_write_is_an_answer_too(ask):
    """The refusal quotes what it refuses, and must not break on it."""
    body = rb'{"to": "sip:1@x", "agent": "e", "\ud800": 1}'
    answer = ask("POST", "/v1/calls", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and answer.json()["error"] == "invalid_request"


def test_metadata_may_have_lines_and_a_limit(ask, service):
    """A text for a language model has lines; 64 kB of escapes would not fit a control message."""
    fields = {"to": "sip:1@x", "agent": "e"}
    assert ask("POST", "/v1/calls", json={**fields, "metadata": {"a": "x\ny\tz"}}).status_code == 201
    for name, value in (("metadata", '"' * 9000), ("headers", "x" * 17_000)):
        answer = ask("POST", "/v1/calls", json={**fields, name: {"X-A": value}})
        assert answer.status_code == 422 and "16384" in answer.json()["detail"]


def test_a_reason_is_plain_text(ask, service):
    """It goes into logs and onto terminals."""
    service.add("abc")
    assert ask("DELETE", "/v1/calls/abc", params={"reason": "\x1b[2J"}).status_code == 422
    assert service.asked == []


def test_an_unforeseen_failure_tells_the_client_nothing_of_the_inside(ask, service):
    """500 with the common shape; the traceback is for the log."""
    service.refuse = RuntimeError("secret path /etc/x")
    answer = ask("POST", "/v1/calls", json={"to": "sip:1@x", "agent": "e"})
    assert answer.status_code == 500 and answer.json()["error"] == "internal_error"
    assert "secret" not in answer.text


def test_status_and_metrics_come_from_the_gateway(ask, service):
    """Status is the service's; metrics are in Prometheus' text format."""
    service.add("abc")
    assert ask("GET", "/v1/status").json() == {"calls": 1}
    answer = ask("GET", "/metrics")
    assert (
        answer.headers["content-type"].startswith("text/plain") and "trunkline_calls_total 3.0" in answer.text
    )


def test_openapi_describes_every_route_with_examples_and_the_token(ask):
    """What /docs shows is complete: text on each operation, an example body, the security scheme."""
    spec = ask("GET", "/openapi.json", token=None).json()
    operations = {(verb, path): op for path, item in spec["paths"].items() for verb, op in item.items()}
    assert len(operations) == 12
    assert all(op["description"] for op in operations.values())
    body = operations["post", "/v1/calls"]["requestBody"]["content"]["application/json"]
    assert body["examples"]["uri"]["value"]["to"].startswith("sip:")
    assert all("security" in op for (_, path), op in operations.items() if path != "/healthz")
