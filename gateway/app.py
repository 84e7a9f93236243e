# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway: every part made of the configuration, started and stopped in order.

    start   media workers -> call control -> API -> SIP       calls come last
    stop    no new calls -> calls end -> SIP -> API -> workers

What is wrong at the start is one `StartError` that names it and its cure; what was
already started is stopped again.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import resource
from collections.abc import Mapping
from typing import Any

from trunkline.gateway import assembly, logs
from trunkline.gateway.api import ApiServer, create_app
from trunkline.gateway.api.twilio_accounts import TwilioAccount
from trunkline.gateway.calls.addresses import MediaAddress
from trunkline.gateway.calls.book import Book
from trunkline.gateway.calls.limits import Limits
from trunkline.gateway.calls.screen import CallScreen
from trunkline.gateway.calls.service import CallService
from trunkline.gateway.certificate_watch import CertificateWatch
from trunkline.gateway.certificates import CertificateError
from trunkline.gateway.config.model import Config
from trunkline.gateway.config.secrets import Secrets
from trunkline.gateway.loop_errors import LoopErrors
from trunkline.gateway.media import compiled
from trunkline.gateway.media.control import Message
from trunkline.gateway.media.pool import MediaPool
from trunkline.gateway.media.ports import PortPool, PortsExhausted
from trunkline.gateway.media.supervisor import WorkersFailed
from trunkline.gateway.memory import keep_trimmed
from trunkline.gateway.metrics import Metrics
from trunkline.gateway.routing import RouteTable, TrunkTable
from trunkline.gateway.sip.events import Event
from trunkline.gateway.sip.messages import ReloadCertificates
from trunkline.gateway.sip.settings import SipStartError
from trunkline.gateway.sip.thread import SipThread
from trunkline.rtp import libsrtp

SIP_END_S = 2.0
"How long hanging up all calls may take: a BYE and its answer; peers that are silent are left."
RESOLVE_INTERVAL_S = 300.0
"How often registrars' names are looked up again: their calls come from wherever DNS says now."

_POOL_LEVELS = {
    "worker.died": "error",
    "worker.hung": "error",
    "worker.output": "warning",
    "worker.no_spare": "warning",
    "worker.overloaded": "warning",
}
"Level of the log line of each event of the media pool that is not for information only."

log = logs.get_logger("trunkline.gateway")


class StartError(Exception):
    """Why the gateway cannot run, in one line."""


