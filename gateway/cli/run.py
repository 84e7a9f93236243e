# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline run`: the gateway in the foreground.

SIGTERM or Ctrl-C: no new calls (503), wait for those that are up, hang up what is left
after `--drain-timeout`.  A second one: hang up now.  SIGHUP: read the files of the TLS
transport again (they are also read when they change).  Exit codes: 0 stopped as asked, 1 could
not start or failed, 2 configuration.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from trunkline.gateway import logs
from trunkline.gateway.app import Gateway, StartError, version
from trunkline.gateway.config import Config, ConfigError, load
from trunkline.gateway.config import secrets as config_secrets
from trunkline.gateway.config.secrets import Secrets
from trunkline.gateway.media import compiled
from trunkline.gateway.pjsip import facts
from trunkline.gateway.redaction import printable

EXIT_FAILED = 1
EXIT_CONFIG = 2

log = logs.get_logger("trunkline.gateway")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="configuration file (TOML)")],
    drain_timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="how long calls may go on after SIGTERM")
    ] = 30.0,
) -> None:
    """Run the gateway until it is told to stop."""
    try:
        settings = load(config)
        logs.configure(settings.logging)
        secrets = config_secrets.resolve(settings)
    except ConfigError as error:
        typer.echo(printable(f"trunkline: {error}", multiline=True), err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    logs.configure(settings.logging, secrets.values())
    for warning in [*settings.warnings, *secrets.warnings]:
        log.warning("config.warning", detail=warning)
    try:
        failure = asyncio.run(serve(settings, secrets, drain_timeout))
    except StartError as error:
        failure = str(error)
    if failure:
        typer.echo(printable(f"trunkline: {failure}", multiline=True), err=True)
        raise typer.Exit(EXIT_FAILED)


async def serve(config: Config, secrets: Secrets, drain_timeout_s: float) -> str | None:
    """Run until a signal or a failure; returns the failure. Raises StartError."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    gateway = Gateway(config, secrets)
    reloads: set[asyncio.Task[None]] = set()

    def on_hangup() -> None:
        task = asyncio.create_task(gateway.reload_certificates("SIGHUP"))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await gateway.start()
    sys.stdout.write(banner(gateway, secrets))
    sys.stdout.flush()
    log.info(
        "gateway.started",
        version=version(),
        workers=gateway.pool.ready_workers,
        kernels=compiled.in_use(),
    )
    about_pjsip = asyncio.create_task(log_pjsip())
    waiting = [asyncio.create_task(event.wait()) for event in (stop, gateway.failed)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in (*waiting, about_pjsip, *reloads):
        task.cancel()
    await gateway.stop(drain_timeout_s, hurry)
    log.info("gateway.stopped", failure=gateway.failure)
    return gateway.failure


async def log_pjsip() -> None:
    """Which PJSIP runs, and what it lacks; asked in a process of its own, beside the running gateway."""
    found = await asyncio.to_thread(facts.installed)
    (log.warning if found.lacks else log.info)(
        "gateway.pjsip", detail=facts.describe(found), lacks=found.lacks
    )


def banner(gateway: Gateway, secrets: Secrets) -> str:
    """What runs and how to reach it, in a few lines."""
    config = gateway.config
    transports = [
        f"{t.protocol} {t.bind}:{port}"
        for t, port in zip(config.sip.transports, gateway.sip.ports, strict=True)
    ]
    first, last = config.media.port_range
    lines = [
        f"trunkline {version()}",
        f"  SIP      {', '.join(transports)}",
        f"  RTP      {config.media.bind} ports {first}-{last}, {gateway.pool.ready_workers} media workers",
        f"  trunks   {', '.join(t.name for t in config.trunks) or 'none: every call is refused'}",
        f"  routes   {', '.join(_route(r.name, r.all_agents, r.refuse) for r in config.routes) or 'none'}",
        f"  agents   {', '.join(f'{a.name} at {a.shown_address}' for a in config.agents) or 'none'}",
    ]
    if gateway.api_address is not None:
        host, port = gateway.api_address
        lines.append(
            f"  API      http://{host}:{port} (docs at /docs), token {_token_place(config, secrets)}"
        )
    return "\n".join(lines) + "\n"


def _route(name: str, agents: list[str], refuse: int | None) -> str:
    return f"{name} -> {' or '.join(agents) or refuse}"


def _token_place(config: Config, secrets: Secrets) -> str:
    """Where the token is; never the token."""
    if secrets.api_token_file is not None:
        return f"in {secrets.api_token_file}"
    return f"in {config.api.token_file}" if config.api.token_file else f"from ${config.api.token_env}"
