# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts that do not fit together are errors; what is allowed but hardly meant is a warning."""

from __future__ import annotations

import pytest

from trunkline.gateway.config import ConfigError, parse
from trunkline.gateway.config.checks import unverified_hop

AGENT = "[[agent]]\nname = 'echo'\naddress = 'tcp:localhost:9000'\n"
TRUNK = "[[trunk]]\nname = 'pbx'\nmatch = ['192.0.2.1']\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            AGENT + "[[route]]\nname = 'r'\nagent = 'ecko'",
            "no agent is named 'ecko'; did you mean 'echo'? there are: echo",
        ),
        ("[[route]]\nname = 'r'\nagent = 'x'", "no agent is named 'x'; there is no [[agent]] at all"),
        (
            "[[sip.transport]]\nbind = '::1'",
            "::1 is IPv6, media.bind (0.0.0.0) is IPv4; one gateway speaks one of them, and two gateways speak both",
        ),
        (
            "[[sip.transport]]\nbind = '::'\n[media]\nbind = '::'\nadvertise = '192.0.2.1'",
            "192.0.2.1 is of another family than media.bind, ::",
        ),
        (
            AGENT + "[[route]]\nname = 'r'\nagent = 'echo'\nrefuse = 404",
            "needs either agent or refuse, and has both",
        ),
        (AGENT + "[[route]]\nname = 'r'\nagent = 'echo'\nreason = 'No'", "goes with refuse = CODE only"),
        ("[[route]]\nname = 'r'\nrefuse = 404\nheader = { X-A = 'a', x-a = 'b' }", "names one header twice"),
        (AGENT + AGENT, "'echo' is already the name of agent[0]"),
        ("[[trunk]]\nname = 'pbx'", "no call can come from 'pbx' or go to it"),
        ("[media]\njitter_min_ms = 300", "300 ms at least, but jitter_max_ms is 200"),
        ("[media.opus]\nbitrate_bps = 500", "500 is too little for Opus; 6000 at least, or 0"),
        ("[media]\nport_range = [20000, 20000]", "the first port must be less than the last"),
        ("[media]\nport_range = [20001, 20010]", "RTP takes even ports (RFC 3550 11), so write 20002"),
        ("[media]\nport_range = [5000, 6000]", "5060 lies in media.port_range"),
        ("[api]\nbind = '0.0.0.0'", "a token of your own is needed: write api.token_env"),
        ("[api]\nbind = '::'", "a token of your own is needed"),
        ("[api]\ntoken_env = 'A'\ntoken_file = 'b'", "keep one of them"),
        (AGENT + "token_env = 'A'\ntoken_file = 'b'", "keep one of them"),
        (AGENT + "dialect = 'audiosocket'\ntoken_file = 'b'", "AudioSocket has no place for a token"),
        (
            AGENT.replace("tcp:localhost:9000", "ws://localhost/s") + "dialect = 'telnyx'\nsample_rate_hz = 16000",
            "PCMU is of 8000 Hz, not 16000: choose the encoding L16",
        ),
        (TRUNK + "[trunk.register]\nserver = 'sip:x'\nusername = ''", "must not be empty"),
        (TRUNK + "host = 'x'\ntransport = 'tcp'", "no SIP transport speaks tcp; add [[sip.transport]]"),
        ("[[sip.transport]]\n[[sip.transport]]", "udp on 127.0.0.1:5060 is there already"),
        (
            TRUNK + "srtp = 'required'",
            'its keys would travel by udp, where they can be read: set transport = "tls"',
        ),
        (
            TRUNK + "transport = 'tls'\nsrtp = 'required'\noutbound_proxy = 'sip:edge;transport=udp'",
            "its keys would travel by udp, where they can be read: outbound_proxy asks for that",
        ),
        (TRUNK + "srtp = 'optional'", 'srtp_keys = "dtls", or srtp_without_tls = true if nobody can listen there'),
        (TRUNK + "srtp_keys = 'dtls'", 'goes with srtp = "optional" or "required" only'),
        (TRUNK + "srtp_suites = ['AEAD_AES_128_GCM']", 'goes with srtp = "optional" or "required" only'),
        (TRUNK + "srtp = 'optional'\nsrtp_suites = ['F8']", "AEAD_AES_256_GCM"),
        ("[sip]\nmax_calls = 10", "10 is less than limits.max_calls (1000)"),
    ],
)
def test_what_does_not_fit_together_is_refused(text: str, expected: str) -> None:
    """Found when the file is read, not by the first call."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize("key", ["token_env = 'T'", "token_file = '/t'"])
def test_the_api_may_be_reached_from_outside_with_a_named_token(key: str) -> None:
    """The cure that the error names does cure."""
    assert parse(f"[api]\nbind = '0.0.0.0'\n{key}").api.bind == "0.0.0.0"
    assert parse("[api]\nbind = '0.0.0.0'\nenabled = false").api.enabled is False


@pytest.mark.parametrize(
    ("routes", "unreachable"),
    [
        ([("a", "", "*"), ("b", "", "6*")], ["'b' is never reached: 'a' takes all calls"]),
        (
            [("a", "pbx", "*"), ("b", "pbx", "6*")],
            ["'b' is never reached: 'a' takes all calls of trunk 'pbx'"],
        ),
        ([("a", "pbx", "*"), ("b", "", "6*")], []),
        ([("a", "", "6*"), ("b", "", "*")], []),
        ([("a", "", "re:.*"), ("b", "pbx", "*")], ["'b' is never reached: 'a' takes all calls"]),
    ],
)
def test_a_route_that_no_call_can_reach_is_warned_of(
    routes: list[tuple[str, str, str]], unreachable: list[str]
) -> None:
    """Only what is certain: the first takes all that the second could."""
    text = TRUNK
    for name, trunk, called in routes:
        text += f"[[route]]\nname = '{name}'\ncalled = '{called}'\nrefuse = 404\n"
        text += f"trunk = '{trunk}'\n" if trunk else ""
    warnings = parse(text).warnings
    assert len(warnings) == len(unreachable)
    for warning, expected in zip(warnings, unreachable, strict=True):
        assert expected in warning


def test_a_port_range_with_less_room_than_calls_is_warned_of() -> None:
    """It works until the ports run out, so it is no error."""
    (warning,) = parse(
        TRUNK + "[[route]]\nname = 'r'\nrefuse = 404\n[media]\nport_range = [20000, 20099]"
    ).warnings
    assert "has room for 50 calls (two ports each), limits.max_calls allows 1000" in warning


def test_two_trunks_with_one_address_are_warned_of() -> None:
    """The second would get no call from there, and nobody would see why."""
    text = TRUNK + TRUNK.replace("pbx", "other") + "[[route]]\nname = 'r'\nrefuse = 404\n"
    (warning,) = parse(text, "t.toml").warnings
    assert (
        warning
        == "t.toml:4: trunk[1]: calls from 192.0.2.1 are taken for trunk 'pbx', which matches it as well"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("match = ['192.0.2.1']", "match = ['192.0.2.1/32']"),
        ("match = ['192.0.2.1']", "[trunk.register]\nserver = 'sip:u@192.0.2.1:5070'\n{}"),
        (
            "[trunk.register]\nserver = 'sip:pbx.example'\n{}",
            "[trunk.register]\nserver = 'sip:PBX.example:5070'\n{}",
        ),
    ],
)
def test_one_address_is_one_however_it_is_written(first: str, second: str) -> None:
    """And a registrar's calls come from the registrar, not from the `host` that ours go to."""
    login = "username = 'u'\npassword_env = 'P'"
    text = "".join(
        f"[[trunk]]\nname = '{name}'\nhost = '{name}.example'\n{keys.format(login)}\n"
        for name, keys in (("a", first), ("b", second))
    )
    (warning,) = parse(text + "[[route]]\nname = 'r'\nrefuse = 404\n").warnings
    assert "are taken for trunk 'a', which matches it as well" in warning


