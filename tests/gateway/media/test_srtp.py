# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted calls in the engine: both ways, under attack, over rollovers, new keys and dead workers."""

from __future__ import annotations

import dataclasses
import random
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.media_rig import PEER
from support.srtp_call import PEER_SSRC, SecureCall, batch, key_of, speech
from support.srtp_reference import Reference
from support.virtual_engine import VirtualEngine
from trunkline.gateway.media import srtp_rows
from trunkline.gateway.media.srtp_rows import MAX_SOURCES, OLD_KEY_NS, RESUME_SKIP
from trunkline.rtp import rtcp
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.sdes import SUITES

SECOND_NS = 1_000_000_000


def rekey(call: SecureCall, ours: str, theirs: str) -> None:
    """Another offer and answer, with keys of these names."""
    stream = call.rig.streams[0]
    keys = {"send_key": key_of(call.suite, ours), "receive_key": key_of(call.suite, theirs)}
    call.rig.engine.update(stream, dataclasses.replace(stream.media, **keys), call.rig.now_ns)


def state(call: SecureCall) -> bytes:
    """All shared columns of the row but its drops."""
    columns = call.rig.table.shared
    drops = columns.drops[0].copy()
    columns.drops[0] = 0
    out = columns.row_state(0)
    columns.drops[0] = drops
    return out


@pytest.mark.parametrize("suite", SUITES)
def test_a_call_both_ways(suite: str) -> None:
    """All audio reaches the agent and comes back; on the wire is none of it in the clear."""
    call = SecureCall(suite)
    said = [speech(number) for number in range(100)]
    call.talk(100)
    assert not call.drops and not call.not_understood
    assert call.rig.table.shared.packets_received[0] == 100
    assert call.rig.agent.made_up.sum() <= 1
    assert len(call.heard) >= 98
    echoed = {packet[12:] for packet in call.heard}
    assert sum(payload in echoed for payload in said) >= 90
    assert not any(payload in data for data in call.wire for payload in said)
    assert {len(data) for data in call.wire} == {172 + SUITES[suite].rtp_tag_bytes}
    assert "master" not in repr(call.rig.streams[0]) and repr(call.our_key.master)[2:8] not in repr(
        call.rig.streams[0]
    )


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_forged_packets_and_replays_change_nothing(suite: str) -> None:
    """Not a column of the row but its drops, whatever they look like and wherever they come from."""
    call = SecureCall(suite)
    call.talk(20)
    old, before = call.protected(), state(call)
    call.receive(old)
    assert state(call) != before  # the test can fail
    before, rng = state(call), random.Random(1)
    stranger = Reference(key_of(suite, "a stranger's"))
    expected: dict[str, int] = {"SRTP_AUTH": 0, "SRTP_REPLAY": 0}
    remote = call.rig.streams[0].remote
    for source in (PEER, (PEER[0], 9), ("192.0.2.66", 4000)):
        for _ in range(30):
            packet = call.packet()
            call.seq -= 1
            forged = bytearray(call.out.protect(packet, 0))
            forged[rng.randrange(12, len(forged))] ^= 1 << rng.randrange(8)
            for data in (
                packet,
                bytes(forged),
                stranger.protect(packet, 0),
                rng.randbytes(rng.randrange(200)),
            ):
                call.receive(data, source)
                expected["SRTP_AUTH"] += 1
            call.receive(old, source)
            expected["SRTP_REPLAY"] += 1
    assert call.drops == expected
    assert state(call) == before and call.rig.streams[0].remote == remote
    assert call.rig.streams[0].candidate is None
    call.number -= 90
    call.talk(20)
    assert call.drops == expected
    worker = call.rig.table.shared.worker.drops
    assert (
        worker[Drop.SRTP_AUTH] == expected["SRTP_AUTH"]
        and worker[Drop.SRTP_REPLAY] == expected["SRTP_REPLAY"]
    )


def test_rollovers_both_ways() -> None:
    """Sequence numbers of both sides wrap: not a packet is lost, in order or not."""
    call = SecureCall(seq=65_500)
    sequence = call.rig.table.shared.tx_seq
    while sequence[0] < 65_500:
        call.talk(1)
        sequence[0] = min(int(sequence[0]) + 30_000, 65_500)
    call.talk(30)
    last, first = call.protected(), call.protected()  # overtaken just around the wrap
    call.receive(first)
    call.receive(last)
    call.talk(60)
    assert call.seq > 65_536 and sequence[0] > 65_550
    assert not call.drops and not call.not_understood
    assert call.rig.engine.srtp.receivers[0].roc(PEER_SSRC) == 1
    assert int(call.rig.table.shared.srtp_rx_base[0]) == 1


