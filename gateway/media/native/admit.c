/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of receive.py and of Timeline.arrive: audio of a proven source, whatever its place in the sequence. */
#include "timeline.h"
#include "wire.h"
#include <math.h>

#define PACKET_BYTES 2048
#define MAX_DROPOUT 3000
#define MAX_MISORDER 100
#define SEEN 63
#define EARLY_NS 100000000.0
#define LEAP_NS 500000000.0
#define PLAIN 0x80
#define EXTENDED 0x90
#define EXTENSION_HEAD 4

/* Behind the timeline's: columns of reception. */
enum { AT_SSRC = TIMELINE_COLUMNS, AT_RECEIVING, AT_PT, AT_BASE_SEQ, AT_HAS_TRANSIT, AT_JITTER_TS, AT_LOST_BEFORE, AT_LOST,
       AT_REORDERED, AT_SEEN, AT_ALL_RECEIVED, MOMENT };
enum { EARLIEST_NS = MOMENT + MOMENT_ARGS, LATEST_NS, ALL, ROWS, PACKETS, LENGTHS, MAY, OUT, RELATIVE_NS };
/* receive.ADMITTED */
enum { OUT_REST, OUT_LEFT, OUT_MOVED, OUT_NOTED, OUT_SEQ, OUT_TS, OUT_START, OUT_COUNT };

/* One packet, of which it is known that it belongs to the row's source. */
typedef struct {
    int64_t row, seq, delta, ts, start, size; /* seq and ts extended; delta: from the highest; where the audio is */
    double relative_ns, late_ns;              /* arrival minus media time; over the base */
    const uint8_t *payload;
} Arrival;

static int64_t extend(int64_t reference, int64_t wire, int bits)
{
    int64_t half = (int64_t)1 << (bits - 1);
    return reference + (((wire - reference + half) & (2 * half - 1)) - half);
}

/* Where audio begins, behind an extension that lies within the packet, if there is one; 0 where there is more to it. */
static int64_t start_of(const uint8_t *packet, int64_t length)
{
    if (packet[0] == PLAIN) return HEADER_BYTES;
    if (packet[0] != EXTENDED || length < HEADER_BYTES + EXTENSION_HEAD) return 0;
    int64_t start = HEADER_BYTES + EXTENSION_HEAD + 4 * (int64_t)(get_word(packet + HEADER_BYTES) & 0xFFFF);
    return start < length ? start : 0;
}

/* Audio of the proven source, and where it begins: 0 for all else. */
static int is_audio(const Arg *arg, const uint8_t *packet, int64_t length, int64_t room, Arrival *arrival)
{
    int64_t row = arrival->row;
    if (length < HEADER_BYTES || length > room || length >= PACKET_BYTES) return 0;
    arrival->start = start_of(packet, length);
    if (!arrival->start || !*AT(uint8_t, arg[AT_RECEIVING], row)) return 0;
    return (packet[1] & 0x7F) == *AT(int16_t, arg[AT_PT], row) &&
           *AT(uint8_t, arg[AT_PROVEN], row) == 1 && get_word(packet + 8) == *AT(uint32_t, arg[AT_SSRC], row);
}

/* Where it stands; 0 for what has to prove itself, or starts the timeline anew. */
static int place(const Arg *arg, const Timeline *timeline, const uint8_t *packet, int64_t length, Arrival *arrival)
{
    int64_t row = arrival->row, *flow = flow_of(timeline, row), clock = *AT(int64_t, arg[AT_CLOCK_HZ], row);
    int64_t delta = extend(flow[RX_MAX_SEQ], get_word(packet) & 0xFFFF, 16) - flow[RX_MAX_SEQ];
    int64_t ts = extend(flow[RX_MAX_TS], get_word(packet + 4), 32);
    if (delta > MAX_DROPOUT || delta < -MAX_MISORDER || (delta <= 0 && ts > flow[RX_MAX_TS])) return 0;
    arrival->relative_ns = (double)timeline->now_ns - (double)ts * 1e9 / (double)clock;
    arrival->late_ns = arrival->relative_ns - *AT(double, arg[AT_BASE_DELAY_NS], row);
    if (delta > 0 && !(arrival->late_ns >= -EARLY_NS)) {
        if (isnan(arrival->late_ns) || delta == 1 || arrival->late_ns < -LEAP_NS) return 0;
    }
    arrival->seq = flow[RX_MAX_SEQ] + delta;
    arrival->delta = delta;
    arrival->ts = ts;
    arrival->size = length - arrival->start;
    arrival->payload = packet + arrival->start;
    return 1;
}

