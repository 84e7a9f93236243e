# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration in the words of each part: what SIP, media and call control are started with."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Mapping, Sequence

from trunkline.agent_bridge.links import Address, TcpAddress, parse_address
from trunkline.agent_bridge.twilio_ids import account_sid
from trunkline.gateway.calls.call import MediaSession
from trunkline.gateway.calls.screen import NewSession
from trunkline.gateway.calls.srtp_use import srtp_use
from trunkline.gateway.certificates import Files
from trunkline.gateway.config.addresses import split_url
from trunkline.gateway.config.checks import unverified_hop
from trunkline.gateway.config.errors import Problem
from trunkline.gateway.config.lines import located
from trunkline.gateway.config.model import Agent, Config, SipTransport, Trunk
from trunkline.gateway.config.secrets import Secrets
from trunkline.gateway.media.control import AgentParams
from trunkline.gateway.media.ports import PortPair
from trunkline.gateway.media.sound_files import problem_of
from trunkline.gateway.sip import settings
from trunkline.rtp.dtls_certificate import Identity, new_identity
from trunkline.rtp.negotiation import Session


def sip_config(
    config: Config, secrets: Secrets, credentials: settings.Credentials | None = None
) -> settings.SipConfig:
    """What the SIP thread must know; `credentials` are those of the TLS transport, if there is one."""

    def transport(one: SipTransport) -> settings.Transport:
        tls = None
        if one.protocol == "tls" and credentials is not None:
            tls = settings.Tls(credentials, one.client_certificates, one.min_version)
        return settings.Transport(one.protocol, one.bind, one.port, one.advertise, tls)

    return settings.SipConfig(
        transports=tuple(transport(one) for one in config.sip.transports),
        trunks=tuple(_sip_trunk(trunk, secrets) for trunk in config.trunks),
        user_agent=config.sip.user_agent,
        max_calls=config.sip_call_slots,
        log_level=config.logging.pjsip_level,
    )


def _sip_trunk(trunk: Trunk, secrets: Secrets) -> settings.Trunk:
    registration = None
    if (register := trunk.registration) is not None:
        password = secrets.passwords.get(trunk.name)
        registration = settings.Registration(
            register.server,
            register.username,
            password.get_secret_value() if password else "",
            register.realm,
            register.expires_s,
        )
    return settings.Trunk(
        name=trunk.name,
        host=trunk.outbound_host,
        transport=trunk.transport,
        unverified=unverified_hop(trunk),
        outbound_proxy=trunk.outbound_proxy,
        from_user=trunk.from_user,
        caller_domain=trunk.caller_domain,
        prack=trunk.prack,
        session_timer=trunk.session_timer,
        session_expires_s=trunk.session_expires_s,
        registration=registration,
    )


def tls_files(config: Config, secrets: Secrets) -> Files | None:
    """Where the TLS transport's certificate, key and authorities are; None without one."""
    tls = config.tls
    if tls is None:
        return None
    password = secrets.key_password.get_secret_value() if secrets.key_password else ""
    ca = config.resolve_path(tls.ca) if tls.ca else None
    return Files(config.resolve_path(tls.certificate), config.resolve_path(tls.key), ca, password)


def agent_hosts(config: Config) -> dict[str, str]:
    """Host of each agent that is reached by TCP, by agent name."""
    found = {agent.name: _socket_of(agent) for agent in config.agents}
    return {name: address.host for name, address in found.items() if isinstance(address, TcpAddress)}


def _socket_of(agent: Agent) -> Address:
    """Where to connect to, of a WebSocket the host and port of its URL."""
    return TcpAddress(*split_url(agent.url)) if agent.url else parse_address(agent.address)


def agent_params(
    config: Config, secrets: Secrets, resolved: Mapping[str, Sequence[str]]
) -> dict[str, AgentParams]:
    """What a media worker must know of each agent, by name.

    `resolved` has the addresses of agents' hosts: a worker must not wait for DNS.
    """
    params = {}
    for agent in config.agents:
        token = secrets.agent_tokens.get(agent.name)
        password = secrets.agent_passwords.get(agent.name)
        hidden = {k: v.get_secret_value() for k, v in secrets.agent_headers.get(agent.name, {}).items()}
        where = _socket_of(agent)
        if isinstance(where, TcpAddress) and resolved.get(agent.name):
            where = TcpAddress(resolved[agent.name][0], where.port)
        params[agent.name] = AgentParams(
            name=agent.name,
            address=str(where),
            dialect=agent.dialect,
            sample_rate_hz=agent.sample_rate_hz,
            frame_ms=agent.frame_ms,
            connect_timeout_ms=agent.connect_timeout_ms,
            max_queue_ms=agent.max_queue_ms,
            token=token.get_secret_value() if token else None,
            url=agent.url,
            username=agent.username,
            password=password.get_secret_value() if password else None,
            headers=tuple({**agent.headers, **hidden}.items()),
            account=agent.account,
            ca=str(config.resolve_path(agent.ca)) if agent.ca else "",
            verify=agent.verify_certificate,
            options=tuple(agent.options.items()),
            hang_timeout_ms=agent.hang_timeout_ms,
            connect_retries=agent.connect_retries,
            retry_pause_ms=agent.retry_pause_ms,
            flood_ms=agent.flood_ms,
            flood_commands=agent.flood_commands,
            prebuffer_ms=agent.prebuffer_ms,
            prebuffer_max_ms=agent.prebuffer_max_ms,
            metadata=tuple(agent.metadata.items()),
        )
    return params


