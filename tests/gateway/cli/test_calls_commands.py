# SPDX-License-Identifier: GPL-2.0-or-later
"""`calls`, `hangup`, `dtmf`, `events`, and what they say without a gateway."""

from __future__ import annotations

import http.server
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
    """Two calls by four letters each; one that is named twice is hung up once."""
    for call_id in ("aaaa-1", "bbbb-2", "cccc-3"):
        service.add(call_id)
    assert trunkline("hangup", "aaaa", "CCCC", "cccc-3").exit_code == 0
    assert [ask[1] for ask in service.asked] == ["aaaa-1", "cccc-3"]


@pytest.mark.parametrize("prefix", ["", "a", "aaa"])
def test_too_little_of_an_id_ends_nothing(gateway, service, trunkline, prefix):
    """An empty variable in a script must not hang up whoever is alone on the gateway."""
    service.add("aaaa-1")
    for words in (("hangup", prefix), ("dtmf", prefix, "1"), ("events", "--call", prefix)):
        result = trunkline(*words)
        assert result.exit_code == 2 and "give at least 4 characters" in result.stderr
    assert service.asked == []


def test_an_ambiguous_or_unknown_id_ends_nothing(gateway, service, trunkline):
    """It says which calls were meant, or that there is none."""
    service.add("aaab-1")
    service.add("aaab-2")
    result = trunkline("hangup", "aaab")
    assert result.exit_code == 1 and "2 calls begin with aaab" in result.stderr
    result = trunkline("hangup", "zzzz")
    assert result.exit_code == 2 and "no call zzzz" in result.stderr
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
    service.add("abcd-1")
    assert trunkline("dtmf", "abcd", "12#", "--gap", "100").exit_code == 0
    assert service.asked == [("dtmf", "abcd-1", "12#", 160, 100)]
    result = trunkline("dtmf", "abcd", "12x")
    assert result.exit_code == 2 and "digits: 1 to 64 of 0-9 * # A-D" in result.stderr
    assert trunkline("dtmf", "abcd", "1", "--gap", "1").exit_code == 2
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
    service.add("abcd-1")
    tell_later(gateway, service, ("call.up", "zzz"), ("call.dtmf", "abcd-1"), ("call.ended", "abcd-1"))
    result = trunkline("events", "--call", "abcd", "--json")
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


@pytest.mark.parametrize(
    "content",
    [
        b"hunter2\nhunter3\n",
        "hunter2-tök".encode(),
        b"hunter2\xff\xfe",
        b"hunter2 hunter3",
        b"hunter2\x1b[2J",
    ],
)
def test_a_token_file_that_holds_no_token_is_told_and_not_shown(gateway, trunkline, tmp_path, content):
    """Neither by us nor by whatever would choke on it."""
    wrong = tmp_path / "token"
    wrong.write_bytes(content)
    result = trunkline("calls", "--token-file", str(wrong))
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert str(wrong) in result.stderr
    assert "hunter" not in result.output


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "http://user:hunter2@127.0.0.1:8070",
        "http://127.0.0.1:99999/hunter2",
        "ftp://hunter2",
        "http://",
        "http://127.0.0.1:8070?token=hunter2",
        "http://[::hunter2",
        "http://hunter2\x00.example",
    ],
)
@pytest.mark.parametrize("how", ["option", "variable"])
def test_an_address_that_is_none_is_told_and_not_shown(trunkline, monkeypatch, url, how):
    """It may be a token in the wrong place, or carry one."""
    if how == "variable" and "\x00" in url:
        pytest.skip("no variable can hold it")
    monkeypatch.setenv("TRUNKLINE_API_TOKEN", "x")
    monkeypatch.setenv("TRUNKLINE_API_URL", "http://127.0.0.1:9" if how == "option" else url)
    result = trunkline("calls", *(("--api-url", url) if how == "option" else ()))
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert "is no URL of a gateway" in result.stderr
    assert "hunter2" not in result.output


def test_a_host_that_cannot_be_one_is_no_traceback(trunkline, monkeypatch):
    """Python's resolver complains of it in its own way."""
    monkeypatch.setenv("TRUNKLINE_API_TOKEN", "x")
    result = trunkline("calls", "--api-url", f"http://{'a' * 70}.example")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)


def test_what_is_no_gateway_is_told(trunkline, monkeypatch):
    """Something else listens there."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *_):
            """Nothing on the terminal of the tests."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TRUNKLINE_API_TOKEN", "x")
    try:
        result = trunkline("calls", "--api-url", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert result.exit_code == 1 and "not as a gateway of this version does" in result.stderr


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
