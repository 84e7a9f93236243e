# SPDX-License-Identifier: MIT
"""Addresses and dialects by name, and sockets to listen on."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from trunkline.agent_bridge.audiosocket import AudioSocketLink
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.links import AddressError, TcpAddress, UnixAddress, create_link, parse_address
from trunkline.agent_bridge.listening import ListenError, SocketFile, listen, listening_address
from trunkline.agent_bridge.native import NativeLink


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/echo.sock", UnixAddress("/run/echo.sock")),
        ("tcp:127.0.0.1:9092", TcpAddress("127.0.0.1", 9092)),
        ("tcp:agents.example:1", TcpAddress("agents.example", 1)),
        ("tcp:[::1]:65535", TcpAddress("::1", 65535)),
    ],
)
def test_addresses(text, address):
    """Each form is read, and written again the same."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/run/echo.sock", "did you mean 'unix:/run/echo.sock'"),
        ("unix:", "names no socket file"),
        ("unix:/run/", "names no socket file"),
        ("unix:/" + "x" * 107, "has 108 bytes"),
        ("127.0.0.1:9092", "write unix:/path or tcp:host:port"),
        ("http://x", "write unix:/path or tcp:host:port"),
        ("tcp:9092", "names no host"),
        ("tcp:host", "names no host"),
        ("tcp:host:", "'' is not a port"),
        ("tcp:host:70000", "'70000' is not a port"),
        ("tcp:host:0", "'0' is not a port"),
        ("tcp:::1:9092", "in brackets"),
        ("tcp://host:1", "names no host"),
    ],
)
def test_wrong_addresses_say_what_is_wrong(text, says):
    """The sentence names the mistake and the cure."""
    with pytest.raises(AddressError) as error:
        parse_address(text)
    assert says in str(error.value)


def test_links_by_dialect():
    """The two dialects, and an error that lists them."""
    assert isinstance(create_link("trunkline", LinkSettings(token="t")), NativeLink)
    assert isinstance(create_link("audiosocket", LinkSettings(sample_rate_hz=8000)), AudioSocketLink)
    with pytest.raises(ValueError, match="one of trunkline, audiosocket"):
        create_link("carrier-pigeon", LinkSettings())


def test_listening_defaults_to_loopback():
    """A bare port is not open to the network."""
    assert listening_address("tcp:9092") == TcpAddress("127.0.0.1", 9092)
    assert listening_address("tcp::0") == TcpAddress("127.0.0.1", 0)
    assert listening_address("tcp:[::1]:0") == TcpAddress("::1", 0)
    assert listening_address("tcp:0.0.0.0:9092") == TcpAddress("0.0.0.0", 9092)


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_unix_socket_has_the_mode_asked_for(tmp_path, mode):
    """Private by default, and exactly as wide as asked for, whatever the umask."""
    address = UnixAddress(str(tmp_path / "s"))
    with listen(address, mode):
        assert stat.S_IMODE(Path(address.path).stat().st_mode) == mode


def test_stale_socket_file_is_replaced(tmp_path):
    """A file that a killed process left is in nobody's way."""
    address = UnixAddress(str(tmp_path / "s"))
    listen(address).close()
    with listen(address), socket.socket(socket.AF_UNIX) as client:
        client.connect(address.path)


def test_socket_of_a_living_process_is_left_alone(tmp_path):
    """The second agent fails and the first one goes on."""
    address = UnixAddress(str(tmp_path / "s"))
    with listen(address) as first:
        with pytest.raises(ListenError, match="another process does already"):
            listen(address)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address.path)
            first.accept()[0].close()


def test_other_files_are_not_removed(tmp_path):
    """A typing error must not cost a file."""
    path = tmp_path / "notes.txt"
    path.write_text("x")
    with pytest.raises(ListenError, match="no socket"):
        listen(UnixAddress(str(path)))
    assert path.read_text() == "x"


def test_missing_folder_is_named_with_its_cure(tmp_path):
    """mkdir -p FOLDER."""
    with pytest.raises(ListenError, match=r"no folder .*/none \(mkdir -p"):
        listen(UnixAddress(str(tmp_path / "none" / "s")))


def test_port_in_use_is_a_sentence():
    """Not a traceback of socket code."""
    with (
        listen(TcpAddress("127.0.0.1", 0)) as first,
        pytest.raises(ListenError, match=r"cannot listen on tcp:127\.0\.0\.1:"),
    ):
        listen(TcpAddress("127.0.0.1", first.getsockname()[1]))


def test_socket_file_is_removed_unless_it_is_somebody_elses(tmp_path):
    """Ours goes at the end; one that a successor has put there stays."""
    address = UnixAddress(str(tmp_path / "s"))
    with listen(address):
        ours = SocketFile(address)
    with listen(address):
        successor = SocketFile(address)
        ours.remove()
        assert Path(address.path).exists()
        successor.remove()
        assert not Path(address.path).exists()
