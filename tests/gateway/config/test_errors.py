# SPDX-License-Identifier: GPL-2.0-or-later
"""A mistake in the file is told with file, line, key, what was found, what is allowed, what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.gateway.config import ConfigError, load, parse


def problems_of(text: str) -> list[str]:
    """The lines of the error that `text` causes."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "t.toml")
    return str(caught.value).splitlines()


def only_problem_of(text: str) -> str:
    """The same, when exactly one is expected."""
    (line,) = problems_of(text)
    return line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[sip]\nmax_cals = 3",
            "t.toml:2: sip.max_cals: unknown key; did you mean 'max_calls'? allowed here: ",
        ),
        (
            "\n[[truck]]\nname = 'a'",
            "t.toml:2: truck: unknown key; did you mean 'trunk'? allowed here: sip, media",
        ),
        ("[Sip]", "t.toml:1: Sip: unknown key; did you mean 'sip'? "),
        (
            "[[sip.transport]]\nport = 5061\n[[sip.transport]]\nprotocol = 'ucp'",
            "t.toml:4: sip.transport[1].protocol: found 'ucp'; did you mean 'udp'? allowed: `udp`, `tcp` or `tls`",
        ),
        (
            "[api]\nport = '8070'",
            "t.toml:2: api.port: found '8070' (text); allowed: whole number from 1 to 65535",
        ),
        (
            "[api]\nport = 70000",
            "t.toml:2: api.port: found 70000; allowed: whole number from 1 to 65535",
        ),
        ("[api]\nenabled = 1", "t.toml:2: api.enabled: found 1 (a number); allowed: `true` or `false`"),
        ("[media]\npacket_time_ms = 25", "found 25; allowed: `10`, `20`, `30`, `40` or `60`"),
        ("[media]\nport_range = [1000]", "found a list; allowed: list of the first and the last port"),
        (
            "trunk = 3",
            "t.toml:1: trunk: found 3 (a number); allowed: a table [[trunk]] with name, match, host",
        ),
        (
            "[[sip]]",
            "t.toml:1: sip: found a list; allowed: a table [sip] with user_agent, max_calls, transport",
        ),
        (
            "[[trunk]]\nname = 'a'\n[trunk.register]\nusername = 'u'",
            "t.toml:3: trunk[0].register.server: required, and missing; allowed: SIP URI",
        ),
        (
            "[[trunk]]\nname = 'a'\nmatch = ['10.0.0.1/8']",
            "trunk[0].match[0]: found '10.0.0.1/8': 10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?",
        ),
        ("[[trunk]]\nname = 'a'\nmatch = ['pbx']", "an IP address, address:port or network/bits is needed"),
        ("[[trunk]]\nname = 'a b'\nhost = 'x'", "1 to 64 letters, digits, '_', '-' and '.' are allowed"),
        (
            "[[trunk]]\nname = 'a'\nhost = 'x'\ncodecs = ['g729']",
            "trunk[0].codecs[0]: found 'g729': allowed: PCMU, PCMA, G722, OPUS, L16/8000, L16/16000, L16/44100",
        ),
        ("[[trunk]]\nname = 'a'\nhost = 'x:0'", "port '0' is not a number from 1 to 65535"),
        ("[[agent]]\nname = 'a'\naddress = 'unix:a.sock'", "the path of a Unix socket must be absolute"),
        ("[[agent]]\nname = 'a'\naddress = 'tcp:host'", "a TCP agent needs a port"),
        ("[[agent]]\nname = 'a'\naddress = 'http://x'", "a WebSocket's address begins with ws://"),
        (
            "[[agent]]\nname = 'a'\naddress = 'tcp:h:1'\nsample_rate_hz = 44100",
            "`8000`, `16000`, `24000` or `48000`",
        ),
        (
            "[[route]]\nname = 'a'\nrefuse = 404\ncalled = '6*2'",
            "'*' stands for the rest and may only come last",
        ),
        ("[[route]]\nname = 'a'\nrefuse = 404\ncalled = 're:('", "not a regular expression: "),
        ("[[route]]\nname = 'a'\nrefuse = 404\ncalled = '+49 (30) 1..'", "write '+49301..'"),
        (
            "[[route]]\nname = 'a'\nrefuse = 302",
            "found 302; allowed: whole number from 400 to 699",
        ),
        (
            "[[route]]\nname = 'a'\nrefuse = 404\nheader = { 'X:' = 'a' }",
            "the name of a SIP header is needed",
        ),
    ],
)
def test_each_mistake_is_told_so_that_it_can_be_mended(text: str, expected: str) -> None:
    """One line per mistake, with all that is needed to mend it."""
    line = only_problem_of(text)
    assert expected in line
    assert line.startswith("t.toml:")


