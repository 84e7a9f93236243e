# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders, files and sockets that the gateway must be able to use."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.links import DIALECTS
from trunkline.gateway.agent_probe import greeted
from trunkline.gateway.config import Agent, Config
from trunkline.gateway.config.addresses import bracketed, split_url
from trunkline.gateway.config.errors import ConfigError
from trunkline.gateway.config.secrets import TOKEN_FILE, Secrets, resolve
from trunkline.gateway.doctor.finding import Finding, Level, fail, ok, warn
from trunkline.gateway.media.agent_tls import new_context, sentence

OTHERS = stat.S_IRWXG | stat.S_IRWXO
UNIX_PATH_BYTES = 107
"sun_path of unix(7) holds 108 with the final zero"
PATIENCE_S = 1.0
"For an agent to take a connection: it does so at once, on this machine or the next."


def examine(config: Config) -> Iterator[Finding]:
    """State folder, secrets, agents' sockets."""
    yield about_state(config.state.path())
    for name, text in secret_files(config):
        yield about_secret(name, config.resolve_path(text))
    secrets = _secrets(config)
    for agent in config.agents:
        ca = str(config.resolve_path(agent.ca)) if agent.ca else ""
        found = about_agent(agent, ca)
        known = secrets is not None and found.level is Level.OK
        yield about_handshake(agent, link_settings(agent, secrets), ca, found) if known and secrets else found


def _secrets(config: Config) -> Secrets | None:
    """None: one is missing, which is said elsewhere, and agents are not asked."""
    try:
        return resolve(config, create_api_token=False)
    except (ConfigError, OSError):
        return None


def about_state(folder: Path) -> Finding:
    """It is created at the first start, so its nearest existing parent decides."""
    name = "state folder"
    existing = next(parent for parent in (folder, *folder.parents) if os.access(parent, os.F_OK))
    if not existing.is_dir():
        return fail(name, f"{existing} is not a folder", "set state.dir to a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        return fail(
            name, f"{folder} cannot be written to by {user()}", f"chown {user()} {existing}, or set state.dir"
        )
    if existing == folder and folder.stat().st_mode & stat.S_IWOTH:
        return warn(name, f"{folder} can be written to by anyone", f"chmod o-w {folder}")
    return ok(name, f"{folder}{'' if existing == folder else ' (created at the first start)'}")


def secret_files(config: Config) -> Iterator[tuple[str, str]]:
    """What names a file of a secret, and the file."""
    if config.api.token_file:
        yield "API token", config.api.token_file
    elif config.api.enabled and os.access(kept := config.state.path() / TOKEN_FILE, os.F_OK):
        yield "API token", str(kept.absolute())
    if (tls := config.tls) is not None:
        yield "TLS key", tls.key
        if tls.key_password_file:
            yield "password of the TLS key", tls.key_password_file
    for trunk in config.trunks:
        if trunk.registration is not None and trunk.registration.password_file:
            yield f"password of trunk {trunk.name}", trunk.registration.password_file
    for agent in config.agents:
        if agent.token_file:
            yield f"token of agent {agent.name}", agent.token_file
        if agent.password_file:
            yield f"password of agent {agent.name}", agent.password_file
        for header, file in agent.headers_file.items():
            yield f"header {header} of agent {agent.name}", file


def about_secret(name: str, path: Path) -> Finding:
    """Readable by us, and by nobody else."""
    if not path.is_file():
        return fail(name, f"{path} does not exist", f"write the secret into {path} and chmod 600 it")
    if not os.access(path, os.R_OK):
        return fail(name, f"{path} cannot be read by {user()}", f"chown {user()} {path}")
    if path.stat().st_mode & OTHERS:
        return warn(name, f"{path} can be read by others", f"chmod 600 {path}")
    return ok(name, str(path))


def about_agent(agent: Agent, ca: str = "") -> Finding:
    """An agent need not run yet, but it must be reachable once it does; `ca` is the file that it names."""
    if agent.url:
        host, port = split_url(agent.url)
        found = about_tcp(agent, f"{bracketed(host)}:{port}")
        return about_tls(agent, host, port, ca) if found.level is Level.OK and agent.url.startswith("wss:") else found
    kind, _, rest = agent.address.partition(":")
    return about_socket(agent, Path(rest)) if kind == "unix" else about_tcp(agent, rest)


