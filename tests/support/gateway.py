# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole gateway as a process: `trunkline run` with a configuration of the test's own.

    with GatewayProcess(folder, agent=[{"name": "echo", "address": "unix:..."}], ...) as gateway:

Ports are free ones, the log is JSON, events are collected from the first moment.  At the
end it must stop as asked, with exit code 0, and nothing of it may be left.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from support import processes, toml
from support.gateway_view import GatewayView
from support.ports import free_block, free_port
from support.waiting import wait_for

TRUNKLINE = str(pathlib.Path(sys.executable).with_name("trunkline"))
TOKEN = "test-token-of-the-end-to-end-suite"
READY_S = 30.0
RTP_PORTS = 400


class GatewayProcess(GatewayView):
    """A running gateway. `settings` are tables of the configuration, over the defaults below."""

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        host: str = "127.0.0.1",
        sip_port: int = 0,
        **settings: Any,
    ) -> None:
        """`host` is its address for SIP and RTP; `sip_port` 0 is a free one."""
        self.folder, self.host = folder, host
        self.sip_port, self.api_port = sip_port or free_port(host), free_port()
        self._config = folder / "trunkline.toml"
        self._config.write_text(toml.dump(self._settings(settings)))
        self._env = {
            **os.environ,
            "TRUNKLINE_API_TOKEN": TOKEN,
            "XDG_STATE_HOME": str(folder / "state"),
            **(env or {}),
        }
        self._arguments = arguments
        api = httpx.Client(
            base_url=f"http://127.0.0.1:{self.api_port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
            trust_env=False,
        )
        super().__init__(api, folder / "gateway.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._follower: threading.Thread | None = None
        self.workers: list[int] = []
        "their process ids at the start"
        self.idle: dict[int, processes.Usage] = {}

    def _settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        rtp = free_block(RTP_PORTS, self.host)
        defaults: dict[str, Any] = {
            "sip": {
                "transport": [
                    {"protocol": protocol, "bind": self.host, "port": self.sip_port}
                    for protocol in ("udp", "tcp")
                ]
            },
            "media": {"bind": self.host, "port_range": [rtp[0], rtp[-1]], "workers": 1},
            # A machine that runs tests may be busy with others: only tests of that refuse calls for it.
            "limits": {"max_calls": RTP_PORTS // 2, "max_worker_load": 0},
            "api": {"port": self.api_port},
            "logging": {"format": "json", "level": "debug"},
            "state": {"dir": str(self.folder / "state")},
            "trunk": [{"name": "local", "match": ["127.0.0.0/8"]}],
        }
        merged = {**defaults, **given}
        for name in ("sip", "media", "limits", "api", "logging", "state"):
            merged[name] = {**defaults[name], **given.get(name, {})}
        return merged

    # --- life --------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [TRUNKLINE, "run", "--config", str(self._config), *self._arguments],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self._env, cwd=self.folder,
            )  # fmt: skip
        try:
            wait_for(self._ready, "the gateway is ready", READY_S)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.workers = list(self.status()["workers"]["pids"])
        self.idle = {pid: processes.usage(pid) for pid in self.pids}
        self._follower = threading.Thread(target=self.follow, name="events", daemon=True)
        self._follower.start()
        wait_for(lambda: self.status()["subscribers"], "the event stream is open")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.running:
                self.stop()
                if kind is None:
                    self.assert_clean_end()
            if kind is not None:
                print("the gateway's last words:", *self.log_text().splitlines()[-40:], sep="\n  ")
        finally:
            self.api.close()
            if self.running:
                self.process.kill()
                self.process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The gateway's own process."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pids(self) -> list[int]:
        """The gateway and its media workers, as they are now."""
        return [self.process.pid, *(pid for pid in self.status()["workers"]["pids"] if pid)]

    def _ready(self) -> bool:
        assert self.running, (
            f"the gateway has ended with {self.process.returncode}:\n{self.log_text()[-3000:]}"
        )
        with contextlib.suppress(httpx.TransportError):
            return self.api.get("/healthz").is_success and self._started()
        return False

    def _started(self) -> bool:
        return any(line.get("event") == "gateway.started" for line in self.log())

    def stop(self, signals: int = 2, timeout_s: float = 20) -> int:
        """SIGTERM (a second one ends calls at once); returns the exit code."""
        for _ in range(signals):
            if self.running:
                self.process.send_signal(signal.SIGTERM)
                time.sleep(0.1)
        return self.process.wait(timeout_s)

    def assert_clean_end(self) -> None:
        """It ended by itself with 0, its workers too, and it had no fault of its own."""
        assert self.process.returncode == 0, (
            f"exit code {self.process.returncode}:\n{self.log_text()[-3000:]}"
        )
        wait_for(lambda: not any(map(processes.alive, self.workers)), "the media workers have ended")
        assert "Traceback" not in self.log_text(), self.log_text()[-5000:]
        assert not self.log("call.internal_error")

    # --- doing -------------------------------------------------------------------------------

    def place(self, to: str, agent: str = "echo", **fields: Any) -> str:
        """Place a call; returns its id."""
        answer = self.api.post("/v1/calls", json={"to": to, "agent": agent, **fields})
        assert answer.status_code == 201, f"{answer.status_code} {answer.text}"
        return str(answer.json()["id"])

    def hang_up(self, call_id: str, reason: str = "test") -> None:
        """End a call."""
        self.api.delete(f"/v1/calls/{call_id}", params={"reason": reason}).raise_for_status()

    def assert_idle(self) -> None:
        """No call is left, and no port or socket of one, in any process."""
        wait_for(lambda: not self.calls(), "all calls have ended")
        status = self.status()
        assert status["ports"]["in_use"] == 0 and status["workers"]["streams"] == 0, status
        allowed = self.idle[self.process.pid].udp_sockets

        def sockets() -> dict[int, int]:
            return {pid: processes.usage(pid).udp_sockets for pid in self.pids}

        # A worker closes its copies of a call's sockets at its next tick.
        wait_for(
            lambda: max(sockets().values()) <= allowed,
            f"RTP sockets are closed, at most {allowed} each: {sockets()}",
        )
