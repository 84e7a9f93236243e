# SPDX-License-Identifier: GPL-2.0-or-later
"""Codecs beyond G.711: their numbers, spellings, parameters, packet times and companions."""

from __future__ import annotations

import pytest

from trunkline.rtp.negotiation import MediaDescription, NegotiationError, Session
from trunkline.rtp.sdp import SessionDescription

ALL = ["OPUS", "G722", "PCMU", "L16/16000", "L16/8000"]


def session(codecs: list[str], **options: object) -> Session:
    """A session at 198.51.100.1:30000."""
    given = {"local_host": "198.51.100.1", "rtp_port": 30000, "rtcp_port": 30001, "session_id": 7}
    return Session(codecs, **(given | options))  # type: ignore[arg-type]


def peer(numbers: str, *lines: str) -> str:
    """An offer or answer of the peer."""
    head = ("v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0")
    return "".join(f"{line}\r\n" for line in (*head, f"m=audio 4000 RTP/AVP {numbers}", *lines))


def now(ours: Session) -> MediaDescription:
    """What holds."""
    description = ours.description()
    assert description is not None
    return description


def audio(text: str) -> list[str]:
    """The m-line of our audio, and all below it."""
    lines = text.split("\r\n")
    return lines[next(i for i, line in enumerate(lines) if line.startswith("m=")) : -1]


def test_an_offer_of_everything() -> None:
    """Dynamic numbers, telephone-event once for each clock, parameters of Opus, and a packet time for all."""
    assert audio(session(ALL, ptime_ms=30).offer()) == [
        "m=audio 30000 RTP/AVP 96 9 0 97 98 99 101 100",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:97 L16/16000",
        "a=rtpmap:98 L16/8000",
        "a=rtpmap:99 telephone-event/48000",
        "a=fmtp:99 0-15",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=rtpmap:100 telephone-event/16000",
        "a=fmtp:100 0-15",
        "a=ptime:20",
        "a=maxptime:40",
        "a=sendrecv",
        "a=rtcp-xr:rcvr-rtt=all voip-metrics",
    ]


def test_noise_is_offered_once_for_each_clock_that_has_it() -> None:
    """8 and 16 kHz, not beside G.722 or Opus."""
    text = session(ALL, offer_noise=True).offer()
    assert [line for line in audio(text) if " CN/" in line] == ["a=rtpmap:13 CN/8000", "a=rtpmap:99 CN/16000"]
    assert "CN/" not in session(["OPUS", "G722"], offer_noise=True).offer()


@pytest.mark.parametrize(
    ("numbers", "lines", "codec", "pt", "answered"),
    [
        ("9", [], "G722", 9, "9 G722/8000"),
        ("9", ["a=rtpmap:9 G722/8000/1"], "G722", 9, "9 G722/8000"),
        ("109", ["a=rtpmap:109 g722/8000"], "G722", 109, "109 G722/8000"),
        ("109", ["a=rtpmap:109 G722/16000"], "G722", 109, "109 G722/16000"),
        ("111", ["a=rtpmap:111 opus/48000/2"], "OPUS", 111, "111 opus/48000/2"),
        ("111", ["a=rtpmap:111 OPUS/48000/2"], "OPUS", 111, "111 opus/48000/2"),
        ("111", ["a=rtpmap:111 opus/48000"], "OPUS", 111, "111 opus/48000"),
        ("118", ["a=rtpmap:118 L16/16000"], "L16/16000", 118, "118 L16/16000"),
        ("118", ["a=rtpmap:118 L16/8000/1"], "L16/8000", 118, "118 L16/8000"),
        ("11", [], "L16/44100", 11, "11 L16/44100"),
        ("120", ["a=rtpmap:120 L16/44100/1"], "L16/44100", 120, "120 L16/44100"),
    ],
)
def test_numbers_and_spellings_of_offers(
    numbers: str, lines: list[str], codec: str, pt: int, answered: str
) -> None:
    """The peer's number, both ways; its clock and channels, even where it has them wrong."""
    ours = session([*ALL, "L16/44100"])
    text = ours.answer(peer(numbers, *lines))
    assert (now(ours).codec, now(ours).send_pt, now(ours).receive_pt) == (codec, pt, pt)
    assert f"a=rtpmap:{answered}\r\n" in text
    assert now(ours).dtmf_clock_hz == {"OPUS": 48000, "L16/16000": 16000, "L16/44100": 44100}.get(codec, 8000)


