# SPDX-License-Identifier: GPL-2.0-or-later
"""SIPp as a SIP peer: start a scenario of `sipp_scenarios/`, wait for it, read what crossed the wire.

SIPp's exit code is 0 when every call went as the scenario says, and anything else is
a failure, 255 (time-out, fatal error) among them.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from support.ports import free_port

SCENARIOS = pathlib.Path(__file__).resolve().parents[2] / "sipp_scenarios"
BINARY = shutil.which("sipp")

DEFAULT_KEYS = {
    "called": "6001",
    "header": "X-Test: none",
    "reason": 'Q.850;cause=16;text="Normal call clearing"',
    "sdp_port": "40000",
    "moved_port": "40010",
    "formats": "0 101",
    "codec": "0 PCMU/8000",
    "ptime": "20",
    "profile": "RTP/AVP",
    "crypto": "a=x-clear",
}
"Keys that the scenarios use, beside SIPp's own; a scenario's comment names those that matter to it."


class SippFailed(AssertionError):
    """The scenario did not go as written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message of SIPp's log."""

    sent: bool
    "by SIPp"
    text: str

    @property
    def start_line(self) -> str:
        return self.text.split("\n", 1)[0].strip()

    @property
    def body(self) -> str:
        return self.text.partition("\n\n")[2]

    def header(self, name: str) -> str:
        """First value, or empty."""
        match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", self.text, re.I | re.M)
        return match[1].strip() if match else ""


class Sipp:
    """One SIPp process. As a context manager it is killed at the end if it still runs."""

    def __init__(
        self,
        scenario: str,
        remote_port: int,
        *,
        port: int = 0,
        calls: int = 1,
        rate: int = 10,
        at_once: int = 500,
        tcp: bool = False,
        trace: bool = True,
        source: str = "127.0.0.1",
        pause_ms: int = 50,
        timeout_s: int = 30,
        keys: Mapping[str, str] | None = None,
        words: Mapping[str, str] | None = None,
        extra: tuple[str, ...] = (),
    ) -> None:
        """`keys` are SIPp's own; `words` fill @WORD@ of the scenario, also where SIPp takes no keys (in patterns)."""
        assert BINARY is not None, "sipp is not installed"
        self.scenario, self.source, self.port = scenario, source, port or free_port(source)
        self._folder = tempfile.TemporaryDirectory(prefix=f"sipp-{scenario}-")
        folder = pathlib.Path(self._folder.name)
        self._message_file, self._error_file = folder / "messages.log", folder / "errors.log"
        path = SCENARIOS / f"{scenario}.xml"
        if words:
            text = path.read_text()
            for word, value in words.items():
                text = text.replace(f"@{word}@", value)
            path = folder / path.name
            path.write_text(text)
        command = [BINARY, f"127.0.0.1:{remote_port}", "-sf", str(path), "-nostdin"]
        command += ["-i", source, "-p", str(self.port), "-t", "t1" if tcp else "u1"]
        command += ["-m", str(calls), "-r", str(rate), "-l", str(at_once), "-d", str(pause_ms)]
        command += [
            "-timeout",
            f"{timeout_s}s",
            "-timeout_error",
            "-trace_err",
            "-error_file",
            str(self._error_file),
        ]
        if trace:
            command += ["-trace_msg", "-message_file", str(self._message_file)]
        for key, value in {**DEFAULT_KEYS, **(keys or {})}.items():
            command += ["-key", key, value]
        self._timeout_s = timeout_s
        self._process = subprocess.Popen(
            [*command, *extra],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait_until_listening(source, tcp)

    def _wait_until_listening(self, host: str, tcp: bool) -> None:
        kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        give_up = time.monotonic() + 5
        while time.monotonic() < give_up and self._process.poll() is None:
            with socket.socket(socket.AF_INET, kind) as probe:
                if tcp:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, self.port))
                except OSError:
                    return
            time.sleep(0.01)

    @property
    def uri_host(self) -> str:
        """`host:port`, for a URI."""
        return f"{self.source}:{self.port}"

    def wait(self) -> list[Message]:
        """Wait for the end; returns all messages, raises SippFailed unless every call succeeded."""
        try:
            code = self._process.wait(self._timeout_s + 5)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            raise SippFailed(f"{self.scenario}: exit code {code}\n{self._errors()}\n{self._last_messages()}")
        return self.messages()

    def _errors(self) -> str:
        return self._error_file.read_text("utf-8", "replace")[:3000] if self._error_file.exists() else ""

    def _last_messages(self) -> str:
        return "\n".join(f"{'>' if one.sent else '<'} {one.start_line}" for one in self.messages()[-20:])

    def messages(self) -> list[Message]:
        """What has crossed the wire so far."""
        if not self._message_file.exists():
            return []
        text = self._message_file.read_text("utf-8", "replace").replace("\r\n", "\n")
        found = re.split(r"^-{10,} .*\n", text, flags=re.M)[1:]
        messages = []
        for chunk in found:
            head, _, body = chunk.partition("\n\n")
            messages.append(Message("sent" in head, body))
        return messages

    def received(self, start: str) -> list[Message]:
        """Messages that SIPp got whose start line begins so."""
        return [one for one in self.messages() if not one.sent and one.start_line.startswith(start)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()
