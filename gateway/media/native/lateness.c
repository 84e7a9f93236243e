/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of rtp.jitter.update_target: base and target of rows, after packets that arrived so late. */
#include "media.h"
#include <math.h>

#define BINS 16

enum { BASE_NS, TARGET_NS, COUNTS, WEIGHT, NOTED_PACKETS, NOTED_NS, RECEIVED, MIN_NS, MAX_NS, MARGIN_NS, LATE_SHARE, LEAP_NS,
       NOW_NS, ROWS, RELATIVE_NS, KEPT, RISES, SHRINKS };

/* What the distribution of lateness wants, with a packet that needed so much. */
static double wanted(const Arg *arg, float *counts, double weight, double kept, double needed)
{
    double least = arg[MIN_NS].f, span = arg[MAX_NS].f - least, step = (span > BINS ? span : BINS) / BINS;
    for (int k = 0; k < BINS; k++) counts[k] *= (float)kept;
    if (needed > least) {
        double place = ceil((needed - least) / step);
        counts[(place < BINS ? (int)place : BINS) - 1] += 1;
    }
    int steps = 0;
    float later = 0;
    for (int k = BINS; k--;) steps += (double)(later += counts[k]) > arg[LATE_SHARE].f * weight;
    return least + step * steps;
}

/* lateness(base_delay_ns, target_ns, late_counts, late_weight, noted_packets, noted_ns, packets_received,
            min_ns, max_ns, margin_ns, late_share, leap_ns, now_ns, rows, relative_ns, kept, rises, shrinks)

   `kept`, `rises` and `shrinks` are what time does to the distribution, the base and the target (exponentials). */
int64_t lateness(const Arg *arg)
{
    Py_ssize_t n = arg[ROWS].a.n;
    if (arg[COUNTS].a.m != BINS || arg[RELATIVE_NS].a.n != n || arg[KEPT].a.n != n || arg[RISES].a.n != n ||
        arg[SHRINKS].a.n != n) {
        PyErr_SetString(PyExc_ValueError, "lateness: the shapes of rows and delays do not go together");
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i), received = *AT(int64_t, arg[RECEIVED], row);
        double *base = AT(double, arg[BASE_NS], row), *target = AT(double, arg[TARGET_NS], row);
        double *weight = AT(double, arg[WEIGHT], row), kept = *AT(double, arg[KEPT], i);
        double relative = *AT(double, arg[RELATIVE_NS], i), late = relative - *base; /* nan for a first packet */
        if (!(late > arg[LEAP_NS].f)) *base -= late * *AT(double, arg[RISES], i);
        *base = fmin(*base, relative);
        double needed = relative - *base + arg[MARGIN_NS].f;
        if (!(needed <= arg[MAX_NS].f)) needed = 0; /* what no target can cover asks for none */
        *weight = *weight * kept + (double)(received - *AT(int64_t, arg[NOTED_PACKETS], row));
        double want = wanted(arg, AT(float, arg[COUNTS], row), *weight, kept, needed);
        double shrunk = want + (*target - want) * *AT(double, arg[SHRINKS], i);
        *target = fmin(fmax(fmax(needed, want), fmax(shrunk, arg[MIN_NS].f)), arg[MAX_NS].f);
        *AT(int64_t, arg[NOTED_PACKETS], row) = received;
        *AT(int64_t, arg[NOTED_NS], row) = arg[NOW_NS].i;
    }
    return 0;
}