/* Numbers at or below the highest that were seen before, or are too old to know; counts those. */
static int is_old(const Arg *arg, const Timeline *timeline, const Arrival *arrival)
{
    int64_t back = -arrival->delta;
    if (back < 0) return 0;
    int seen = *AT(uint64_t, arg[AT_SEEN], arrival->row) >> (back < SEEN ? back : SEEN) & 1;
    if (seen || back > SEEN) drop(timeline, arrival->row, seen ? DROP_DUPLICATE : DROP_LATE);
    return seen || back > SEEN;
}

/* RFC 3550 A.8 */
static void measure(const Arg *arg, const Timeline *timeline, const Arrival *arrival)
{
    int64_t row = arrival->row, *flow = flow_of(timeline, row);
    int64_t transit = timeline->now_ns / 1000 * *AT(int64_t, arg[AT_CLOCK_HZ], row) / 1000000 - arrival->ts;
    double *jitter = AT(double, arg[AT_JITTER_TS], row);
    uint8_t *has_transit = AT(uint8_t, arg[AT_HAS_TRANSIT], row);
    if (*has_transit) *jitter += (fabs((double)(transit - flow[RX_TRANSIT_TS])) - *jitter) / 16;
    flow[RX_TRANSIT_TS] = transit;
    *has_transit = 1;
    if (arrival->ts > flow[RX_MAX_TS]) flow[RX_MAX_TS] = arrival->ts;
}

/* Counts, loss, jitter: Receiver._count. */
static void count(const Arg *arg, const Timeline *timeline, const Arrival *arrival)
{
    int64_t row = arrival->row, delta = arrival->delta, *flow = flow_of(timeline, row);
    uint64_t *seen = AT(uint64_t, arg[AT_SEEN], row);
    if (delta <= 0) *seen |= (uint64_t)1 << -delta;
    else *seen = (delta > SEEN ? 0 : *seen << delta) | 1;
    if (delta > 0) flow[RX_MAX_SEQ] = arrival->seq;
    flow[RX_RECEIVED]++;
    flow[PACKETS_RECEIVED]++;
    flow[OCTETS_RECEIVED] += arrival->size;
    *AT(int64_t, arg[AT_REORDERED], row) += delta <= 0;
    int64_t lost = flow[RX_MAX_SEQ] - *AT(int64_t, arg[AT_BASE_SEQ], row) + 1 - flow[RX_RECEIVED];
    *AT(int64_t, arg[AT_LOST], row) = *AT(int64_t, arg[AT_LOST_BEFORE], row) + (lost > 0 ? lost : 0);
    if (delta > 0) measure(arg, timeline, arrival);
    flow[RX_LAST_NS] = timeline->now_ns;
}

/* Whether it says something of the network now (Lateness.note). */
static int is_notable(const Arg *arg, const Arrival *arrival)
{
    if (arrival->delta <= 0) return arrival->late_ns > 0;
    return arg[ALL].i || !(arrival->late_ns >= arg[EARLIEST_NS].f && arrival->late_ns <= arg[LATEST_NS].f);
}

typedef struct {
    int64_t rest, left, moved, noted;
} Counts;

