# SPDX-License-Identifier: MIT
"""Where an agent is, by any address that a gateway's configuration may have."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.agent_bridge.connecting import open_streams, web_address
from trunkline.agent_bridge.links import AddressError


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("ws://bot.example.com/calls?x=1", ("bot.example.com", 80, False)),
        ("wss://bot.example.com", ("bot.example.com", 443, True)),
        ("ws://127.0.0.1:8080/", ("127.0.0.1", 8080, False)),
        ("wss://[::1]:9/x", ("::1", 9, True)),
    ],
)
def test_web_addresses(url, found):
    """Ports are those of HTTP unless they are named."""
    assert web_address(url) == found


@pytest.mark.parametrize("url", ["ws://", "ws:///path", "ws://host:99999/", "ws://host:x/"])
def test_web_addresses_that_are_none(url):
    """A sentence, not a traceback of the library."""
    with pytest.raises(AddressError, match=r"names no host|not a number"):
        web_address(url)


@pytest.mark.parametrize("form", ["tcp:127.0.0.1:{}", "ws://127.0.0.1:{}/calls"])
async def test_plain_and_web_sockets_are_connected(form):
    """The stream is there; what is said on it is the link's."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        reader, writer = await open_streams(form.format(server.sockets[0].getsockname()[1]))
        assert await reader.read() == b"hello"
        writer.close()


async def test_nobody_there_is_an_oserror(tmp_path):
    """Of any kind of socket."""
    for address in (f"unix:{tmp_path}/s", "tcp:127.0.0.1:1", "ws://127.0.0.1:1/"):
        with pytest.raises(OSError):  # noqa: PT011 - which one, the system decides
            await open_streams(address)
