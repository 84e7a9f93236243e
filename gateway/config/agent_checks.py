# SPDX-License-Identifier: GPL-2.0-or-later
"""Do address, dialect, credentials and headers of an agent fit together? For `checks.py`."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from urllib.parse import urlsplit

from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.links import DIALECTS, MESSAGE_DIALECTS
from trunkline.agent_bridge.twilio_ids import ACCOUNT_SID
from trunkline.gateway.config.addresses import is_loopback
from trunkline.gateway.config.errors import Problem
from trunkline.gateway.config.model import Agent, Config

URL_FIELDS = ("call_id", "caller", "called", "direction", "trunk", "route")
"What may stand in braces in a WebSocket's path and query: it becomes the call's own, percent-encoded."
_OURS = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})
"Headers of the handshake that are not for choosing, beside all that begin with Sec-WebSocket-."
_WEBSOCKET_ONLY = (
    "username", "password_env", "password_file", "headers", "headers_env", "headers_file", "account", "ca",
    "verify_certificate",
)  # fmt: skip
_SIGNED = frozenset({"twilio"})
"Dialects whose token is never sent: it signs."
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_HEADER_TABLES = ("headers", "headers_env", "headers_file")


def agents(config: Config) -> Iterator[Problem]:
    """Everything about each agent."""
    for index, agent in enumerate(config.agents):
        where = ("agent", index)
        if agent.token_env and agent.token_file:
            yield Problem((*where, "token_file"), "token_env names a token too; keep one of them")
        if agent.password_env and agent.password_file:
            yield Problem((*where, "password_file"), "password_env names a password too; keep one of them")
        for find in (_address, _rate, _credentials, _headers, _certificates, _options):
            for key, message in find(agent):
                yield Problem((*where, key), message)


def doubts(config: Config) -> Iterator[Problem]:
    """What works, and lets others listen or pretend to be the agent."""
    for index, agent in enumerate(config.agents):
        if not agent.verify_certificate:
            message = "whoever is at that address for the moment gets the calls; better name its authority as `ca`"
            yield Problem(("agent", index, "verify_certificate"), message)
        for key in _in_the_clear(agent):
            message = f"goes to {urlsplit(agent.url).hostname} in the clear, for all who can listen on the way: write wss://"
            yield Problem(("agent", index, key), message)


def _in_the_clear(agent: Agent) -> Iterator[str]:
    """Fields with credentials that are sent to another machine without TLS."""
    if not agent.url.startswith("ws:") or is_loopback(urlsplit(agent.url).hostname or ""):
        return
    yield from (key for key in ("password_env", "password_file", "headers_env", "headers_file") if getattr(agent, key))
    if any(name.lower() in _CREDENTIALS for name in agent.headers):
        yield "headers"
    if agent.dialect not in _SIGNED:
        yield from (key for key in ("token_env", "token_file") if getattr(agent, key))


def _address(agent: Agent) -> Iterator[tuple[str, str]]:
    websocket = agent.url != ""
    if agent.dialect in MESSAGE_DIALECTS and not websocket:
        yield "address", f"{agent.dialect} is spoken over WebSocket: write ws://host:port/path, or wss:// for TLS"
    elif agent.dialect in DIALECTS and websocket:
        plain = f"{agent.dialect} is spoken on a plain socket: write unix:/path or tcp:host:port"
        others = ", ".join(MESSAGE_DIALECTS)
        yield "address", f"{plain}; or say which dialect it is that the WebSocket speaks: {others}"
    elif agent.dialect not in DIALECTS and agent.dialect not in MESSAGE_DIALECTS:
        yield "dialect", f"{agent.dialect} is not part of this version"
    yield from _placeholders(agent.url)
    if agent.dialect == "audiosocket" and (agent.token_env or agent.token_file):
        key = "token_env" if agent.token_env else "token_file"
        yield key, "AudioSocket has no place for a token; leave it out"


def _placeholders(url: str) -> Iterator[tuple[str, str]]:
    parts = urlsplit(url)
    try:
        fields = list(string.Formatter().parse(f"{parts.path}?{parts.query}"))
    except ValueError:
        yield "address", "a brace has no partner; percent-encode one that stands for itself (%7B, %7D)"
        return
    for _, name, spec, conversion in fields:
        if name is not None and (name not in URL_FIELDS or spec or conversion):
            known = ", ".join(f"{{{field}}}" for field in URL_FIELDS)
            yield "address", f"{{{name}}} is nothing that a call has; there are {known}"


def _rate(agent: Agent) -> Iterator[tuple[str, str]]:
    spoken = MESSAGE_DIALECTS.get(agent.dialect)
    if spoken is None:
        return
    if agent.sample_rate_hz not in spoken.sample_rates_hz:
        rates = " or ".join(map(str, spoken.sample_rates_hz))
        yield "sample_rate_hz", f"{agent.dialect} has {rates} Hz, not {agent.sample_rate_hz}: leave it out"
        return
    if any(value not in spoken.options.get(name, ()) for name, value in agent.options.items()):
        return  # _options tells
    try:
        spoken(LinkSettings(sample_rate_hz=agent.sample_rate_hz, options=agent.options))
    except ValueError as problem:  # a rate that its encoding does not have
        yield "sample_rate_hz", str(problem)


def _credentials(agent: Agent) -> Iterator[tuple[str, str]]:
    if not agent.url:
        for key in _WEBSOCKET_ONLY:
            if key in agent.model_fields_set:
                yield key, "goes with a WebSocket only, an address of ws:// or wss://"
        return
    password = "password_env" if agent.password_env else "password_file"
    has_password = bool(agent.password_env or agent.password_file)
    if has_password and not agent.username:
        yield password, "goes with a username"
    if agent.username and not has_password:
        yield "username", "needs password_env or password_file"
    spoken = MESSAGE_DIALECTS.get(agent.dialect)
    if agent.username and (agent.token_env or agent.token_file) and spoken is not None and spoken.token_is_bearer:
        yield "username", "a token is there too, and one request has one Authorization: keep one of them"
    if agent.dialect == "twilio" and agent.account and not ACCOUNT_SID.fullmatch(agent.account):
        yield "account", "Twilio's account SIDs are AC and 32 hexadecimal digits in lower case"


def _headers(agent: Agent) -> Iterator[tuple[str, str]]:
    seen: dict[str, str] = {}
    for table in _HEADER_TABLES:
        for name in getattr(agent, table):
            key = name.lower()
            if key in _OURS or key.startswith("sec-websocket-"):
                yield table, f"{name} belongs to the handshake itself; leave it out"
            if key in seen:
                yield table, f"{name} stands in {seen[key]} already (case does not count)"
            seen[key] = table
    if agent.url and "authorization" in seen and agent.username:
        yield seen["authorization"], "Authorization is made of username and password; keep one of them"


def _certificates(agent: Agent) -> Iterator[tuple[str, str]]:
    if agent.url.startswith("ws:"):
        for key in ("ca", "verify_certificate"):
            if key in agent.model_fields_set:
                yield key, "goes with wss:// only: there is no certificate without TLS"
    elif agent.ca and not agent.verify_certificate:
        yield "ca", "is not looked at with verify_certificate = false; keep one of them"


def _options(agent: Agent) -> Iterator[tuple[str, str]]:
    spoken = MESSAGE_DIALECTS.get(agent.dialect)
    known = {} if spoken is None else spoken.options
    for name, value in agent.options.items():
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "it has none"
            yield "options", f"{agent.dialect} has no option {name!r}; {there}"
        elif value not in known[name]:
            yield "options", f"{name} is {value!r}; it can be {', '.join(known[name])}"


def header_value(text: str) -> bool:
    """Whether a text can be the value of an HTTP header as it is (RFC 9110, section 5.5, ASCII only)."""
    return re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", text) is not None