def test_one_host_for_calls_of_ours_is_no_doubt() -> None:
    """Two trunks may send their calls to one place, and be known by different registrars."""
    text = "".join(
        f"[[trunk]]\nname = '{name}'\nhost = 'proxy.example'\n[trunk.register]\nserver = 'sip:{name}.example'\n"
        "username = 'u'\npassword_env = 'P'\n"
        for name in ("a", "b")
    )
    assert parse(text + "[[route]]\nname = 'r'\nrefuse = 404\n").warnings == []


def test_trunks_without_routes_are_warned_of() -> None:
    """All their calls would get 404."""
    assert "every inbound call gets 404" in parse(TRUNK).warnings[0]


def test_a_registration_without_a_password_is_warned_of() -> None:
    """Some peers register by address alone, so it is allowed."""
    text = (
        TRUNK
        + "[trunk.register]\nserver = 'sip:x'\nusername = 'u'\n{}\n[[route]]\nname = 'r'\nrefuse = 404\n"
    )
    (warning,) = parse(text.format("")).warnings
    assert "trunk[0].register: no password_env or password_file" in warning
    assert parse(text.format("password_env = 'P'")).warnings == []


TLS = "[[sip.transport]]\nprotocol = 'tls'\ncertificate = 'c'\nkey = 'k'\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[sip.transport]]\nprotocol = 'tls'", "TLS needs it: name a file in PEM form"),
        ("[[sip.transport]]\nca = 'x'", 'goes with protocol = "tls" only'),
        (TLS + TLS.replace("'c'", "'d'") + "port = 5062", "there is a TLS transport already"),
        (TLS + "[[sip.transport]]\nprotocol = 'tcp'\nport = 5061", "tls on 127.0.0.1 has port 5061 already"),
        ("[[sip.transport]]\nprotocol = 'tcp'\nbind = '0.0.0.0'\n" + TLS + "port = 5060", "TLS comes by TCP: move one"),
        (TLS + "bind = '::1'\n[media]\nbind = '::1'", "::1 is IPv6, which our TLS does not speak"),
        (TLS + "client_certificates = 'required'", "needs `ca`"),
        (TLS + "key_password_env = 'A'\nkey_password_file = 'b'", "keep one of them"),
        (TLS + "min_version = '1.1'", "allowed: `1.2` or `1.3`"),
        (TRUNK + "host = 'x'\ntransport = 'tls'", "no SIP transport speaks tls; add [[sip.transport]]"),
        (TRUNK + "match_certificate = ['pbx.example.com']", "needs a TLS transport with client_certificates"),
        (TLS + TRUNK + "match_certificate = ['pbx.example.com']", "needs a TLS transport with client_certificates"),
        (TLS + TRUNK + "match_certificate = ['a b']", "a name or address as in a certificate is needed"),
        (TLS + TRUNK + "verify_certificate = false", 'goes with transport = "tls" only'),
        (TLS + TRUNK + "transport = 'tls'\nverify_certificate = false", "this trunk names none: leave it out"),
        (
            TLS + TRUNK + "host = 'pbx.example.com'\ntransport = 'tls'\nverify_certificate = false",
            "must then be an address, not a name",
        ),
        (
            TLS + TRUNK + "host = '192.0.2.1'\noutbound_proxy = 'sip:proxy.example.com;lr'\ntransport = 'tls'\n"
            "verify_certificate = false",
            "must then be an address, not a name",
        ),
    ],
)
def test_what_does_not_fit_together_with_tls(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert expected in str(error.value)


def test_a_port_of_udp_and_tls_are_two_and_so_are_addresses() -> None:
    udp = "[[sip.transport]]\nport = 5061\n"
    tcp = "[[sip.transport]]\nprotocol = 'tcp'\nbind = '127.0.0.2'\nport = 5061\n"
    assert len(parse(TLS + udp + tcp).sip.transports) == 3


@pytest.mark.parametrize(
    ("trunk", "hop"),
    [
        ("host = '192.0.2.1'", "192.0.2.1:5061"),
        ("host = '192.0.2.1:5071'", "192.0.2.1:5071"),
        ("host = 'x.example'\noutbound_proxy = 'sips:u@192.0.2.9:5071;lr'", "192.0.2.9:5071"),
    ],
)
def test_the_hop_that_is_not_verified(trunk: str, hop: str) -> None:
    config = parse(TLS + TRUNK + trunk + "\ntransport = 'tls'\nverify_certificate = false")
    assert unverified_hop(config.trunks[0]) == hop
    assert config.tls is not None and config.tls.port == 5061
    config = parse(TLS + TRUNK + trunk + "\ntransport = 'tls'")
    assert unverified_hop(config.trunks[0]) == ""


@pytest.mark.parametrize(
    ("clients", "trunk", "warned"),
    [
        ("", "host = '192.0.2.10'\ntransport = 'tls'", "192.0.2.10:5061"),
        ("client_certificates = 'optional'\nca = 'a'", "host = '192.0.2.10:99'\ntransport = 'tls'", "192.0.2.10:99"),
        ("", "host = 'pbx.example.com'\noutbound_proxy = 'sip:192.0.2.9;transport=tls'", "192.0.2.9:5061"),
        ("client_certificates = 'required'\nca = 'a'", "host = '192.0.2.10'\ntransport = 'tls'", ""),
        ("", "host = 'pbx.example.com'\ntransport = 'tls'", ""),
        ("", "host = '192.0.2.10'", ""),
        ("", "host = '192.0.2.10'\ntransport = 'tls'\noutbound_proxy = 'sip:192.0.2.9;transport=udp'", ""),
        ("", "host = '192.0.2.10'\ntransport = 'tls'\nverify_certificate = false", ""),
        ("", "transport = 'tls'", ""),
    ],
)
def test_a_connection_of_the_peers_may_be_used_for_calls_to_it(clients: str, trunk: str, warned: str) -> None:
    """PJSIP does so, whoever that is: told where nobody has to show a certificate, and an address is called."""
    routes = "[[route]]\nname = 'r'\nrefuse = 404\n"
    udp = "[[sip.transport]]\n"
    warnings = parse(f"{udp}{TLS}{clients}\n{TRUNK}{trunk}\n{routes}").warnings
    assert len(warnings) == bool(warned)
    assert all(f"whoever connects to us from {warned}, port and all" in one for one in warnings)
