# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline check` says what is wrong, and who would get a call and why."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from support.certificates import Authority
from trunkline.gateway.cli.check import register
from trunkline.gateway.config.reference import example, reference

GOOD = """
[[trunk]]
name = "pbx"
match = ["192.0.2.10", "192.0.2.0/24"]
[[trunk]]
name = "other"
[trunk.register]
server = "sip:198.51.100.1"
username = "u"
password_env = "CHECK_TEST_PASSWORD"
[[agent]]
name = "echo"
address = "unix:/run/echo.sock"
[[route]]
name = "sales"
trunk = "pbx"
called = "6.."
header = { X-Tenant = "acme" }
agent = "echo"
[[route]]
name = "rest"
refuse = 486
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A valid file."""
    path = tmp_path / "c.toml"
    path.write_text(GOOD)
    return path


def run(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and all that was printed."""
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_a_valid_file(config: Path) -> None:
    """What is in it, in a line."""
    code, text = run(config)
    assert code == 0
    assert "is valid: 2 trunks, 1 agent, 2 routes" in text


def test_mistakes_are_one_line_each(config: Path) -> None:
    """`file:line:` first, whole, however long."""
    config.write_text(GOOD.replace("address", "adress").replace('"sip:198', '"spi:198'))
    code, text = run(config)
    assert code == 1
    assert f"error: {config}:8: trunk[1].register.server: found 'spi:198.51.100.1'" in text
    assert f"error: {config}:13: agent[0].adress: unknown key; did you mean 'address'?" in text
    assert len(text.splitlines()) == 3


def test_warnings_do_not_fail(config: Path) -> None:
    """They are told."""
    config.write_text(GOOD + "[[route]]\nname = 'last'\nrefuse = 404\n")
    code, text = run(config)
    assert code == 0
    assert "route 'last' is never reached" in text


def test_secrets_are_looked_up_only_when_asked(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration is checked on machines that must not know the password."""
    monkeypatch.delenv("CHECK_TEST_PASSWORD", raising=False)
    assert run(config)[0] == 0
    code, text = run(config, "--secrets")
    assert code == 1
    assert "CHECK_TEST_PASSWORD is not set" in text
    monkeypatch.setenv("CHECK_TEST_PASSWORD", "value-of-the-password")
    code, text = run(config, "--secrets")
    assert code == 0
    assert "value-of-the-password" not in text


def test_certificates_are_read_when_asked(tmp_path: Path) -> None:
    """What would keep the gateway from starting is a mistake, an expired one is a warning; unread is said to be."""
    authority, file = Authority(tmp_path), tmp_path / "c.toml"
    tls = "[[sip.transport]]\nprotocol = 'tls'\ncertificate = 'a.pem'\nkey = 'a.key'\n[api]\nenabled = false\n"
    file.write_text(f"{tls}[[trunk]]\nname = 'pbx'\nmatch = ['192.0.2.1']\n[[route]]\nname = 'r'\nrefuse = 486\n")
    code, text = run(file)
    assert code == 0 and "certificate and key of TLS were not read, --secrets does that" in text
    code, text = run(file, "--secrets")
    assert code == 1 and f"error: {tmp_path / 'a.pem'} (certificate) cannot be read: No such file" in text
    authority.issue("a")
    code, text = run(file, "--secrets")
    assert code == 0 and "were not read" not in text and "warning" not in text
    authority.issue("a", days=-1)
    code, text = run(file, "--secrets")
    assert code == 0 and "warning: the certificate has expired on" in text


def test_a_call_that_an_agent_gets(config: Path) -> None:
    """Exit code 0, the route, the agent, the reasons."""
    code, text = run(
        config,
        "--route",
        "sip:601@gw",
        "--source",
        "192.0.2.10:5060",
        "--header",
        "x-tenant: acme",
        "--from",
        "100",
    )
    assert code == 0
    assert "from trunk pbx: 192.0.2.10:5060 is in match 192.0.2.10" in text
    assert "less specific: trunk pbx: 192.0.2.10:5060 is in match 192.0.2.0/24" in text
    assert "called '601' matches 6.." in text
    assert "route sales gives it to agent echo at unix:/run/echo.sock (trunkline, 16000 Hz, 20 ms)" in text


def test_a_call_that_a_route_refuses(config: Path) -> None:
    """Exit code 1, the SIP code, and why the route before it did not match."""
    code, text = run(config, "--route", "601", "--trunk", "pbx")
    assert code == 1
    assert "X-Tenant is absent does not match acme" in text
    assert "refused with 486 Busy Here by route rest" in text


def test_a_registrars_address_is_its_trunks(config: Path) -> None:
    """As at run time."""
    code, text = run(config, "--route", "601", "--source", "198.51.100.1")
    assert code == 1
    assert "from trunk other: 198.51.100.1 is in address of its registrar 198.51.100.1" in text


def test_a_registrars_address_counts_and_not_where_our_calls_go(config: Path) -> None:
    """`host` says where calls of ours are sent; the gateway knows its peer by the registrar."""
    config.write_text(GOOD.replace('name = "other"', 'name = "other"\nhost = "203.0.113.9"'))
    assert "from trunk other" in run(config, "--route", "601", "--source", "198.51.100.1")[1]
    code, text = run(config, "--route", "601", "--source", "203.0.113.9")
    assert code == 1
    assert "no trunk matches 203.0.113.9" in text


def test_a_registrar_without_an_address_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its calls would look like a stranger's for no reason."""

    def unknown_name(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    config.write_text(GOOD.replace("sip:198.51.100.1", "sip:nowhere.invalid"))
    text = run(config, "--route", "601", "--source", "198.51.100.1")[1]
    assert "trunk other: its registrar nowhere.invalid has no address now" in text


def test_what_is_asked_for_cannot_steer_the_terminal(config: Path) -> None:
    """A header is often pasted from somebody's INVITE."""
    evil = "\x1b]0;owned\x07[red]"
    for words in (("--header", f"X-Tenant: {evil}", "--trunk", "pbx"), ("--source", evil)):
        text = run(config, "--route", "601", *words)[1]
        assert "owned" in text
        assert "\x1b" not in text and "\x07" not in text


def test_a_stranger_is_refused(config: Path) -> None:
    """Default deny."""
    code, text = run(config, "--route", "601", "--source", "203.0.113.9:5060")
    assert code == 1
    assert "refused with 403 Forbidden: no trunk matches 203.0.113.9:5060" in text


def test_a_call_that_no_route_takes(config: Path) -> None:
    """404, and all reasons."""
    config.write_text(GOOD.partition('[[route]]\nname = "rest"')[0])
    code, text = run(config, "--route", "601", "--trunk", "other")
    assert code == 1
    assert "trunk 'other' does not match pbx" in text
    assert "refused with 404 Not Found" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--route", "600"], "say where the call comes from"),
        (["--route", "600", "--trunk", "pbs"], "no trunk is named 'pbs'"),
        (["--route", "600", "--trunk", "pbx", "--source", "1.2.3.4"], "not both"),
        (["--route", "600", "--trunk", "pbx", "--header", "X"], "is not 'Name: value'"),
        (["--trunk", "pbx"], "needed with"),
    ],
)
def test_wrong_use_has_its_own_exit_code(config: Path, arguments: list[str], message: str) -> None:
    """2, and what to do instead."""
    code, text = run(config, *arguments)
    assert code == 2
    assert message in " ".join(text.replace("│", " ").split())


