/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of rtp/jitter.py, `update_target`, and of `Lateness.update`: the base and the target of rows that have their turn. */
#include "media.h"
#include <math.h>

#define BINS 16

enum {
    BASE_NS, TARGET_NS, COUNTS, WEIGHT, RECEIVED, NOTED_PACKETS, NOTED_NS,
    MIN_NS, MAX_NS, MARGIN_NS, LATE_SHARE, MEMORY_NS, SHRINK_NS, FORGET_NS, LEAP_NS, /* bound; jitter.TargetParams */
    ROWS, RELATIVE_NS, NOW_NS
};

/* The base follows a faster packet at once, and forgets slowly; nan stands for a stream without packets. */
static double new_base(const Arg *arg, double base_ns, double relative_ns, double elapsed_ns)
{
    double late_ns = relative_ns - base_ns;
    if (!(late_ns > arg[LEAP_NS].f)) base_ns -= late_ns * (float)expm1(elapsed_ns / -arg[FORGET_NS].f);
    return fmin(base_ns, relative_ns); /* passes over nan */
}

/* The least target that all but few packets kept to: the tail of the distribution, the highest step first. */
static double wanted_ns(const Arg *arg, const float *counts, double weight, double step_ns)
{
    float later = 0; /* in the width of the counts, as np.cumsum adds them */
    int steps = 0;
    for (int k = BINS - 1; k >= 0; k--) {
        later += counts[k];
        steps += (double)later > arg[LATE_SHARE].f * weight;
    }
    return arg[MIN_NS].f + step_ns * steps;
}

static void learn(const Arg *arg, int64_t row, double relative_ns, int64_t packets, double elapsed_ns)
{
    double *base_ns = AT(double, arg[BASE_NS], row), *target_ns = AT(double, arg[TARGET_NS], row);
    double *weight = AT(double, arg[WEIGHT], row);
    float kept = (float)exp(elapsed_ns / -arg[MEMORY_NS].f);
    double range_ns = arg[MAX_NS].f - arg[MIN_NS].f, step_ns = (range_ns > BINS ? range_ns : BINS) / BINS;
    float *counts = AT(float, arg[COUNTS], row);
    *base_ns = new_base(arg, *base_ns, relative_ns, elapsed_ns);
    double needed_ns = relative_ns - *base_ns + arg[MARGIN_NS].f;
    if (!(needed_ns <= arg[MAX_NS].f)) needed_ns = 0; /* what no target can cover asks for none */
    *weight = *weight * kept + (double)packets;
    for (int k = 0; k < BINS; k++) counts[k] *= kept;
    if (needed_ns > arg[MIN_NS].f) {
        int64_t step = (int64_t)ceil((needed_ns - arg[MIN_NS].f) / step_ns);
        counts[(step < BINS ? step : BINS) - 1]++;
    }
    double wanted = wanted_ns(arg, counts, *weight, step_ns);
    double shrunk = wanted + (*target_ns - wanted) * (float)exp(elapsed_ns / -arg[SHRINK_NS].f);
    *target_ns = fmin(fmax(fmax(needed_ns, wanted), fmax(shrunk, arg[MIN_NS].f)), arg[MAX_NS].f);
}

/* learn_late(..., rows, relative_ns, now_ns): after a packet of each of these rows, which are different ones */
int64_t learn_late(const Arg *arg)
{
    if (arg[COUNTS].a.m != BINS || arg[RELATIVE_NS].a.n < arg[ROWS].a.n) {
        PyErr_SetString(PyExc_ValueError, "learn_late: the shapes of its arrays do not go together");
        return -1;
    }
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i), received = *AT(int64_t, arg[RECEIVED], row);
        int64_t *noted = AT(int64_t, arg[NOTED_PACKETS], row), *noted_ns = AT(int64_t, arg[NOTED_NS], row);
        double elapsed_ns = (double)(arg[NOW_NS].i - *noted_ns);
        learn(arg, row, *AT(double, arg[RELATIVE_NS], i), received - *noted, elapsed_ns > 0 ? elapsed_ns : 0);
        *noted = received, *noted_ns = arg[NOW_NS].i;
    }
    return 0;
}

/* late(learn_late(), flow, clock_hz, base_ns, target_ns, rows, relative_ns, now_ns): that, for packets that were as expected
   and have moved their rows, and what the deadlines of these are now (Lateness.note_expected) */
int64_t late(const Arg *arg)
{
    enum { LEARN, FLOW, CLOCK_HZ, OF_BASE_NS, OF_TARGET_NS, OF_ROWS };
    if (arg[LEARN].k.n != 1 || arg[FLOW].a.m != FLOW_FIELDS) {
        PyErr_SetString(PyExc_ValueError, "late: the shapes of its arrays do not go together");
        return -1;
    }
    if (run_bound(arg[LEARN].k.of[0], &arg[OF_ROWS], 3) < 0) return -1;
    for (Py_ssize_t i = 0; i < arg[OF_ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[OF_ROWS], i), *flow = AT(int64_t, arg[FLOW], row);
        double base_ns = *AT(double, arg[OF_BASE_NS], row), target_ns = *AT(double, arg[OF_TARGET_NS], row);
        flow[RX_DEADLINE_NS] = deadline_ns(flow, *AT(int64_t, arg[CLOCK_HZ], row), base_ns, target_ns);
    }
    return 0;
}
