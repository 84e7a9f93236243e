# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile SDP: any text gives a description or SdpSyntaxError, an answer or NegotiationError.

FUZZ_SCALE=100 tries a hundred times as much as usual.  What the examples are is drawn anew in each run; what has
failed once is tried first (.hypothesis).
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp import opus_fmtp
from trunkline.rtp import sdp_attributes as attributes
from trunkline.rtp.negotiation import MediaDescription, NegotiationError, Session
from trunkline.rtp.payload import AUDIO_FORMATS, PACKET_TIMES_MS, TELEPHONE_EVENTS
from trunkline.rtp.sdes import SUITES, CryptoError, new_key, parse_crypto, write_crypto
from trunkline.rtp.sdp import Connection, Media, Origin, SdpSyntaxError, SessionDescription

SCALE = int(os.environ.get("FUZZ_SCALE", "1"))

SAMPLES = [
    path.read_text() for path in sorted((Path(__file__).parent.parent / "vectors" / "sdp").glob("*.sdp"))
]
WORDS = ["0", "8", "101", "65535", "65536", "-1", "IN", "IP4", "IP6", "192.0.2.1", "::", "0.0.0.0", "RTP/AVP"]
WORDS += [
    "audio",
    "sendonly",
    "rtpmap:",
    "fmtp:",
    "ptime:",
    "rtcp:",
    "PCMU/8000",
    "crypto:",
    "RTP/SAVP",
    "opus/48000/2",
    "telephone-event/48000",
    "maxptime:",
    "99999999999",
    "\u0663",
    "\x85",
]
LETTERS = "vosiuepcbtrzkamxA1"


@st.composite
def lines(draw: st.DrawFn) -> str:
    """Bodies made of lines that look right and words that need not be."""
    out = ["v=0"]
    for _ in range(draw(st.integers(0, 12))):
        value = " ".join(draw(st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=7)))
        out.append(f"{draw(st.sampled_from(LETTERS))}={value}")
    return draw(st.sampled_from(["\r\n", "\n", "\r"])).join(out)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Real offers with words exchanged, lines dropped or doubled, and characters changed."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    body = rng.choice(SAMPLES).split("\n")
    for _ in range(draw(st.integers(1, 6))):
        at = rng.randrange(len(body))
        line = body[at]
        match rng.randrange(5):
            case 0:
                body.insert(at, body[rng.randrange(len(body))])
            case 1 if len(body) > 1:
                del body[at]
            case 2 if line:
                cut = rng.randrange(len(line))
                body[at] = line[:cut] + chr(rng.choice([0, 9, 32, 61, 0x85, 0x2028, 0xFF])) + line[cut + 1 :]
            case 3:
                words = line.split(" ")
                words[rng.randrange(len(words))] = rng.choice(WORDS)
                body[at] = " ".join(words)
            case _:
                body[at] = line + rng.choice(WORDS)
    return "\n".join(body)


ANYTHING = st.text(max_size=200) | lines() | mutated()


@settings(max_examples=400 * SCALE, deadline=None)
@given(ANYTHING)
def test_parser_gives_a_description_or_one_exception(text: str) -> None:
    """And what was read comes back equal after writing; attributes can be asked for anything."""
    try:
        description = SessionDescription.parse(text)
    except SdpSyntaxError as caught:
        error = caught
    else:
        error = None
    if error is not None:
        assert 1 <= error.line <= text.count("\n") + text.count("\r") + 1
        return
    assert SessionDescription.parse(str(description)) == description
    for media in description.media:
        assert 0 <= media.port <= 65535
        assert all(0 <= number <= 999 for number in attributes.rtpmaps(media))
        attributes.format_parameters(media)
        assert attributes.direction(media, description) in attributes.DIRECTIONS
        rtcp = attributes.rtcp(media)
        assert rtcp is None or 0 < rtcp[0] < 65536
        assert (attributes.ptime_ms(media) or 0) >= 0
        for parameters in attributes.format_parameters(media).values():
            assert attributes.events(parameters) <= set(range(256))


@st.composite
def offers(draw: st.DrawFn) -> str:
    """SDP that is mostly right: any codecs, numbers, profiles, keys, directions and packet times, in any mixture."""
    numbers = draw(st.lists(st.sampled_from([0, 8, 9, 11, 13, 18, *range(96, 128)]), max_size=8))
    maps = [
        f"a=rtpmap:{n} {draw(st.sampled_from(RTPMAPS))}" for n in numbers if n >= 96 or draw(st.booleans())
    ]
    lines = [*maps, *draw(st.lists(st.sampled_from(LINES) | crypto_lines(), max_size=6))]
    profile = draw(st.sampled_from(["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"]))
    media = f"m=audio {draw(st.sampled_from([0, 9, 4000, 65535]))} {profile} {' '.join(map(str, numbers))}"
    other = draw(st.sampled_from(["", "m=video 5000 RTP/AVP 31", "m=audio 6000 RTP/AVP 0 8"]))
    body = [media, *lines, other] if draw(st.booleans()) else [other, media, *lines]
    host = draw(st.sampled_from(["192.0.2.1", "0.0.0.0", "192.0.2.9"]))
    head = ["v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"]
    return "\r\n".join(line for line in (*head, *body) if line) + "\r\n"