def twilio_accounts(config: Config, secrets: Secrets) -> list[tuple[str, str, str]]:
    """Account SID, auth token and name of agents whose clients may end their calls as they would at Twilio."""
    return [
        (account_sid(agent.account), secrets.agent_tokens[agent.name].get_secret_value(), agent.name)
        for agent in config.agents
        if agent.dialect == "twilio" and agent.name in secrets.agent_tokens
    ]


def sounds(config: Config) -> list[tuple[str, int]]:
    """Sound files that calls may need, as paths that need no folder, each with a rate at which they may need it."""
    found = set()
    for route in config.routes:
        rates = {agent.sample_rate_hz for name in route.all_agents if (agent := config.agent(name))}
        found |= {(str(config.resolve_path(path)), rate) for path in route.sounds for rate in rates}
    return sorted(found)


def sound_problems(config: Config) -> list[str]:
    """What is wrong with sound files, a line each: `file:line: key: message`."""
    found = []
    for index, route in enumerate(config.routes):
        named = {"rescue_sound": route.rescue_sound, "fallback_sound": route.fallback_sound}
        named |= {"hold_music": route.hold_music, **{f"music.{name}": path for name, path in route.music.items()}}
        for key, path in named.items():
            if path and (problem := problem_of(config.resolve_path(path))):
                found.append(Problem(("route", index, *key.split(".", 1)), f"sound file {problem}"))
    return [problem.text(str(config.source or "configuration")) for problem in located(config.source, found)]


def session_factory(config: Config) -> NewSession:
    """Makes the offer/answer session of a call."""
    ptime_ms = config.media.packet_time_ms
    pauses = config.media.silence == "suppress"

    def new_certificate() -> Identity:
        return new_identity(dt.datetime.now(dt.UTC))

    def new_session(trunk: Trunk, agent: Agent, host: str, ports: PortPair, transport: str) -> MediaSession:
        use, sdes = srtp_use(trunk, transport)
        return Session(
            trunk.codecs,
            local_host=host,
            rtp_port=ports.rtp_port,
            rtcp_port=ports.rtcp_port,
            ptime_ms=ptime_ms,
            prefer=trunk.codec_preference,
            offer_noise=pauses,
            opus_rate_hz=agent.sample_rate_hz,
            srtp=use,
            suites=trunk.srtp_suites,
            sdes=sdes,
            new_identity=new_certificate,
            offer_keys=trunk.srtp_keys,
        )

    return new_session


def worker_options(config: Config) -> list[str]:
    """Arguments of the media worker program."""
    media, opus = config.media, config.media.opus
    least = min(media.jitter_min_ms, media.jitter_max_ms)
    return [
        "--jitter-min-ms", str(least), "--jitter-max-ms", str(media.jitter_max_ms), "--silence", media.silence,
        "--opus-complexity", str(opus.complexity), "--opus-bitrate-bps", str(opus.bitrate_bps),
        *([] if opus.fec else ["--no-opus-fec"]), *(["--opus-dtx"] if opus.dtx else []),
        *(word for path, rate_hz in sounds(config) for word in ("--sound", f"{rate_hz}:{path}")),
    ]  # fmt: skip


def registrars(trunks: Sequence[Trunk]) -> dict[str, str]:
    """Registrar's host of each trunk that is known by it alone, by trunk name."""
    return {
        trunk.name: trunk.registration.host
        for trunk in trunks
        if trunk.registration is not None and not trunk.match
    }


def resolve(hosts: dict[str, str]) -> dict[str, list[str]]:
    """Addresses of each host, empty for a name that has none now. Blocks: not for the event loop."""
    found: dict[str, list[str]] = {}
    for name, host in hosts.items():
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except OSError:
            infos = []
        found[name] = sorted({str(info[4][0]) for info in infos})
    return found
