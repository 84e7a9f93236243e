# SPDX-License-Identifier: GPL-2.0-or-later
"""Each examination, on machines as they may be."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.agents import AgentHost
from support.certificates import Authority, Pair
from support.twilio_server import TwilioServer
from support.waiting import wait_for
from trunkline.codecs import opus_native
from trunkline.gateway.certificates import Files, read
from trunkline.gateway.config import Agent, Config, parse
from trunkline.gateway.config.model import SipTransport
from trunkline.gateway.doctor import access, certificates, machine, ports, stack
from trunkline.gateway.doctor.finding import Finding, Level, ok
from trunkline.gateway.media import compiled
from trunkline.gateway.pjsip.facts import PjsipFacts
from trunkline.rtp import libsrtp

BUILT = PjsipFacts("2.17", "pjsua2 2.17", "built", 4096, ("opus", "PCMA", "PCMU"))
STOPGAP = PjsipFacts("2.15.1", "pjsua2-python 2.15.1", "stopgap", 4, ("PCMA", "PCMU"), ("the codec opus",))


def config_with(text: str) -> Config:
    """A configuration with this TOML."""
    return parse(text)


def levels(findings: list[Finding]) -> list[Level]:
    """Only how bad they are."""
    return [finding.level for finding in findings]


def test_a_warning_has_a_cure_and_good_news_none() -> None:
    """The report's promise: each lack comes with what to do about it."""
    with pytest.raises(ValueError, match="a cure belongs"):
        Finding("x", Level.WARN, "odd")
    with pytest.raises(ValueError, match="a cure belongs"):
        Finding("x", Level.OK, "fine", "but do this")
    assert ok("x", "fine").cure == ""


def test_no_pjsip_means_no_call() -> None:
    """And the cure is the build."""
    findings = list(stack.about_pjsip(Config(), PjsipFacts(problem="no pjsua2 is installed")))
    assert levels(findings) == [Level.FAIL]
    assert findings[0].cure.endswith("trunkline pjsip build")


def test_no_libopus_means_no_opus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls work without it, so it is a warning; what is there is what media workers would load."""
    assert stack.about_libopus().level is Level.OK

    def missing() -> opus_native.Native:
        return opus_native.Native("libopus-that-is-not-there.so.0")

    monkeypatch.setattr(opus_native, "library", missing)
    finding = stack.about_libopus()
    assert finding.level is Level.WARN
    assert finding.found.startswith("no Opus: libopus-that-is-not-there.so.0 cannot be loaded")
    assert finding.cure.endswith("libopus0")


@pytest.mark.skipif(compiled.native is None, reason="built without a compiler")
def test_kernels_that_are_built_are_good_news() -> None:
    finding = stack.about_kernels()
    assert (finding.level, finding.found) == (Level.OK, "built, and used by media workers")


@pytest.mark.skipif(compiled.native is None, reason="built without a compiler")
def test_kernels_of_other_sources_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources that were brought up to date without being built again: workers do without, and calls work."""

    def refuse(name: str, *first: object) -> None:
        raise LookupError(f'there is no kernel "{name}"')

    monkeypatch.setattr(compiled, "native", SimpleNamespace(bind=refuse))
    monkeypatch.setattr(compiled.of_codecs, "native", compiled.of_codecs.native)
    finding = stack.about_kernels()
    assert finding.level is Level.WARN and "pip install" in finding.cure
    assert finding.found.startswith("compiled kernels were built from other sources: there is no kernel")
    assert compiled.in_use() == "numpy" and compiled.of_codecs.native is None