def about_socket(agent: Agent, path: Path) -> Finding:
    """A Unix socket: its folder, its kind, our right to it, and whether anybody listens."""
    name = f"agent {agent.name}"
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        return fail(
            name, f"{path} is longer than a socket's path may be ({UNIX_PATH_BYTES} bytes)", "a shorter path"
        )
    if not path.parent.is_dir():
        return warn(name, f"{path.parent} does not exist", f"mkdir -p {path.parent}, then {start(agent)}")
    if not path.exists():
        return warn(name, f"{path} does not exist: the agent is not running", start(agent))
    if not path.is_socket():
        return fail(name, f"{path} is not a socket", f"remove it, then {start(agent)}")
    if not os.access(path, os.W_OK):
        return fail(
            name,
            f"{path} may not be used by {user()}",
            f"chown or chmod {path} so that {user()} may write to it",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_S)
        try:
            probe.connect(str(path))
        except OSError as error:
            return warn(name, f"nobody answers at {path}: {error.strerror or 'no time'}", start(agent))
    return ok(name, str(path))


def about_tcp(agent: Agent, where: str) -> Finding:
    """A TCP address (`host:port`, checked): whether its name resolves and anybody listens."""
    name = f"agent {agent.name}"
    host, port = where.rpartition(":")[::2]
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
    except socket.gaierror:
        return warn(name, f"{host} has no address", "check the name in agent.address, or DNS")
    except OSError as error:
        return warn(name, f"nobody answers at {where}: {error.strerror or 'no time'}", start(agent))
    return ok(name, where)


def about_tls(agent: Agent, host: str, port: int, ca: str) -> Finding:
    """Whether its certificate is one that calls will accept."""
    name = f"agent {agent.name}"
    try:
        context = new_context(ca, agent.verify_certificate)
    except OSError as error:
        return fail(name, f"its ca {ca} cannot be used: {error.strerror or error}", "name a file of certificates (PEM)")
    try:
        with socket.create_connection((host, port), timeout=PATIENCE_S) as plain:
            context.wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLError as error:
        what, _, cure = sentence(error, host).rpartition(": ")
        return fail(name, f"wss://{bracketed(host)}:{port}: {what}", cure)
    except OSError as error:
        return warn(name, f"no TLS at {bracketed(host)}:{port}: {error.strerror or 'no time'}", "is it ws:// instead?")
    return ok(name, f"wss://{bracketed(host)}:{port}")


def link_settings(agent: Agent, secrets: Secrets) -> LinkSettings:
    """As a media worker has them."""
    token, password = secrets.agent_tokens.get(agent.name), secrets.agent_passwords.get(agent.name)
    hidden = {k: v.get_secret_value() for k, v in secrets.agent_headers.get(agent.name, {}).items()}
    return LinkSettings(
        url=agent.url, sample_rate_hz=agent.sample_rate_hz, frame_ms=agent.frame_ms,
        token=token.get_secret_value() if token else None, username=agent.username,
        password=password.get_secret_value() if password else None, headers={**agent.headers, **hidden},
        account=agent.account, options=agent.options, timeout_ms=agent.connect_timeout_ms,
    )  # fmt: skip


def about_handshake(agent: Agent, settings: LinkSettings, ca: str, there: Finding) -> Finding:
    """Somebody listens (`there`); whether it is an agent that takes us, as far as can be told without a call."""
    limit_s = agent.connect_timeout_ms / 1000
    kind, _, rest = agent.address.partition(":")
    host, port = split_url(agent.url) if agent.url else ("", 0)
    try:
        with socket.socket(socket.AF_UNIX) if kind == "unix" else _reached(host, port, rest) as plain:
            plain.settimeout(limit_s)
            if kind == "unix":
                plain.connect(rest)
            if kind != "wss":
                reason, detail = greeted(agent.dialect, settings, plain, time.monotonic() + limit_s)
            else:
                context = new_context(ca, agent.verify_certificate)
                with context.wrap_socket(plain, server_hostname=host) as secure:
                    reason, detail = greeted(agent.dialect, settings, secure, time.monotonic() + limit_s)
    except TimeoutError:
        reason, detail = "agent_timeout", f"it takes connections and does not answer within {limit_s:g} s"
    except (OSError, ValueError) as error:
        reason, detail = "agent_unreachable", str(error)
    if not reason:
        return there
    what, _, cure = detail.partition(": ")
    if "saying token" in detail:
        what, cure = detail, "see token_env or token_file of this agent: it wants a token, or another one"
    cure = cure or f"is `dialect` right ({agent.dialect})? see the agent's log"
    return fail(there.name, f"{there.found}: {what}", cure)


def _reached(host: str, port: int, rest: str) -> socket.socket:
    """TCP: of a URL, or of `host:port`."""
    if not host:
        host, _, last = rest.rpartition(":")
        port = int(last)
    return socket.create_connection((host.strip("[]"), port), timeout=PATIENCE_S)


def start(agent: Agent) -> str:
    """How an agent comes to be where it should."""
    if agent.url:
        return "start your agent"
    option = "" if agent.dialect == DIALECTS[0] else f" --dialect {agent.dialect}"
    return f"start your agent, or to try: trunkline agent echo --listen {agent.address}{option}"


def user() -> str:
    """Who we are, for a command line."""
    return os.environ.get("USER") or str(os.geteuid())
