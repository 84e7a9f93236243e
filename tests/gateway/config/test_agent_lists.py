# SPDX-License-Identifier: GPL-2.0-or-later
"""Routes with several agents: what fits together, what does not, and what is asked for by leaving things out."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from trunkline.gateway.assembly import sound_problems, sounds, worker_options
from trunkline.gateway.cli.check import register
from trunkline.gateway.config import ConfigError, parse
from trunkline.gateway.config.loading import load

AGENTS = "".join(f"[[agent]]\nname = '{name}'\naddress = 'tcp:127.0.0.1:9000'\n" for name in "abc")
TRUNK = "[[trunk]]\nname = 'pbx'\nmatch = ['192.0.2.1']\n"


def route(text: str, before: str = AGENTS) -> str:
    return f"{before}[[route]]\nname = 'r'\n{text}\n"


def test_the_first_of_several_agents_is_the_routes_agent_for_whoever_needs_one() -> None:
    """With one name, or a list; a route that refuses has none."""
    config = parse(TRUNK + route("agents = ['b', 'a']\nbackup_agents = ['c']"))
    (several,) = config.routes
    assert (several.agent, several.main_agents, several.all_agents) == ("b", ["b", "a"], ["b", "a", "c"])
    (one,) = parse(TRUNK + route("agent = 'a'")).routes
    assert (one.agent, one.main_agents, one.all_agents) == ("a", ["a"], ["a"])
    (none,) = parse(TRUNK + route("refuse = 404")).routes
    assert none.all_agents == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agents = ['a', 'x']", "no agent is named 'x'"),
        ("agent = 'a'\nbackup_agents = ['y']", "no agent is named 'y'"),
        ("agent = 'b'\nagents = ['a', 'b']", "`agents` names agents too; keep one of them"),
        ("agents = ['a', 'a']", "names 'a' twice"),
        ("agents = ['a']\nbackup_agents = ['a']", "names 'a' twice"),
        ("agents = ['a']\nrefuse = 404", "needs either agent or refuse, and has both"),
        ("agents = []", "needs either agent or refuse, and has neither"),
        ("refuse = 404\nreplay_ms = 100", "goes with an agent only, and this route refuses"),
        ("agents = ['a', 'b']\nsticky = 'caller'", 'goes with agent_policy = "balance" only'),
        ("agent = 'a'\nfallback = 'transfer'", "fallback_target go together"),
        ("agent = 'a'\nfallback_target = '100'", "fallback_target go together"),
    ],
)
def test_what_does_not_fit_together_is_told(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(TRUNK + route(text))
    assert expected in str(error.value)


def test_a_call_cannot_change_over_to_another_form_of_audio() -> None:
    """The agents of a route have one sample rate and one frame length; the sentence names both."""
    wide = AGENTS + "[[agent]]\nname = 'w'\naddress = 'tcp:127.0.0.1:9000'\nsample_rate_hz = 24000\n"
    with pytest.raises(ConfigError, match=r"a has 16000 Hz, 20 ms and w has 24000 Hz, 20 ms"):
        parse(TRUNK + route("agents = ['a', 'w']", wide))


def write(path: Path, frames: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(frames)


def test_sound_files_are_checked_and_given_to_the_workers_at_the_rate_of_their_agents(tmp_path: Path) -> None:
    """Relative to the configuration; a bad one is named by `trunkline check`, which then fails."""
    file = tmp_path / "c.toml"
    file.write_text(TRUNK + route("agent = 'a'\nrescue_sound = 'wait.wav'\nfallback_sound = 'bye.wav'"))
    write(tmp_path / "wait.wav", bytes(1600))
    config = load(file)
    assert sounds(config) == [(str(tmp_path / "bye.wav"), 16000), (str(tmp_path / "wait.wav"), 16000)]
    assert [problem for problem in sound_problems(config) if "bye.wav" in problem]
    options = worker_options(config)
    assert f"16000:{tmp_path / 'wait.wav'}" in options
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, [str(file)])
    assert result.exit_code == 1
    line = file.read_text().splitlines().index("fallback_sound = 'bye.wav'") + 1
    assert f"c.toml:{line}: route[0].fallback_sound: sound file" in result.output.replace("\n", "")
    assert "bye.wav" in result.output and "wait.wav" not in result.output
    write(tmp_path / "bye.wav", bytes(1600))
    assert CliRunner().invoke(app, [str(file)]).exit_code == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agents = ['a', 'b', 'c']",
         "agent a at tcp:127.0.0.1:9000 (trunkline, 16000 Hz, 20 ms), or if it fails to b, c"),
        ("agents = ['a', 'b']\nagent_policy = 'balance'\nbackup_agents = ['c']",
         "or by weight to b, or if all fail to c"),
        ("agent = 'a'", "20 ms)"),
    ],
)  # fmt: skip
def test_check_says_who_else_may_get_a_call(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(TRUNK + route(text))
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, [str(file), "--route", "sip:600@x"])
    assert result.exit_code == 0
    assert result.output.strip().endswith(expected)
