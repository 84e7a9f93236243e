# SPDX-License-Identifier: GPL-2.0-or-later
"""A request belongs to the trunk that names its source most narrowly, and to none if none does."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.config import Trunk
from trunkline.gateway.routing import TrunkTable


def trunk(name: str, *match: str, registers: bool = False) -> Trunk:
    """A trunk by source addresses, or one that registers."""
    register = {"register": {"server": "sip:pbx.example", "username": "u"}} if registers else {}
    return Trunk.model_validate({"name": name, "match": list(match), "host": "pbx.example", **register})


def name_for(table: TrunkTable, source: str) -> str | None:
    """Name of the trunk that `source` belongs to."""
    match = table.identify(source)
    return None if match is None else match.trunk.name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("10.1.2.3:5060", "port"),
        ("10.1.2.3:5061", "address"),
        ("10.1.2.4:5060", "small"),
        ("10.1.3.1:5060", "large"),
        ("[::ffff:10.1.2.3]:5060", "port"),
        ("[2001:db8::1]:5060", "six"),
        ("192.0.2.1:5060", None),
        ("[2001:db9::1]:5060", None),
        ("", None),
        ("pbx.example:5060", None),
        ("10.1.2.3:x", None),
    ],
)
def test_the_most_specific_entry_wins(source: str, name: str | None) -> None:
    """Address and port, address, smaller network, larger network; the order of the file does not matter."""
    trunks = [
        trunk("large", "10.0.0.0/8"),
        trunk("small", "10.1.2.0/24"),
        trunk("address", "10.1.2.3"),
        trunk("port", "10.1.2.3:5060"),
        trunk("six", "2001:db8::/32"),
    ]
    assert name_for(TrunkTable(trunks), source) == name
    assert name_for(TrunkTable(trunks[::-1]), source) == name


def test_between_equals_the_first_in_the_file_wins() -> None:
    """And the other is still told as a candidate."""
    table = TrunkTable([trunk("a", "10.0.0.1"), trunk("b", "10.0.0.1")])
    assert [match.trunk.name for match in table.candidates("10.0.0.1:1")] == ["a", "b"]


def test_a_registering_trunk_matches_what_its_registrar_resolved_to() -> None:
    """Whatever port the registrar sends from; several addresses are all its."""
    table = TrunkTable([trunk("a", registers=True)], {"a": ["192.0.2.1", "192.0.2.2"], "x": ["192.0.2.3"]})
    assert name_for(table, "192.0.2.1:5060") == name_for(table, "192.0.2.2:40000") == "a"
    assert name_for(table, "192.0.2.3:5060") is None
    match = table.identify("192.0.2.1:5060")
    assert match is not None
    assert match.why == "address of its registrar 192.0.2.1"


def test_match_replaces_the_registrars_addresses() -> None:
    """An owner who names addresses means these and no others."""
    table = TrunkTable([trunk("a", "10.0.0.1", registers=True)], {"a": ["192.0.2.1"]})
    assert name_for(table, "10.0.0.1:1") == "a"
    assert name_for(table, "192.0.2.1:1") is None


def test_a_trunk_for_outbound_calls_only_lets_nobody_in() -> None:
    """`host` alone names no source."""
    assert name_for(TrunkTable([trunk("a")], {"a": ["192.0.2.1"]}), "192.0.2.1:5060") is None


NETWORKS = st.builds(
    lambda address, bits: str(ipaddress.ip_network(f"{address}/{bits}", strict=False)),
    st.sampled_from(["10.0.0.0", "10.0.0.7", "10.0.128.1", "10.9.9.9"]),
    st.integers(8, 32),
)


@given(st.lists(NETWORKS, max_size=6), st.sampled_from(["10.0.0.7", "10.0.128.1", "10.9.9.9", "11.0.0.1"]))
def test_identify_agrees_with_the_definition(networks: list[str], address: str) -> None:
    """The longest prefix that contains the address, the earliest among equals."""
    table = TrunkTable([trunk(f"t{number}", network) for number, network in enumerate(networks)])
    source = ipaddress.ip_address(address)
    containing = [
        (-ipaddress.ip_network(network).prefixlen, number)
        for number, network in enumerate(networks)
        if source in ipaddress.ip_network(network)
    ]
    assert name_for(table, f"{address}:5060") == (f"t{min(containing)[1]}" if containing else None)


def test_a_certificate_decides_before_any_address_and_is_needed_where_it_is_asked_for() -> None:
    """Names are compared without case; a trunk that names addresses as well wants both."""
    two = ["a.example", "b.example"]
    both = Trunk.model_validate({"name": "both", "match": ["10.0.0.1"], "match_certificate": two})
    anywhere = Trunk.model_validate({"name": "anywhere", "match_certificate": ["a.example"]})
    table = TrunkTable([trunk("plain", "10.0.0.1:5061"), anywhere, both])

    def whose(source: str, *names: str) -> str | None:
        match = table.identify(source, names)
        return None if match is None else match.trunk.name

    assert whose("10.0.0.1:5061", "B.example") == "both"
    assert whose("10.0.0.1:5061", "a.example") == "both"
    assert whose("192.0.2.1:1", "x.example", "A.Example") == "anywhere"
    assert whose("192.0.2.1:1", "b.example") is None
    assert whose("10.0.0.1:5061", "c.example") == whose("10.0.0.1:5061") == "plain"
    assert whose("10.0.0.1:9") is None
    assert [match.why for match in table.candidates("10.0.0.1:1", None)] == [
        "match 10.0.0.1 and a certificate for a.example or b.example", "a certificate for a.example",
    ]  # fmt: skip
