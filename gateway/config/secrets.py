# SPDX-License-Identifier: GPL-2.0-or-later
"""Passwords and tokens: found when the gateway starts, never kept in the configuration.

`pydantic.SecretStr` shows stars in every repr and log line; whoever needs the
value says so with `get_secret_value()`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from trunkline.agent_bridge.links import MESSAGE_DIALECTS
from trunkline.gateway.config.agent_checks import header_value
from trunkline.gateway.config.errors import ConfigError, Location, Problem
from trunkline.gateway.config.lines import located
from trunkline.gateway.config.model import Agent, Config

TOKEN_FILE = "api-token"
TOKEN_BYTES = 32
TOKEN = re.compile(r"[\x21-\x7e]+")
"""What an API token may look like: it travels in an HTTP header, where blanks at its ends would be lost."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclasses.dataclass(frozen=True, slots=True)
class Secrets:
    """All secrets of a configuration."""

    passwords: dict[str, SecretStr]
    "of trunks that register, by trunk name"
    agent_tokens: dict[str, SecretStr]
    "by agent name; only agents that want one"
    api_token: SecretStr | None
    "None when the API is off, or when it was not to be made"
    api_token_file: Path | None
    "where a token that we made is kept"
    warnings: list[str]
    key_password: SecretStr | None = None
    "of the TLS transport's key, if it is encrypted"
    agent_passwords: dict[str, SecretStr] = dataclasses.field(default_factory=dict)
    "by agent name; basic authentication"
    agent_headers: dict[str, dict[str, SecretStr]] = dataclasses.field(default_factory=dict)
    "by agent name, then by name of the header"

    def values(self) -> list[SecretStr]:
        """Every secret there is, for the log's filter."""
        single = [one for one in (self.api_token, self.key_password) if one is not None]
        headers = [value for each in self.agent_headers.values() for value in each.values()]
        return [
            *self.passwords.values(), *self.agent_tokens.values(), *self.agent_passwords.values(), *headers, *single
        ]  # fmt: skip


class _Reader:
    """Collects problems while secrets are looked up, so that all are told at once."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def find(self, where: Location, kind: str, env: str, file: str) -> SecretStr | None:
        """The secret from a variable or a file, whichever is named; None, and a problem, without one."""
        if env:
            value = self._environ.get(env, "")
            if not value:
                self.refuse((*where, f"{kind}_env"), f"the environment variable {env} is not set, or empty")
            return SecretStr(value) if value else None
        return self._read((*where, f"{kind}_file"), self._config.resolve_path(file)) if file else None

    def _read(self, where: Location, path: Path) -> SecretStr | None:
        try:
            with path.open(encoding="utf-8") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                value = stream.read().strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            self.refuse(where, f"{path} cannot be read: {reason}")
            return None
        self.judge_mode(path, mode)
        if not value or "\n" in value:
            self.refuse(where, f"{path} must hold one line, and holds {'more' if value else 'nothing'}")
            return None
        return SecretStr(value)

    def judge_mode(self, path: Path, mode: int) -> None:
        """Warn of a file that others can open; a pipe or /dev/stdin is nobody else's business."""
        if stat.S_ISREG(mode) and mode & _OTHERS:
            self.warnings.append(f"{path} is open to other users (mode {mode & 0o777:04o}): chmod 600 {path}")

    def refuse(self, where: Location, message: str) -> None:
        """What must be mended before the gateway can start."""
        self.problems.append(Problem(where, message))


def resolve(
    config: Config, environ: Mapping[str, str] = os.environ, *, create_api_token: bool = True
) -> Secrets:
    """Look up every secret that `config` names; raises ConfigError with all that are missing.

    With `create_api_token`, an API without any token gets one that is kept in the
    state folder and found again at the next start.
    """
    reader = _Reader(config, environ)
    passwords = {}
    for index, trunk in enumerate(config.trunks):
        if (registration := trunk.registration) is not None:
            where = ("trunk", index, "register")
            password = reader.find(where, "password", registration.password_env, registration.password_file)
            if password is not None:
                passwords[trunk.name] = password
    tokens, agent_passwords, agent_headers = {}, {}, {}
    for index, agent in enumerate(config.agents):
        at = ("agent", index)
        token = _agent_token(reader, at, agent)
        if token is not None:
            tokens[agent.name] = token
        password = reader.find(at, "password", agent.password_env, agent.password_file)
        if password is not None:
            agent_passwords[agent.name] = password
        agent_headers[agent.name] = _agent_headers(reader, at, agent)
    key_password = _tls_key(config, reader)
    api_token, made = _api_token(config, environ, reader, create_api_token)
    if reader.problems:
        raise ConfigError(str(config.source or "configuration"), located(config.source, reader.problems))
    return Secrets(
        passwords, tokens, api_token, made, reader.warnings, key_password, agent_passwords, agent_headers
    )