@pytest.mark.parametrize(
    ("numbers", "lines", "offers"),
    [
        ("10", [], "L16/44100/2"),
        ("118", ["a=rtpmap:118 L16/16000/2"], "L16/16000/2"),
        ("118", ["a=rtpmap:118 L16/48000"], "L16/48000"),
        ("111", ["a=rtpmap:111 opus/16000/1"], "OPUS/16000"),
        ("109", ["a=rtpmap:109 G722-1/16000"], "G722-1/16000"),
    ],
)
def test_what_only_looks_like_one_of_ours(numbers: str, lines: list[str], offers: str) -> None:
    """Stereo L16 and other clocks are refused by name."""
    with pytest.raises(NegotiationError, match=f"offers {offers}; taken are OPUS, G722, PCMU, L16/16000"):
        session([*ALL, "L16/44100"]).answer(peer(numbers, *lines))


OPUS = ("a=rtpmap:111 opus/48000/2",)


@pytest.mark.parametrize(
    ("lines", "number", "clock_hz"),
    [
        (["a=rtpmap:110 telephone-event/48000", "a=rtpmap:101 telephone-event/8000"], 110, 48000),
        (["a=rtpmap:101 telephone-event/8000", "a=rtpmap:110 telephone-event/48000"], 110, 48000),
        (["a=rtpmap:101 telephone-event/8000"], 101, 8000),
        (["a=rtpmap:101 telephone-event/16000"], -1, 48000),
        ([], -1, 48000),
    ],
)
def test_keys_beside_opus(lines: list[str], number: int, clock_hz: int) -> None:
    """Of the clock of Opus; else of 8000 Hz, which is what many peers have for all their codecs."""
    ours = session(ALL)
    numbers = " ".join(line.partition(":")[2].split()[0] for line in (*OPUS, *lines))
    text = ours.answer(peer(numbers, *OPUS, *lines))
    assert (now(ours).send_dtmf_pt, now(ours).receive_dtmf_pt) == (number, number)
    assert now(ours).dtmf_clock_hz == clock_hz
    assert text.count("telephone-event") == (1 if number >= 0 else 0)
    if number >= 0:
        assert f"a=rtpmap:{number} telephone-event/{clock_hz}\r\n" in text


@pytest.mark.parametrize(
    ("numbers", "lines", "send", "receive", "clock_hz"),
    [
        ("120 121 122", ["a=rtpmap:121 telephone-event/8000", "a=rtpmap:122 telephone-event/48000"], 122, 97, 48000),
        ("120 121", ["a=rtpmap:121 telephone-event/8000"], 121, 101, 8000),
        ("120", [], -1, -1, 48000),
    ],
)  # fmt: skip
def test_keys_of_an_answer_with_numbers_of_its_own(
    numbers: str, lines: list[str], send: int, receive: int, clock_hz: int
) -> None:
    """The peer's numbers to send, ours to receive, speech and keys alike (RFC 3264 5.1)."""
    ours = session(["OPUS", "PCMU"])
    assert audio(ours.offer())[0] == "m=audio 30000 RTP/AVP 96 0 97 101"
    ours.accepted(peer(numbers, "a=rtpmap:120 opus/48000/2", *lines))
    assert (now(ours).codec, now(ours).send_pt, now(ours).receive_pt) == ("OPUS", 120, 96)
    assert (now(ours).send_dtmf_pt, now(ours).receive_dtmf_pt) == (send, receive)
    assert now(ours).dtmf_clock_hz == clock_hz


def test_an_answer_without_rtpmaps_means_our_numbers() -> None:
    """Dynamic ones, too."""
    ours = session(ALL)
    ours.offer()
    ours.accepted(peer("97 100"))
    assert (now(ours).codec, now(ours).send_pt, now(ours).send_dtmf_pt) == ("L16/16000", 97, 100)
    assert now(ours).dtmf_clock_hz == 16000