RTPMAPS = [one.rtpmap for one in (*AUDIO_FORMATS.values(), *TELEPHONE_EVENTS.values())]
RTPMAPS += ["CN/8000", "CN/16000", "G722/16000", "opus/48000", "iLBC/8000", "L16/44100/2", "x", "PCMU/8000/0"]
LINES = [
    *(f"a={one}" for one in attributes.DIRECTIONS),
    "a=rtcp-mux",
    "a=rtcp-rsize",
    "a=rtcp:9 IN IP4 0.0.0.0",
]
LINES += [
    "a=ptime:10",
    "a=ptime:0",
    "a=ptime:999999",
    "a=maxptime:5",
    "a=maxptime:60",
    "a=minptime:30",
    "a=crypto:",
]
LINES += [
    "a=fmtp:101 0-16",
    "a=fmtp:111 minptime=40;maxaveragebitrate=6000",
    "a=ice-ufrag:x",
    "a=rtcp-xr:rcvr-rtt",
]


@st.composite
def crypto_lines(draw: st.DrawFn) -> str:
    """Keys: right ones, and some with a change."""
    suite = draw(st.sampled_from(list(SUITES)))
    value = write_crypto(draw(st.integers(1, 4)), new_key(suite))
    value += draw(
        st.sampled_from(
            ["", "", "", " KDR=1", " WSH=64", "|2^31", "|1:4", "|2^20|1:4", "=", "|", ";inline:x"]
        )
    )
    cut = draw(st.integers(0, 60)) if draw(st.booleans()) else len(value)
    return f"a=crypto:{value[:cut]}"


def session(draw_use: str, codecs: list[str]) -> Session:
    """One that knows all codecs and suites."""
    return Session(
        codecs, local_host="198.51.100.1", rtp_port=30000, rtcp_port=30001, session_id=1, srtp=draw_use,
        offer_noise=len(codecs) % 2 == 0,
    )  # type: ignore[arg-type]  # fmt: skip


def assert_sound(agreed: MediaDescription, use: str) -> None:
    """What a media worker may rely on."""
    assert 0 < agreed.remote_port < 65536
    assert 0 <= agreed.remote_rtcp_port < 65536
    codec = AUDIO_FORMATS[agreed.codec]
    assert agreed.ptime_ms in codec.packet_times_ms and agreed.ptime_ms in PACKET_TIMES_MS
    numbers = [agreed.send_pt, agreed.receive_pt]
    assert all(0 <= number <= 127 for number in numbers)
    beside = [agreed.send_dtmf_pt, agreed.receive_dtmf_pt, agreed.send_cn_pt, agreed.receive_cn_pt]
    assert all(-1 <= number <= 127 for number in beside)
    assert agreed.receive_pt not in (agreed.receive_dtmf_pt, agreed.receive_cn_pt), "one number, two meanings"
    assert agreed.dtmf_clock_hz in (codec.clock_hz, 8000)
    assert (agreed.send_key is None) == (agreed.receive_key is None)
    if agreed.send_key is not None and agreed.receive_key is not None:
        assert agreed.send_key.suite == agreed.receive_key.suite
        assert agreed.send_key.master != agreed.receive_key.master
    assert (agreed.send_key is None or use != "off") and (agreed.send_key is not None or use != "required")


STEP = st.tuples(st.sampled_from(["answer", "accepted", "offer", "hold", "echo"]), offers() | ANYTHING)


@settings(max_examples=400 * SCALE, deadline=None)
@given(
    st.sampled_from(["off", "optional", "required"]),
    st.lists(st.sampled_from(list(AUDIO_FORMATS)), min_size=1, max_size=7, unique=True),
    st.lists(STEP, max_size=6),
)
def test_negotiation_gives_usable_media_or_one_exception(
    use: str, codecs: list[str], steps: list[tuple[str, str]]
) -> None:
    """Any order of exchanges with any text: descriptions stay sound, and answers are SDP of our own."""
    ours = session(use, codecs)
    for step, text in steps:
        before = ours.description()
        error = None
        try:
            if step == "answer":
                written = SessionDescription.parse(ours.answer(text))
                assert len(written.media) == len(SessionDescription.parse(text).media)
                assert sum(media.port > 0 for media in written.media) == 1
            elif step == "accepted":
                ours.accepted(text)
            elif step == "offer":
                assert "m=audio 30000 " in ours.offer()
            elif step == "echo":  # a peer that answers our offer with all of it, or that we call ourselves
                ours.accepted(ours.offer())
            else:
                ours.hold(not ours.on_hold)
        except NegotiationError as caught:
            error = caught
        if error is not None:
            assert error.code in (400, 488)
            assert str(error).isprintable()
            assert ours.description() == before
        agreed = ours.description()
        if agreed is not None and step != "echo":
            assert_sound(agreed, use)
        if step == "echo":
            return
    with contextlib.suppress(NegotiationError):
        ours.answer(SAMPLES[0])


