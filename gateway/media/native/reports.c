/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of gateway/media/reports.py: whose report is due, and the compounds of those whose peers want the usual one.

   That is SR, one block and SDES with a CNAME (RFC 3550 6.4.1, 6.5); rtp/rtcp_batch.py writes all shapes. */
#include "media.h"
#include "wire.h"
#include <string.h>

#define SECOND_NS 1000000000
#define SR_WORDS 12 /* behind the first, with one block */
#define SR_BYTES (4 * (SR_WORDS + 1))
#define WHOLE_EVERY 3

enum {
    DUE_NS, LAST_NS, INITIAL, SENT, NUMBER, WISHES, CLOCKS, SEND, TX_SSRC, RX_SSRC, RX_PROVEN, BASE_SEQ, MAX_SEQ, RECEIVED,
    EXPECTED_PRIOR, RECEIVED_PRIOR, JITTER_TS, CLOCK_HZ, REMOTES, CNAME, GATHER_NS, WALL_OFFSET_NS, /* bound */
    ROWS, UNIFORM, NOW_NS, OUT, OUT_ROWS, OTHERS
};
/* columns of rtcp_wishes */
enum { WANTS_VOIP, WANTS_ROUND_TRIP, REDUCED, ALL_WISHES };

/* rtcp_timing.intervals_ns */
static int64_t interval_ns(double uniform, int initial)
{
    return (int64_t)((initial ? 2.5 : 5.0) * (0.5 + uniform) / 1.21828 * 1e9);
}

static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

/* Whether the report is sent now; in any case it is said when the next one is due (6.3.6). */
static int is_now(const Arg *arg, Py_ssize_t i, int64_t row)
{
    const double *uniform = AT(double, arg[UNIFORM], i);
    int64_t *due_ns = AT(int64_t, arg[DUE_NS], row), *last_ns = AT(int64_t, arg[LAST_NS], row);
    uint8_t *initial = AT(uint8_t, arg[INITIAL], row);
    *due_ns = *last_ns + interval_ns(uniform[0], *initial);
    if (*due_ns > arg[NOW_NS].i + arg[GATHER_NS].i) return 0;
    *last_ns = arg[NOW_NS].i, *initial = 0;
    *due_ns = arg[NOW_NS].i + interval_ns(uniform[1], 0);
    return 1;
}

static int has_peer(const Arg *arg, int64_t row)
{
    const uint8_t *remote = AT(uint8_t, arg[REMOTES], row);
    return remote[2] || remote[3]; /* the port */
}

static int is_usual(const Arg *arg, int64_t row)
{
    const uint8_t *wishes = AT(uint8_t, arg[WISHES], row);
    return !wishes[WANTS_VOIP] && !wishes[WANTS_ROUND_TRIP] && *AT(uint8_t, arg[RX_PROVEN], row) == 1 &&
           AT(int64_t, arg[SEND], row)[SEND_PACKETS] > AT(int64_t, arg[SENT], row)[0] &&
           (!wishes[REDUCED] || *AT(int64_t, arg[NUMBER], row) % WHOLE_EVERY == 0);
}

/* What is sent (6.4.1): SSRC, NTP, the same moment by the packet clock, packets, octets. */
static uint8_t *put_sender(const Arg *arg, int64_t row, uint8_t *at)
{
    const int64_t *send = AT(int64_t, arg[SEND], row);
    int64_t unix_ns = arg[NOW_NS].i + arg[WALL_OFFSET_NS].i, seconds = floor_div(unix_ns, SECOND_NS);
    int64_t since_ns = arg[NOW_NS].i - send[SEND_DUE_NS];
    at = put_word(at, 0x81C80000u | SR_WORDS);
    at = put_word(at, *AT(uint32_t, arg[TX_SSRC], row));
    at = put_word(at, (uint32_t)(seconds + NTP_EPOCH_S));
    at = put_word(at, (uint32_t)(((unix_ns - seconds * SECOND_NS) << 32) / SECOND_NS));
    at = put_word(at, (uint32_t)(send[SEND_TS] + floor_div(since_ns * *AT(int64_t, arg[CLOCK_HZ], row), SECOND_NS)));
    at = put_word(at, (uint32_t)send[SEND_PACKETS]);
    return put_word(at, (uint32_t)send[SEND_OCTETS]);
}

static int64_t fraction_lost(int64_t interval, int64_t received)
{
    if (interval <= 0 || interval <= received) return 0;
    int64_t fraction = (interval - received) * 256 / interval;
    return fraction < 255 ? fraction : 255;
}