def test_kernels_may_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_COMPILED", "0")
    finding = stack.about_kernels()
    assert (finding.level, finding.cure) == (Level.WARN, "unset TRUNKLINE_COMPILED")
    assert "switched off by TRUNKLINE_COMPILED=0" in finding.found


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ModuleNotFoundError("No module named 'trunkline.codecs._native'"), "not built when trunkline was installed"),
        (ImportError("_native.so: undefined symbol: PyX"), "cannot be loaded (_native.so: undefined symbol: PyX)"),
    ],
)
def test_missing_kernels_cost_cpu_time(error: ImportError, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cure is a compiler, if there is none, and the installation again, from where it came, past pip's cache."""

    def refuse(name: str) -> None:
        raise error

    monkeypatch.delenv("TRUNKLINE_COMPILED", raising=False)
    monkeypatch.setattr(stack.importlib, "import_module", refuse)
    monkeypatch.setattr(stack.packages, "_installed", lambda names: False)
    finding = stack.about_kernels()
    assert finding.level is Level.WARN
    assert finding.found == f"{found}: each call costs more CPU time"
    if shutil.which("dpkg-query"):
        assert f"apt-get install build-essential python3-dev && {sys.executable} -m pip install" in finding.cure
    monkeypatch.setattr(stack.packages, "_installed", lambda names: True)
    cure = stack.about_kernels().cure
    assert cure.startswith(f"{sys.executable} -m pip install --force-reinstall --no-deps --no-cache-dir ")


@pytest.mark.parametrize(
    ("told", "given"),
    [
        (None, ["trunkline"]),
        ('{"url": "file:///opt/my%20trunkline", "dir_info": {"editable": true}}', ["-e", "/opt/my trunkline"]),
        ('{"url": "file:///opt/trunkline", "dir_info": {}}', ["/opt/trunkline"]),
        (
            '{"url": "https://host.example/t.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}',
            ["git+https://host.example/t.git@abc"],
        ),
        ('{"url": "file:///tmp/trunkline-0.1.0.tar.gz", "archive_info": {}}', ["file:///tmp/trunkline-0.1.0.tar.gz"]),
    ],
)
def test_trunkline_is_installed_again_from_where_it_came(
    told: str | None, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution = SimpleNamespace(read_text=lambda name: told if name == "direct_url.json" else None)
    monkeypatch.setattr(stack.importlib.metadata, "distribution", lambda name: distribution)
    assert stack.installed_from() == given


def test_the_stopgap_works_with_few_calls() -> None:
    """What it lacks is a warning, and so is a configuration that wants more calls than it has."""
    findings = list(stack.about_pjsip(Config(), STOPGAP))
    assert levels(findings) == [Level.WARN, Level.WARN]
    assert "it lacks the codec opus" in findings[0].found
    assert findings[1].found == "4 at once, the configuration wants 2016"


def test_libsrtp_is_the_one_that_is_fast_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, a trunk that needs it is a failure; the system's copy will do."""
    needed = config_with(
        '[[trunk]]\nname = "pbx"\nmatch = ["127.0.0.1"]\nsrtp = "required"\nsrtp_without_tls = true\n'
    )
    assert stack.about_libsrtp(needed).found.startswith("2.")
    assert levels([stack.about_libsrtp(needed)]) == [Level.OK]
    monkeypatch.setattr(libsrtp, "load", libsrtp.load.__wrapped__)
    monkeypatch.setattr(libsrtp, "_candidates", lambda: iter(["libsrtp2.so.1"]))
    finding = stack.about_libsrtp(needed)
    assert finding.level is Level.WARN and "of the system" in finding.found
    libsrtp.Library("libsrtp2.so.1").release()  # for the PJSIP of other tests
    monkeypatch.setattr(libsrtp, "_candidates", lambda: iter(["/nowhere.so"]))
    assert levels([stack.about_libsrtp(needed), stack.about_libsrtp(Config())]) == [Level.FAIL, Level.WARN]


def test_a_trunk_whose_codecs_are_all_unknown_cannot_have_a_call() -> None:
    """One that has another codec left can."""
    config = config_with('[[trunk]]\nname = "pbx"\nmatch = ["127.0.0.1"]\ncodecs = ["PCMU", "PCMA"]\n')
    assert levels(list(stack.about_pjsip(config, BUILT))) == [Level.OK]
    no_alaw = PjsipFacts("2.17", "pjsua2 2.17", "built", 4096, ("opus", "PCMU"))
    assert levels(list(stack.about_pjsip(config, no_alaw))) == [Level.OK, Level.WARN]
    no_g711 = PjsipFacts("2.17", "pjsua2 2.17", "built", 4096, ("opus",))
    assert levels(list(stack.about_pjsip(config, no_g711))) == [Level.OK, Level.FAIL]


@pytest.mark.parametrize(
    ("calls", "soft", "hard", "level", "found"),
    [
        (1000, 2200, 2200, Level.OK, "2200, 1000 calls need 2200 in each process"),
        (1000, 1024, 1048576, Level.OK, "(the soft limit 1024 is raised at start)"),
        (1000, 1024, resource.RLIM_INFINITY, Level.OK, "unlimited"),
        (1000, 1024, 2048, Level.WARN, "room for 924"),
        (1000, 200, 200, Level.FAIL, "room for 0"),
    ],
)
def test_descriptors_are_two_a_call_in_each_process(
    calls: int, soft: int, hard: int, level: Level, found: str
) -> None:
    """Too few for all calls is a warning with the room there is; too few for one is a failure."""
    finding = machine.about_descriptors(config_with(f"[limits]\nmax_calls = {calls}").limits, soft, hard)
    assert finding.level is level
    assert found in finding.found
    assert level is Level.OK or "LimitNOFILE=2200" in finding.cure


def test_memory_is_measured_against_the_configured_calls() -> None:
    """A warning, because fewer calls would work."""
    assert machine.about_memory(1000, 8 << 30).level is Level.OK
    assert machine.about_memory(1000, 1 << 30).level is Level.WARN


def test_of_cores_only_their_number_is_said() -> None:
    """What one carries was not measured on this machine."""
    (cores,) = (finding for finding in machine.examine(Config()) if finding.name == "cores")
    assert cores.found == str(len(os.sched_getaffinity(0)))


def test_ports_of_the_kernels_own_range_are_told() -> None:
    """Unless they are reserved."""
    local = "32768\t60999"
    assert levels(list(ports.about_local_range(16384, 32767, local, ""))) == [Level.OK]
    overlap = list(ports.about_local_range(30000, 40000, local, "8080"))
    assert levels(overlap) == [Level.WARN]
    assert overlap[0].found.startswith("32768-40000 ")
    assert "ip_local_reserved_ports=30000-40000" in overlap[0].cure
    assert levels(list(ports.about_local_range(30000, 40000, local, "8080,30000-40000"))) == [Level.OK]
    assert list(ports.about_local_range(30000, 40000, "", "")) == []


def test_rtp_ports_in_use_are_counted() -> None:
    """A pair counts as taken when either of its ports is; a range without a free pair is a failure."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        first = port - port % 2
        full = ports.about_rtp_ports("127.0.0.1", first, first + 1, 1)
        assert full.level is Level.FAIL
        assert "0 pairs free, 1 in use" in full.found
    assert ports.about_rtp_ports("127.0.0.1", first, first + 1, 1).level is Level.OK
    assert ports.about_rtp_ports("127.0.0.1", first, first + 1, 2).level is Level.WARN
    assert ports.about_rtp_ports("192.0.2.1", first, first + 1, 1).level is Level.FAIL


def test_a_sip_port_in_use_may_be_our_own() -> None:
    """So it is a warning; an address of another machine is a failure."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finding = ports.about_listener("SIP tcp", "tcp", "127.0.0.1", port)
        assert finding.level is Level.WARN
        assert f"sport = :{port}" in finding.cure
    assert ports.about_listener("SIP tcp", "tcp", "127.0.0.1", port).level is Level.OK
    assert ports.about_listener("SIP udp", "udp", "192.0.2.1", port).level is Level.FAIL


def test_the_state_folder_may_be_made_at_the_first_start(tmp_path: Path) -> None:
    """What stands in its place, or may be written by anyone, is told."""
    assert access.about_state(tmp_path / "a" / "b").level is Level.OK
    (tmp_path / "file").write_text("")
    assert access.about_state(tmp_path / "file").level is Level.FAIL
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert access.about_state(tmp_path / "open").level is Level.WARN


def test_secrets_must_exist_and_be_private(tmp_path: Path) -> None:
    """All that the configuration names, wherever it names them."""
    secret = tmp_path / "secret"
    config = config_with(
        f'''
        [api]
        token_file = "{secret}"
        [[trunk]]
        name = "pbx"
        [trunk.register]
        server = "sip:127.0.0.1"
        username = "gw"
        password_file = "{secret}"
        [[agent]]
        name = "echo"
        address = "tcp:127.0.0.1:9"
        token_file = "{secret}"
        [[route]]
        name = "all"
        agent = "echo"
        '''
    )
    assert [name for name, _ in access.secret_files(config)] == [
        "API token",
        "password of trunk pbx",
        "token of agent echo",
    ]
    assert access.about_secret("token", secret).level is Level.FAIL
    secret.write_text("s")
    secret.chmod(0o644)
    assert access.about_secret("token", secret).level is Level.WARN
    secret.chmod(0o600)
    assert access.about_secret("token", secret).level is Level.OK


def test_a_token_of_our_own_must_be_private_as_well(tmp_path: Path) -> None:
    """The one in the state folder, once it is there; without an API nobody asks for it."""
    text = f'[state]\ndir = "{tmp_path}"\n'
    assert list(access.secret_files(config_with(text))) == []
    kept = tmp_path / "api-token"
    kept.write_text("t")
    kept.chmod(0o644)
    found = {finding.name: finding for finding in access.examine(config_with(text))}
    assert found["API token"].level is Level.WARN
    assert found["API token"].cure == f"chmod 600 {kept}"
    assert list(access.secret_files(config_with(text + "[api]\nenabled = false"))) == []


def agent_at(address: str, dialect: str = "trunkline") -> Agent:
    """An agent of a configuration."""
    text = f'[[agent]]\nname = "echo"\naddress = "{address}"\ndialect = "{dialect}"\n'
    return config_with(text + '[[route]]\nname = "all"\nagent = "echo"\n').agents[0]


def test_an_agents_socket_must_be_one(tmp_path: Path) -> None:
    """Nobody there yet is a warning; a file in its place, or a path too long for a socket, is a failure."""
    path = tmp_path / "s"
    agent = agent_at(f"unix:{path}")
    cure = f"start your agent, or to try: trunkline agent echo --listen unix:{path}"
    assert (access.about_agent(agent).level, access.about_agent(agent).cure) == (Level.WARN, cure)
    assert access.about_socket(agent, tmp_path / "none" / "s").level is Level.WARN
    path.write_text("")
    assert access.about_agent(agent).level is Level.FAIL
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        finding = access.about_agent(agent)
        assert finding.level is Level.WARN
        assert f"nobody answers at {path}: Connection refused" in finding.found
        server.listen()
        assert access.about_agent(agent).level is Level.OK
    assert access.about_socket(agent, tmp_path / ("x" * 108)).level is Level.FAIL


def test_an_agent_on_tcp_is_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cure in its own dialect."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        finding = access.about_agent(agent_at(address, "audiosocket"))
        assert finding.level is Level.WARN
        assert finding.cure.endswith(f"trunkline agent echo --listen {address} --dialect audiosocket")
        server.listen()
        assert access.about_agent(agent_at(address)).level is Level.OK

    def unknown_name(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    unknown = access.about_agent(agent_at("tcp:nowhere.invalid:9"))
    assert (unknown.level, unknown.found) == (Level.WARN, "nowhere.invalid has no address")


def test_an_agent_on_a_websocket_is_tried_and_its_certificate_with_it(tmp_path: Path) -> None:
    """What a call would find: nobody, plain TCP, a certificate that is good or not, and no TLS at all."""
    authority = Authority(tmp_path)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{server.getsockname()[1]}/media"
        finding = access.about_agent(agent_at(url, "twilio"))
        assert (finding.level, finding.cure) == (Level.WARN, "start your agent")
        server.listen()
        assert access.about_agent(agent_at(url, "twilio")).level is Level.OK
    with TwilioServer(certificate=authority.issue("a")) as agent:
        stranger = access.about_agent(agent_at(agent.url, "twilio"))
        assert stranger.level is Level.FAIL and "its authority is not one that is believed here" in stranger.found
        assert stranger.cure == "name the authority's certificate as `ca` of this agent"
        assert access.about_agent(agent_at(agent.url, "twilio"), str(authority.certificate)).level is Level.OK
        broken = access.about_agent(agent_at(agent.url, "twilio"), str(tmp_path / "none.pem"))
        assert broken.level is Level.FAIL and "none.pem cannot be used" in broken.found


def test_secrets_of_a_websockets_agent_are_looked_at(tmp_path: Path) -> None:
    """Password and headers as well as the token."""
    text = (
        '[[agent]]\nname = "a"\naddress = "ws://h/"\ndialect = "twilio"\nusername = "u"\n'
        'password_file = "pw"\nheaders_file = { X-Key = "key" }\n[[route]]\nname = "all"\nagent = "a"\n'
    )
    found = dict(access.secret_files(config_with(text)))
    assert found["password of agent a"] == "pw" and found["header X-Key of agent a"] == "key"


def test_this_machine_has_a_clock_and_answers_about_its_buffers() -> None:
    """Read from the real kernel: the answers differ, that there are answers does not."""
    assert machine.about_clock().name == "clock"
    assert {finding.name for finding in machine.about_buffers()} <= {"SIP buffer", "RTP buffers"}
    assert machine.available_memory_bytes() is None or machine.available_memory_bytes() > 0
    assert len(list(machine.about_time_of_day())) <= 1


def tls_config(pair: Pair, authority: Authority, more: str = "") -> Config:
    return config_with(
        f"[[sip.transport]]\nprotocol = 'tls'\ncertificate = '{pair.certificate}'\nkey = '{pair.key}'\n"
        f"ca = '{authority.certificate}'\n{more}"
    )


@pytest.mark.parametrize(
    ("names", "days", "more", "level", "said"),
    [
        (["127.0.0.1"], 100, "", Level.OK, "for 127.0.0.1, valid until"),
        (["127.0.0.1"], 5, "", Level.WARN, "(5 days)"),
        (["127.0.0.1"], -2, "", Level.FAIL, "has expired on"),
        (["sip.example.com"], 100, "", Level.WARN, "and not 127.0.0.1, which our Contact says"),
        (["sip.example.com"], 100, "bind = '0.0.0.0'", Level.OK, "sip.example.com"),
        (["sip.example.com"], 100, "advertise = 'SIP.example.com'", Level.OK, "sip.example.com"),
        (["*.example.com"], 100, "bind = '0.0.0.0'", Level.WARN, "SIP knows no wildcards"),
    ],
)
def test_a_certificate(
    tmp_path: Path, names: list[str], days: float, more: str, level: Level, said: str
) -> None:
    authority = Authority(tmp_path)
    found = list(certificates.examine(tls_config(authority.issue("a", names, days=days + 0.01), authority, more)))
    worst = max(found, key=lambda one: list(Level).index(one.level))
    assert worst.level is level and any(said in one.found for one in found), found


@pytest.mark.parametrize(("bind", "level"), [("0.0.0.0", Level.OK), ("::", Level.OK), ("::1", Level.WARN)])
def test_a_transport_on_all_addresses_names_none(tmp_path: Path, bind: str, level: Level) -> None:
    """What our Contact says depends on the way to the peer then: there is nothing to compare."""
    authority = Authority(tmp_path)
    pair = authority.issue("a", ["sip.example.com"])
    found = read(Files(pair.certificate, pair.key, authority.certificate))
    assert certificates.about_names(found, SipTransport(protocol="tls", bind=bind)).level is level


def test_a_certificate_and_a_key_that_do_not_belong_together(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, two = authority.issue("a"), authority.issue("b", password="s3cret-pass")
    mixed = Pair(one.certificate, two.key)
    locked = list(certificates.examine(tls_config(two, authority)))
    assert levels(locked) == [Level.FAIL] and "needs a password" in locked[0].found
    opened = tls_config(mixed, authority, "key_password_env = 'KEY_PASS'")
    found = list(certificates.examine(opened, {"KEY_PASS": "s3cret-pass"}))
    assert levels(found) == [Level.FAIL] and "is not the key of" in found[0].found
    assert "s3cret" not in str(found)
    two.key.chmod(0o644)
    files = dict(access.secret_files(opened))
    assert access.about_secret("TLS key", Path(files["TLS key"])).level is Level.WARN
    assert list(certificates.examine(Config())) == []


def test_an_agent_that_takes_no_calls_is_not_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens, and refuses the handshake; or speaks another dialect; or wants a token. One that greets is well."""

    def finding(text: str) -> Finding:
        agents = f'[[agent]]\nname = "echo"\n{text}\n[[route]]\nname = "all"\nagent = "echo"\n'
        return {found.name: found for found in access.examine(config_with(agents))}["agent echo"]

    with TwilioServer(check=lambda connection, request: connection.respond(403, "no")) as refusing:
        found = finding(f'address = "{refusing.url}"\ndialect = "twilio"')
        assert found.level is Level.FAIL and "HTTP 403 Forbidden" in found.found and "credentials" in found.cure
    with TwilioServer() as good:
        assert finding(f'address = "{good.url}"\ndialect = "twilio"').level is Level.OK
        assert finding(f'address = "tcp:127.0.0.1:{good.port}"').level is Level.FAIL
        wait_for(lambda: [one.closed for one in good.streams] == [(1000, "")], "the end of it")
    with AgentHost(f"unix:{tmp_path}/a.sock", token="s3cret") as agent:
        found = finding(f'address = "{agent.address}"')
        assert found.level is Level.FAIL and "token" in found.cure
        monkeypatch.setenv("TOKEN", "s3cret")
        assert finding(f'address = "{agent.address}"\ntoken_env = "TOKEN"').level is Level.OK
