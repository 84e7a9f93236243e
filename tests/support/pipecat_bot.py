# SPDX-License-Identifier: GPL-2.0-or-later
"""Pipecat in a Python environment of its own, made once and kept in the cache, and a bot that runs in it.

Pipecat brings half a gigabyte (numba, onnxruntime, ...), which nothing else of the tests needs.
"""

from __future__ import annotations

import fcntl
import hashlib
import pathlib
import shutil
import socket
import subprocess
import sys
from types import TracebackType
from typing import Self

from support.debian_packages import cache_folder
from support.ports import free_port
from support.waiting import wait_for

HERE = pathlib.Path(__file__).with_name("pipecat_program")
NEEDS = HERE / "requirements.txt"


def environment() -> pathlib.Path:
    """Its `python`; the first time, half a minute of pip."""
    base = cache_folder("pipecat")
    name = hashlib.sha256(NEEDS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder, done = base / name, base / name / "complete"
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            for old in base.iterdir():
                if old.is_dir():  # another Python's, other versions'
                    shutil.rmtree(old)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "-r", str(NEEDS)]
            subprocess.run(pip, check=True)
            done.touch()
    return folder / "bin/python"


class PipecatBot:
    """The bot, listening; a context manager."""

    def __init__(self, folder: pathlib.Path, account: str, token: str) -> None:
        """Not started yet, so that a gateway can be told of it first."""
        self._port, self._log = free_port(), folder / "pipecat.log"
        self._account, self._token = account, token
        self.api = ""
        "URL that it takes for Twilio's API; set it before the start"
        self._process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where it waits for calls."""
        return f"ws://127.0.0.1:{self._port}/ws"

    def said(self) -> str:
        """What it has printed."""
        return self._log.read_text("utf-8", "replace")

    def wait_said(self, line: str) -> None:
        """Until it has printed that."""
        wait_for(lambda: line in self.said(), f"{line!r} in\n{self.said()[-3000:]}")

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.said()[-3000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def __enter__(self) -> Self:
        command = [str(environment()), str(HERE / "bot.py"), str(self._port), self.api]
        command += [self._account, self._token]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/")
        try:
            wait_for(self._listens, "Pipecat is up", 60, 0.1)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if kind is not None:
            print("the bot's last words:", *self.said().splitlines()[-30:], sep="\n  ")