/* What was received since the last report, and when the peer's last one came. */
static uint8_t *put_block(const Arg *arg, int64_t row, uint8_t *at)
{
    int64_t highest = *AT(int64_t, arg[MAX_SEQ], row), received = *AT(int64_t, arg[RECEIVED], row);
    int64_t expected = highest - *AT(int64_t, arg[BASE_SEQ], row) + 1, lost = expected - received;
    int64_t *expected_prior = AT(int64_t, arg[EXPECTED_PRIOR], row), *received_prior = AT(int64_t, arg[RECEIVED_PRIOR], row);
    int64_t fraction = fraction_lost(expected - *expected_prior, received - *received_prior);
    const int64_t *clock = AT(int64_t, arg[CLOCKS], row); /* compact NTP, when it came, of which source */
    uint32_t source = *AT(uint32_t, arg[RX_SSRC], row);
    int known = clock[0] && clock[2] == source;
    *expected_prior = expected, *received_prior = received;
    if (lost < -0x800000) lost = -0x800000;
    if (lost > 0x7FFFFF) lost = 0x7FFFFF;
    at = put_word(at, source);
    at = put_word(at, (uint32_t)fraction << 24 | ((uint32_t)lost & 0xFFFFFF));
    at = put_word(at, (uint32_t)(highest - (1 << 16)));
    at = put_word(at, (uint32_t)(int64_t)*AT(double, arg[JITTER_TS], row));
    at = put_word(at, known ? (uint32_t)clock[0] : 0);
    return put_word(at, known ? delay_units(arg[NOW_NS].i - clock[1]) : 0);
}

static void put_names(const Arg *arg, int64_t row, uint8_t *at)
{
    Py_ssize_t text = arg[CNAME].a.n, words = (arg[OUT].a.m - SR_BYTES) / 4;
    at = put_word(at, 0x81CA0000u | (uint32_t)(words - 1));
    at = put_word(at, *AT(uint32_t, arg[TX_SSRC], row));
    memset(at, 0, (size_t)(words - 2) * 4);
    *at++ = 1;
    *at++ = (uint8_t)text;
    for (Py_ssize_t k = 0; k < text; k++) at[k] = *AT(uint8_t, arg[CNAME], k);
}

static int is_sound(const Arg *arg)
{
    Py_ssize_t n = arg[ROWS].a.n, text = arg[CNAME].a.n;
    return text < 256 && arg[OUT].a.m == SR_BYTES + 8 + (text + 2) / 4 * 4 + 4 && arg[UNIFORM].a.m == 2 &&
           arg[UNIFORM].a.n >= n && arg[OUT].a.n >= n && arg[OUT_ROWS].a.n >= n && arg[OTHERS].a.n >= n &&
           arg[SENT].a.m == 2 && arg[WISHES].a.m == ALL_WISHES && arg[CLOCKS].a.m == 3 && arg[SEND].a.m == SEND_FIELDS &&
           arg[REMOTES].a.m >= 4;
}

/* report(..., rows, uniform, now_ns, out, out_rows, others): for rows that are due, each with two numbers in 0..1.

   Those whose report is sent now are in `out_rows`, with their compounds in `out`, or in `others` if theirs is another.
   Returns how many are in `out_rows`, and << 32 in `others`. */
int64_t report(const Arg *arg)
{
    int64_t written = 0, others = 0;
    if (!is_sound(arg)) {
        PyErr_SetString(PyExc_ValueError, "report: the shapes of its arrays do not go together");
        return -1;
    }
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i);
        if (!is_now(arg, i, row) || !has_peer(arg, row)) continue;
        if (!is_usual(arg, row)) {
            *AT(int64_t, arg[OTHERS], others++) = row;
            continue;
        }
        int64_t *sent = AT(int64_t, arg[SENT], row);
        put_names(arg, row, put_block(arg, row, put_sender(arg, row, AT(uint8_t, arg[OUT], written))));
        *AT(int64_t, arg[OUT_ROWS], written++) = row;
        sent[0] = sent[1];
        sent[1] = AT(int64_t, arg[SEND], row)[SEND_PACKETS];
        ++*AT(int64_t, arg[NUMBER], row);
    }
    return written | others << 32;
}

/* due_by(column, rows, until_ns, found): how many of these rows are, whose numbers go to `found` */
int64_t due_by(const Arg *arg)
{
    enum { COLUMN, ALL_ROWS, UNTIL_NS, FOUND };
    int64_t count = 0;
    if (arg[FOUND].a.n < arg[ALL_ROWS].a.n) {
        PyErr_SetString(PyExc_ValueError, "due_by: no room for what it finds");
        return -1;
    }
    for (Py_ssize_t i = 0; i < arg[ALL_ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ALL_ROWS], i);
        if (*AT(int64_t, arg[COLUMN], row) <= arg[UNTIL_NS].i) *AT(int64_t, arg[FOUND], count++) = row;
    }
    return count;
}
