/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of gateway/media/heard_reports.py for the usual compound: SR or RR with one block at most, then SDES of one source.

   Everything else is left to rtp/rtcp.py, and so is what is malformed. */
#include "media.h"
#include "wire.h"

enum {
    TX_SSRC, TX_SEQ, PACKETS_SENT, RX_SSRC, RX_PROVEN, CLOCK_HZ, CLOCKS, READ_UNTIL_NS, PEER_EXPECTED, PEER_LOST,
    PEER_JITTER_MS, RTT_MS, EACH_NS, AT_ONCE, LONGEST_NS, WALL_OFFSET_NS, /* bound */
    ROW, DATA, NOW_NS
};
enum { UNUSUAL, FLOOD, READ, BELIEVED = 256 };

typedef struct {
    const uint8_t *block; /* NULL without one */
    uint32_t ssrc;
    uint32_t clock; /* compact NTP of a sender report */
    int sends;
} Said;

/* Bytes of the packet that begins here, 0 if it is not version 2 without padding, or longer than there is. */
static Py_ssize_t packet_bytes(const uint8_t *at, Py_ssize_t room)
{
    if (room < 4 || (at[0] & 0xE0) != 0x80) return 0;
    Py_ssize_t size = 4 * (((Py_ssize_t)at[2] << 8 | at[3]) + 1);
    return size <= room ? size : 0;
}

/* Whether one chunk's items, which begin at 8, end within the packet. */
static int are_names(const uint8_t *at, Py_ssize_t size)
{
    Py_ssize_t place = 8;
    if (!size || (at[0] & 31) != 1 || at[1] != 202 || size < 8) return 0;
    while (place < size && at[place]) {
        if (place + 2 > size || place + 2 + at[place + 1] > size) return 0;
        place += 2 + at[place + 1];
    }
    return place < size;
}

static int parse(const uint8_t *at, Py_ssize_t room, Said *said)
{
    Py_ssize_t size = packet_bytes(at, room);
    if (!size || (at[1] != 200 && at[1] != 201)) return 0;
    int blocks = at[0] & 31;
    Py_ssize_t head = at[1] == 200 ? 28 : 8;
    if (blocks > 1 || size < head + 24 * blocks) return 0;
    if (size < room && packet_bytes(at + size, room - size) != room - size) return 0;
    if (size < room && !are_names(at + size, room - size)) return 0;
    said->sends = at[1] == 200;
    said->ssrc = get_word(at + 4);
    said->clock = said->sends ? get_word(at + 8) << 16 | get_word(at + 12) >> 16 : 0;
    said->block = blocks ? at + head : NULL;
    return 1;
}

/* Four a second, and a few at once (GCRA). */
static int is_flood(const Arg *arg, int64_t row)
{
    int64_t *until = AT(int64_t, arg[READ_UNTIL_NS], row), least = arg[NOW_NS].i - arg[AT_ONCE].i * arg[EACH_NS].i;
    int64_t next = (*until > least ? *until : least) + arg[EACH_NS].i;
    if (next > arg[NOW_NS].i) return 1;
    *until = next;
    return 0;
}

/* From a clock of ours that the peer quotes, and how long it kept it: rtcp_timing.quoted_round_trip_ns. */
static void round_trip(const Arg *arg, int64_t row, uint32_t quoted, uint32_t delay)
{
    int64_t unix_ns = arg[NOW_NS].i + arg[WALL_OFFSET_NS].i, seconds = unix_ns / 1000000000;
    uint32_t now = (uint32_t)(seconds + NTP_EPOCH_S) << 16;
    now |= (uint32_t)(((unix_ns - seconds * 1000000000) << 16) / 1000000000);
    int32_t units = (int32_t)(now - quoted - delay);
    if (!quoted || units <= -66) return;
    int64_t took_ns = (int64_t)(units > 0 ? units : 0) * 1000000000 >> 16;
    if (took_ns >= arg[LONGEST_NS].i) return;
    double ms = (double)took_ns / 1e6;
    *AT(float, arg[RTT_MS], row) = (float)(ms > 0.01 ? ms : 0.01);
}

/* How many packets it speaks of: all that were sent but those behind the highest that it has. Whether it is believed. */
static int report_of_us(const Arg *arg, int64_t row, const uint8_t *block)
{
    int64_t behind = (*AT(int64_t, arg[TX_SEQ], row) - 1 - (int64_t)get_word(block + 8)) & 0xFFFF;
    int64_t expected = *AT(int64_t, arg[PACKETS_SENT], row) - behind;
    int64_t lost = ((int64_t)(get_word(block + 4) & 0xFFFFFF) ^ 0x800000) - 0x800000; /* sign of 24 bits */
    if (expected <= 0) return 0;
    *AT(int64_t, arg[PEER_EXPECTED], row) = expected;
    *AT(int64_t, arg[PEER_LOST], row) = lost < 0 ? 0 : lost < expected ? lost : expected;
    *AT(float, arg[PEER_JITTER_MS], row) =
        (float)((double)get_word(block + 12) * 1000 / (double)*AT(int64_t, arg[CLOCK_HZ], row));
    round_trip(arg, row, get_word(block + 16), get_word(block + 20));
    return 1;
}

static int is_there(const Arg *arg, int64_t row)
{
    for (int k = TX_SSRC; k <= RTT_MS; k++)
        if (row < 0 || row >= arg[k].a.n) return 0;
    return arg[CLOCKS].a.m == 3 && *AT(int64_t, arg[CLOCK_HZ], row);
}

/* hear_report(..., row, data, now_ns): UNUSUAL, if nothing was done; FLOOD; READ; or BELIEVED + the fraction lost */
int64_t hear_report(const Arg *arg)
{
    int64_t row = arg[ROW].i;
    Said said;
    if (!is_there(arg, row)) {
        PyErr_Format(PyExc_IndexError, "hear_report: there is no row %lld", (long long)row);
        return -1;
    }
    if ((arg[DATA].a.n > 1 && arg[DATA].a.step != 1) || !parse((const uint8_t *)arg[DATA].a.data, arg[DATA].a.n, &said))
        return UNUSUAL;
    if (is_flood(arg, row)) return FLOOD;
    if (said.sends && *AT(uint8_t, arg[RX_PROVEN], row) && said.ssrc == *AT(uint32_t, arg[RX_SSRC], row)) {
        int64_t *clock = AT(int64_t, arg[CLOCKS], row);
        clock[0] = said.clock, clock[1] = arg[NOW_NS].i, clock[2] = said.ssrc;
    }
    if (said.block && get_word(said.block) == *AT(uint32_t, arg[TX_SSRC], row) && report_of_us(arg, row, said.block))
        return BELIEVED + said.block[4];
    return READ;
}
