/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arguments of the kernel `onward`, for those that run it as one of theirs. */
#ifndef TRUNKLINE_ONWARD_H
#define TRUNKLINE_ONWARD_H

#include "timeline.h"

/* Behind the columns of the timeline: what is bound for one format, */
enum { ON_STRAIGHT = TIMELINE_COLUMNS, ON_FORMATS, ON_LINKS, ON_PARTS, ON_NEURAL, ON_FORMAT, ON_SAMPLES, ON_LINE_HZ, ON_MS,
       ON_LEARN_MS, ON_RISE_DB, ON_FOUND, ON_STARTS, ON_PCM, ON_JOINED, ON_LEVEL, ON_FLAGS, ON_CHANGED, ON_NOTES,
       ONWARD_BOUND };
/* and what comes with each call. */
enum { ON_LINK = ONWARD_BOUND + MOMENT_ARGS, ON_TURNS, ON_TURN, ON_ROWS, ON_PLACES, ON_PACKETS, ON_FIRST, ON_SIZES, ON_OUT };
#define ONWARD_BOUND_TAKES "straight() h1@ q1@ q1@ ?1@ int int int real real real q2! i1! h2! h2! f1! H1! q1! q1!"
#define ONWARD_CALL_TAKES "int B1 int"
#define ONWARD_ARGS (ON_OUT + 1 - ONWARD_BOUND) /* of each call */

/* `found`: rows and slots of a round, and rows of which something may still wait. */
enum { FOUND_ROWS, FOUND_SLOTS, WAITING_ROWS, FOUND_FIELDS };
/* `notes`: records, rounds, rows whose callers may have begun or ceased to speak, and rows that wait for Python. */
enum { NOTE_WRITTEN, NOTE_ROUNDS, NOTE_CHANGED, NOTE_WAITING, ONWARD_NOTES };

/* Whether the row is of the format, and on the connection `link`, and no part of a frame of its waits. */
int is_on_way(const Arg *bound, int64_t link, int64_t row);

#endif
