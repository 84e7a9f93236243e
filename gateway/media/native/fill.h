/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A batch of frames that never came: arguments of the kernels in fill.c, and what made_up_frame.c makes of them. */
#ifndef TRUNKLINE_FILL_H
#define TRUNKLINE_FILL_H

#include "binding.h"
#include "made_up.h"

/* Columns of the table, what is known of the format, and then what comes with each call. */
enum { LINE_HISTORY, LINE_HZ, DECODE, LOST_RUN, AHEAD_FROM, CLOCK_HZ, COMFORT_UNTIL_VOICE, RECEIVING, NOISE_DBOV,
       COMFORT_DBOV, NOISE_KNOWN, NOISE_REFLECTION, COMFORT_REFLECTION, BACKGROUND, WINDOW, WHITE, TURNS, GAPS, CONCEALED,
       COMFORT_NOISE, VOICE, UP_HISTORY, TAPS, UP, DOWN, COMMON };
enum { HURRIED, ROWS, QUIET, GAP_TS, ENDS, PAYLOAD, FLAGS, CEASED, OUT };

#define FILL_TAKES \
    "h2@ int h1 i1@ q1!@ q1@ ?1@ ?1@ f1@ f1@ ?1!@ f2!@ f2@ h2@ d1 d2 d2 q1!@ q1!@ q1!@ d2!@ h2!@ f2 int int"
#define FILL_CALL_TAKES "int rows ?1 q1 q1 B1 H1! q1!"

/* A batch of one format. */
typedef struct {
    const Arg *arg, *call;
    Filter filter;
    Turns turns;
    Py_ssize_t n;
    int samples, rate_hz; /* of a frame on the line */
    int64_t ceased; /* how many have now ceased to speak */
} Batch;

/* What is made up for place i, pcm[samples] at the rate on the line; counts it, and returns its flags. */
uint16_t make_up(const Batch *batch, Py_ssize_t i, int64_t row, int16_t *pcm);

#endif
