# SPDX-License-Identifier: GPL-2.0-or-later
"""What a valid file becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.gateway.config import Config, ConfigError, load, parse
from trunkline.gateway.config.addresses import is_loopback
from trunkline.gateway.config.sections import DESCRIPTORS_BESIDES, REFUSAL_HEADROOM


def test_an_empty_file_is_valid_and_opens_nothing_to_the_network() -> None:
    """SIP and API on loopback, no trunk: every call is refused."""
    config = parse("")
    assert config.model_dump() == Config().model_dump()
    assert all(is_loopback(transport.bind) for transport in config.sip.transports)
    assert is_loopback(config.api.bind)
    assert (config.trunks, config.agents, config.routes) == ([], [], [])


@pytest.mark.parametrize(("dialect", "rate_hz"), [("trunkline", 16000), ("audiosocket", 8000)])
def test_the_sample_rate_follows_the_dialect_unless_it_is_given(dialect: str, rate_hz: int) -> None:
    """Servers written for Asterisk's AudioSocket expect 8 kHz."""
    text = f"[[agent]]\nname = 'a'\naddress = 'tcp:h:1'\ndialect = '{dialect}'\n"
    assert parse(text).agents[0].sample_rate_hz == rate_hz
    assert parse(text + "sample_rate_hz = 24000").agents[0].sample_rate_hz == 24000


def test_registration_is_read_from_register() -> None:
    """The key is `register`; outbound calls go to the registrar unless `host` says otherwise."""
    text = """
[[trunk]]
name = 'a'
[trunk.register]
server = 'sip:pbx.example:5070;transport=udp'
username = 'u'
"""
    trunk = parse(text).trunks[0]
    assert trunk.registration is not None
    assert trunk.registration.username == "u"
    assert trunk.outbound_host == "pbx.example:5070"
    other = parse(text.replace("[trunk.register]", "host = 'elsewhere'\n[trunk.register]")).trunks[0]
    assert other.outbound_host == "elsewhere"


@pytest.mark.parametrize(
    ("first", "last", "calls"),
    [(16384, 32767, 8192), (20000, 20001, 1), (20000, 20002, 1), (20000, 20003, 2)],
)
def test_a_call_takes_an_even_port_and_the_next(first: int, last: int, calls: int) -> None:
    """A half pair at the end is no room."""
    text = f"[limits]\nmax_calls = 1\n[media]\nport_range = [{first}, {last}]"
    assert parse(text).media.max_calls == calls


def test_limits_of_a_trunk_fall_back_to_the_general_one() -> None:
    """0 in both is unlimited."""
    text = """
[limits]
max_calls_per_trunk = 7
[[trunk]]
name = 'a'
host = 'x'
[[trunk]]
name = 'b'
host = 'y'
max_calls = 3
"""
    config = parse(text)
    assert [config.trunk_limit(trunk) for trunk in config.trunks] == [7, 3]


def test_pjsip_has_a_slot_left_to_refuse_from() -> None:
    """With all calls up, the next INVITE still needs one for a moment."""
    assert parse("[limits]\nmax_calls = 5").sip_call_slots > 5
    assert parse("[limits]\nmax_calls = 5\n[sip]\nmax_calls = 9").sip_call_slots == 9


def test_entries_are_found_by_name() -> None:
    """None for a name that nobody has."""
    config = parse("[[agent]]\nname = 'a'\naddress = 'tcp:h:1'\n[[route]]\nname = 'r'\nagent = 'a'\n")
    assert config.agent("a") is config.agents[0]
    assert config.route("r") is config.routes[0]
    assert config.agent("b") is config.route("b") is config.trunk("b") is None


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    """Wherever the program was started."""
    (tmp_path / "c.toml").write_text("")
    config = load(tmp_path / "c.toml")
    assert config.resolve_path("secret") == tmp_path / "secret"
    assert config.resolve_path("/etc/secret") == Path("/etc/secret")


def test_the_state_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`state.dir`, else the variable, else the user's or the system's place."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert parse("").state.path() == tmp_path / "trunkline"
    assert parse("[state]\ndir = '/srv/t'").state.path() == Path("/srv/t")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert parse("").state.path() == Path("/var/lib/trunkline")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/ann")
    assert parse("").state.path() == Path("/home/ann/.local/state/trunkline")


def test_pjsips_room_is_what_the_reference_says() -> None:
    """The text cannot name the constant."""
    config = parse("[limits]\nmax_calls = 10")
    description = type(config.sip).model_fields["max_calls"].description
    assert config.sip_call_slots == 2 * 10 + REFUSAL_HEADROOM
    assert description is not None and f"`limits.max_calls` + {REFUSAL_HEADROOM}" in description


def test_descriptors_are_two_a_call_and_some() -> None:
    """RTP and RTCP; doctor and the gateway count alike."""
    limits = parse("[limits]\nmax_calls = 1000").limits
    assert limits.descriptors == 2 * 1000 + DESCRIPTORS_BESIDES


def test_the_order_of_codecs_may_be_the_peers() -> None:
    """Ours by default."""
    trunk = "[[trunk]]\nname = 'pbx'\nmatch = ['192.0.2.1']\n"
    assert parse(trunk).trunks[0].codec_preference == "ours"
    assert parse(trunk + "codec_preference = 'theirs'").trunks[0].codec_preference == "theirs"
    with pytest.raises(ConfigError, match="allowed: `ours` or `theirs`"):
        parse(trunk + "codec_preference = 'mine'")
    with pytest.raises(ConfigError, match="codecs"):
        parse(trunk + "codecs = []")
