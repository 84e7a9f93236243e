# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the gateway's API is, and which token it wants.

Both are looked for in this order, each on its own:

    address   --api-url, TRUNKLINE_API_URL, [api] of --config, http://127.0.0.1:8070
    token     --token-file, TRUNKLINE_API_TOKEN, what --config names, `api-token` in the state folder

The token never stands on the command line, where every user of the machine can read it,
nor in a message: what is wrong with it is told by where it came from.
"""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from trunkline.gateway.cli.client import TOKEN_VARIABLE, URL_VARIABLE, ClientError, Gateway
from trunkline.gateway.config import Config, ConfigError, load
from trunkline.gateway.config.addresses import bracketed
from trunkline.gateway.config.model import State
from trunkline.gateway.config.secrets import TOKEN, TOKEN_FILE

DEFAULT_URL = "http://127.0.0.1:8070"


def connect(api_url: str | None, token_file: Path | None, config_file: Path | None) -> Gateway:
    """Find address and token; raises ClientError when one of them is not there or not usable."""
    config = _configuration(config_file)
    url = _url(api_url, config)
    token, source = _token(token_file, config)
    if not TOKEN.fullmatch(token):
        raise ClientError(f"{source} holds no token: one line of printable ASCII without blanks is needed")
    return Gateway(url, token, source)


def _configuration(path: Path | None) -> Config | None:
    if path is None:
        return None
    try:
        return load(path)
    except ConfigError as problem:
        raise ClientError(str(problem)) from None


def _url(named: str | None, config: Config | None) -> str:
    """The address, checked. A wrong one is not repeated: it may be a token, or have a password in it."""
    if named is not None:
        url, source = named, "--api-url"
    elif text := os.environ.get(URL_VARIABLE):
        url, source = text, f"the environment variable {URL_VARIABLE}"
    else:
        return _url_of(config)
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        parts = httpx.URL("")
    extra = parts.userinfo or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not parts.host or extra or (parts.port or 1) > 65535:
        raise ClientError(f"{source} is no URL of a gateway: one such as {DEFAULT_URL} is needed")
    return url


def _url_of(config: Config | None) -> str:
    if config is None:
        return DEFAULT_URL
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.api.bind, config.api.bind)
    return f"http://{bracketed(host)}:{config.api.port}"


def _token(token_file: Path | None, config: Config | None) -> tuple[str, str]:
    """The token, and where it came from."""
    if token_file is not None:
        return _read(token_file), str(token_file)
    names = [TOKEN_VARIABLE]
    if config is not None and config.api.token_env not in ("", TOKEN_VARIABLE):
        names.insert(0, config.api.token_env)
    for name in names:
        if token := os.environ.get(name, "").strip():
            return token, f"the environment variable {name}"
    if config is not None and config.api.token_file:
        path = config.resolve_path(config.api.token_file)
        return _read(path), str(path)
    path = (config.state if config is not None else State()).path() / TOKEN_FILE
    # Not `exists`, which raises where the folder is another user's.
    if os.access(path, os.F_OK):
        return _read(path), str(path)
    raise ClientError(
        f"no API token: neither {TOKEN_VARIABLE} nor {path} has one. A gateway that runs as another user or with "
        "another state folder has its own: name its file by --token-file, or its configuration by --config"
    )


def _read(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise ClientError(f"the token file {path} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"the token file {path} is not text") from None
    if not token:
        raise ClientError(f"the token file {path} is empty")
    return token
