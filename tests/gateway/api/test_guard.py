# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may talk to the API."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from structlog.testing import capture_logs

from trunkline.gateway.api import create_app
from trunkline.gateway.api.guard import MAX_BODY_BYTES, host_of, is_loopback
from trunkline.gateway.api.strangers import PAUSE_S, Strangers


@pytest.mark.parametrize("path", ["/v1/calls", "/v1/status", "/v1/events", "/metrics", "/nowhere"])
def test_without_the_token_everything_is_401(ask, path):
    """A stranger does not even learn which paths exist."""
    answer = ask("GET", path, token=None)
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"] == "unauthorized" and "Bearer TOKEN" in answer.json()["detail"]


@pytest.mark.parametrize(
    "value", ["Bearer wrong", "Bearer ", "Basic correct-horse", "correct-horse", "Bearer \xe9"]
)
def test_anything_but_the_token_is_401(ask, value):
    """Another token, another scheme, no scheme, bytes that are not ASCII."""
    answer = ask("GET", "/v1/calls", token=None, headers={"Authorization": value.encode("latin-1")})
    assert answer.status_code == 401


def test_the_token_is_judged_before_the_body(ask, service):
    """A wrong body with a wrong token is a wrong token."""
    assert ask("POST", "/v1/calls", token="no", content=b"{").status_code == 401


def test_health_needs_no_token_and_tells_nothing(ask):
    """It says that the gateway answers."""
    answer = ask("GET", "/healthz", token=None)
    assert answer.status_code == 200 and answer.json() == {"status": "ok"}


def test_a_foreign_name_is_refused_on_loopback_even_with_the_token(ask):
    """A page that rebinds its name to 127.0.0.1 gets nothing, whatever it knows."""
    for name in ("evil.example:8070", "127.0.0.1.evil.example", ""):
        answer = ask("GET", "/healthz", headers={"Host": name})
        assert answer.status_code == 421 and answer.json()["error"] == "wrong_host"
    for name in ("localhost:8070", "127.0.0.1", "[::1]:8070", "LOCALHOST"):
        assert ask("GET", "/healthz", headers={"Host": name}).status_code == 200


def test_a_gateway_on_a_public_address_takes_any_name(service, metrics):
    """Behind a proxy or on a LAN the names are the operator's."""
    app = create_app(service, metrics, "t", bind="0.0.0.0")

    async def run() -> int:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://gw.example"
        ) as client:
            return (await client.get("/healthz")).status_code

    assert asyncio.run(run()) == 200


def test_a_large_body_is_refused_declared_or_not(ask, service):
    """By its Content-Length at once, and in chunks as soon as it is too much."""

    async def endless():
        for _ in range(10_000):
            yield b"x" * 1000

    for content in (b"x" * (MAX_BODY_BYTES + 1), endless()):
        answer = ask("POST", "/v1/calls", content=content)
        assert answer.status_code == 413 and answer.json()["error"] == "too_large"
    assert service.asked == []


def test_an_unknown_path_and_a_wrong_method_have_the_common_shape(ask):
    """404 and 405 are sentences too."""
    assert ask("GET", "/v1/call").json()["error"] == "not_found"
    assert ask("PUT", "/v1/calls").json()["error"] == "method_not_allowed"


def test_an_empty_token_is_no_protection_and_is_refused(service, metrics):
    """An empty secret would let `Bearer ` in."""
    app = create_app(service, metrics, "")
    with pytest.raises(ValueError, match="token"):
        app.build_middleware_stack()


def test_names_and_addresses_of_loopback():
    """Ports and brackets are cut off; look-alikes are not loopback."""
    assert [host_of(h) for h in ("a:1", "[::1]:2", "a", "[::1]")] == ["a", "::1", "a", "::1"]
    assert all(is_loopback(h) for h in ("127.0.0.1", "127.8.9.1", "::1", "localhost", "localhost."))
    assert not any(
        is_loopback(h) for h in ("0.0.0.0", "10.0.0.1", "localhost.evil.example", "127.0.0.1.nip.io", "")
    )


def test_wrong_credentials_are_counted_and_logged(ask, metrics):
    """With the address they came from, and without what was tried."""
    with capture_logs() as lines:
        for token in (None, "wr0ng-one", "wr0ng-two"):
            assert ask("GET", "/v1/calls", token=token).status_code == 401
        assert ask("GET", "/v1/calls").status_code == 200
    assert metrics.refused == ["bearer"] * 3
    (line,) = [line for line in lines if line["event"] == "api.unauthorized"]
    assert (line["credentials"], line["client"], line["log_level"]) == ("bearer", "127.0.0.1", "warning")
    assert "wr0ng" not in str(lines)


def test_somebody_who_tries_tokens_leaves_a_line_a_minute():
    """Each says how many there were; the two kinds of credentials are told apart."""
    now = [1000.0]
    strangers = Strangers(lambda kind: None, lambda: now[0])
    with capture_logs() as lines:
        for _ in range(50):
            strangers.refused("bearer", "192.0.2.1")
        strangers.refused("twilio", "192.0.2.2")
        now[0] += PAUSE_S
        strangers.refused("bearer", "192.0.2.3")
    told = [(line["credentials"], line["client"], line["requests"]) for line in lines]
    assert told == [("bearer", "192.0.2.1", 1), ("twilio", "192.0.2.2", 1), ("bearer", "192.0.2.3", 50)]
