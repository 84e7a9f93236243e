# SPDX-License-Identifier: GPL-2.0-or-later
"""From what generator and agent have written down to losses and delays, packet by packet.

Up: the first frame of a call that is not flagged is packet 0, and from there the position says
which packet each frame is.  A dialect without positions has its frames in order, so the n-th is
packet n until a gap shows.  Either way the frame's loudness must be that of the packet (`signal.py`):
where it is not, the mapping is looked for anew, and what then still disagrees is counted as wrong.
A mapping may move in mid-call, forwards or back: then frames were left out or made up that no packet asked for.
Of codecs with a memory (G.722, Opus) the frame must be, sample by sample, what decoding gives (`spoken.py`); what
comes back to the callers of these is told by its numbers alone.

Down: a call's packets are judged against their own clock.  RTP timestamps say which packet time each
belongs to; the least of arrival minus that is when the clock ticks, and what comes later than its tick
is late by as much.

What the callers left out on purpose (`lossy.py`) was not sent, and so is not lost.  Frames made up for it count
apart, and so do the delays of packets that may have waited behind it: that is the network's doing.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.bench import lossy, signal
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.records import Frames, Generated
from trunkline.gateway.bench.spoken import alike

Ints = NDArray[np.int64]
Real = NDArray[np.float64]
Mask = NDArray[np.bool_]

NOT_THE_CALLER = 0x02 | 0x04 | 0x08
"Flags of frames that are no packet: concealed, comfort noise, gap (PROTOCOL.md 6.2)."
SENT_LATE_NS = 30_000_000
"A packet that the generator sends so late may rightly be given up: a gap is held back for 45 ms at first."
MATCHED = 0.9
"Share of a call's frames that must have their packet's loudness for the mapping to be believed."
LAST_LAG = 150
"Packets by which a mapping may be off at the start: Asterisk answers a while after the first packet."
SEARCHES = 20
"Places in a call where its mapping is looked for: beyond that its frames are hopelessly wrong, and are told so."
PAUSE = 3
"Packets that are lost together, and may be silent when they come back."
RUN = 12
"Frames whose loudness settles where a call stands in its pattern: by chance once in 8^12."


@dataclasses.dataclass(slots=True)
class Up:
    """Caller to agent. Counts and delays are of packets sent within the measured time."""

    sent: int = 0
    lost: int = 0
    "packets that no unflagged frame stands for"
    sent_late: int = 0
    "packets lost likewise, but sent too late by the generator itself; not among `lost`"
    flagged: int = 0
    "frames that were made up though their packets were sent"
    left_out: int = 0
    "packets that were not sent, on purpose"
    made_up: int = 0
    "frames that stand for these"
    wrong: int = 0
    "unflagged frames that do not sound like their packet"
    breaks: int = 0
    "positions that do not follow the one before"
    unmatched_calls: int = 0
    "calls whose frames are not their packets, whatever the mapping; all their packets are lost"
    moved_calls: int = 0
    "calls with more or fewer frames than packets: the worker has moved their timelines"
    delay_ms: Real = dataclasses.field(default_factory=lambda: np.zeros(0))
    "from before the generator's `send` to after the agent's `recv`"
    held_ms: Real = dataclasses.field(default_factory=lambda: np.zeros(0))
    "the same of packets behind one that was left out"


@dataclasses.dataclass(slots=True)
class Down:
    """Agent to caller. Counts and delays are of packets that arrived within the measured time."""

    heard: int = 0
    lost: int = 0
    "sequence numbers that never came, and packet times at the end that nothing came for"
    silent: int = 0
    "packets without speech amid the echo: the agent's audio was not there in time"
    unmatched_calls: int = 0
    "calls whose echo is not what was said"
    delay_ms: Real = dataclasses.field(default_factory=lambda: np.zeros(0))
    "behind the call's own packet clock"


# --- up ------------------------------------------------------------------------------------------


def match_up(plan: Plan, generated: Generated, frames: Frames) -> Up:
    """Find each packet again."""
    begin, end = plan.span(generated.start_ns)
    sent_ns = generated.sent_ns
    calls, packets = sent_ns.shape
    result = Up()
    inside = (sent_ns >= begin) & (sent_ns < end)
    result.sent = int(inside.sum())
    gone = lossy.left_out(plan.loss_percent, calls, packets) & (sent_ns == 0)
    due_ns = generated.due_ns(plan.packet_ns)
    gone_inside = gone & (due_ns >= begin) & (due_ns < end)
    result.left_out = int(gone_inside.sum())
    known = (frames.call >= 0) & (frames.call < calls)
    order = np.flatnonzero(known)
    order = order[np.argsort(frames.call[order], kind="stable")]
    call, read_ns = frames.call[order], frames.read_ns[order]
    level = signal.heard(frames.window[order])
    if frames.position is None or frames.flags is None:
        real = level >= 0
        packet = _by_order(call, level, calls)
    else:
        real = (frames.flags[order] & NOT_THE_CALLER) == 0
        packet = _by_position(call, frames.position[order], real, plan.frame_samples, calls)
        result.breaks = _breaks(call, frames.position[order], packet >= 0, plan.frame_samples)
        level = np.where(real, level, -1).astype(np.int8)
    if plan.stands_alone:
        result.unmatched_calls, result.moved_calls = _correct(call, level, packet, real, gone)
        sounds = level == signal.said(call, packet)
    else:
        sounds = alike(plan, frames.window[order], call, packet)
    valid = (packet >= 0) & (packet < packets)
    when = np.zeros(len(packet), np.int64)
    when[valid] = sent_ns[call[valid], packet[valid]]
    counted = valid & (when >= begin) & (when < end)
    result.made_up = int(gone_inside[call[valid], packet[valid]].sum())
    result.flagged = int((counted & ~real).sum())
    right = counted & real & sounds & (read_ns >= when)
    if not plan.stands_alone:
        result.unmatched_calls = _unlike(call, counted & real, sounds, calls)
    result.wrong = int((counted & real & ~right).sum())
    delay_ms = (read_ns[right] - when[right]) / 1e6
    held = lossy.behind(gone, plan.ptime_ms)[call[right], packet[right]]
    result.delay_ms, result.held_ms = delay_ms[~held], delay_ms[held]
    arrived = np.zeros(sent_ns.shape, bool)
    arrived[call[right], packet[right]] = True
    missing = inside & ~arrived
    late = missing & (sent_ns - due_ns > SENT_LATE_NS)
    result.sent_late = int(late.sum())
    result.lost = int(missing.sum()) - result.sent_late
    return result


def _unlike(call: Ints, judged: Mask, sounds: Mask, calls: int) -> int:
    """Calls whose frames are mostly not what was said, or that have none."""
    frames = np.bincount(call[judged], minlength=calls)
    good = np.bincount(call[judged & sounds], minlength=calls)
    return int(((frames == 0) | (good < MATCHED * frames)).sum())


def _by_position(call: Ints, position: Ints, real: Mask, frame_samples: int, calls: int) -> Ints:
    """Packet of each frame: from the first real one of its call on; -1 before, and where it is none."""
    first = np.full(calls, np.iinfo(np.int64).max)
    np.minimum.at(first, call[real], position[real])
    ahead = position - first[call]
    on_grid = (ahead >= 0) & (ahead % frame_samples == 0)
    return np.where(on_grid, ahead // frame_samples, -1)


def _by_order(call: Ints, level: signal.Levels, calls: int) -> Ints:
    """The same in a dialect without positions: the first frame that is not silent is packet 0."""
    number = np.arange(len(call)) - np.searchsorted(call, call)
    first = np.full(calls, np.iinfo(np.int64).max)
    np.minimum.at(first, call[level >= 0], number[level >= 0])
    return np.maximum(number - first[call], -1)


def _breaks(call: Ints, position: Ints, begun: Mask, frame_samples: int) -> int:
    call, position = call[begun], position[begun]
    same = call[1:] == call[:-1]
    return int((same & (np.diff(position) != frame_samples)).sum())


def _correct(
    call: Ints, level: signal.Levels, packet: Ints, real: Mask, gone: NDArray[np.bool_]
) -> tuple[int, int]:
    """Look anew for calls whose mapping does not hold, changing `packet`.

    `gone` [calls, packets] were not sent. Returns how many calls stay unmatched, and of how many the mapping moves.
    """
    calls, packets = gone.shape
    mapped = real & (packet >= 0)
    mapped &= ~gone[call, np.clip(packet, 0, packets - 1)]  # where flags do not tell
    moved = 0
    fits = np.bincount(call[mapped & (level == signal.said(call, packet))], minlength=calls)
    frames = np.bincount(call[mapped], minlength=calls)
    unmatched = int((frames == 0).sum())
    for one in np.flatnonzero((frames > 0) & (fits < frames)).tolist():
        of = np.flatnonzero((call == one) & mapped)
        found = follow(level[of], packet[of], one)
        moved += int(np.ptp(found - packet[of]) > 0)
        packet[of] = found
        good = int((level[of] == signal.said(call[of], packet[of])).sum())
        unmatched += good < MATCHED * len(of)
    return unmatched, moved


def follow(level: signal.Levels, packet: Ints, call: int) -> Ints:
    """A mapping packet[n] of a call's frames to packets, corrected where runs of frames agree better with another one.

    A frame that alone is wrong stays where it is.  From where the next `RUN` frames mostly disagree, the
    least shift is taken at which they agree: to later packets where some were left out, to earlier ones where
    frames were made up beside them.
    """
    packet = packet.copy()
    shifts = np.arange(1, LAST_LAG)
    shifts = np.stack([shifts, -shifts], axis=1).reshape(-1)  # 1, -1, 2, -2 ...
    for _ in range(SEARCHES):
        wrong = level != signal.said(call, packet)
        runs = np.convolve(wrong, np.ones(RUN, np.int64), "valid") if len(wrong) >= RUN else np.zeros(0)
        lost = np.flatnonzero((runs > RUN // 2) & wrong[: len(runs)])
        for place in lost[:SEARCHES].tolist():
            ahead = slice(place, place + RUN)
            fits = (level[ahead] == signal.said(call, packet[ahead] + shifts[:, None])).sum(axis=1)
            agree = np.flatnonzero(fits >= RUN - 1)
            if len(agree):
                packet[place:] += shifts[agree[0]]
                break
        else:
            break
    return packet


# --- down ----------------------------------------------------------------------------------------


def match_down(plan: Plan, generated: Generated) -> Down:
    """Judge what came back."""
    begin, end = plan.span(generated.start_ns)
    calls = generated.sent_ns.shape[0]
    result = Down()
    heard = generated.heard[np.argsort(generated.heard["call"], kind="stable")]
    call = heard["call"].astype(np.int64)
    arrival = heard["arrival_ns"]
    sequence = unwrap(call, heard["sequence"].astype(np.int64), 16)
    tick = unwrap(call, heard["timestamp"].astype(np.int64), 32) // plan.timestamp_step
    inside = (arrival >= begin) & (arrival < end)
    result.heard = int(inside.sum())
    of, relative = call[inside], (arrival - tick * plan.packet_ns)[inside]
    least = np.full(calls, np.iinfo(np.int64).max)
    np.minimum.at(least, of, relative)
    result.delay_ms = (relative - least[of]) / 1e6
    result.lost = _lost_down(plan, call, sequence, inside, calls)
    _match_echo(plan, heard, call, sequence, inside, result)
    return result


def unwrap(call: Ints, wire: Ints, bits: int) -> Ints:
    """Numbers of `bits` bits as ones that do not wrap, for each call from 0 on; sorted by call, in order of arrival."""
    if not len(wire):
        return wire
    half = 1 << (bits - 1)
    steps = np.zeros(len(wire), np.int64)
    steps[1:] = (np.diff(wire) + half) % (1 << bits) - half
    begins = np.flatnonzero(np.diff(call, prepend=-1))
    steps[begins] = 0
    total = np.cumsum(steps)
    return total - np.repeat(total[begins], np.diff(np.append(begins, len(wire))))


def _lost_down(plan: Plan, call: Ints, sequence: Ints, inside: Mask, calls: int) -> int:
    """Gaps between a call's first and last packet of the measured time, and what is missing at its ends."""
    of, numbers = call[inside], sequence[inside]
    pairs = np.unique(np.stack([of, numbers], axis=1), axis=0)
    count = np.bincount(pairs[:, 0], minlength=calls) if len(pairs) else np.zeros(calls, np.int64)
    low, high = np.full(calls, np.iinfo(np.int64).max), np.full(calls, np.iinfo(np.int64).min)
    np.minimum.at(low, of, numbers)
    np.maximum.at(high, of, numbers)
    spoken = count > 0
    gaps = (high - low + 1 - count)[spoken].sum()
    # Where the clock stands within the packet time, and a packet under way at the end, are no loss.
    wanted = int(plan.seconds * 1000 / plan.ptime_ms) - 1
    reach = np.where(spoken, high - low + 1, 0)
    return int(gaps + np.maximum(wanted - reach, 0)[(wanted - reach) > 1].sum())