def test_the_same_keys_again_keep_the_context() -> None:
    """A re-INVITE that changes nothing, or only holds."""
    call = SecureCall()
    call.talk(5)
    contexts = call.rig.engine.srtp.senders[0], call.rig.engine.srtp.receivers[0]
    rekey(call, "ours", "theirs")
    call.talk(5)
    assert (call.rig.engine.srtp.senders[0], call.rig.engine.srtp.receivers[0]) == contexts
    assert not call.drops and not call.not_understood


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_32", "AEAD_AES_256_GCM"])
@pytest.mark.parametrize("set_back", [False, True])
def test_new_keys_keep_the_rollover_counter(suite: str, set_back: bool) -> None:
    """After a rollover: counters go on (RFC 3711 8.1), and a peer that sets its own back is heard as well."""
    call = SecureCall(suite, seq=65_530)
    call.talk(20)
    before = call.protected()  # still under way
    rekey(call, "ours 2", "theirs 2")
    old, call.out = call.out, Reference(key_of(suite, "theirs 2"))
    call.into = Reference(key_of(suite, "ours 2"))
    call.roc_base = int(set_back)
    call.receive(before)
    call.talk(10)
    assert not call.drops and not call.not_understood
    assert call.rig.engine.srtp.receivers[0].roc(PEER_SSRC) == 1 - set_back
    call.receive(before)
    assert call.drops == {"SRTP_REPLAY": 1}
    late = old.protect(call.packet(), 1)  # under the old key, still allowed
    call.receive(late)
    assert call.drops == {"SRTP_REPLAY": 1}
    call.talk(OLD_KEY_NS // 20_000_000 + 2)
    call.receive(old.protect(call.packet(), 1))
    assert call.drops == {"SRTP_REPLAY": 1, "SRTP_AUTH": 1}
    assert not call.rig.engine.srtp.odd[0]


def test_a_replay_is_not_tried_as_a_new_beginning() -> None:
    """While a new key proves itself, its own packets cannot be played again as those of counters set back."""
    call = SecureCall(seq=10)
    call.talk(5)
    rekey(call, "ours 2", "theirs 2")
    call.out = Reference(key_of(call.suite, "theirs 2"))
    first = call.protected()
    call.receive(first)
    call.receive(first)
    assert call.drops == {"SRTP_REPLAY": 1}


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_a_successor_goes_on(suite: str) -> None:
    """A worker is killed after both counters rolled over: nothing is refused, and no number is used again."""
    call = SecureCall(suite, seq=65_500)
    sequence = call.rig.table.shared.tx_seq
    while sequence[0] < 65_530:
        call.talk(1)
        sequence[0] = min(int(sequence[0]) + 30_000, 65_530)
    call.talk(60)
    reports_before = len(call.rig.sockets.rtcp)
    call.talk(500)
    assert len(call.rig.sockets.rtcp) > reports_before
    used = {data[2:4] for data in call.wire}
    sequence[0] -= 1  # it died in mid-send: the last packet has left, and was not counted
    old_report = Reference(call.peer_key).protect_rtcp(bytes(rtcp.ReceiverReport(PEER_SSRC, ())), 7)
    call.rig.engine.receive_rtcp(call.rig.streams[0], old_report, PEER, call.rig.now_ns)
    indexes = [report_index(call.suite, data) for data in call.rig.sockets.rtcp]
    last = int.from_bytes(call.wire[-1][2:4], "big")
    call.wire.clear()
    sent_before = len(call.heard)
    call.watch(call.rig.successor())
    call.talk(400)
    assert not call.not_understood and len(call.heard) > sent_before + 390
    fresh = [data[2:4] for data in call.wire]
    assert not used & set(fresh) and len(set(fresh)) == len(fresh)
    assert int.from_bytes(fresh[0], "big") == last + RESUME_SKIP
    assert not call.drops
    later = [report_index(call.suite, data) for data in call.rig.sockets.rtcp]
    assert (
        later and min(later) == max(indexes) + 1 + RESUME_SKIP and indexes == list(range(1, len(indexes) + 1))
    )
    call.rig.engine.receive_rtcp(call.rig.streams[0], old_report, PEER, call.rig.now_ns)
    assert call.drops.get("SRTP_REPLAY") == 1


def report_index(suite: str, data: bytes) -> int:
    """Index of an SRTCP packet without MKI."""
    end = len(data) - (0 if SUITES[suite].aead else 10)
    return int.from_bytes(data[end - 4 : end], "big") & 0x7FFFFFFF


def test_reports_both_ways() -> None:
    """SRTCP: ours can be read by the peer, and its reports tell us of our stream; forged ones do not."""
    call = SecureCall()
    call.talk(500)
    assert len(call.rig.sockets.rtcp) >= 1
    into = Reference(call.our_key)
    for number, data in enumerate(call.rig.sockets.rtcp, 1):
        plain = bytes(a for a in data[:8])
        stream = into._stream(into.rtcp[0], into.rtcp[2], data[4:8], number, len(data) - 22)
        plain += bytes(a ^ b for a, b in zip(data[8:-14], stream, strict=True))
        assert into.protect_rtcp(plain, number) == data
        assert rtcp.parse_compound(plain)
    c = call.rig.table.shared
    block = rtcp.ReportBlock(int(c.tx_ssrc[0]), 0, 3, (int(c.tx_seq[0]) - 1) & 0xFFFF, 80, 0, 0)
    sdes = rtcp.parse_compound(plain)[-1]
    report = bytes(rtcp.ReceiverReport(PEER_SSRC, (block,))) + bytes(sdes)
    good = Reference(call.peer_key).protect_rtcp(report, 1)
    for data in (report, good[:-1] + bytes([good[-1] ^ 1]), b"", good[:9]):
        call.rig.engine.receive_rtcp(call.rig.streams[0], data, PEER, call.rig.now_ns)
    assert c.peer_expected[0] == 0 and call.drops == {"SRTP_AUTH": 4}
    call.rig.engine.receive_rtcp(call.rig.streams[0], good, PEER, call.rig.now_ns)
    assert c.peer_lost[0] == 3
    call.rig.engine.receive_rtcp(call.rig.streams[0], good, PEER, call.rig.now_ns)
    assert call.drops == {"SRTP_AUTH": 4, "SRTP_REPLAY": 1}


def test_reports_on_the_same_port() -> None:
    """RFC 5761: told apart before they are decrypted."""
    call = SecureCall(rtcp_mux=True)
    call.talk(10)
    c = call.rig.table.shared
    block = rtcp.ReportBlock(int(c.tx_ssrc[0]), 0, 3, (int(c.tx_seq[0]) - 1) & 0xFFFF, 80, 0, 0)
    report = bytes(rtcp.ReceiverReport(PEER_SSRC, (block,)))
    good = Reference(call.peer_key).protect_rtcp(report, 1)
    call.receive(good)
    assert c.peer_lost[0] == 3
    call.receive(good)
    call.receive(report)
    call.talk(10)
    assert call.drops == {"SRTP_REPLAY": 1, "SRTP_AUTH": 1}


def test_a_peer_that_moves_is_followed() -> None:
    """From any address, since it has the key, and again when it moves on; not by copies of its packets."""
    call = SecureCall()
    call.talk(10)
    stream = call.rig.streams[0]
    for _ in range(10):
        data = call.protected()
        call.receive(data)
        call.receive(data, ("203.0.113.66", 6))
    assert stream.remote == PEER and call.drops == {"SRTP_REPLAY": 10}
    for address in (("203.0.113.7", 5000), ("198.51.100.7", 6000)):
        call.talk(3, address)
        assert stream.remote != address
        call.talk(3, address)
        assert stream.remote == address
    assert call.drops["SOURCE"] == 6


def test_another_source_under_the_same_key_begins_at_zero() -> None:
    """A peer whose SSRC changes after a rollover; and one that has more of them than anybody needs."""
    call = SecureCall(seq=65_530)
    call.talk(20)
    call.rig.run(0.1)
    call.ssrc, call.seq = PEER_SSRC + 1, 300
    call.talk(20)
    assert set(call.drops) == {"SSRC"} and call.drops["SSRC"] <= 2
    assert int(call.rig.table.shared.rx_ssrc[0]) == PEER_SSRC + 1
    assert call.rig.engine.srtp.receivers[0].roc(PEER_SSRC + 1) == 0
    for number in range(2 * MAX_SOURCES):
        call.ssrc = 0x10000 + number
        call.receive(call.protected())
    assert len(call.rig.engine.srtp.sources[0]) == MAX_SOURCES
    assert call.rig.engine.srtp.receivers[0].roc(0x10000 + 2 * MAX_SOURCES - 1) is None


def test_from_plain_to_secure_and_back() -> None:
    """Offer and answer may change it in mid-call; what is then of the other kind is not heard."""
    call = SecureCall()
    stream, plain = call.rig.streams[0], {"send_key": None, "receive_key": None}
    call.talk(5)
    call.rig.engine.update(stream, dataclasses.replace(stream.media, **plain), call.rig.now_ns)
    received = int(call.rig.table.shared.packets_received[0])
    for _ in range(5):
        call.receive(call.packet())
        call.rig.step()
        call.rig.step()
    assert call.rig.table.shared.packets_received[0] == received + 5
    assert len(call.wire[-1]) == 172 and not call.rig.engine.srtp.count
    call.rig.table.shared.tx_seq[0] += 65_536  # a rollover in the clear is none of SRTP's
    call.not_understood = 0
    rekey(call, "ours", "theirs 3")
    call.out = Reference(key_of(call.suite, "theirs 3"))
    call.talk(5)
    assert not call.not_understood and not call.drops
    call.receive(call.packet())
    assert call.drops == {"SRTP_AUTH": 1}


def test_one_key_is_none() -> None:
    """The worker reports such a description as bad media."""
    with pytest.raises(ValueError, match="a key for each direction"):
        VirtualEngine(send_key=key_of("AEAD_AES_128_GCM", "x"))


def take_new_keys(call: SecureCall) -> None:
    rekey(call, "ours 2", "theirs 2")
    call.out, call.into = Reference(key_of(call.suite, "theirs 2")), Reference(key_of(call.suite, "ours 2"))


def test_a_successor_knows_a_counter_that_a_new_key_has_set_back() -> None:
    """The packet that proves the new key takes the short way, and the base is found all the same."""
    call = SecureCall(seq=65_530)
    call.talk(20)
    old = call.out
    take_new_keys(call)
    call.receive(old.protect(call.packet(), call.seq >> 16))  # it was on its way
    call.rig.step()
    call.rig.step()
    call.roc_base = 1
    call.talk(100)
    assert not call.rig.engine.srtp.unsettled
    call.watch(call.rig.successor())
    call.talk(50)
    assert call.drops == {}


@pytest.mark.parametrize("seq", [60_000, 40_000, 1000])
def test_a_new_key_may_begin_with_any_sequence_number(seq: int) -> None:
    call = SecureCall(seq=50_000)
    call.talk(20)
    take_new_keys(call)
    call.seq = seq
    before = int(call.rig.table.shared.packets_received[0])
    call.talk(50)
    assert call.rig.table.shared.packets_received[0] >= before + 45


def report(call: SecureCall, index: int, key: str, ssrc: int = PEER_SSRC) -> dict[str, int]:
    """What a receiver report of the peer, of this SRTCP index, adds to the drops."""
    data = bytes(rtcp.ReceiverReport(ssrc, ()))
    secured = Reference(key_of(call.suite, key)).protect_rtcp(data, index)
    before = call.drops
    call.rig.engine.receive_rtcp(call.rig.streams[0], secured, PEER, call.rig.now_ns)
    return {name: n - before.get(name, 0) for name, n in call.drops.items() if n != before.get(name, 0)}


def test_the_report_indexes_of_one_key_or_source_are_not_those_of_another() -> None:
    call = SecureCall()
    call.talk(20)
    assert report(call, 100, "theirs") == {}
    call.watch(call.rig.successor())
    call.talk(10)
    assert report(call, 100, "theirs") == {"SRTP_REPLAY": 1}
    assert report(call, 1, "theirs", PEER_SSRC + 1) == {}
    assert report(call, 101, "theirs") == {}
    take_new_keys(call)
    call.talk(10)
    assert report(call, 1, "theirs 2") == {}
    call.watch(call.rig.successor())
    call.talk(10)
    assert report(call, 2, "theirs 2") == {}
    stream = call.rig.streams[0]
    plain = dataclasses.replace(stream.media, send_key=None, receive_key=None)
    call.rig.engine.update(stream, plain, call.rig.now_ns)
    rekey(call, "ours 3", "theirs 3")
    assert report(call, 1, "theirs 3") == {}


def test_a_key_that_could_not_be_put_into_force_leaves_a_call_that_can_be_ended() -> None:
    rig = VirtualEngine()
    stream = rig.streams[0]
    suite = "AEAD_AES_128_GCM"
    media = dataclasses.replace(stream.media, send_key=key_of(suite, "a"), receive_key=key_of(suite, "b"))
    with (
        mock.patch.object(srtp_rows, "Receiver", side_effect=ValueError("no room")),
        pytest.raises(ValueError, match="no room"),
    ):
        rig.engine.update(stream, media, rig.now_ns)
    assert not rig.engine.srtp.senders
    rig.engine.stop(stream, "bye", rig.now_ns)
    assert not rig.table.by_call


def test_rows_are_given_back() -> None:
    """A call that ends takes its contexts along, and the next one in its row is plain."""
    call = SecureCall()
    call.talk(3)
    call.rig.engine.stop(call.rig.streams[0], "bye", call.rig.now_ns)
    srtp = call.rig.engine.srtp
    assert not (srtp.senders or srtp.receivers or srtp.spares or srtp.sources or srtp.unsettled or srtp.count)
    assert not call.rig.table.secure.any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("gfrspx"), st.integers(0, 2**32 - 1)), min_size=6, max_size=6))
