/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of a packet on its way to the agent, step by step: what is done for batches in express.c and hear.c,
   and for the usual packet all at once in usual.c. */
#ifndef TRUNKLINE_UPLINK_H
#define TRUNKLINE_UPLINK_H

#include "frame.h"
#include "media.h"
#include "wire.h"

#define FLAG_SPEECH 1
#define SPEECH_DBOV -45.0f

/* -- express.c */

/* First arguments of kernels that take packets. */
enum { FLOW, STEP, TICK_NS, BASE_DELAY_NS, JITTER_TS, CLOCK_HZ, SEEN, FORMAT, RECEIVED_BY_WORKER, OF_PACKETS };

typedef struct {
    int64_t now_ns, most_credit_ns;
    double extra; /* part of its own duration that a packet earns while there is less credit than that */
    double earliest_ns, early_ns, late_ns; /* than the base: where it is too early to be expected, and where unusual */
} Moment;

/* Arrival minus media time of the packet that is next. */
double relative_ns(const Arg *arg, int64_t row, int64_t now_ns);

/* Header and length; where any length will do, the caller has looked at the duration. */
int as_expected(const int64_t *flow, const uint8_t *packet, int64_t length, int64_t room);

/* All that a packet that is as expected moves in its row. */
void count_packet(const Arg *arg, int64_t row, int64_t length, const Moment *moment);

void expand_to(const int16_t *table, const uint8_t *payload, int16_t *pcm, Py_ssize_t n);

/* -- hear.c */

/* First arguments of kernels that hear: background.py's columns, the row's histories and the resampler, */
enum { LINE_HISTORY, BACKGROUND, NOISE_DBOV, NOISE_KNOWN, UP_HISTORY, TAPS, UP, DOWN, OF_HEARING };
/* and of those that write records. */
enum { HEADS = OF_HEARING, OF_RECORDS = HEADS + OF_HEADS };

/* The resampler that these arguments are; whether it makes `samples` of n line samples. */
int filter_of(const Arg *arg, Py_ssize_t n, Py_ssize_t samples, Filter *filter);

/* A row's good frame pcm[n]: what is kept of it, and of the background if rise_db is not negative. `heard`, the same but
   for fades, becomes `frame`. */
void hear(const Arg *arg, const Filter *filter, int64_t row, const int16_t *pcm, const int16_t *heard, Py_ssize_t n,
          float level, double rise_db, int16_t *frame);

/* -- usual.c: it answers with four counts, of so many bits each; of its arguments, these two are what it has taken */
#define USUAL_BITS 15
#define USUAL_COUNT ((1 << USUAL_BITS) - 1)
enum { USUAL_TAKEN = OF_RECORDS + OF_PACKETS + 18, USUAL_RELATIVE_NS };

#endif
