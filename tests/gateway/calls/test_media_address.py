# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of our addresses a peer is told."""

from __future__ import annotations

import pytest

from trunkline.gateway.calls.addresses import MediaAddress


@pytest.mark.parametrize(
    ("advertise", "bind", "peer", "told"),
    [
        ("auto", "0.0.0.0", "127.0.0.9", "127.0.0.1"),
        ("auto", "::", "::1", "::1"),
        ("auto", "::1", "2001:db8::9", "::1"),
        ("192.0.2.1", "0.0.0.0", "127.0.0.9", "192.0.2.1"),
    ],
)
def test_the_address_towards_a_peer(advertise: str, bind: str, peer: str, told: str) -> None:
    """The fixed one, the bound one, or the one that the route leaves from."""
    assert MediaAddress(advertise, bind).towards(peer) == told


@pytest.mark.parametrize(("bind", "peer"), [("0.0.0.0", "::1"), ("::", "127.0.0.1")])
def test_a_peer_of_the_other_family_has_none(bind: str, peer: str) -> None:
    """Our sockets could not send there."""
    with pytest.raises(OSError, match="of another family"):
        MediaAddress("auto", bind).towards(peer)
