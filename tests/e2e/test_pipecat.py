# SPDX-License-Identifier: GPL-2.0-or-later
"""A Pipecat bot written for Twilio answers a call, is interrupted, repeats the caller and hangs up, unchanged."""

from __future__ import annotations

import itertools
import pathlib

import numpy as np
import pytest

from support.audio import compare, decode_g711, encode_g711, frequency_hz, speechlike, tone_share
from support.gateway import GatewayProcess
from support.phone import Phone
from support.pipecat_bot import PipecatBot
from support.rtp_endpoint import RtpEndpoint
from support.waiting import wait_for

pytestmark = pytest.mark.timeout(400)  # the first time, Pipecat is installed
ACCOUNT, TOKEN = "AC" + "34" * 16, "an-auth-token-of-tests"


def test_a_bot_for_twilio_works_unchanged(tmp_path: pathlib.Path) -> None:
    bot = PipecatBot(tmp_path, ACCOUNT, TOKEN)
    agent = {
        "name": "bot", "address": bot.url, "dialect": "twilio", "account": ACCOUNT, "token_env": "TWILIO_TOKEN",
        "metadata": {"language": "de"},
    }  # fmt: skip
    routes = [{"name": "all", "agent": "bot"}]
    with GatewayProcess(tmp_path, agent=[agent], route=routes, env={"TWILIO_TOKEN": TOKEN}) as gateway:
        bot.api = f"http://127.0.0.1:{gateway.api_port}"
        with bot, Phone(gateway, "uac_hangup", timeout_s=60) as phone:
            talk_and_be_hung_up(phone, bot)
        gateway.assert_idle()


def talk_and_be_hung_up(phone: Phone, bot: PipecatBot) -> None:
    """The call, from the greeting to the end."""
    remote = phone.wait_media()
    phone.wait_up()
    bot.wait_said(f"twilio call CA{phone.call_id.replace('-', '')} de")
    phone.rtp.wait_received(75)
    greeting = phone.rtp.heard()[-4000:]
    assert frequency_hz(greeting) == pytest.approx(440, abs=1) and tone_share(greeting, 440) > 0.99

    interruption = speechlike(0.5, seed=5)
    phone.rtp.send(remote, encode_g711(interruption, 0))
    bot.wait_said("interrupted")
    assert 0 < silenced_after_s(phone.rtp) < 0.5

    said = speechlike(2.0, seed=6)
    phone.rtp.catch_up()
    phone.rtp.send(remote, b"", "1")
    bot.wait_said("key 1")
    phone.rtp.catch_up()
    phone.rtp.send(remote, encode_g711(np.concatenate([said, np.zeros(8000, np.int16)]), 0))
    phone.rtp.wait_sent()
    match = wait_for(
        lambda: (best := compare(said, phone.rtp.heard())).correlation > 0.95 and best, "the caller's own words"
    )
    assert match.correlation > 0.95

    phone.rtp.catch_up()
    phone.rtp.send(remote, b"", "9")
    bot.wait_said("ended")
    line = phone.wait_end()
    assert line["cause"] == "agent_hangup" and "Twilio" in str(line["detail"])
    assert (line["agent"], line["packets_lost"]) == ("bot", 0)


def silenced_after_s(telephone: RtpEndpoint) -> float:
    """From the caller's first packet of speech to the last one of the greeting that he heard."""
    telephone.wait_quiet(0.5, 2)
    heard_ns = [
        one.time_ns for one in telephone.audio if np.abs(decode_g711(one.payload, 0)).max() > 1000
    ]
    ends = [one for one, two in itertools.pairwise([*heard_ns, heard_ns[-1] + 10**9]) if two - one > 3e8]
    return (ends[0] - telephone.sent[0].time_ns) / 1e9
