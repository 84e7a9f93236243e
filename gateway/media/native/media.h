/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernels over the table of a media worker: what Python does batch by batch is done packet by packet here.

   Each has its twin in the Python module that binds it, which says what is done and why; kernels take the usual
   cases and leave the others, whose packets or rows they name, to that code. */
#ifndef TRUNKLINE_MEDIA_H
#define TRUNKLINE_MEDIA_H

#include "binding.h"
#include <time.h>

static inline int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Where a time is in a histogram: the first edge that is not below it. */
static inline int64_t bucket_of(const Arg *edges_us, int64_t us)
{
    int64_t bucket = 0;
    while (bucket < edges_us->a.n && *AT(int64_t, *edges_us, bucket) < us) bucket++;
    return bucket;
}

/* sockets.c */
Run ready, receive, send_packets, waiting;
/* express.c */
Run express, expand;
/* hear.c */
Run voice, frames, records;
/* usual.c */
Run usual;
/* columns.FLOW_FIELDS */
enum { RX_NEXT_SEQ, RX_NEXT_TS, RX_MAX_SEQ, RX_MAX_TS, RX_TRANSIT_TS, RX_LAST_NS, RX_DEADLINE_NS, RX_RECEIVED, CREDIT_NS,
       CREDIT_AT_NS, EXPECTED_LEAD, EXPECTED_SSRC, EXPECTED_BYTES, PACKETS_RECEIVED, OCTETS_RECEIVED, FLOW_FIELDS };

/* When the next frame of a row is made up, if it has not come: its timestamp as time, and what it may take. In one product
   timestamps would be too big within hours at 48 kHz. */
static inline int64_t deadline_ns(const int64_t *flow, int64_t clock_hz, double base_ns, double target_ns)
{
    int64_t next = flow[RX_NEXT_TS], seconds = next / clock_hz - (next % clock_hz < 0), rest = next - seconds * clock_hz;
    return seconds * 1000000000 + rest * 1000000000 / clock_hz + (int64_t)(base_ns + target_ns);
}

/* columns.SEND_FIELDS */
enum { SEND_SEQ, SEND_TS, SEND_DUE_NS, SEND_PACKETS, SEND_OCTETS, SEND_FRAMES, SEND_POSITION, SEND_FIELDS };

/* said.c, said_in.c, speak.c, due.c, play.c */
Run said, said_in, speak, spoken, due, least, delays, play, leave;

/* Where the queue is among the arguments of `said`, and what it answers: such counts, 20 bits each. */
#define SAID_QUEUE 6
#define SAID_COUNT 0xFFFFF
#define ROW_OF_CHANNEL 0xFFFF
/* ... and `speak`. */
#define SPEAK_COUNT 0xFFFFF

/* bursts.c, quality.c, lateness.c */
Run missing, rate, learn_late, late;

/* reports.c, heard_reports.c */
Run due_by, report, hear_report;
/* admit.c, reorder.c, timeline.c, expect.c, decode.c */
Run admit, follow, lacks, schedule, expect, decode;
/* fill.c, join.c */
Run filled_frames, filled_records, join;
/* suited.c, straight.c, tick.c, ticks.c */
Run suited, straight, tick, ticks;
/* onward.c, catch_up.c */
Run onward, catch_up, refill;

#endif