def test_batch_equals_loop(kinds: list[tuple[str, int]]) -> None:
    """Six calls, of which four are secure: one batch of anything leaves what six batches of one leave."""

    def result(together: bool) -> tuple[bytes, list[bytes]]:
        rig = VirtualEngine(calls=6)
        references = {}
        for row, suite in enumerate([*SUITES][:4]):
            keys = {"send_key": key_of(suite, f"a{row}"), "receive_key": key_of(suite, f"b{row}")}
            rig.engine.update(
                rig.streams[row], dataclasses.replace(rig.streams[row].media, **keys), rig.now_ns
            )
            references[row] = Reference(keys["receive_key"])

        def wire(row: int, seq: int) -> bytes:
            packet = bytes.fromhex("8000") + seq.to_bytes(2, "big") + (seq * 160).to_bytes(4, "big")
            packet += (row + 1).to_bytes(4, "big") + bytes(160)
            return references[row].protect(packet, 0) if row in references else packet

        for seq in (1, 2, 3):
            rig.engine.receive(batch([wire(row, seq) for row in range(6)]), rig.now_ns)
            rig.step()
            rig.step()
        datas = []
        for row, (kind, number) in enumerate(kinds):
            good = wire(row, 4)
            flipped = bytearray(good)
            flipped[number % len(good)] ^= 1 + number % 255
            garbage = random.Random(number).randbytes(number % 200)
            other = wire(row, 4 + number % 3000)
            datas.append({"g": good, "f": bytes(flipped), "r": wire(row, 3), "s": good[: number % 172],
                          "p": garbage, "x": other}[kind])  # fmt: skip
        opened = []
        take = rig.engine.express.take

        def record(arrived, now_ns):
            opened.extend(
                (int(row), bytes(p[:n]))
                for row, p, n in zip(arrived.rows, arrived.packets, arrived.lengths, strict=True)
            )
            return take(arrived, now_ns)

        rig.engine.express.take = record
        for rows in [list(range(6))] if together else [[row] for row in range(6)]:
            rig.engine.receive(batch([datas[row] for row in rows], rows), rig.now_ns)
        columns = [rig.table.shared.row_state(row)[4:] for row in range(6)]
        return b"".join(columns), opened

    assert result(together=True) == result(together=False)


def test_flood_of_forged_packets_costs_no_memory_and_no_call() -> None:
    """Ten thousand of them between the peer's packets."""
    call = SecureCall()
    rng = random.Random(5)
    forged = [bytes([0x80, 0]) + rng.randbytes(180) for _ in range(100)]
    for _ in range(100):
        for data in forged:
            call.receive(data)
        call.talk(1)
    assert call.drops == {"SRTP_AUTH": 10_000}
    assert call.rig.table.shared.packets_received[0] == 100
    assert len(call.rig.engine.srtp.sources[0]) == 1
    assert np.isclose(call.rig.table.shared.packets_lost[0], 0)