def _agent_token(reader: _Reader, where: Location, agent: Agent) -> SecretStr | None:
    token = reader.find(where, "token", agent.token_env, agent.token_file)
    if token is not None and (spoken := MESSAGE_DIALECTS.get(agent.dialect)) is not None:
        if spoken.token_is_bearer and not TOKEN.fullmatch(token.get_secret_value()):
            key = "token_env" if agent.token_env else "token_file"
            reader.refuse((*where, key), "a bearer token must be printable ASCII without blanks")
            return None
    return token


def _agent_headers(reader: _Reader, where: Location, agent: Agent) -> dict[str, SecretStr]:
    """Headers whose values are secret."""
    named = [(name, "env", env, "") for name, env in agent.headers_env.items()]
    named += [(name, "file", "", file) for name, file in agent.headers_file.items()]
    found = {}
    for name, source, env, file in named:
        value = reader.find(where, "headers", env, file)
        if value is not None and not header_value(value.get_secret_value()):
            text = f"the value of {name} must be printable ASCII without blanks at its ends"
            reader.refuse((*where, f"headers_{source}"), text)
        elif value is not None:
            found[name] = value
    return found


def _tls_key(config: Config, reader: _Reader) -> SecretStr | None:
    """Password of the TLS key. The key itself is read by `certificates`, again and again; here its mode is judged."""
    for index, transport in enumerate(config.sip.transports):
        if transport.protocol == "tls":
            path = config.resolve_path(transport.key)
            with contextlib.suppress(OSError):
                reader.judge_mode(path, path.stat().st_mode)
            where = ("sip", "transport", index)
            return reader.find(where, "key_password", transport.key_password_env, transport.key_password_file)
    return None


def _api_token(
    config: Config, environ: Mapping[str, str], reader: _Reader, create: bool
) -> tuple[SecretStr | None, Path | None]:
    """The API's token, and the file it is kept in when it is one of ours."""
    api = config.api
    if not api.enabled:
        return None, None
    if api.token_file:
        return _for_header(reader, reader.find(("api",), "token", "", api.token_file), "token_file"), None
    # The default variable may be unset; one that somebody wrote into the file may not.
    if "token_env" in api.model_fields_set or environ.get(api.token_env):
        return _for_header(reader, reader.find(("api",), "token", api.token_env, ""), "token_env"), None
    path = config.state.path() / TOKEN_FILE
    try:
        return _kept_token(path, reader, create), path
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a token"
        cure = "set api.token_env or api.token_file, or give another state.dir"
        reader.refuse(("state", "dir"), f"{path}: {reason}; {cure}")
        return None, None


def _for_header(reader: _Reader, token: SecretStr | None, key: str) -> SecretStr | None:
    """The same token, if it can travel in an HTTP header."""
    if token is not None and not TOKEN.fullmatch(token.get_secret_value()):
        reader.refuse(
            ("api", key), "the token must be printable ASCII without blanks, as `openssl rand -hex 32`"
        )
        return None
    return token


def _kept_token(path: Path, reader: _Reader, create: bool) -> SecretStr | None:
    """The token of the state folder, made if there is none and `create` says so."""
    try:
        with path.open(encoding="utf-8") as stream:
            token = stream.read().strip()
            reader.judge_mode(path, os.fstat(stream.fileno()).st_mode)
        if token:
            return SecretStr(token)
    except FileNotFoundError:
        pass
    return _new_token(path) if create else None


def _new_token(path: Path) -> SecretStr:
    """Make one and keep it. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    # Created under a name that nobody else has, with mode 0600, and renamed: whoever reads it sees a whole
    # token, and a draft that a killed start has left behind is in nobody's way.
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(token + "\n")
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return SecretStr(token)