def test_a_number_that_we_offered_means_what_we_offered() -> None:
    """Also where it is a static one for other people: our 96 to 127 are never that, but an answer's 0 is PCMU."""
    ours = session(["G722", "PCMU"])
    ours.offer()
    ours.accepted(peer("0 9"))
    assert now(ours).codec == "PCMU"


@pytest.mark.parametrize(
    ("rate_hz", "receive"),
    [
        (8000, "maxplaybackrate=8000;sprop-maxcapturerate=8000;useinbandfec=1"),
        (16000, "maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1"),
        (48000, "useinbandfec=1"),
    ],
)
def test_parameters_of_opus(rate_hz: int, receive: str) -> None:
    """Each side states its own (RFC 7587 7.1): ours follow the agent's rate, the peer's are handed on as they are."""
    theirs = "minptime=10;maxaveragebitrate=20000; stereo=1"
    ours = session(["OPUS"], opus_rate_hz=rate_hz)
    text = ours.answer(peer("111", *OPUS, f"a=fmtp:111 {theirs}"))
    assert f"a=fmtp:111 {receive}\r\n" in text and theirs not in text
    assert (now(ours).send_fmtp, now(ours).receive_fmtp) == (theirs, receive)
    ours.answer(peer("111", *OPUS))
    assert (now(ours).send_fmtp, now(ours).receive_fmtp) == ("", receive)


@pytest.mark.parametrize(
    ("codec", "lines", "ours_ms", "sent", "asked", "limit"),
    [
        ("OPUS", ["a=ptime:30"], 20, 20, 20, 60),
        ("OPUS", ["a=ptime:60"], 20, 60, 20, 60),
        ("OPUS", ["a=ptime:120"], 20, 60, 20, 60),
        ("OPUS", ["a=ptime:10", "a=fmtp:111 minptime=20"], 20, 20, 20, 60),
        ("OPUS", ["a=ptime:10", "a=minptime:20"], 20, 20, 20, 60),
        ("OPUS", ["a=ptime:3", "a=maxptime:5", "a=minptime:5"], 20, 10, 20, 60),
        ("OPUS", [], 30, 20, 20, 60),
        ("OPUS", [], 60, 60, 60, 60),
        ("G722", ["a=ptime:30"], 20, 30, 20, 0),
        ("PCMU", ["a=minptime:50", "a=ptime:20"], 20, 60, 20, 0),
        ("PCMU", ["a=minptime:50", "a=maxptime:30"], 20, 30, 20, 0),
        ("L16/8000", ["a=ptime:60"], 20, 60, 20, 0),
        ("L16/16000", ["a=ptime:60"], 60, 40, 40, 40),
        ("L16/44100", ["a=ptime:20"], 20, 10, 10, 10),
    ],
)
def test_packet_times(codec: str, lines: list[str], ours_ms: int, sent: int, asked: int, limit: int) -> None:
    """Opus has no frame of 30 ms, L16 must fit a packet; a=maxptime is said where it matters."""
    ours = session([codec], ptime_ms=ours_ms)
    numbers = {"OPUS": "111", "G722": "9", "PCMU": "0", "L16/44100": "11"}.get(codec, "118")
    text = ours.answer(peer(numbers, *OPUS, f"a=rtpmap:118 {codec if '/' in codec else 'x/1'}", *lines))
    assert now(ours).ptime_ms == sent
    assert f"a=ptime:{asked}\r\n" in text
    assert [line for line in audio(text) if "maxptime" in line] == ([f"a=maxptime:{limit}"] if limit else [])


def test_longest_packet_of_the_peer_is_told() -> None:
    """For a worker that would send longer ones."""
    ours = session(["PCMU"])
    ours.answer(peer("0", "a=maxptime:40"))
    assert now(ours).peer_maxptime_ms == 40
    ours.answer(peer("0"))
    assert now(ours).peer_maxptime_ms == 0


def test_noise_of_16_khz_goes_with_l16_only() -> None:
    """Each speech its own clock, and only what is named after it."""
    lines = ("a=rtpmap:118 L16/16000", "a=rtpmap:119 CN/16000", "a=rtpmap:13 CN/8000")
    ours = session(["L16/16000"])
    ours.answer(peer("118 13 119", *lines))
    assert (now(ours).send_cn_pt, now(ours).receive_cn_pt) == (119, 119)
    ours = session(["G722"])
    ours.answer(peer("9 13 119", *lines))
    assert now(ours).send_cn_pt == -1


