# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents on WebSockets: what fits together, what does not, and the sentence that says what to write instead."""

from __future__ import annotations

import pytest

from trunkline.gateway.config import ConfigError, parse
from trunkline.gateway.config.addresses import split_url

WS = "[[agent]]\nname = 'a'\ndialect = 'twilio'\naddress = 'ws://h:8080/media'\n"
WSS = WS.replace("ws:", "wss:")
OURS = "[[agent]]\nname = 'a'\naddress = 'tcp:h:1'\n"
REST = "[[trunk]]\nname = 't'\nmatch = ['192.0.2.1']\n[[route]]\nname = 'r'\nrefuse = 404\n"


def test_a_whole_agent() -> None:
    """Everything that a WebSocket's agent can have, at once, and without a warning."""
    text = WSS + (
        "account = 'AC0123456789abcdef0123456789abcdef'\ntoken_env = 'T'\nusername = 'u'\npassword_file = 'p'\n"
        "headers = { X-A = 'one two' }\nheaders_env = { X-B = 'B' }\nheaders_file = { X-C = 'c' }\nca = 'ca.pem'\n"
    )
    config = parse(text + REST)
    (agent,) = config.agents
    assert config.warnings == []
    assert (agent.sample_rate_hz, agent.url) == (8000, "wss://h:8080/media")


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("ws://h", ("h", 80)),
        ("wss://h/", ("h", 443)),
        ("ws://h:8080/a/b?c=d&e={called}", ("h", 8080)),
        ("wss://[::1]:8443/{call_id}", ("::1", 8443)),
        ("ws://192.0.2.1:1/", ("192.0.2.1", 1)),
    ],
)
def test_urls_that_are_taken(url: str, where: tuple[str, int]) -> None:
    """With and without port, path, query; IPv6 in brackets; the call's own words."""
    assert parse(WS.replace("ws://h:8080/media", url)).agents[0].url == url
    assert split_url(url) == where


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ws:h:80", "a host is needed: ws://host:port/path"),
        ("ws:///x", "a host is needed"),
        ("wss://u:p@h/", "credentials do not stand in the URL: username and password_env name them"),
        ("ws://h/#x", "no fragment"),
        ("ws://h/#", "no fragment"),
        ("ws://h/a b", "percent-encode what is not"),
        ("ws://h/ü", "percent-encode what is not"),
        ("ws://h:99999/", "port '99999' is not a number from 1 to 65535"),
        ("ws://::1/", "host"),
        ("https://h/", "begins with wss://"),
        ("ftp://h/", "unix:/path, tcp:host:port, ws://host:port/path or wss://host:port/path is needed"),
        ("ws://h/{caler}", "{caler} is nothing that a call has; there are {call_id}, {caller}"),
        ("ws://h/{called!r}", "is nothing that a call has"),
        ("ws://h/{called", "a brace has no partner"),
        ("ws://h/}", "a brace has no partner"),
    ],
)
def test_urls_that_are_not(url: str, says: str) -> None:
    """Each with its cure."""
    with pytest.raises(ConfigError) as caught:
        parse(WS.replace("ws://h:8080/media", url))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (WS.replace("ws://h:8080/media", "tcp:h:1"), "twilio is spoken over WebSocket: write ws://host:port/path"),
        (OURS.replace("tcp:h:1", "ws://h/"), "trunkline is spoken on a plain socket: write unix:/path"),
        (OURS.replace("tcp:h:1", "ws://h/"), "which dialect it is that the WebSocket speaks: twilio"),
        (WS + "sample_rate_hz = 16000", "twilio has 8000 Hz, not 16000: leave it out"),
        (OURS + "username = 'u'", "goes with a WebSocket only, an address of ws:// or wss://"),
        (OURS + "headers = { X = 'y' }", "goes with a WebSocket only"),
        (OURS + "verify_certificate = false", "goes with a WebSocket only"),
        (WS + "username = 'u'", "needs password_env or password_file"),
        (WS + "username = 'a:b'\npassword_env = 'P'", "printable ASCII without ':'"),
        (WS + "password_env = 'P'", "goes with a username"),
        (WS + "username = 'u'\npassword_env = 'P'\npassword_file = 'p'", "keep one of them"),
        (WS + "token_env = 'T'\ntoken_file = 't'", "keep one of them"),
        (WS + "ca = 'x'", "goes with wss:// only"),
        (WS + "verify_certificate = false", "goes with wss:// only"),
        (WSS + "ca = 'x'\nverify_certificate = false", "is not looked at with verify_certificate = false"),
        (WS + "account = 'ACX'", "AC and 32 hexadecimal digits"),
        (WS + "headers = { Host = 'x' }", "Host belongs to the handshake itself"),
        (WS + "headers = { Sec-WebSocket-Key = 'x' }", "belongs to the handshake itself"),
        (WS + "headers = { X-A = 'x' }\nheaders_env = { x-a = 'X' }", "x-a stands in headers already"),
        (WS + "username = 'u'\npassword_env = 'P'\nheaders_env = { Authorization = 'X' }", "made of username"),
        (WS + "headers = { 'X:' = 'x' }", "the name of an HTTP header is needed"),
        (WS + 'headers = { X = "a\\nb" }', "printable ASCII is needed"),
        (WS + "headers = { X = ' a' }", "without blanks at the ends"),
        (WS + "options = { colour = 'red' }", "twilio has no option 'colour'"),
    ],
)
def test_what_does_not_fit_together_is_refused(text: str, says: str) -> None:
    """Found when the file is read, not by the first call."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert says in str(caught.value)


def test_an_unverified_certificate_is_warned_of() -> None:
    """It is encrypted, and anybody may be at the other end."""
    (warning,) = parse(WSS + "verify_certificate = false\n" + REST).warnings
    assert "whoever is at that address for the moment gets the calls" in warning


@pytest.mark.parametrize(
    ("dialect", "rate_hz"), [("trunkline", 16000), ("audiosocket", 8000), ("twilio", 8000)]
)
def test_default_rates(dialect: str, rate_hz: int) -> None:
    """What each is expected to have; ours can be told."""
    address = "ws://h/" if dialect == "twilio" else "tcp:h:1"
    (agent,) = parse(f"[[agent]]\nname = 'a'\naddress = '{address}'\ndialect = '{dialect}'").agents
    assert agent.sample_rate_hz == rate_hz


def test_the_query_is_not_shown() -> None:
    """People put keys there."""
    (agent,) = parse(WS.replace("/media", "/media?key=geheim")).agents
    assert agent.shown_address == "ws://h:8080/media"


VONAGE = WS.replace("'twilio'", "'vonage'")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (VONAGE + "token_env = 'T'", "token_env"),
        (VONAGE + "token_file = 't'", "token_file"),
        (VONAGE + "username = 'u'\npassword_env = 'P'", "password_env"),
        (WS + "username = 'u'\npassword_file = 'p'", "password_file"),
        (WS + "headers_env = { X-Key = 'K' }", "headers_env"),
        (WS + "headers = { Authorization = 'x' }", "headers"),
    ],
)
def test_credentials_in_the_clear_are_a_doubt(text: str, key: str) -> None:
    """To another machine by ws://; it works all the same."""
    (warning,) = parse(text + "\n" + REST).warnings
    assert key in warning and "goes to h in the clear" in warning and "wss://" in warning


@pytest.mark.parametrize(
    "text",
    [
        WS + "token_env = 'T'",  # signs, and is not sent
        VONAGE.replace("ws://h:", "ws://127.0.0.1:") + "token_env = 'T'",
        VONAGE.replace("ws://h:", "ws://[::1]:") + "token_env = 'T'",
        VONAGE.replace("ws:", "wss:") + "token_env = 'T'",
        VONAGE + "headers = { X-A = '1' }",
    ],
)
def test_credentials_that_nobody_can_listen_to_are_none(text: str) -> None:
    assert parse(text + "\n" + REST).warnings == []
