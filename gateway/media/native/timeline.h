/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of timeline.py, one at a time: when their next frame is due, what they may still bring, what waits. */
#ifndef TRUNKLINE_TIMELINE_H
#define TRUNKLINE_TIMELINE_H

#include "media.h"

/* As `Timeline.columns` has them, bound to each kernel that takes them. */
#define TIMELINE_TAKES "q2!@ q1@ d1@ d1@ q1@ q1@ B1@ q1@ q1@ ?1@ d1!@ i1!@ q1!@ q2!@ q1! i1!@ q1!@"
enum { AT_FLOW, AT_CLOCK_HZ, AT_BASE_DELAY_NS, AT_TARGET_NS, AT_PACKET_TS, AT_PACKET_NS, AT_PROVEN, AT_PAYLOAD_BYTES,
       AT_PAYLOAD_TS, AT_VARIABLE, AT_SLIP, AT_LOST_RUN, AT_LATE_SINCE_NS, AT_DROPS, AT_ALL_DROPS, AT_HELD, AT_FIRST,
       TIMELINE_COLUMNS };

/* ... and what comes with each call: the time, what credit.py says, and the arrays of reorder.py. */
#define MOMENT_TAKES "int int real q2! B2! q1!"
enum { MOMENT_NOW_NS, MOMENT_CREDIT_NS, MOMENT_CREDIT_RATE, MOMENT_SLOTS, MOMENT_PAYLOADS, MOMENT_FREE, MOMENT_ARGS };

/* reorder.SLOT_FIELDS */
enum { SLOT_SEQ, SLOT_TS, SLOT_KIND, SLOT_SIZE, SLOT_NEXT, SLOT_COUNT };

enum { KIND_AUDIO, KIND_EMPTY };
/* rtp.outcomes.Drop */
enum { DROP_DUPLICATE = 8, DROP_LATE = 9, DROP_OVERFLOW = 10 };

typedef struct {
    const Arg *arg;
    int64_t now_ns, most_credit_ns;
    double credit_rate;
    const Arg *slots, *payloads, *free;
} Timeline;

/* `arg` are the columns, `moment` what comes with the call; 0 and a ValueError if they do not go together. */
int open_timeline(const Arg *arg, const Arg *moment, Timeline *timeline);

#define OF(timeline, type, column, row) AT(type, (timeline)->arg[column], row)
static inline int64_t *flow_of(const Timeline *timeline, int64_t row) { return OF(timeline, int64_t, AT_FLOW, row); }
static inline int64_t *slot_of(const Timeline *timeline, int64_t slot) { return AT(int64_t, *timeline->slots, slot); }

/* Twins of Timeline._drop, _set_deadlines and _fill_one; the last is 0 where the frame is not paid for. */
void drop(const Timeline *timeline, int64_t row, int reason);
void set_deadline(const Timeline *timeline, int64_t row);
int lack(const Timeline *timeline, int64_t row);

/* Twin of Timeline._align and _move for audio that is next in sequence, of the same length as the packet before it,
   neither late nor behind a pause.  0, and nothing is changed, if there is more to it.  What is left to do when it has
   been heard: `lost_run`, the deadline. */
int follows(const Timeline *timeline, int64_t row, int64_t seq, int64_t ts, int64_t size);
int may_follow(const Timeline *timeline, int64_t row, int64_t ts, int64_t size); /* only asks */

/* Twins of ReorderBuffer.put and of the half of take_next. `put` is 0 where the row has no room; `unlink_first` gives a
   slot back, which stays as it is until the next put. */
int put(const Timeline *timeline, int64_t row, int64_t seq, int64_t ts, const uint8_t *payload, int64_t size);
int64_t unlink_first(const Timeline *timeline, int64_t row);

/* Twin of ReorderBuffer.drop_before, and counts what it drops. */
void drop_before(const Timeline *timeline, int64_t row, int64_t seq);

/* timeline.LACKS: what `lacks` fills in. */
enum { LACKS_ROW, LACKS_TS, LACKS_SILENT, LACKS_GAP_ROW, LACKS_GAP_TS, LACKS_GAP_SLOT, LACKS_OVER_ROW, LACKS_OVER_FIRST,
       LACKS_OVER_END, LACKS_COUNT };

/* Audio that a row may still bring, in ns, as of now (Credit._now). */
double credit_of(const Timeline *timeline, int64_t row);

#endif
