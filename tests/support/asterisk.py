# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Asterisk as the other side: unpacked from Debian's packages, on free ports, without root.

    600 echo          603 reads 4 digits, logs and sends them back   7XXX the same, by that number
    601 tone 440 Hz   700 rings the endpoint that has registered     800 AudioSocket to `audiosocket_port`
    602 milliwatt     701 rings the endpoint `byip`

Endpoints: `gw1` registers with digest (secret `secret`); `byip` is known by 127.0.0.2 and
called at `byip_port` there; `caller` is 127.0.0.3 and may call anything without a password.
"""

from __future__ import annotations

import math
import os
import pathlib
import platform
import re
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import pytest

from support.certificates import Pair
from support.debian_packages import cache_folder, unpacked
from support.ports import free_block, free_port
from support.waiting import wait_for

HERE = pathlib.Path(__file__).with_name("asterisk")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
USERNAME, SECRET = "gw1", "secret"
CALLER_HOST, BYIP_HOST = "127.0.0.3", "127.0.0.2"
RTP_PORTS = 200
BOOT_S = 30.0


class Asterisk:
    """One Asterisk with a configuration, log and spool of its own; a context manager."""

    def __init__(
        self,
        extra: Mapping[str, str] | None = None,
        *,
        rtp_ports: int = RTP_PORTS,
        tls: tuple[Pair, pathlib.Path] | None = None,
    ) -> None:
        """`rtp_ports`: two for each leg of a call. `extra` is added to files of the configuration.

        `tls`: its certificate, and the authority that it believes; then it is also at `tls_port`, and whoever
        shows a certificate of that authority is let in.
        """
        if platform.machine() != "x86_64":
            pytest.skip(f"the Asterisk of the tests is Debian's for amd64, this is {platform.machine()}")
        self._root = unpacked(HERE / "asterisk.lock", cache_folder("asterisk"))
        rtp = free_block(rtp_ports)
        # Short: the control socket's path has room for 107 bytes.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tl-ast-"))
        self.sip_port, self.byip_port, self.audiosocket_port = free_port(), free_port(BYIP_HOST), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.tls_port = free_port()
        self._configure(rtp, extra or {})
        if tls is not None:
            self._configure_tls(*tls)

    def _configure_tls(self, pair: Pair, authority: pathlib.Path) -> None:
        lines = (
            "[tls]", "type = transport", "protocol = tls", f"bind = 127.0.0.1:{self.tls_port}", "method = tlsv1_2",
            f"cert_file = {pair.certificate}", f"priv_key_file = {pair.key}", f"ca_list_file = {authority}",
            "verify_client = yes", "require_client_cert = yes", "verify_server = yes",
            "[tls-match]", "type = identify", "endpoint = caller", "match = 127.0.0.1/32", "",
        )  # fmt: skip
        with (self.folder / "etc/pjsip.conf").open("a") as config:
            config.write("\n" + "\n".join(lines))

    def _configure(self, rtp: range, extra: Mapping[str, str]) -> None:
        facts = {
            "ROOT": self._root, "VAR": self.folder, "DATA": self._root / "usr/share/asterisk",
            "SIP_PORT": self.sip_port, "RTP_FIRST": rtp[0], "RTP_LAST": rtp[-1],
            "AUDIOSOCKET": f"127.0.0.1:{self.audiosocket_port}", "BYIP": f"{BYIP_HOST}:{self.byip_port}",
            "BYIP_HOST": BYIP_HOST, "CALLER_HOST": CALLER_HOST, "USERNAME": USERNAME, "SECRET": SECRET,
        }  # fmt: skip
        for name in ("etc", "lib", "spool", "run", "log", "sounds"):
            (self.folder / name).mkdir()
        for template in (HERE / "etc").glob("*.conf"):
            text = template.read_text() + extra.get(template.name, "")
            text = re.sub(r"@(\w+)@", lambda found: str(facts[found[1]]), text)
            (self.folder / "etc" / template.name).write_text(text)
        samples = (int(8000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(8000))
        (self.folder / "sounds/tone440.sln").write_bytes(b"".join(struct.pack("<h", one) for one in samples))

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start; returns when it is fully booted."""
        with (self.folder / "log/output").open("ab") as output:
            self._process = subprocess.Popen(
                [*self._command(), "-f"], stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
        wait_for(self._booted, "Asterisk has booted", BOOT_S, 0.1)

    def _command(self) -> list[str]:
        """With the loader of its own C library, which is newer than this system's."""
        loader = self._root / LIBRARIES / "ld-linux-x86-64.so.2"
        program = self._root / "usr/sbin/asterisk"
        return [
            str(loader),
            "--library-path",
            str(self._root / LIBRARIES),
            str(program),
            "-C",
            f"{self.folder}/etc/asterisk.conf",
        ]

    def _booted(self) -> bool:
        assert self._process is not None and self._process.poll() is None, (
            f"Asterisk has ended:\n{self.output()[-3000:]}"
        )
        return (
            subprocess.run(
                [*self._command(), "-rx", "core waitfullybooted"], capture_output=True, check=False
            ).returncode
            == 0
        )

    def stop(self) -> None:
        """End it, with all its calls."""
        if self._process is not None and self._process.poll() is None:
            self.rx("core stop now")
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()
        self._process = None

    def restart(self) -> None:
        """As after a power cut: registrations are forgotten."""
        self.stop()
        for database in (self.folder / "lib").glob("astdb*"):
            database.unlink()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.clear()

    def clear(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    # --- asking ------------------------------------------------------------------------------

    def rx(self, command: str) -> str:
        """A command of its console; returns what it prints."""
        return subprocess.run(
            [*self._command(), "-rx", command], capture_output=True, text=True, check=False
        ).stdout

    def log(self) -> str:
        """Its log: notices, warnings, errors, verbose, DTMF."""
        file = self.folder / "log/full"
        return file.read_text("utf-8", "replace") if file.exists() else ""

    def output(self) -> str:
        """What it has printed, and its log."""
        file = self.folder / "log/output"
        return (file.read_text("utf-8", "replace") if file.exists() else "") + self.log()

    def registered(self) -> bool:
        """Whether gw1 has a contact."""
        return "sip:" in self.rx(f"pjsip show aor {USERNAME}").partition("Contact:")[2]

    def channels(self) -> int:
        """Calls and their legs that are up."""
        found = re.search(r"(\d+) active channel", self.rx("core show channels count"))
        return int(found[1]) if found else 0
