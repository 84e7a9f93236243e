/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twins of timeline.py and credit.py: the usual cases, a row at a time, and the frames whose time has run out. */
#include "timeline.h"
#include <math.h>

#define SECOND_NS 1000000000
#define CONCEAL_MS 240
#define MIN_PTIME_DIVISOR 100

int open_timeline(const Arg *arg, const Arg *moment, Timeline *timeline)
{
    *timeline = (Timeline){arg, moment[MOMENT_NOW_NS].i, moment[MOMENT_CREDIT_NS].i, moment[MOMENT_CREDIT_RATE].f,
                           &moment[MOMENT_SLOTS], &moment[MOMENT_PAYLOADS], &moment[MOMENT_FREE]};
    const Array *slots = &timeline->slots->a;
    if (arg[AT_FLOW].a.m == FLOW_FIELDS && slots->m == SLOT_COUNT && timeline->payloads->a.n == slots->n &&
        timeline->free->a.n == slots->n + 1 && arg[AT_DROPS].a.m > DROP_OVERFLOW && arg[AT_ALL_DROPS].a.n > DROP_OVERFLOW)
        return 1;
    PyErr_SetString(PyExc_ValueError, "the columns of a timeline and the slots of what waits do not go together");
    return 0;
}

void drop(const Timeline *timeline, int64_t row, int reason)
{
    OF(timeline, int64_t, AT_DROPS, row)[reason]++;
    (*AT(int64_t, timeline->arg[AT_ALL_DROPS], reason))++;
}

/* -- credit.py ----------------------------------------------------------------------------- */

double credit_of(const Timeline *timeline, int64_t row)
{
    const int64_t *flow = flow_of(timeline, row);
    double most = timeline->most_credit_ns, before = flow[CREDIT_NS];
    double earned = (double)(timeline->now_ns - flow[CREDIT_AT_NS]) * timeline->credit_rate;
    double extra = before > most ? (before - most) * exp(-earned / most) : 0;
    return fmax(fmin(fmin(before, most) + earned, most), earned) + extra;
}

static double left_after(const Timeline *timeline, int64_t row, int64_t duration)
{
    return credit_of(timeline, row) - duration * 1e9 / *OF(timeline, int64_t, AT_CLOCK_HZ, row);
}

static void set_credit(const Timeline *timeline, int64_t row, double credit_ns)
{
    int64_t *flow = flow_of(timeline, row);
    flow[CREDIT_NS] = (int64_t)credit_ns;
    flow[CREDIT_AT_NS] = timeline->now_ns;
}

/* -- the timeline -------------------------------------------------------------------------- */

void set_deadline(const Timeline *timeline, int64_t row)
{
    int64_t *flow = flow_of(timeline, row), clock = *OF(timeline, int64_t, AT_CLOCK_HZ, row);
    double base = *OF(timeline, double, AT_BASE_DELAY_NS, row);
    if (isnan(base)) flow[RX_DEADLINE_NS] += *OF(timeline, int64_t, AT_PACKET_NS, row);
    else flow[RX_DEADLINE_NS] = deadline_ns(flow, clock, base, *OF(timeline, double, AT_TARGET_NS, row));
}

int lack(const Timeline *timeline, int64_t row)
{
    int64_t *flow = flow_of(timeline, row), duration = *OF(timeline, int64_t, AT_PACKET_TS, row);
    double left = left_after(timeline, row, duration);
    if (!(left >= 0)) {
        set_credit(timeline, row, credit_of(timeline, row));
        return 0;
    }
    set_credit(timeline, row, left);
    (*OF(timeline, int32_t, AT_LOST_RUN, row))++;
    flow[EXPECTED_BYTES] = 0;
    flow[RX_NEXT_TS] += duration;
    if (*OF(timeline, uint8_t, AT_PROVEN, row)) set_deadline(timeline, row);
    else flow[RX_DEADLINE_NS] += duration * SECOND_NS / *OF(timeline, int64_t, AT_CLOCK_HZ, row);
    return 1;
}

/* Whether concealment has faded to silence before the last frame that `lack` has counted. */
static int is_silent(const Timeline *timeline, int64_t row, int64_t duration)
{
    int64_t before = *OF(timeline, int32_t, AT_LOST_RUN, row) - 1;
    return before * duration * 1000 / *OF(timeline, int64_t, AT_CLOCK_HZ, row) >= CONCEAL_MS;
}

/* What is left of the row's credit, and its slip, if it follows. */
static int can_follow(const Timeline *timeline, int64_t row, int64_t ts, int64_t size, double *left, double *slipped)
{
    int64_t *flow = flow_of(timeline, row), packet_ts = *OF(timeline, int64_t, AT_PACKET_TS, row);
    int64_t duration = *OF(timeline, int64_t, AT_PAYLOAD_TS, row), astray = ts - flow[RX_NEXT_TS];
    if (*OF(timeline, uint8_t, AT_VARIABLE, row) || size != *OF(timeline, int64_t, AT_PAYLOAD_BYTES, row) || size <= 0 ||
        duration <= 0)
        return 0;
    if (duration != packet_ts && duration * MIN_PTIME_DIVISOR >= *OF(timeline, int64_t, AT_CLOCK_HZ, row)) return 0;
    if (astray <= -packet_ts || astray >= packet_ts - packet_ts / 2) return 0;
    *slipped = *OF(timeline, double, AT_SLIP, row) + (double)astray / packet_ts;
    if (*slipped >= 1) return 0;
    *left = left_after(timeline, row, duration);
    return *left >= 0;
}

