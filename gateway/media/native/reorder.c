/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of reorder.py: packets that wait, a row at a time; and those that have waited until they are next. */
#include "timeline.h"
#include <string.h>

#define HELD_PACKETS 64

/* A slot for the payload, linked in between `before` and `after`, -1 where there is none. */
static int64_t insert(const Timeline *timeline, int64_t row, int64_t before, int64_t after)
{
    int64_t *free = AT(int64_t, *timeline->free, 0), slot = *AT(int64_t, *timeline->free, *free);
    (*free)--;
    slot_of(timeline, slot)[SLOT_NEXT] = after;
    if (before < 0) *OF(timeline, int64_t, AT_FIRST, row) = slot;
    else slot_of(timeline, before)[SLOT_NEXT] = slot;
    (*OF(timeline, int32_t, AT_HELD, row))++;
    return slot;
}

int put(const Timeline *timeline, int64_t row, int64_t seq, int64_t ts, const uint8_t *payload, int64_t size)
{
    if (*OF(timeline, int32_t, AT_HELD, row) >= HELD_PACKETS) return 0;
    int64_t before = -1, at = *OF(timeline, int64_t, AT_FIRST, row);
    while (at >= 0 && slot_of(timeline, at)[SLOT_SEQ] < seq) {
        before = at;
        at = slot_of(timeline, at)[SLOT_NEXT];
    }
    if (at < 0 || slot_of(timeline, at)[SLOT_SEQ] != seq) at = insert(timeline, row, before, at);
    int64_t *slot = slot_of(timeline, at);
    slot[SLOT_SEQ] = seq;
    slot[SLOT_TS] = ts;
    slot[SLOT_KIND] = KIND_AUDIO;
    slot[SLOT_SIZE] = size;
    memcpy(AT(uint8_t, *timeline->payloads, at), payload, size);
    return 1;
}

int64_t unlink_first(const Timeline *timeline, int64_t row)
{
    int64_t *first = OF(timeline, int64_t, AT_FIRST, row), slot = *first, *free = AT(int64_t, *timeline->free, 0);
    *first = slot_of(timeline, slot)[SLOT_NEXT];
    (*OF(timeline, int32_t, AT_HELD, row))--;
    *AT(int64_t, *timeline->free, ++*free) = slot;
    return slot;
}

void drop_before(const Timeline *timeline, int64_t row, int64_t seq)
{
    const int64_t *first = OF(timeline, int64_t, AT_FIRST, row);
    while (*first >= 0 && slot_of(timeline, *first)[SLOT_SEQ] < seq) {
        unlink_first(timeline, row);
        drop(timeline, row, DROP_LATE);
    }
}

/* timeline.NEXT */
enum { FOUND_ROW, FOUND_SEQ, FOUND_TS, FOUND_KIND, FOUND_SIZE, FOUND_SLOT, FOUND_MOVED, FOUND_COUNT };

/* follow(columns, moment, rows, out)

   Of each of these rows the packet that waited and is next in sequence now; those whose place has been passed are
   dropped.  `out` becomes their rows, sequence numbers, timestamps, kinds, sizes and slots, which are free until the
   next put, and whether the timeline has moved on.  Returns how many, and << 20 for how many it has not. */
int64_t follow(const Arg *arg)
{
    const Arg *rows = &arg[TIMELINE_COLUMNS + MOMENT_ARGS], *out = rows + 1;
    Timeline timeline;
    if (!open_timeline(arg, &arg[TIMELINE_COLUMNS], &timeline)) return -1;
    if (out->a.n != FOUND_COUNT || out->a.m < rows->a.n || rows->a.n >= 1 << 20) {
        PyErr_SetString(PyExc_ValueError, "follow: there is no room for so many rows");
        return -1;
    }
    int64_t count = 0, left = 0;
    for (Py_ssize_t i = 0; i < rows->a.n; i++) {
        int64_t row = *AT(int64_t, *rows, i), next = flow_of(&timeline, row)[RX_NEXT_SEQ];
        const int64_t *first = OF(&timeline, int64_t, AT_FIRST, row);
        drop_before(&timeline, row, next);
        if (*first < 0 || slot_of(&timeline, *first)[SLOT_SEQ] != next) continue;
        int64_t place = unlink_first(&timeline, row), *slot = slot_of(&timeline, place);
        int moved = slot[SLOT_KIND] == KIND_AUDIO && follows(&timeline, row, next, slot[SLOT_TS], slot[SLOT_SIZE]);
        const int64_t found[FOUND_COUNT] = {row, next, slot[SLOT_TS], slot[SLOT_KIND], slot[SLOT_SIZE], place, moved};
        for (int k = 0; k < FOUND_COUNT; k++) AT(int64_t, *out, k)[count] = found[k];
        count++;
        left += !moved;
    }
    return count | left << 20;
}
