/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of rtp/loss_bursts.py, and of `QualityWatch.missing`. */
#include "media.h"
#include "bursts.h"

void note_missing(int64_t *counts, int64_t received, int64_t missing)
{
    int closes = received >= GMIN || counts[LOST] == 0, within = !closes && received > 0;
    if (closes) {
        counts[C11] += received;
        counts[C14] += counts[LOST] == 1;
        counts[C13] += counts[LOST] > 1;
        counts[LOST] = 0;
    } else if (within) {
        counts[C22] += received - 1;
        counts[C23]++;
    }
    counts[C33] += missing - 1 + (!closes && !within);
    counts[LOST] += missing;
}

static double share(int64_t part, int64_t whole)
{
    return (double)part / (double)(whole > 1 ? whole : 1);
}

Bursts measure_bursts(const int64_t *counts, int64_t received)
{
    int64_t c11 = counts[C11] + received, c13 = counts[C13] + (counts[LOST] > 1);
    int64_t c14 = counts[C14] + (counts[LOST] == 1), in_bursts = c13 + counts[C23] + counts[C33];
    int64_t burst_length = in_bursts + counts[C22] + counts[C23], missing = in_bursts + c14;
    return (Bursts){
        .bursts = (double)c13,
        .burst_density = share(in_bursts, burst_length),
        .burst_packets = share(burst_length, c13),
        .gap_density = share(c14, c11 + c14),
        .gap_packets = (double)(c11 + c14) / (double)(c13 + 1),
        .loss_run = share(missing > 1 ? missing : 1, missing - counts[C33]),
    };
}

/* missing(loss_counts, loss_from_seq, loss_carry, row, first, end): packets first..end-1 did not come in time */
int64_t missing(const Arg *arg)
{
    enum { COUNTS, FROM_SEQ, CARRY, ROW, FIRST, END };
    int64_t row = arg[ROW].i, first = arg[FIRST].i, end = arg[END].i;
    if (arg[COUNTS].a.m != BURST_COUNTS) {
        PyErr_SetString(PyExc_ValueError, "missing: the shapes of its arrays do not go together");
        return -1;
    }
    if (row < 0 || row >= arg[COUNTS].a.n || row >= arg[FROM_SEQ].a.n || row >= arg[CARRY].a.n) {
        PyErr_Format(PyExc_IndexError, "missing: there is no row %lld", (long long)row);
        return -1;
    }
    int64_t *from_seq = AT(int64_t, arg[FROM_SEQ], row), *carry = AT(int64_t, arg[CARRY], row);
    int64_t received = first - *from_seq + *carry;
    *from_seq = end, *carry = 0;
    if (end > first) note_missing(AT(int64_t, arg[COUNTS], row), received > 0 ? received : 0, end - first);
    return 0;
}