int may_follow(const Timeline *timeline, int64_t row, int64_t ts, int64_t size)
{
    double left, slipped;
    return can_follow(timeline, row, ts, size, &left, &slipped);
}

int follows(const Timeline *timeline, int64_t row, int64_t seq, int64_t ts, int64_t size)
{
    double left, slipped;
    if (!can_follow(timeline, row, ts, size, &left, &slipped)) return 0;
    int64_t *flow = flow_of(timeline, row);
    set_credit(timeline, row, left);
    if (ts != flow[RX_NEXT_TS]) *OF(timeline, double, AT_SLIP, row) = slipped;
    flow[RX_NEXT_SEQ] = seq + 1;
    flow[RX_NEXT_TS] = ts + *OF(timeline, int64_t, AT_PAYLOAD_TS, row);
    *OF(timeline, int64_t, AT_LATE_SINCE_NS, row) = 0;
    return 1;
}

/* -- kernels ------------------------------------------------------------------------------- */

/* schedule(columns, moment, rows): their deadlines (_set_deadlines) */
int64_t schedule(const Arg *arg)
{
    Timeline timeline;
    const Arg *rows = &arg[TIMELINE_COLUMNS + MOMENT_ARGS];
    if (!open_timeline(arg, &arg[TIMELINE_COLUMNS], &timeline)) return -1;
    for (Py_ssize_t i = 0; i < rows->a.n; i++) set_deadline(&timeline, *AT(int64_t, *rows, i));
    return 0;
}

typedef struct {
    const Arg *out;
    int64_t filled, gaps, over;
} Lacks;

static void note(Lacks *lacks, int field, int64_t count, int64_t a, int64_t b, int64_t c)
{
    AT(int64_t, *lacks->out, field)[count] = a;
    AT(int64_t, *lacks->out, field + 1)[count] = b;
    AT(int64_t, *lacks->out, field + 2)[count] = c;
}

static int fill(const Timeline *timeline, int64_t row, Lacks *lacks)
{
    int64_t duration = *OF(timeline, int64_t, AT_PACKET_TS, row);
    if (!lack(timeline, row)) return 0;
    note(lacks, LACKS_ROW, lacks->filled++, row, duration, is_silent(timeline, row, duration));
    return 1;
}

/* Packets wait behind a gap, and the gap's time has run out (_give_up_waiting). */
static void give_up(const Timeline *timeline, int64_t row, Lacks *lacks)
{
    int64_t *flow = flow_of(timeline, row), slot = *OF(timeline, int64_t, AT_FIRST, row), *first = slot_of(timeline, slot);
    int64_t clock = *OF(timeline, int64_t, AT_CLOCK_HZ, row), packet_ts = *OF(timeline, int64_t, AT_PACKET_TS, row);
    int64_t half = packet_ts - packet_ts / 2;
    int leap = first[SLOT_TS] - flow[RX_NEXT_TS] > clock;
    if (leap || credit_of(timeline, row) / (packet_ts * 1e9 / clock) < 1) flow[RX_NEXT_TS] = first[SLOT_TS];
    int64_t gap_ts = first[SLOT_TS] - flow[RX_NEXT_TS];
    if (first[SLOT_KIND] == KIND_AUDIO && gap_ts >= half && fill(timeline, row, lacks))
        note(lacks, LACKS_GAP_ROW, lacks->gaps++, row, gap_ts, slot);
    if (first[SLOT_KIND] == KIND_AUDIO && first[SLOT_TS] - flow[RX_NEXT_TS] >= half) {
        set_deadline(timeline, row);
        return;
    }
    note(lacks, LACKS_OVER_ROW, lacks->over++, row, flow[RX_NEXT_SEQ], first[SLOT_SEQ]);
    flow[RX_NEXT_SEQ] = first[SLOT_SEQ];
}

/* lacks(columns, moment, all, rows, out)

   Frames of these rows that did not come, one each: of those whose time has run out, or of `all`.  `out` becomes the rows
   whose frame is to be made up, with its length and whether it is silent; those of them behind whose gap a packet
   waits, with its distance from the frame and its slot; and those that wait no longer, with the first number that is
   missing and the next that is not.  Returns how many there are of the first, << 20 of the second, << 40 of the third. */
int64_t lacks(const Arg *arg)
{
    const Arg *call = &arg[TIMELINE_COLUMNS + MOMENT_ARGS], *rows = &call[1];
    Timeline timeline;
    Lacks lacks = {&call[2], 0, 0, 0};
    if (!open_timeline(arg, &arg[TIMELINE_COLUMNS], &timeline)) return -1;
    if (call[2].a.n != LACKS_COUNT || call[2].a.m < rows->a.n || rows->a.n >= 1 << 20) {
        PyErr_SetString(PyExc_ValueError, "lacks: there is no room for so many rows");
        return -1;
    }
    for (Py_ssize_t i = 0; i < rows->a.n; i++) {
        int64_t row = *AT(int64_t, *rows, i), *flow = flow_of(&timeline, row);
        if (call[0].i) fill(&timeline, row, &lacks);
        else if (flow[RX_DEADLINE_NS] > timeline.now_ns) continue;
        else if (*OF(&timeline, int32_t, AT_HELD, row)) give_up(&timeline, row, &lacks);
        else if (!fill(&timeline, row, &lacks)) /* its schedule is ahead of time: no more than a frame each packet time */
            flow[RX_DEADLINE_NS] = timeline.now_ns + *OF(&timeline, int64_t, AT_PACKET_TS, row) * SECOND_NS /
                                                         *OF(&timeline, int64_t, AT_CLOCK_HZ, row);
    }
    return lacks.filled | lacks.gaps << 20 | lacks.over << 40;
}
