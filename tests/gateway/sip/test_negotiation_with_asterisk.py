# SPDX-License-Identifier: GPL-2.0-or-later
"""Our offers to a real Asterisk: with and without keys, to endpoints that want encryption and that do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.asterisk import Asterisk
from support.ports import free_port
from support.sip_rig import SipRig
from support.waiting import wait_for
from trunkline.gateway.sip.events import CallState, StateChanged
from trunkline.gateway.sip.messages import HangUp, PlaceCall, Reinvite
from trunkline.gateway.sip.settings import SipConfig, Transport, Trunk
from trunkline.rtp.negotiation import Session

ENDPOINTS = {
    "plain": ("127.0.0.11", "no", "no", "slin16"),
    "encrypted": ("127.0.0.12", "sdes", "no", "opus"),
    "either": ("127.0.0.13", "sdes", "yes", "g722"),
}
"address that it is known by, media_encryption, media_encryption_optimistic, the codec that it likes best"

CONFIGURATION = """
[{name}](line)
media_encryption = {encryption}
media_encryption_optimistic = {optimistic}
allow = !all,{codec},ulaw

[{name}-match]
type = identify
endpoint = {name}
match = {host}/32
"""


@pytest.fixture(scope="module")
def asterisk() -> Iterator[Asterisk]:
    """One with an endpoint for each kind of peer."""
    one = Asterisk()
    file = one.folder / "etc/pjsip.conf"
    for name, (host, encryption, optimistic, codec) in ENDPOINTS.items():
        values = {"name": name, "host": host, "encryption": encryption, "optimistic": optimistic}
        file.write_text(file.read_text() + CONFIGURATION.format(codec=codec, **values))
    with one:
        if "res_srtp" not in one.rx("module show like res_srtp"):
            one.rx("module load res_srtp.so")
        yield one


@pytest.fixture(params=list(ENDPOINTS))
def peer(request: pytest.FixtureRequest, asterisk: Asterisk) -> Iterator[tuple[str, SipRig]]:
    """A SIP thread at the address by which Asterisk knows the endpoint."""
    host = ENDPOINTS[request.param][0]
    rig = SipRig(SipConfig(transports=(Transport("udp", host, free_port(host)),), trunks=(Trunk("pbx"),)))
    yield request.param, rig
    rig.stop()


CODECS = {"plain": ("L16/16000", 16000), "encrypted": ("OPUS", 48000), "either": ("G722", 8000)}


@pytest.mark.parametrize("use", ["off", "optional", "required"])
def test_what_asterisk_makes_of_our_offers(peer: tuple[str, SipRig], asterisk: Asterisk, use: str) -> None:
    """An optional offer suits all of its endpoints; a refresh changes neither key nor codec."""
    name, rig = peer
    session = Session(
        ["OPUS", "G722", "L16/16000", "PCMU"],
        local_host=ENDPOINTS[name][0], rtp_port=30000, rtcp_port=30001, srtp=use,
    )  # type: ignore[arg-type]  # fmt: skip
    rig.post(PlaceCall("call", "pbx", f"sip:600@127.0.0.1:{asterisk.sip_port}", session))
    if (name, use) in (("plain", "required"), ("encrypted", "off")):
        assert rig.state("call", CallState.ENDED).code == 488
        return
    rig.state("call", CallState.CONFIRMED)
    agreed = session.description()
    assert agreed is not None
    assert (agreed.codec, agreed.dtmf_clock_hz) == CODECS[name]
    assert agreed.send_dtmf_pt >= 0
    assert (agreed.send_key is not None) == (name != "plain" and use != "off")
    rig.post(Reinvite("call"))
    # The description is made anew, with the keys that it had.
    wait_for(lambda: session.description() is not agreed, "the answer to the refresh")
    again = session.description()
    assert again == agreed
    assert again.send_key is agreed.send_key and again.receive_key is agreed.receive_key
    rig.post(HangUp("call"))
    assert rig.wait(StateChanged, call_id="call", state=CallState.ENDED).code == 200
