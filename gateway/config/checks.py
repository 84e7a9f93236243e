# SPDX-License-Identifier: GPL-2.0-or-later
"""Do the parts of a configuration fit together?

Each check yields `Problem`s; those of `_DOUBTS` are warnings: allowed, but
probably not what was meant.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from trunkline.gateway.config import agent_checks, route_checks
from trunkline.gateway.config.addresses import SourceMatch, is_ipv4, is_loopback, split_host_port
from trunkline.gateway.config.errors import Problem
from trunkline.gateway.config.explain import nearest
from trunkline.gateway.config.model import Config, Registration, Route, Trunk
from trunkline.gateway.config.patterns import Pattern
from trunkline.gateway.sip.hops import first_hop_transport
from trunkline.rtp.opus_fmtp import BITRATES_BPS

TLS_KEYS = {
    "certificate", "key", "key_password_env", "key_password_file", "ca", "client_certificates", "min_version",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """All names in the file, in order, also of entries that have mistakes of their own.

    A route that names a trunk with a mistyped key is right: only the key is to be told.
    """

    trunk: list[str | None]
    agent: list[str | None]
    route: list[str | None]

    @classmethod
    def of(cls, data: dict[str, Any]) -> Names:
        """Collect from the raw TOML data; None where an entry has no usable name."""
        return cls(_names(data.get("trunk")), _names(data.get("agent")), _names(data.get("route")))

    def duplicates(self) -> Iterator[Problem]:
        """Names that two entries of a kind share."""
        for kind, names in (("trunk", self.trunk), ("agent", self.agent), ("route", self.route)):
            for index, name in enumerate(names):
                first = names.index(name)
                if name is not None and first < index:
                    message = f"{name!r} is already the name of {kind}[{first}]; names must differ"
                    yield Problem((kind, index, "name"), message)


def check(config: Config, names: Names) -> tuple[list[Problem], list[Problem]]:
    """Errors and warnings."""
    errors = [problem for find in _ERRORS for problem in find(config)]
    errors += _references(config, names)
    return errors, [problem for find in _DOUBTS for problem in find(config)]


def _names(entries: Any) -> list[str | None]:
    if not isinstance(entries, list):
        return []
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    return [name if isinstance(name, str) else None for name in names]


def _references(config: Config, names: Names) -> Iterator[Problem]:
    for index, route in enumerate(config.routes):
        if not route.agents and route.agent is not None and route.agent not in names.agent:
            yield Problem(("route", index, "agent"), _no_such("agent", route.agent, names.agent))
        for key in ("agents", "backup_agents"):
            for name in getattr(route, key):
                if name not in names.agent:
                    yield Problem(("route", index, key), _no_such("agent", name, names.agent))
        if route.trunk is not None and route.trunk not in names.trunk:
            yield Problem(("route", index, "trunk"), _no_such("trunk", route.trunk, names.trunk))


def _no_such(kind: str, name: str, names: list[str | None]) -> str:
    known = [known for known in names if known is not None]
    there_are = f"there are: {', '.join(known)}" if known else f"there is no [[{kind}]] at all"
    return f"no {kind} is named {name!r}; {nearest(name, known)}{there_are}"


def _transports(config: Config) -> Iterator[Problem]:
    seen = set()
    for index, transport in enumerate(config.sip.transports):
        address = (transport.protocol, transport.bind, transport.port)
        if address in seen:
            what = f"{transport.protocol} on {transport.bind}:{transport.port}"
            yield Problem(("sip", "transport", index), f"{what} is there already; one will do")
        seen.add(address)
        for protocol, bind, port in seen:
            both = {protocol, transport.protocol} == {"tcp", "tls"}
            if both and port == transport.port and _meet(bind, transport.bind):
                message = f"{protocol} on {bind} has port {port} already, and TLS comes by TCP: move one of them"
                yield Problem(("sip", "transport", index, "port"), message)
        if (":" in transport.bind) != (":" in config.media.bind):
            families = [f"IPv{6 if ':' in bind else 4}" for bind in (transport.bind, config.media.bind)]
            message = (
                f"{transport.bind} is {families[0]}, media.bind ({config.media.bind}) is {families[1]}; "
                "one gateway speaks one of them, and two gateways speak both"
            )
            yield Problem(("sip", "transport", index, "bind"), message)
    if config.media.advertise != "auto" and (":" in config.media.advertise) != (":" in config.media.bind):
        message = f"{config.media.advertise} is of another family than media.bind, {config.media.bind}"
        yield Problem(("media", "advertise"), message)
    protocols = {transport.protocol for transport in config.sip.transports}
    for index, trunk in enumerate(config.trunks):
        if trunk.transport not in protocols and trunk.outbound_host:
            cure = f'add [[sip.transport]] with protocol = "{trunk.transport}"'
            yield Problem(("trunk", index, "transport"), f"no SIP transport speaks {trunk.transport}; {cure}")


def _meet(one: str, other: str) -> bool:
    """Whether two sockets of one port cannot listen on these addresses."""
    return one == other or bool({one, other} & {"0.0.0.0", "::"})


def _tls(config: Config) -> Iterator[Problem]:
    """Keys of TLS: all that it needs, once, and nowhere else."""
    seen = 0
    for index, transport in enumerate(config.sip.transports):
        where = ("sip", "transport", index)
        if transport.protocol != "tls":
            for key in sorted(TLS_KEYS & transport.model_fields_set):
                yield Problem((*where, key), 'goes with protocol = "tls" only')
            continue
        seen += 1
        if seen == 2:
            yield Problem(where, "there is a TLS transport already; there can be one")
        if ":" in transport.bind:
            message = f"{transport.bind} is IPv6, which our TLS does not speak: write an IPv4 address, or use tcp"
            yield Problem((*where, "bind"), message)
        for key in ("certificate", "key"):
            if not getattr(transport, key):
                yield Problem((*where, key), "TLS needs it: name a file in PEM form")
        if transport.key_password_env and transport.key_password_file:
            yield Problem((*where, "key_password_file"), "key_password_env names a password too; keep one of them")
        if transport.client_certificates != "off" and not transport.ca:
            message = "needs `ca`: with the system's authorities, anybody who has a certificate at all would do"
            yield Problem((*where, "client_certificates"), message)


def _tls_trunks(config: Config) -> Iterator[Problem]:
    asks = any(t.protocol == "tls" and t.client_certificates != "off" for t in config.sip.transports)
    for index, trunk in enumerate(config.trunks):
        if trunk.match_certificate and not asks:
            message = 'needs a TLS transport with client_certificates = "optional" or "required"'
            yield Problem(("trunk", index, "match_certificate"), message)
        if trunk.verify_certificate:
            continue
        where = ("trunk", index, "verify_certificate")
        if trunk.transport != "tls":
            yield Problem(where, 'goes with transport = "tls" only')
        elif not trunk.outbound_host:
            yield Problem(where, "is about the server that calls go to, and this trunk names none: leave it out")
        elif not unverified_hop(trunk):
            message = (
                "the next hop must then be an address, not a name; or trust its certificate: add it to the `ca` of "
                "the TLS transport"
            )
            yield Problem(where, message)


def unverified_hop(trunk: Trunk) -> str:
    """`address:port` of the server whose certificate is not checked; empty when it is checked, or has a name."""
    if trunk.verify_certificate or trunk.transport != "tls":
        return ""
    proxy = re.sub(r"^sips?:(?:[^@]*@)?|[;?].*$", "", trunk.outbound_proxy)
    hop = proxy or trunk.outbound_host
    if not hop:
        return ""  # no calls go there
    host, port = split_host_port(hop)
    return f"{host}:{port or 5061}" if is_ipv4(host) else ""


def _jitter(config: Config) -> Iterator[Problem]:
    media = config.media
    if "jitter_min_ms" in media.model_fields_set and media.jitter_min_ms > media.jitter_max_ms:
        message = f"{media.jitter_min_ms} ms at least, but jitter_max_ms is {media.jitter_max_ms}"
        yield Problem(("media", "jitter_min_ms"), message)


def _opus(config: Config) -> Iterator[Problem]:
    rate = config.media.opus.bitrate_bps
    if 0 < rate < BITRATES_BPS[0]:
        message = f"{rate} is too little for Opus; {BITRATES_BPS[0]} at least, or 0 for its own choice"
        yield Problem(("media", "opus", "bitrate_bps"), message)


def _port_range(config: Config) -> Iterator[Problem]:
    where = ("media", "port_range")
    first, last = config.media.port_range
    if first >= last:
        yield Problem(where, f"found [{first}, {last}]; the first port must be less than the last")
    elif first % 2:
        yield Problem(where, f"begins at {first}; RTP takes even ports (RFC 3550 11), so write {first + 1}")
    for index, transport in enumerate(config.sip.transports):
        if transport.protocol == "udp" and first <= transport.port <= last:
            message = f"{transport.port} lies in media.port_range ({first} to {last}); move one of them"
            yield Problem(("sip", "transport", index, "port"), message)


def _slots(config: Config) -> Iterator[Problem]:
    if 0 < config.sip.max_calls < config.limits.max_calls:
        cure = "leave it out, or raise it"
        message = f"{config.sip.max_calls} is less than limits.max_calls ({config.limits.max_calls}); {cure}"
        yield Problem(("sip", "max_calls"), message)


def _api(config: Config) -> Iterator[Problem]:
    explicit = {"token_env", "token_file"} & config.api.model_fields_set
    if config.api.enabled and not is_loopback(config.api.bind) and not explicit:
        cure = 'write api.token_env = "TRUNKLINE_API_TOKEN" or api.token_file, or bind = "127.0.0.1"'
        message = (
            f"{config.api.bind} can be reached from outside, where a token of your own is needed: {cure}"
        )
        yield Problem(("api", "bind"), message)


def _secrets(config: Config) -> Iterator[Problem]:
    for index, trunk in enumerate(config.trunks):
        if (registration := trunk.registration) is not None:
            yield from _password(index, registration)
    if config.api.token_file and "token_env" in config.api.model_fields_set:
        yield Problem(("api", "token_file"), "token_env names a token too; keep one of them")


def _password(index: int, registration: Registration) -> Iterator[Problem]:
    where = ("trunk", index, "register")
    if registration.password_env and registration.password_file:
        yield Problem((*where, "password_file"), "password_env names a password too; keep one of them")
    if not registration.username:
        yield Problem((*where, "username"), "must not be empty: it is the address that is registered")


def _trunks(config: Config) -> Iterator[Problem]:
    for index, trunk in enumerate(config.trunks):
        if not trunk.match and not trunk.match_certificate and not trunk.outbound_host:
            cure = 'give it match = ["address"], host = "address" or [trunk.register]'
            yield Problem(("trunk", index), f"no call can come from {trunk.name!r} or go to it: {cure}")


def _srtp(config: Config) -> Iterator[Problem]:
    """Keys of SRTP travel in SIP: by TLS, or on purpose otherwise."""
    for index, trunk in enumerate(config.trunks):
        where = ("trunk", index, "srtp")
        transport = first_hop_transport(trunk.outbound_proxy, "", trunk.transport)
        in_sdp = trunk.srtp != "off" and trunk.srtp_keys == "sdes"
        if in_sdp and transport != "tls" and not trunk.srtp_without_tls:
            found = f'its keys would travel by {transport}, where they can be read: set transport = "tls",'
            if trunk.transport == "tls":
                found = f"its keys would travel by {transport}, where they can be read: outbound_proxy asks for that;"
                found += " set"
            cure = 'srtp_keys = "dtls", or srtp_without_tls = true if nobody can listen there'
            yield Problem(where, f"{found} {cure}")
        given = [key for key in ("srtp_suites", "srtp_keys", "srtp_without_tls") if key in trunk.model_fields_set]
        if trunk.srtp == "off" and given:
            yield Problem((*where[:2], given[0]), 'goes with srtp = "optional" or "required" only')


def _routes(config: Config) -> Iterator[Problem]:
    for index, route in enumerate(config.routes):
        if (route.agent is None) == (route.refuse is None):
            found = "neither" if route.agent is None else "both"
            yield Problem(("route", index), f"needs either agent or refuse, and has {found}")
        if route.reason and route.refuse is None:
            yield Problem(("route", index, "reason"), "goes with refuse = CODE only")
        names = [name.lower() for name in route.header]
        if len(set(names)) < len(names):
            yield Problem(("route", index, "header"), "names one header twice (case does not count)")


def _room(config: Config) -> Iterator[Problem]:
    first, last = config.media.port_range
    if config.media.max_calls < config.limits.max_calls:
        message = (
            f"{first} to {last} has room for {config.media.max_calls} calls (two ports each), "
            f"limits.max_calls allows {config.limits.max_calls}: what is beyond gets 503"
        )
        yield Problem(("media", "port_range"), message)


def _unreachable(config: Config) -> Iterator[Problem]:
    """Routes behind one that takes all calls of their trunk. Only what is certain is told."""
    taken: dict[str | None, str] = {}
    for index, route in enumerate(config.routes):
        before = taken.get(None) or taken.get(route.trunk)
        if before is not None:
            whose = "all calls" if None in taken else f"all calls of trunk {route.trunk!r}"
            yield Problem(
                ("route", index), f"route {route.name!r} is never reached: {before!r} takes {whose}"
            )
        elif _takes_all(route):
            taken[route.trunk] = route.name


def _takes_all(route: Route) -> bool:
    patterns = [route.called, route.calling, *route.header.values()]
    return not route.header and all(Pattern.parse(text).takes_all for text in patterns)


def _idle(config: Config) -> Iterator[Problem]:
    if config.trunks and not config.routes:
        yield Problem((), "there is no [[route]]: every inbound call gets 404")
    if not config.trunks:
        yield Problem((), "there is no [[trunk]]: every inbound call is refused, and none can be placed")


def _no_password(config: Config) -> Iterator[Problem]:
    for index, trunk in enumerate(config.trunks):
        registration = trunk.registration
        if registration is not None and not (registration.password_env or registration.password_file):
            message = "no password_env or password_file: a registrar that asks for a password will refuse us"
            yield Problem(("trunk", index, "register"), message)


def _borrowed_connections(config: Config) -> Iterator[Problem]:
    """PJSIP sends on a connection that the peer has made, if its address and port are those that we want to reach.

    Only where we call an address: it compares the name that we call, too, and a client's is its address.
    """
    if all(t.protocol != "tls" or t.client_certificates == "required" for t in config.sip.transports):
        return
    for index, trunk in enumerate(config.trunks):
        proxy = re.sub(r"^sips?:(?:[^@]*@)?|[;?].*$", "", trunk.outbound_proxy)
        hop = proxy or trunk.outbound_host
        if not hop:
            continue
        host, port = split_host_port(hop)
        by_tls = first_hop_transport(trunk.outbound_proxy, "", trunk.transport) == "tls"
        if by_tls and trunk.verify_certificate and is_ipv4(host):
            message = (
                f"whoever connects to us from {host}:{port or 5061}, port and all, may get what is sent to it, "
                'and has perhaps shown no certificate: set client_certificates = "required" in the TLS transport, '
                "or call it by its name"
            )
            yield Problem(("trunk", index, "host"), message)


def _same_source(config: Config) -> Iterator[Problem]:
    """Two trunks for one address: the first in the file gets all of its calls."""
    seen: dict[SourceMatch | str, str] = {}
    for index, trunk in enumerate(config.trunks):
        for text in _sources(trunk):
            source = _comparable(text)
            if source in seen and seen[source] != trunk.name:
                message = f"calls from {text} are taken for trunk {seen[source]!r}, which matches it as well"
                yield Problem(("trunk", index), message)
            seen.setdefault(source, trunk.name)


def _sources(trunk: Trunk) -> list[str]:
    """Where its calls come from: what it names, else its registrar, whatever `host` says."""
    if trunk.match_certificate:
        return []
    if trunk.match or trunk.registration is None:
        return trunk.match
    return [trunk.registration.host]


def _comparable(source: str) -> SourceMatch | str:
    """Equal for spellings of one address; names are looked up only when the gateway runs."""
    try:
        return SourceMatch.parse(source)
    except ValueError:
        return source.lower().rstrip(".")


_ERRORS = [
    _transports, _tls, _tls_trunks, _port_range, _jitter, _opus, _slots, _api, _secrets, _trunks, _srtp, _routes,
    agent_checks.agents,
    route_checks.agent_lists,
    route_checks.turns,
]  # fmt: skip
_DOUBTS = [_room, _unreachable, _idle, _no_password, _same_source, _borrowed_connections, agent_checks.doubts]
