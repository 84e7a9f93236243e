# SPDX-License-Identifier: GPL-2.0-or-later
"""A fresh SIP thread for each test; it starts and stops in milliseconds."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest

from support.ports import free_port
from support.sip_rig import SipRig
from trunkline.gateway.sip.settings import SipConfig, Transport, Trunk

TRUNKS = (
    Trunk("pbx", from_user="gateway", caller_domain="example.com"),
    Trunk("prack", prack="required"),
    Trunk("noprack", prack="off"),
    Trunk("timer", session_timer="required", session_expires_s=90),
    Trunk("tcp", transport="tcp"),
)


def default_config(**changes: object) -> SipConfig:
    """UDP and TCP on one free port, and a trunk for each option."""
    port = free_port()
    transports = (Transport("udp", "127.0.0.1", port), Transport("tcp", "127.0.0.1", port))
    return SipConfig(**{"transports": transports, "trunks": TRUNKS, **changes})  # type: ignore[arg-type]


@pytest.fixture
def start_sip() -> Iterator[Callable[..., SipRig]]:
    """Starts SIP threads with changed configurations, one after the other, and stops the last."""
    rigs: list[SipRig] = []

    def start(**changes: object) -> SipRig:
        if rigs:
            rigs[-1].stop()
        rigs.append(SipRig(default_config(**changes)))
        return rigs[-1]

    yield start
    if rigs:
        rigs[-1].stop()


@pytest.fixture
def sip(start_sip: Callable[..., SipRig]) -> SipRig:
    """The usual SIP thread."""
    return start_sip()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test here is done again, once, when it fails: peers are programs of their own, in real time.

    The report names what was done again (`rerun`), and what is broken fails twice.
    """
    for item in items:
        if item.path.is_relative_to(pathlib.Path(__file__).parent):
            item.add_marker(pytest.mark.flaky(reruns=1))
