# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets come from the environment or a file, are told missing all at once, and show in no repr."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trunkline.gateway.config import Config, ConfigError, load
from trunkline.gateway.config.secrets import resolve

TEXT = """
[state]
dir = "{dir}/state"
[[trunk]]
name = "pbx"
[trunk.register]
server = "sip:pbx"
username = "u"
{password}
[[agent]]
name = "a"
address = "tcp:h:1"
{token}
"""


def config_of(folder: Path, password: str = "", token: str = "", more: str = "") -> Config:
    """A configuration in `folder`."""
    (folder / "c.toml").write_text(TEXT.format(dir=folder, password=password, token=token) + more)
    return load(folder / "c.toml")


def test_secrets_are_found_in_variables_and_files(tmp_path: Path) -> None:
    """Files relative to the configuration; the line's end is not part of the secret."""
    (tmp_path / "tok").write_text("t0ken \n")
    (tmp_path / "tok").chmod(0o600)
    config = config_of(tmp_path, "password_env = 'P'", "token_file = 'tok'")
    found = resolve(config, {"P": "s3cret", "TRUNKLINE_API_TOKEN": "api"})
    assert found.passwords["pbx"].get_secret_value() == "s3cret"
    assert found.agent_tokens["a"].get_secret_value() == "t0ken "
    assert found.api_token is not None
    assert found.api_token.get_secret_value() == "api"
    assert found.warnings == []
    assert len(found.values()) == 3
    for secret in ("s3cret", "t0ken"):
        assert secret not in repr(found)
        assert secret not in repr(config)


def test_all_missing_secrets_are_told_at_once(tmp_path: Path) -> None:
    """With the key that names them."""
    config = config_of(tmp_path, "password_env = 'P'", "token_file = 'tok'", "[api]\ntoken_env = 'MINE'")
    with pytest.raises(ConfigError) as caught:
        resolve(config, {"P": ""})
    text = str(caught.value)
    assert "trunk[0].register.password_env: the environment variable P is not set, or empty" in text
    assert "agent[0].token_file: " in text
    assert "tok cannot be read: No such file or directory" in text
    assert "api.token_env: the environment variable MINE is not set" in text


@pytest.mark.parametrize(("content", "why"), [("", "holds nothing"), ("a\nb\n", "holds more")])
def test_a_secret_file_holds_one_line(tmp_path: Path, content: str, why: str) -> None:
    """An empty password or a pasted page is a mistake, not a secret."""
    (tmp_path / "p").write_text(content)
    with pytest.raises(ConfigError, match=f"must hold one line, and {why}"):
        resolve(config_of(tmp_path, "password_file = 'p'"), {})


def test_a_secret_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    """With the command that cures it."""
    (tmp_path / "p").write_text("x")
    (tmp_path / "p").chmod(0o644)
    (warning,) = resolve(config_of(tmp_path, "password_file = 'p'"), {}).warnings
    assert "open to other users (mode 0644): chmod 600" in warning


def test_an_api_token_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """The next start finds the same one."""
    config = config_of(tmp_path)
    assert resolve(config, {}, create_api_token=False).api_token is None
    first = resolve(config, {})
    assert first.api_token is not None
    assert first.api_token_file == tmp_path / "state" / "api-token"
    assert len(first.api_token.get_secret_value()) >= 32
    assert first.api_token_file.stat().st_mode & 0o777 == 0o600
    assert first.api_token_file.parent.stat().st_mode & 0o777 == 0o700
    assert resolve(config, {}).api_token == first.api_token


def test_no_token_is_made_when_the_api_is_off(tmp_path: Path) -> None:
    """Nor is a folder."""
    config = config_of(tmp_path, more="[api]\nenabled = false")
    assert resolve(config, {}).api_token is None
    assert not (tmp_path / "state").exists()


def test_a_state_folder_that_cannot_be_used_is_told_with_a_cure(tmp_path: Path) -> None:
    """Instead of a traceback at start."""
    config = config_of(tmp_path)
    (tmp_path / "state").write_text("a file, not a folder")
    with pytest.raises(ConfigError, match=r"state\.dir: .*api-token: .*set api\.token_env"):
        resolve(config, {})


def test_a_kept_token_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    """It was private when it was made; somebody has opened it since."""
    config = config_of(tmp_path)
    made = resolve(config, {}).api_token_file
    assert made is not None
    assert resolve(config, {}).warnings == []
    made.chmod(0o644)
    (warning,) = resolve(config, {}).warnings
    assert f"{made} is open to other users (mode 0644): chmod 600" in warning


def test_a_draft_that_a_killed_start_left_behind_blocks_nobody(tmp_path: Path) -> None:
    """In a container every start has the same process id."""
    config = config_of(tmp_path)
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / f".api-token.{os.getpid()}").write_text("")
    assert resolve(config, {}).api_token is not None
    assert sorted(path.name for path in folder.iterdir()) == [f".api-token.{os.getpid()}", "api-token"]


@pytest.mark.parametrize("token", ["two words", "tök", "tab\tbed", "line\nline"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(tmp_path: Path, token: str) -> None:
    """Otherwise every client would be refused, and nobody would see why."""
    config = config_of(tmp_path)
    with pytest.raises(ConfigError, match=r"api\.token_env: the token must be printable ASCII") as caught:
        resolve(config, {"TRUNKLINE_API_TOKEN": token})
    assert token not in str(caught.value)


def test_a_kept_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    """Instead of a traceback at start."""
    config = config_of(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "api-token").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"state\.dir: .*api-token: not a token"):
        resolve(config, {})


WEBSOCKET = """
[[agent]]
name = "w"
address = "wss://h/"
dialect = "twilio"
token_env = "TOKEN"
username = "u"
password_file = "pw"
headers_env = { X-A = "A" }
headers_file = { X-B = "b" }
"""


def test_a_websockets_secrets_are_all_found_and_none_is_shown(tmp_path: Path) -> None:
    """Token, password and headers; all of them are hidden in the log."""
    for name, text in (("pw", "pass:word"), ("b", "header b")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    config = config_of(tmp_path, "password_env = 'P'", more=WEBSOCKET)
    found = resolve(config, {"P": "x", "TOKEN": "to ken", "A": "header a", "TRUNKLINE_API_TOKEN": "api"})
    values = {secret.get_secret_value() for secret in found.values()}
    assert values == {"x", "to ken", "pass:word", "header a", "header b", "api"}
    assert found.agent_passwords["w"].get_secret_value() == "pass:word"
    assert {k: v.get_secret_value() for k, v in found.agent_headers["w"].items()} == {
        "X-A": "header a", "X-B": "header b",
    }  # fmt: skip
    assert not any(secret in repr(found) + repr(config) for secret in ("pass:word", "header a", "header b"))


def test_what_could_not_stand_in_a_header_is_refused(tmp_path: Path) -> None:
    """A line break in a secret would be a header of its own."""
    (tmp_path / "pw").write_text("p")
    (tmp_path / "b").write_text("header b\x01")
    config = config_of(tmp_path, "password_env = 'P'", more=WEBSOCKET)
    with pytest.raises(ConfigError) as caught:
        resolve(config, {"P": "x", "TOKEN": "t", "A": " a", "TRUNKLINE_API_TOKEN": "api"})
    text = str(caught.value)
    assert "agent[1].headers_env: the value of X-A must be printable ASCII without blanks at its ends" in text
    assert "agent[1].headers_file: the value of X-B must be printable ASCII" in text
    assert "header b" not in text
