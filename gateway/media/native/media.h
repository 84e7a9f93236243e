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

/* An extended timestamp as time; in one product it would be too big within hours at 48 kHz. */
static inline int64_t media_ns(int64_t timestamp, int64_t clock_hz)
{
    int64_t seconds = timestamp / clock_hz - (timestamp % clock_hz < 0), rest = timestamp - seconds * clock_hz;
    return seconds * 1000000000 + rest * 1000000000 / clock_hz;
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