def _match_echo(
    plan: Plan, heard: NDArray[np.void], call: Ints, sequence: Ints, inside: Mask, result: Down
) -> None:
    """The n-th packet with speech must be the n-th packet that was said."""
    levels = _levels_down(plan, heard)
    if levels is None:
        return
    calls_heard = np.unique(call)
    gone = lossy.left_out(plan.loss_percent, plan.calls, plan.packets)
    result.unmatched_calls = plan.calls - len(calls_heard)
    bounds = np.searchsorted(call, np.append(calls_heard, plan.calls))
    for one, first, last in zip(calls_heard.tolist(), bounds[:-1], bounds[1:], strict=True):
        order = first + np.argsort(sequence[first:last], kind="stable")
        speech = levels[order] >= 0
        if plan.loss_percent:  # what was made up of something soft may be no loudness of ours
            speech = _without_short_pauses(speech)
        result.silent += int((~speech & inside[order] & np.logical_or.accumulate(speech)).sum())
        level = levels[order][speech]
        number = follow(level, np.arange(len(level)), one)
        said = ~gone[one, np.clip(number, 0, gone.shape[1] - 1)]
        good = int((level == signal.said(one, number))[said].sum())
        result.unmatched_calls += not len(level) or good < MATCHED * int(said.sum())


def _without_short_pauses(speech: Mask) -> Mask:
    """Runs of no more than `PAUSE` packets without speech, amid speech, taken for speech."""
    heard = np.flatnonzero(speech)
    out = speech.copy()
    for before, after in zip(heard[:-1].tolist(), heard[1:].tolist(), strict=True):
        if 1 < after - before <= PAUSE + 1:
            out[before:after] = True
    return out


def _levels_down(plan: Plan, heard: NDArray[np.void]) -> signal.Levels | None:
    """Loudness of what came back; None where a packet does not tell (`signal.window_bytes`)."""
    window = signal.window_bytes(plan)
    if window is None:
        return None
    of_rows = np.zeros(len(heard), np.intp)  # no state
    payload = np.ascontiguousarray(heard["window"][:, : window.stop - window.start])
    return signal.heard(plan.audio_codec.decode(of_rows, payload))