def test_codec_changes_by_the_peers_offers() -> None:
    """G.711 to Opus and on to G.722, each with keys of its own clock; then our offer keeps all numbers."""
    ours = session(["PCMU", "OPUS", "G722"])
    keys = ("a=rtpmap:105 telephone-event/48000", "a=rtpmap:101 telephone-event/8000")
    ours.answer(peer("0 101", *keys))
    assert (now(ours).codec, now(ours).dtmf_clock_hz, now(ours).send_dtmf_pt) == ("PCMU", 8000, 101)
    ours.answer(peer("111 105 101", *OPUS, *keys))
    assert (now(ours).codec, now(ours).dtmf_clock_hz, now(ours).send_dtmf_pt) == ("OPUS", 48000, 105)
    ours.answer(peer("9 101", *keys))
    assert (now(ours).codec, now(ours).dtmf_clock_hz, now(ours).send_dtmf_pt) == ("G722", 8000, 101)
    assert audio(ours.offer())[0] == "m=audio 30000 RTP/AVP 9 0 111 101 105"
    ours.accepted(peer("0 101", *keys))
    assert now(ours).codec == "PCMU"


def test_numbers_of_foreign_encodings_are_not_given_away() -> None:
    """What a dynamic number has meant to the peer, it does not mean anew in our offer, while there are others."""
    ours = session(["PCMU", "OPUS"], dtmf=False)
    ours.answer(peer("0 96 97", "a=rtpmap:96 iLBC/8000", "a=rtpmap:97 speex/16000"))
    assert "m=audio 30000 RTP/AVP 0 98\r\n" in ours.offer()
    ours = session(["PCMU", "OPUS"], dtmf=False)
    ours.answer(peer("0 " + " ".join(str(n) for n in range(96, 128))))
    assert "m=audio 30000 RTP/AVP 0 96\r\n" in ours.offer()


@pytest.mark.parametrize("prefer", ["ours", "theirs"])
def test_whose_order(prefer: str) -> None:
    """Of the first offer, and of one within the call; names count in any case, twice as once."""
    offered = peer("0 111 9", *OPUS)
    ours = session(["opus", "g722", "OPUS", "pcmu"], prefer=prefer)
    ours.answer(offered)
    assert now(ours).codec == ("OPUS" if prefer == "ours" else "PCMU")
    ours.answer(peer("9 111 0", *OPUS))
    assert now(ours).codec == ("OPUS" if prefer == "ours" else "G722")
    assert len(SessionDescription.parse(ours.offer()).media[0].formats) == 5


@pytest.mark.parametrize("codec", [*ALL, "PCMA", "L16/44100"])
@pytest.mark.parametrize("noise", [False, True])
def test_two_sessions_agree_on_each_codec(codec: str, noise: bool) -> None:
    """What one sends is what the other expects, with keys, noise and parameters."""
    caller = session(["PCMA", *ALL, "L16/44100"], offer_noise=noise)
    called = session([codec], local_host="192.0.2.2", opus_rate_hz=16000)
    caller.accepted(called.answer(caller.offer()))
    a, b = now(caller), now(called)
    assert a.codec == b.codec == codec
    assert (a.send_pt, a.send_dtmf_pt, a.send_cn_pt) == (b.receive_pt, b.receive_dtmf_pt, b.receive_cn_pt)
    assert (a.receive_pt, a.receive_dtmf_pt, a.receive_cn_pt) == (b.send_pt, b.send_dtmf_pt, b.send_cn_pt)
    assert a.dtmf_clock_hz == b.dtmf_clock_hz and a.send_dtmf_pt >= 0
    assert (a.send_fmtp, a.receive_fmtp) == (b.receive_fmtp, b.send_fmtp)
    # The caller's line speaks for all its codecs at once, the answer for one.
    assert (a.ptime_ms, b.ptime_ms) == (10, 10) if codec == "L16/44100" else (20, 10)
