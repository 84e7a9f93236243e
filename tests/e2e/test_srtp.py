# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted calls with a real Asterisk: both ways, and over the death of a media worker."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from support.agents import AgentHost, say
from support.asterisk import BYIP_HOST, CALLER_HOST, Asterisk
from support.audio import compare, speechlike
from support.encrypted_calls import TONE, goes_on_after_a_workers_death
from support.gateway import GatewayProcess
from support.waiting import wait_for

pytestmark = pytest.mark.timeout(400)  # the first test may have to fetch 19 MB over a slow line
TAKEN = ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]
"What this Asterisk takes in our offers; the others are checked in tests/rtp/test_srtp_vectors.py."


@pytest.fixture(scope="module")
def asterisk() -> Iterator[Asterisk]:
    """One whose endpoints want SDES; the last of them takes the short tag."""
    pbx = Asterisk()
    endpoints, modules = pbx.folder / "etc/pjsip.conf", pbx.folder / "etc/modules.conf"
    text = endpoints.read_text().replace("[line](!)\n", "[line](!)\nmedia_encryption = sdes\n")
    endpoints.write_text(text.replace("[byip](line)\n", "[byip](line)\nsrtp_tag_32 = yes\n"))
    rtp = "load = res_rtp_asterisk.so"
    modules.write_text(modules.read_text().replace(rtp, f"load = res_srtp.so\n{rtp}"))
    with pbx:
        yield pbx


def gateway_with(asterisk: Asterisk, folder: pathlib.Path, agent: AgentHost, suite: str) -> GatewayProcess:
    """A gateway whose only trunk has this suite; keys go by UDP, as nobody listens on loopback."""
    trunk = {
        "name": "pbx", "match": ["127.0.0.1"], "host": f"127.0.0.1:{asterisk.sip_port}", "srtp": "required",
        "srtp_suites": [suite], "srtp_without_tls": True,
    }  # fmt: skip
    return GatewayProcess(
        folder,
        host=BYIP_HOST if suite.endswith("_32") else CALLER_HOST,
        trunk=[trunk],
        agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
        route=[{"name": "all", "trunk": "pbx", "agent": "a"}],
    )


@pytest.mark.parametrize("suite", TAKEN)
def test_asterisk_echoes_through_each_suite(asterisk: Asterisk, short_path: pathlib.Path, suite: str) -> None:
    """What our agent says comes back; no packet of either side is refused, and no key is in the log."""
    speech = speechlike(1.5, 8000, seed=9)
    with (
        AgentHost(f"unix:{short_path}/a.sock", say(speech)) as agent,
        gateway_with(asterisk, short_path, agent, suite) as gateway,
    ):
        call_id = gateway.place("600", "a", trunk="pbx")
        gateway.wait_call("up", id=call_id)
        heard = agent.wait_call(call_id)
        wait_for(lambda: len(heard.frames) >= 100, "2 s of frames")
        gateway.hang_up(call_id)
        line = gateway.wait_end(call_id)
        assert compare(speech, heard.pcm).correlation > 0.98
        assert line["encryption"] == suite
        assert not {"srtp_auth", "srtp_replay"} & (line.get("drops") or {}).keys()
        assert "inline:" not in gateway.log_text() and "master" not in gateway.log_text()


@pytest.mark.parametrize("suite", TAKEN[:1])
def test_an_encrypted_call_survives_its_worker(
    asterisk: Asterisk, short_path: pathlib.Path, suite: str
) -> None:
    """Killed in mid-call: a tone of ours goes on coming back, so each side understands the other."""
    with (
        AgentHost(f"unix:{short_path}/a.sock", say(TONE)) as agent,
        gateway_with(asterisk, short_path, agent, suite) as gateway,
    ):
        goes_on_after_a_workers_death(gateway, agent)
