# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders, files and sockets that the gateway must be able to use."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from trunkline.gateway.config import Agent, Config
from trunkline.gateway.doctor.finding import Finding, fail, ok, warn

OTHERS = stat.S_IRWXG | stat.S_IRWXO
UNIX_PATH_BYTES = 107
"sun_path of unix(7) holds 108 with the final zero"


def examine(config: Config) -> Iterator[Finding]:
    """State folder, secrets, agents' sockets."""
    yield about_state(config.state.path())
    for name, text in secret_files(config):
        yield about_secret(name, config.resolve_path(text))
    for agent in config.agents:
        if agent.address.startswith("unix:"):
            yield about_socket(agent, config.resolve_path(agent.address.removeprefix("unix:")))


def about_state(folder: Path) -> Finding:
    """It is created at the first start, so its nearest existing parent decides."""
    name = "state folder"
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
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
    for trunk in config.trunks:
        if trunk.registration is not None and trunk.registration.password_file:
            yield f"password of trunk {trunk.name}", trunk.registration.password_file
    for agent in config.agents:
        if agent.token_file:
            yield f"token of agent {agent.name}", agent.token_file


def about_secret(name: str, path: Path) -> Finding:
    """Readable by us, and by nobody else."""
    if not path.is_file():
        return fail(name, f"{path} does not exist", f"write the secret into {path} and chmod 600 it")
    if not os.access(path, os.R_OK):
        return fail(name, f"{path} cannot be read by {user()}", f"chown {user()} {path}")
    if path.stat().st_mode & OTHERS:
        return warn(name, f"{path} can be read by others", f"chmod 600 {path}")
    return ok(name, str(path))


def about_socket(agent: Agent, path: Path) -> Finding:
    """An agent need not be running yet, but its socket must be reachable once it is."""
    name = f"agent {agent.name}"
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        return fail(
            name, f"{path} is longer than a socket's path may be ({UNIX_PATH_BYTES} bytes)", "a shorter path"
        )
    if not path.parent.is_dir():
        return warn(name, f"{path.parent} does not exist", f"mkdir -p {path.parent}, then start the agent")
    if not path.exists():
        return warn(
            name,
            f"{path} does not exist: the agent is not running",
            f"trunkline agent echo, or your own at {path}",
        )
    if not path.is_socket():
        return fail(name, f"{path} is not a socket", "remove it, then start the agent")
    if not os.access(path, os.W_OK):
        return fail(
            name,
            f"{path} may not be used by {user()}",
            f"chown or chmod {path} so that {user()} may write to it",
        )
    return ok(name, str(path))


def user() -> str:
    """Who we are, for a command line."""
    return os.environ.get("USER") or str(os.geteuid())