def test_a_socket_path_that_linux_cannot_take_is_told_with_its_length() -> None:
    """sun_path holds 107 bytes; 108 fail only when the agent is connected."""
    path = "/" + "x" * 106
    parse(f"[[agent]]\nname = 'a'\naddress = 'unix:{path}'")
    line = only_problem_of(f"[[agent]]\nname = 'a'\naddress = 'unix:{path}y'")
    assert "has 108 bytes, Linux takes 107" in line


def test_all_mistakes_are_told_at_once_and_in_the_order_of_the_file() -> None:
    """Wrong values, unknown keys and wrong references together, none hiding another."""
    lines = problems_of(
        """
[media]
port_range = [20001, 30000]
[[trunk]]
name = "broken"
hots = "x"
[[trunk]]
name = "fine"
match = ["192.0.2.1"]
[[agent]]
name = "echo"
address = "tcp:localhost"
[[route]]
name = "one"
trunk = "fin"
agent = "echo"
[[route]]
name = "two"
trunk = "broken"
agent = "ehco"
[[route]]
name = "two"
refuse = 404
"""
    )
    assert [line.split(": ")[:2] for line in lines] == [
        ["t.toml:3", "media.port_range"],
        ["t.toml:6", "trunk[0].hots"],
        ["t.toml:12", "agent[0].address"],
        ["t.toml:15", "route[0].trunk"],
        ["t.toml:20", "route[1].agent"],
        ["t.toml:22", "route[2].name"],
    ]


def test_what_follows_from_another_mistake_is_not_told() -> None:
    """A route may name a trunk and an agent that have mistakes of their own."""
    line = only_problem_of("[[agent]]\nname = 'a'\naddress = 'x'\n[[route]]\nname = 'r'\nagent = 'a'\n")
    assert line.startswith("t.toml:3: agent[0].address")


def test_an_index_is_that_of_the_file_even_after_a_broken_entry() -> None:
    """Cross checks run on a copy without the broken entry, and still name the right one."""
    lines = problems_of("[[route]]\nname = 3\nrefuse = 404\n[[route]]\nname = 'b'\n")
    assert lines[1] == "t.toml:4: route[1]: needs either agent or refuse, and has neither"


@pytest.mark.parametrize(
    ("text", "line"), [("a = [\n1,\n", 2), ("[a]\nb = 1\nb = 2\n", 3), ("[a\n", 1), ("x = 'open\n", 1)]
)
def test_a_syntax_error_has_the_line_where_toml_gave_up(text: str, line: int) -> None:
    """Editors jump to file:line."""
    assert only_problem_of(text).startswith(f"t.toml:{line}: not TOML: ")


def test_a_file_that_cannot_be_read_is_an_error_like_others(tmp_path: Path) -> None:
    """Missing, a folder, or not UTF-8."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin").write_bytes(b"[sip]\nuser_agent = 'caf\xe9'\n")
    with pytest.raises(ConfigError, match=r"latin:2: is not UTF-8"):
        load(tmp_path / "latin")


def test_a_long_value_is_cut_in_the_message() -> None:
    """A whole certificate pasted into `codecs` does not fill the screen."""
    assert len(only_problem_of(f"[api]\nport = '{'9' * 5000}'")) < 200