@settings(max_examples=200 * SCALE, deadline=None)
@given(
    st.sampled_from(
        [("off", "off"), ("optional", "off"), ("optional", "optional"), ("required", "required")]
    ),
    st.lists(st.sampled_from(list(AUDIO_FORMATS)), min_size=1, max_size=7, unique=True),
    st.lists(st.sampled_from(list(AUDIO_FORMATS)), min_size=1, max_size=7, unique=True),
    st.lists(st.sampled_from(["a", "b", "hold a", "hold b"]), max_size=6),
)
def test_two_of_us_always_agree(
    use: tuple[str, str], ours: list[str], theirs: list[str], steps: list[str]
) -> None:
    """Offers from either side: what one sends, the other expects; with no codec in common both stay as they were."""
    sides = {"a": session(use[0], ours), "b": session(use[1], theirs)}
    for step in ["a", *steps]:
        if step.startswith("hold"):
            one = sides[step[-1]]
            one.hold(not one.on_hold)
            continue
        caller, called = sides[step], sides["b" if step == "a" else "a"]
        offer = caller.offer()
        if not set(ours) & set(theirs):
            with contextlib.suppress(NegotiationError):
                called.answer(offer)
                raise AssertionError("agreed on nothing")
            return
        caller.accepted(called.answer(offer))
        a, b = caller.description(), called.description()
        assert a is not None and b is not None
        assert a.codec == b.codec
        assert (a.send_pt, a.receive_pt) == (b.receive_pt, b.send_pt)
        assert (a.send_dtmf_pt, a.receive_dtmf_pt) == (b.receive_dtmf_pt, b.send_dtmf_pt)
        assert (a.send_cn_pt, a.receive_cn_pt) == (b.receive_cn_pt, b.send_cn_pt)
        assert (a.send, a.receive) == (b.receive, b.send)
        assert (a.send_key, a.receive_key) == (b.receive_key, b.send_key)
        assert (a.send_fmtp, a.receive_fmtp) == (b.receive_fmtp, b.send_fmtp)
        assert (a.send_key is not None) == (use[1] != "off")
        for side in (a, b):
            assert side.ptime_ms in AUDIO_FORMATS[side.codec].packet_times_ms


@settings(max_examples=400 * SCALE, deadline=None)
@given(crypto_lines() | st.text(max_size=80).map("a=crypto:{}".format))
def test_keys_are_read_or_refused_and_never_shown(line: str) -> None:
    """And what was read is written so that it is read again."""
    value = line.removeprefix("a=crypto:")
    try:
        crypto = parse_crypto(value)
    except CryptoError as error:
        keys = re.findall(r"inline:([A-Za-z0-9+/]{16,})", value)
        assert not any(key[:16] in str(error) for key in keys)
        assert str(error).isprintable()
        return
    assert parse_crypto(write_crypto(crypto.tag, crypto.key)).key == crypto.key
    assert base64.b64encode(crypto.key.master).decode() not in repr(crypto)


FMTP = st.lists(
    st.tuples(
        st.sampled_from(
            ["stereo", "cbr", "MAXPLAYBACKRATE", "maxaveragebitrate", "usedtx", "minptime", "x", ""]
        ),
        st.sampled_from(["0", "1", "8000", "48000", "510001", "-1", "\u0663", ""]) | st.text(max_size=4),
    ),
    max_size=6,
).map(lambda pairs: "; ".join("=".join(pair) for pair in pairs))


@settings(max_examples=400 * SCALE, deadline=None)
@given(FMTP | st.text(max_size=80))
def test_parameters_of_opus_are_read_whatever_they_are(text: str) -> None:
    """What is understood stays the same when we write it."""
    read = opus_fmtp.parse(text)
    assert opus_fmtp.parse(opus_fmtp.write(read)) == read
    assert 8000 <= read.bandwidth_hz <= 48000


TOKEN = st.text(st.sampled_from("aZ09-._!~*"), min_size=1, max_size=8)
VALUE = st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
ATTRIBUTES = st.lists(st.tuples(TOKEN, VALUE), max_size=5)
PLACE = st.none() | st.builds(Connection, st.sampled_from(["IP4", "IP6"]), TOKEN)


@settings(max_examples=200 * SCALE, deadline=None)
@given(
    st.builds(
        SessionDescription,
        origin=st.none() | st.builds(Origin, TOKEN, TOKEN, TOKEN, st.just("IP4"), TOKEN),
        name=st.none() | TOKEN,
        connection=PLACE,
        attributes=ATTRIBUTES,
        lines=st.just([("t", "0 0")]),
        media=st.lists(
            st.builds(
                Media,
                kind=TOKEN,
                port=st.integers(0, 65535),
                port_count=st.integers(1, 9),
                profile=TOKEN,
                formats=st.lists(TOKEN, max_size=4),
                connection=PLACE,
                attributes=ATTRIBUTES,
            ),
            max_size=3,
        ),
    )
)
def test_what_is_built_is_read_as_it_was(description: SessionDescription) -> None:
    """Builder and parser are each other's inverse."""
    assert SessionDescription.parse(str(description)) == description