/* It goes on, waits, or comes too late. */
static void arrive(const Arg *arg, const Timeline *timeline, const Arrival *arrival, Py_ssize_t i, Counts *counts)
{
    int64_t next = flow_of(timeline, arrival->row)[RX_NEXT_SEQ];
    if (arrival->seq < next) drop(timeline, arrival->row, DROP_LATE);
    else if (arrival->seq > next) {
        if (!put(timeline, arrival->row, arrival->seq, arrival->ts, arrival->payload, arrival->size))
            drop(timeline, arrival->row, DROP_OVERFLOW);
    } else if (follows(timeline, arrival->row, arrival->seq, arrival->ts, arrival->size))
        AT(int64_t, arg[OUT], OUT_MOVED)[counts->moved++] = i;
    else AT(int64_t, arg[OUT], OUT_LEFT)[counts->left++] = i;
}

static int fits(const Arg *arg, const Timeline *timeline)
{
    Py_ssize_t n = arg[ROWS].a.n;
    if (arg[PACKETS].a.n == n && arg[PACKETS].a.m >= HEADER_BYTES && arg[LENGTHS].a.n == n && arg[MAY].a.n == n &&
        arg[OUT].a.n == OUT_COUNT && arg[OUT].a.m >= n && arg[RELATIVE_NS].a.n >= n && n < 1 << 15 &&
        arg[AT_ALL_RECEIVED].a.n >= 1 && timeline->payloads->a.m >= PACKET_BYTES && *AT(int64_t, *timeline->free, 0) >= n)
        return 1;
    PyErr_SetString(PyExc_ValueError, "admit: the shapes of batch and slots do not go together");
    return 0;
}

/* admit(columns, more columns, moment, earliest_ns, latest_ns, all, rows, packets, lengths, may, out, relative_ns)

   Packets of which nothing is known but that they are not as expected.  `out` becomes the places of those that are left
   to Receiver altogether; of those that are counted and next in sequence, but left to Timeline; of those that have moved
   it, and are to be heard; of those whose delay is to be noted, with `relative_ns` beside them; and by the places of the
   packets, their extended sequence numbers, timestamps, and where their audio begins.  The others wait, or are dropped.
   Returns how many there are of each kind, << 16, << 32 and << 48. */
int64_t admit(const Arg *arg)
{
    Timeline timeline;
    Counts counts = {0, 0, 0, 0};
    if (!open_timeline(arg, &arg[MOMENT], &timeline) || !fits(arg, &timeline)) return -1;
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        const uint8_t *packet = AT(uint8_t, arg[PACKETS], i);
        int64_t length = *AT(int32_t, arg[LENGTHS], i);
        Arrival arrival = {.row = *AT(int64_t, arg[ROWS], i)};
        if (!*AT(uint8_t, arg[MAY], i) || !is_audio(arg, packet, length, arg[PACKETS].a.m, &arrival) ||
            !place(arg, &timeline, packet, length, &arrival)) {
            AT(int64_t, arg[OUT], OUT_REST)[counts.rest++] = i;
            continue;
        }
        if (is_old(arg, &timeline, &arrival)) continue;
        if (is_notable(arg, &arrival)) {
            *AT(double, arg[RELATIVE_NS], counts.noted) = arrival.relative_ns;
            AT(int64_t, arg[OUT], OUT_NOTED)[counts.noted++] = i;
        }
        count(arg, &timeline, &arrival);
        (*AT(int64_t, arg[AT_ALL_RECEIVED], 0))++;
        AT(int64_t, arg[OUT], OUT_SEQ)[i] = arrival.seq;
        AT(int64_t, arg[OUT], OUT_TS)[i] = arrival.ts;
        AT(int64_t, arg[OUT], OUT_START)[i] = arrival.start;
        arrive(arg, &timeline, &arrival, i, &counts);
    }
    return counts.rest | counts.left << 16 | counts.moved << 32 | counts.noted << 48;
}