class Gateway:
    """A gateway in this process; there can be one, since PJSIP is global."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        """Nothing is opened yet."""
        media, limits = config.media, config.limits
        self.config = config
        self.metrics = Metrics([trunk.name for trunk in config.trunks if trunk.registration], version(),
                               agents=[agent.name for agent in config.agents], kernels=compiled.in_use())  # fmt: skip
        self.ports = PortPool(media.bind, *media.port_range)
        self.pool = MediaPool(
            media.workers,
            limits.max_calls,
            assembly.worker_options(config),
            on_message=self._media_message,
            on_event=self._pool_event,
            max_load=limits.max_worker_load,
        )
        self.metrics.watch_loads(self.pool.loads)
        self.metrics.watch_restarts(lambda: self.pool.restarts)
        new_session = assembly.session_factory(config)
        address = MediaAddress(media.advertise, media.bind)
        gate = self._gate = Limits(limits.max_calls, limits.calls_per_second)
        self._secrets = secrets
        self._registrars = assembly.registrars(config.trunks)
        self._agent_hosts = assembly.agent_hosts(config)
        self.screen = CallScreen(
            config,
            TrunkTable(config.trunks),
            RouteTable(config.routes),
            gate,
            self.ports,
            address,
            new_session,
        )
        self.certificates: CertificateWatch | None = None
        credentials = None
        if (files := assembly.tls_files(config, secrets)) is not None:
            self.certificates = CertificateWatch(files, self.metrics, self._post)
            try:
                credentials = self.certificates.first().credentials
            except CertificateError as error:
                raise StartError(f"SIP cannot speak TLS: {error}") from error
        self.sip = SipThread(
            assembly.sip_config(config, secrets, credentials), self.screen, self._sip_event
        )
        self._book = book = Book(config, gate, self.pool, self.sip.post, self.metrics)
        self.service = CallService(
            book, self.screen, self.ports, address, new_session, self._fail, self._about
        )
        self.failure: str | None = None
        "why it had to stop by itself"
        self.failed = asyncio.Event()
        self.api_address: tuple[str, int] | None = None
        self._api: ApiServer | None = None
        if config.api.enabled and secrets.api_token is not None:
            app = create_app(
                self.service,
                self.metrics,
                secrets.api_token.get_secret_value(),
                bind=config.api.bind,
                twilio=[TwilioAccount(*each) for each in assembly.twilio_accounts(config, secrets)],
            )
            self._api = ApiServer(app, config.api.bind, config.api.port)
        self._resolving: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start everything; raises StartError, and leaves nothing behind then."""
        try:
            await self._start()
        except BaseException:
            await self.stop(0)
            raise

    async def _start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(LoopErrors())
        raise_descriptor_limit(self.config.limits.descriptors)
        self._try_ports()
        self._try_srtp()
        if problems := assembly.sound_problems(self.config):
            raise StartError(f"callers could not hear a sound: {'; '.join(problems)}")
        await self._resolve_names()
        try:
            await self.pool.start()
        except WorkersFailed as error:
            raise StartError(str(error)) from error
        for index, table in enumerate(self.pool.tables):
            self.metrics.watch_worker(index, table)
        self.service.start()
        if self._api is not None:
            try:
                self.api_address = await self._api.start()
            except OSError as error:
                where = f"{self.config.api.bind}:{self.config.api.port}"
                cure = "choose another api.port, or stop the program that has it"
                why = os.strerror(error.errno) if error.errno else str(error)
                raise StartError(f"the API cannot listen on {where}: {why}; {cure}") from error
        try:
            await asyncio.to_thread(self.sip.start)
        except SipStartError as error:
            raise StartError(str(error)) from error
        self._trimming = asyncio.create_task(keep_trimmed(), name="memory")
        if self.certificates is not None:
            self._following = asyncio.create_task(self.certificates.follow(), name="certificates")
        if self._registrars or self._agent_hosts:
            self._resolving = asyncio.create_task(self._follow_names(), name="names")

    def _try_srtp(self) -> None:
        """Where a trunk has SRTP, the library that does it must be there, and right."""
        try:
            if any(trunk.srtp != "off" for trunk in self.config.trunks):
                library = libsrtp.load()
                if not library.bundled:  # PJSIP is going to initialise it; only the workers use it
                    library.release()
        except libsrtp.SrtpUnavailable as error:
            raise StartError(f"a trunk has SRTP, but there is {error}") from error

    def _try_ports(self) -> None:
        """One pair, opened and closed: a wrong media.bind would otherwise be found by the first caller."""
        try:
            self.ports.acquire().release()
        except PortsExhausted as error:
            media = self.config.media
            cure = {
                "range": f"choose another media.port_range than {media.port_range}, or stop what uses it",
                "descriptors": "raise `ulimit -n`",
            }.get(error.cause, f"set media.bind, now {media.bind}, to an address of this machine, or 0.0.0.0")
            raise StartError(f"no call could have audio: {error}; {cure}") from error

    async def stop(self, drain_timeout_s: float = 30.0, hurry: asyncio.Event | None = None) -> None:
        """Wait for calls to end, at most so long or until `hurry` is set; hang up the rest; stop everything."""
        self.service.drain()
        if self.service.calls and drain_timeout_s > 0 and self.failure is None:
            data = {"calls": len(self.service.calls), "timeout_s": drain_timeout_s}
            log.info("gateway.draining", **data)
            self.service.gateway_event("gateway.draining", data)
            await _first(self.service.wait_empty(drain_timeout_s), hurry)
        if self.service.calls:
            self.service.hang_up_all("shutdown")
            await self.service.wait_empty(0.2 if self.failure else SIP_END_S)
        for task in (self._resolving, self._trimming, self._following):
            if task is not None:
                task.cancel()
        await asyncio.to_thread(self.sip.stop, SIP_END_S)
        if self._api is not None:
            await self._api.stop()
        await self.pool.stop()
        self.service.stop()

    def _post(self, command: ReloadCertificates) -> None:
        self.sip.post(command)

    async def reload_certificates(self, why: str) -> None:
        """Read the TLS transport's files again, if it has one."""
        if self.certificates is None:
            log.warning("certificates.none", why=why, detail="there is no TLS transport, so nothing to read again")
        else:
            await self.certificates.reload(why)

    def _media_message(self, message: Message) -> None:
        self.service.media_message(message)

    def _sip_event(self, event: Event) -> None:
        self.service.sip_event(event)

    def _fail(self, detail: str) -> None:
        """The SIP thread has ended: without it there is no gateway."""
        self.failure = f"the SIP thread failed: {detail}"
        log.error("gateway.failed", detail=detail)
        self.failed.set()

    def _pool_event(self, event: str, data: Mapping[str, Any]) -> None:
        level = _POOL_LEVELS.get(event, "info")
        getattr(log, level)(event, **data)
        self._gate.overload = self.pool.overload
        self.service.gateway_event(event, dict(data))

    def _about(self) -> dict[str, Any]:
        """What of the status is not call control's."""
        return {
            "version": version(),
            "workers": {
                "ready": self.pool.ready_workers,
                "pids": self.pool.pids,
                "spare": self.pool.spare_pid,
                "restarts": sum(self.pool.restarts),
                "streams": self.pool.streams,
                "each": self.pool.each(),
            },
            "trunks": [trunk.name for trunk in self.config.trunks],
            "agents": [agent.name for agent in self.config.agents],
            "routes": [route.name for route in self.config.routes],
        }

    async def _resolve_names(self) -> None:
        """Ask DNS, in a thread, for registrars and agents: neither SIP nor media may wait for it."""
        trunks = await self._addresses("trunk", self._registrars)
        agents = await self._addresses("agent", self._agent_hosts)
        self.screen.trunks = TrunkTable(self.config.trunks, trunks)
        self._book.agent_params = assembly.agent_params(self.config, self._secrets, agents)

    async def _addresses(self, kind: str, hosts: dict[str, str]) -> dict[str, list[str]]:
        found = await asyncio.to_thread(assembly.resolve, hosts) if hosts else {}
        for name, addresses in found.items():
            if not addresses:
                log.warning("name.unresolved", of=kind, name=name, host=hosts[name], cure="check it, or DNS")
        return found

    async def _follow_names(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_INTERVAL_S)
            await self._resolve_names()


async def _first(work: Any, hurry: asyncio.Event | None) -> None:
    """Wait for `work`, or for the event if that comes first."""
    tasks = [asyncio.ensure_future(work)]
    if hurry is not None:
        tasks.append(asyncio.ensure_future(hurry.wait()))
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def raise_descriptor_limit(needed: int) -> None:
    """RLIMIT_NOFILE to what is allowed; a warning when that is less than `needed`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft != resource.RLIM_INFINITY and soft < needed:
        cure = "raise `ulimit -n`, or lower limits.max_calls"
        log.warning("limits.descriptors", allowed=soft, needed=needed, cure=cure)


def version() -> str:
    """Version of the package."""
    try:
        return importlib.metadata.version("trunkline")
    except importlib.metadata.PackageNotFoundError:  # run from a plain checkout
        return "0"
