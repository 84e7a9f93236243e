# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong at the start is told at the start, with its cure."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket

import pytest

pytest.importorskip("pjsua2")

from trunkline.gateway.app import Gateway, StartError
from trunkline.gateway.config import parse
from trunkline.gateway.config.secrets import resolve
from trunkline.gateway.media.ports import PortPool
from trunkline.rtp import libsrtp

CONFIG = """
[media]
bind = "192.0.2.99"
port_range = [26800, 26801]
workers = 1
[api]
enabled = false
"""


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.EADDRNOTAVAIL, "set media.bind, now 192.0.2.99, to an address of this machine"),
        (errno.EADDRINUSE, "choose another media.port_range than [26800, 26801]"),
        (errno.EMFILE, "raise `ulimit -n`"),
    ],
)
def test_sockets_that_no_call_could_have_are_found_before_the_first_call(
    number: int, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason decides the cure; nothing was started, and nothing is left."""

    def refuse(self: PortPool, port: int) -> socket.socket:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(PortPool, "_bind", refuse)
    config = parse(CONFIG)

    async def start() -> str:
        gateway = Gateway(config, resolve(config, {}))
        with pytest.raises(StartError) as error:
            await gateway.start()
        assert gateway.ports.in_use == 0 and not gateway.pool.pids
        return str(error.value)

    assert cure in asyncio.run(start())


def test_the_systems_libsrtp_is_left_as_pjsip_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are in one process, and the library can be initialised once."""
    monkeypatch.setattr(libsrtp, "load", libsrtp.load.__wrapped__)
    monkeypatch.setattr(libsrtp, "_candidates", lambda: iter(["libsrtp2.so.1"]))
    trunk = '[[trunk]]\nname = "a"\nmatch = ["192.0.2.9"]\nsrtp = "optional"\nsrtp_without_tls = true\n'
    config = parse(CONFIG.replace("192.0.2.99", "127.0.0.1") + trunk)
    Gateway(config, resolve(config, {}))._try_srtp()
    initialise = ctypes.CDLL("libsrtp2.so.1").srtp_init
    assert initialise() == 0, "PJSIP's turn"
    libsrtp.Library("libsrtp2.so.1").release()


def test_srtp_without_a_library_is_found_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a trunk wants it; a gateway that has none such starts all the same."""
    monkeypatch.setattr(libsrtp, "load", libsrtp.load.__wrapped__)
    monkeypatch.setattr(libsrtp, "_candidates", lambda: iter(["/nowhere.so"]))
    trunk = '[[trunk]]\nname = "a"\nmatch = ["192.0.2.9"]\n'
    plain, secure = (parse(CONFIG.replace("192.0.2.99", "127.0.0.1") + trunk + keys) for keys in (
        "", 'srtp = "optional"\nsrtp_without_tls = true\n'))  # fmt: skip

    async def start() -> str:
        Gateway(plain, resolve(plain, {}))._try_srtp()
        gateway = Gateway(secure, resolve(secure, {}))
        with pytest.raises(StartError) as error:
            await gateway.start()
        assert gateway.ports.in_use == 0 and not gateway.pool.pids
        return str(error.value)

    assert "a trunk has SRTP, but there is no libsrtp that works (/nowhere.so:" in asyncio.run(start())
