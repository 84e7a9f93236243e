# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong at the start is told at the start, with its cure."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

pytest.importorskip("pjsua2")

from trunkline.gateway.app import Gateway, StartError
from trunkline.gateway.config import parse
from trunkline.gateway.config.secrets import resolve
from trunkline.gateway.media.ports import PortPool

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
