# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses are read as they are written in the file and as they come from sockets."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.config.addresses import (
    SourceMatch,
    bracketed,
    check_agent_address,
    is_host,
    is_ip,
    is_loopback,
    split_host_port,
    split_source,
)

PORTS = st.integers(1, 65535)


@given(st.ip_addresses(v=4), PORTS)
def test_ipv4_sources_round_trip(address: ipaddress.IPv4Address, port: int) -> None:
    """With port, without, and mapped into IPv6 by a dual-stack socket."""
    assert split_source(f"{address}:{port}") == (address, port)
    assert split_source(str(address)) == (address, None)
    assert split_source(f"[::ffff:{address}]:{port}") == (address, port)
    assert str(SourceMatch.parse(f"{address}:{port}")) == f"{address}:{port}"


@given(st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None), PORTS)
def test_ipv6_sources_round_trip(address: ipaddress.IPv6Address, port: int) -> None:
    """In brackets when there is a port."""
    assert split_source(f"[{address}]:{port}") == (address, port)
    assert split_source(str(address)) == (address, None)
    assert str(SourceMatch.parse(f"[{address}]:{port}")) == f"[{address}]:{port}"


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_a_network_matches_its_addresses_only(
    address: ipaddress.IPv4Address, bits: int, other: ipaddress.IPv4Address
) -> None:
    """Whatever the port."""
    network = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    match = SourceMatch.parse(str(network))
    assert match.matches(address, 5060)
    assert match.matches(other, None) == (int(other) >> (32 - bits) == int(address) >> (32 - bits))


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    """No other exception: the text comes from a file, or from a peer."""
    for parser in (SourceMatch.parse, split_source, split_host_port, check_agent_address):
        with contextlib.suppress(ValueError):
            assert parser(text) is not None


@pytest.mark.parametrize("host", ["pbx", "pbx.example.com", "a-b.c", "192.0.2.1", "_sip.example.com"])
def test_hosts(host: str) -> None:
    """Names and IPv4 addresses, with and without port."""
    assert is_host(host)
    assert split_host_port(f"{host}:5060") == (host, 5060)
    assert split_host_port(host) == (host, None)


@given(st.ip_addresses(v=6), PORTS)
def test_ipv6_hosts_stand_in_brackets(address: ipaddress.IPv6Address, port: int) -> None:
    """With and without port; without brackets nobody knows where the port begins."""
    host = str(address)
    assert is_ip(host) and not is_host(host)
    assert split_host_port(f"[{host}]:{port}") == (host, port)
    assert split_host_port(bracketed(host)) == (host, None)
    with pytest.raises(ValueError, match=r"an IPv6 address in brackets|is not a number"):
        split_host_port(f"{host}:{port}")


@pytest.mark.parametrize(
    "text", ["[::1", "[]", "[]:5060", "[pbx]:5060", "[::1]5060", "[::1]:", "[fe80::1%eth0]:5060"]
)
def test_broken_brackets_are_refused(text: str) -> None:
    """Also a zone, which means nothing to anybody else."""
    with pytest.raises(ValueError, match=r"is needed|is not a number"):
        split_host_port(text)


@pytest.mark.parametrize("host", ["", "-x", "a..b", "1.2.3", "1.2.3.256", "a b", "a@b", "a:b:1", "x" * 254])
def test_what_is_no_host(host: str) -> None:
    """An incomplete IPv4 address is not taken for a name."""
    assert not is_host(host)


def test_loopback() -> None:
    """All of 127/8 and the usual name; a DNS name could be anywhere."""
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.0.2.1", "localhost.example.com"]))
