/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clocks, of soonest.py and packet_clocks.py: the soonest, who is due, what a packet that has left moves, how late. */
#include "media.h"

#define NEVER ((int64_t)1 << 62)

static int shapes(const char *what)
{
    PyErr_Format(PyExc_ValueError, "%s: the shapes of its arrays do not go together", what);
    return -1;
}

/* due(send, rows, now_ns, due, late_ns): how many are, and above bit 32 whether any is later than behind_ns */
int64_t due(const Arg *arg)
{
    enum { SEND, BEHIND_NS, ROWS, NOW_NS, DUE, LATE_NS };
    int64_t count = 0, is_behind = 0, n = arg[ROWS].a.n;
    if (arg[SEND].a.m != SEND_FIELDS || arg[DUE].a.n < n || arg[LATE_NS].a.n < n) return shapes("due");
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i);
        int64_t late_ns = arg[NOW_NS].i - AT(int64_t, arg[SEND], row)[SEND_DUE_NS];
        if (late_ns < 0) continue;
        is_behind |= late_ns > arg[BEHIND_NS].i;
        *AT(int64_t, arg[LATE_NS], count) = late_ns;
        *AT(int64_t, arg[DUE], count++) = row;
    }
    return count | is_behind << 32;
}

/* least(column, rows): the least of column[rows]; NEVER if there are no rows */
int64_t least(const Arg *arg)
{
    int64_t found = NEVER;
    for (Py_ssize_t i = 0; i < arg[1].a.n; i++) {
        int64_t value = *AT(int64_t, arg[0], *AT(int64_t, arg[1], i));
        if (value < found) found = value;
    }
    return found;
}

/* spoken(send, ptime_ts, ptime_ns, packets_sent, rows, samples, sent, payload_bytes): how many the sockets refused;
   if any, nothing is counted */
int64_t spoken(const Arg *arg)
{
    enum { SEND, PTIME_TS, PTIME_NS, PACKETS_SENT, ROWS, SAMPLES, SENT, PAYLOAD_BYTES };
    int64_t n = arg[ROWS].a.n, refused = 0;
    if (arg[SEND].a.m != SEND_FIELDS || arg[SAMPLES].a.n != n || arg[SENT].a.n != n || !arg[PACKETS_SENT].a.n)
        return shapes("spoken");
    for (Py_ssize_t i = 0; i < n; i++) refused += !*AT(uint8_t, arg[SENT], i);
    if (refused) return refused;
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i), samples = *AT(int64_t, arg[SAMPLES], i);
        int64_t *send = AT(int64_t, arg[SEND], row);
        send[SEND_SEQ]++;
        send[SEND_TS] += *AT(int64_t, arg[PTIME_TS], row);
        send[SEND_DUE_NS] += *AT(int64_t, arg[PTIME_NS], row);
        send[SEND_PACKETS]++;
        send[SEND_OCTETS] += arg[PAYLOAD_BYTES].i;
        send[SEND_FRAMES] += samples > 0;
        send[SEND_POSITION] += samples;
    }
    *AT(int64_t, arg[PACKETS_SENT], 0) += n;
    return 0;
}

/* delays(edges_us, buckets, total, rows, late_ns, since_ns): counted in the bucket of the first edge that is not below */
int64_t delays(const Arg *arg)
{
    enum { EDGES_US, BUCKETS, TOTAL, ROWS, LATE_NS, SINCE_NS };
    int64_t edges = arg[EDGES_US].a.n;
    if (arg[BUCKETS].a.m != edges + 1 || arg[TOTAL].a.n != edges + 1 || arg[LATE_NS].a.n != arg[ROWS].a.n)
        return shapes("delays");
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        int64_t late_ns = *AT(int64_t, arg[LATE_NS], i) + arg[SINCE_NS].i;
        int64_t bucket = bucket_of(&arg[EDGES_US], late_ns / 1000 - (late_ns % 1000 < 0));
        AT(uint32_t, arg[BUCKETS], *AT(int64_t, arg[ROWS], i))[bucket]++;
        ++*AT(int64_t, arg[TOTAL], bucket);
    }
    return 0;
}