def test_example_and_reference_are_printed_as_they_are() -> None:
    """To be redirected into a file."""
    assert run("--example") == (0, example())
    assert run("--reference") == (0, reference())
    assert run()[0] == 2


def test_what_is_found_beside_the_file_has_its_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are mistakes with --secrets; a folder of recordings that cannot be written is a doubt."""
    monkeypatch.delenv("CHECK_TEST_PASSWORD", raising=False)
    file = tmp_path / "gw.toml"
    (tmp_path / "a file").write_text("in the way")
    record = f'agent = "echo"\nrecord = "{tmp_path}/a file/recordings"\n'
    file.write_text(GOOD.replace('agent = "echo"\n[[route]]', record + "[[route]]"))
    lines = file.read_text().splitlines()
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, [str(file)])
    where = next(number for number, line in enumerate(lines, 1) if line.startswith("record ="))
    text = done.output.replace("\n", "")
    assert done.exit_code == 0 and f"gw.toml:{where}: route[0].record: nothing can be written into" in text
    where = lines.index('password_env = "CHECK_TEST_PASSWORD"') + 1
    done = CliRunner().invoke(app, [str(file), "--secrets"])
    assert done.exit_code == 1 and f"gw.toml:{where}: trunk[1].register.password_env" in done.output.replace("\n", "")
