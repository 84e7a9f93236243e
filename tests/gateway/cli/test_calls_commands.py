# SPDX-License-Identifier: GPL-2.0-or-later
"""`calls`, `hangup`, `dtmf`, `events`, and what they say without a gateway."""

from __future__ import annotations

import json
import threading

import pytest

from trunkline.gateway.calls.view import CallView


def test_calls_are_a_table_with_what_matters(gateway, service, trunkline):
    """One line each, without frames when no terminal looks, nothing cut off."""
    service.add("0b8f5e7e-1", caller="sip:a.very.long.name@a.very.long.domain.example.com")
    service.add("7c000000-2", state="ringing", media=None, called="[red]")
    lines = trunkline("calls").stdout.splitlines()
    assert len(lines) == 3 and lines[0].split()[:3] == ["ID", "Direction", "State"]
    assert "0b8f5e7e" in lines[1] and "a.very.long.domain.example.com" in lines[1] and "PCMU" in lines[1]
    assert "ringing" in lines[2] and "[red]" in lines[2]


def test_calls_as_json_are_whole_views(gateway, service, trunkline):
    """A program gets all fields."""
    view = service.add("abc")
    assert CallView.model_validate_json(trunkline("calls", "--json").stdout) == view


def test_no_calls_is_said(gateway, trunkline):
    """An empty table would leave doubt."""
    result = trunkline("calls")
    assert result.exit_code == 0 and result.stdout.strip() == "no calls"


def test_hangup_takes_unique_beginnings(gateway, service, trunkline):
    """Two calls by three letters each."""
    for call_id in ("aaa-1", "bbb-2", "ccc-3"):
        service.add(call_id)
    assert trunkline("hangup", "aaa", "CCC").exit_code == 0
    assert [ask[1] for ask in service.asked] == ["aaa-1", "ccc-3"]


def test_an_ambiguous_or_unknown_id_ends_nothing(gateway, service, trunkline):
    """It says which calls were meant, or that there is none."""
    service.add("aab-1")
    service.add("aac-2")
    result = trunkline("hangup", "aa")
    assert result.exit_code == 1 and "2 calls begin with aa" in result.stderr
    result = trunkline("hangup", "zz")
    assert result.exit_code == 2 and "no call zz" in result.stderr
    assert service.asked == []


def test_hangup_all_or_some_but_not_both_and_not_neither(gateway, service, trunkline):
    """--all must be said, and alone."""
    service.add("a")
    service.add("b")
    assert trunkline("hangup").exit_code == 2
    assert trunkline("hangup", "a", "--all").exit_code == 2
    assert service.asked == []
    assert trunkline("hangup", "--all").exit_code == 0
    assert [ask[1] for ask in service.asked] == ["a", "b"]


def test_digits_go_to_the_call(gateway, service, trunkline):
    """With their times; wrong digits never leave."""
    service.add("abc-1")
    assert trunkline("dtmf", "abc", "12#", "--gap", "100").exit_code == 0
    assert service.asked == [("dtmf", "abc-1", "12#", 160, 100)]
    assert trunkline("dtmf", "abc", "12x").exit_code == 2
    assert len(service.asked) == 1


def tell_later(gateway, service, *events):
    """Publish once somebody has subscribed, then stop the gateway."""

    def tell():
        while not service.subscribers:
            pass
        for event, call_id in events:
            gateway.loop.call_soon_threadsafe(service.publish, event, call_id, {"n": 1})
        threading.Timer(0.2, gateway.stop).start()

    threading.Thread(target=tell, daemon=True).start()


def test_events_are_lines_until_the_gateway_stops(gateway, service, trunkline):
    """A person sees time, call, event and data."""
    tell_later(gateway, service, ("call.up", "0b8f5e7e-1"), ("trunk.registered", ""))
    result = trunkline("events")
    first, second = result.stdout.splitlines()
    assert first.split()[1:] == ["0b8f5e7e", "call.up", "n=1"] and second.split()[1:] == [
        "trunk.registered",
        "n=1",
    ]
    assert result.exit_code == 1 and "has stopped" in result.stderr


def test_events_of_one_call_end_with_it(gateway, service, trunkline):
    """As JSON, one object a line."""
    service.add("abc-1")
    tell_later(gateway, service, ("call.up", "zzz"), ("call.dtmf", "abc-1"), ("call.ended", "abc-1"))
    result = trunkline("events", "--call", "abc", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["call.dtmf", "call.ended"]


def test_without_a_gateway_it_says_how_to_start_one(trunkline, monkeypatch):
    """Not a traceback."""
    monkeypatch.setenv("TRUNKLINE_API_TOKEN", "x")
    result = trunkline("calls", "--api-url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "no gateway answers at http://127.0.0.1:9" in result.stderr and "trunkline run" in result.stderr


def test_a_wrong_token_is_told_with_where_it_came_from(gateway, trunkline, tmp_path):
    """So that the right one can be named."""
    wrong = tmp_path / "token"
    wrong.write_text("nonsense\n")
    result = trunkline("calls", "--token-file", str(wrong))
    assert result.exit_code == 1 and f"refuses the token from {wrong}" in result.stderr


def test_without_any_token_it_says_where_it_looked(gateway, trunkline, monkeypatch, tmp_path):
    """The state folder is found as the gateway finds it."""
    monkeypatch.delenv("TRUNKLINE_API_TOKEN")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    result = trunkline("calls")
    assert result.exit_code == 1 and str(tmp_path / "trunkline" / "api-token") in result.stderr


@pytest.mark.parametrize("how", ["state", "config"])
def test_the_token_of_the_state_folder_is_found(gateway, trunkline, monkeypatch, tmp_path, how):
    """A gateway started by the same user needs no option at all; another's configuration says the rest."""
    monkeypatch.delenv("TRUNKLINE_API_TOKEN")
    folder = tmp_path / "trunkline"
    folder.mkdir()
    (folder / "api-token").write_text("correct-horse\n")
    if how == "state":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert trunkline("calls").exit_code == 0
    else:
        monkeypatch.delenv("TRUNKLINE_API_URL")
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        file = tmp_path / "gw.toml"
        port = gateway.url.rpartition(":")[2]
        file.write_text(f'[api]\nport = {port}\n[state]\ndir = "{folder}"\n')
        result = trunkline("calls", "--config", str(file))
        assert result.exit_code == 0, result.stderr
