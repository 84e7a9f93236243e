/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that are next in sequence again, and what waits behind them, as far as that is usual: round by round, one packet
   of a row in each, into one message.  See onward.py. */
#include "onward.h"

#define COUNT 0xFFFFF
#define LEARNS 1
#define LISTENS 2

typedef struct {
    const Arg *arg;
    Timeline timeline;
    int64_t *rows, *slots, *waiting; /* of `found` */
    int64_t written, rounds, changed;
} Onward;

int is_on_way(const Arg *bound, int64_t link, int64_t row)
{
    return row >= 0 && row < bound[ON_FORMATS].a.n && row < bound[ON_LINKS].a.n && row < bound[ON_PARTS].a.n &&
           *AT(int16_t, bound[ON_FORMATS], row) == bound[ON_FORMAT].i && *AT(int64_t, bound[ON_LINKS], row) == link &&
           !*AT(int64_t, bound[ON_PARTS], row);
}

static int fits(const Arg *arg)
{
    Py_ssize_t n = arg[ON_ROWS].a.n, placed = arg[ON_PLACES].a.n;
    return arg[ON_STRAIGHT].k.n == 1 && arg[ON_FOUND].a.n == FOUND_FIELDS && arg[ON_FOUND].a.m >= n && arg[ON_STARTS].a.n >= n &&
           arg[ON_CHANGED].a.n >= n && arg[ON_NOTES].a.n >= ONWARD_NOTES && n <= COUNT && (placed == 0 || placed == n) &&
           arg[ON_FIRST].a.n >= placed && arg[ON_SIZES].a.n >= placed && arg[ON_OUT].a.n >= placed &&
           arg[ON_TURN].i >= 0 && arg[ON_TURN].i < arg[ON_TURNS].a.n;
}

static int begin(Onward *onward, const Arg *arg)
{
    *onward = (Onward){.arg = arg};
    if (!open_timeline(arg, &arg[ONWARD_BOUND], &onward->timeline)) return 0;
    if (!fits(arg)) {
        PyErr_SetString(PyExc_ValueError, "onward: the shapes of rows, packets and records do not go together");
        return 0;
    }
    onward->rows = AT(int64_t, arg[ON_FOUND], FOUND_ROWS);
    onward->slots = AT(int64_t, arg[ON_FOUND], FOUND_SLOTS);
    onward->waiting = AT(int64_t, arg[ON_FOUND], WAITING_ROWS);
    return 1;
}

/* All go straight to one agent, none is listened to by a neural network, and packets are as long as they all are. */
static int are_usual(const Arg *arg)
{
    for (Py_ssize_t i = 0; i < arg[ON_PLACES].a.n; i++)
        if (*AT(int64_t, arg[ON_SIZES], i) != arg[ON_SAMPLES].i) return 0;
    for (Py_ssize_t i = 0; i < arg[ON_ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ON_ROWS], i);
        if (*AT(uint8_t, arg[ON_NEURAL], row) || !is_on_way(arg, arg[ON_LINK].i, row)) return 0;
    }
    return 1;
}

/* n packets of different rows: they are heard, and their rows wait for the next. 0 with an exception. */
static int hear(Onward *onward, Arg rows, const Arg *places, const Arg *packets)
{
    const Arg *arg = onward->arg;
    Py_ssize_t n = rows.a.n;
    unsigned turns = *AT(uint8_t, arg[ON_TURNS], arg[ON_TURN].i + onward->rounds);
    Arg learn_ms = {.f = turns & LEARNS ? arg[ON_LEARN_MS].f : 0}, rise_db = {.f = turns & LISTENS ? arg[ON_RISE_DB].f : -1};
    Arg rest[] = {learn_ms, arg[ON_MS], rise_db, rows, *places, *packets, items_of(&arg[ON_STARTS], 0, n), arg[ON_PCM],
                  arg[ON_JOINED], arg[ON_LEVEL], arg[ON_FLAGS], arg[ON_CHANGED], rest_of(&arg[ON_OUT], onward->written)};
    int64_t said = run_bound(arg[ON_STRAIGHT].k.of[0], rest, sizeof rest / sizeof *rest);
    if (said < 0) return 0;
    onward->written += said & COUNT;
    onward->changed = said >> 20;
    onward->rounds++;
    for (int64_t k = 0; k < onward->changed; k++) {
        int64_t *place = AT(int64_t, arg[ON_CHANGED], k);
        *place = *AT(int64_t, rows, *place);
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t row = *AT(int64_t, rows, i);
        *OF(&onward->timeline, int32_t, AT_LOST_RUN, row) = 0;
        set_deadline(&onward->timeline, row);
    }
    return 1;
}

static int64_t keep_waiting(const Onward *onward, Arg rows)
{
    int64_t waiting = 0;
    for (Py_ssize_t i = 0; i < rows.a.n; i++) {
        int64_t row = *AT(int64_t, rows, i);
        if (*OF(&onward->timeline, int32_t, AT_HELD, row)) onward->waiting[waiting++] = row;
    }
    return waiting;
}

/* The packet that is next of a row, if it waits there: 1. Below 0: it is none for us. */
static int look(const Onward *onward, int64_t row)
{
    const Timeline *timeline = &onward->timeline;
    const int64_t *first = OF(timeline, int64_t, AT_FIRST, row), next = flow_of(timeline, row)[RX_NEXT_SEQ];
    drop_before(timeline, row, next);
    if (*first < 0) return 0;
    const int64_t *slot = slot_of(timeline, *first);
    if (slot[SLOT_SEQ] != next) return 0;
    if (slot[SLOT_KIND] != KIND_AUDIO || slot[SLOT_SIZE] != onward->arg[ON_SAMPLES].i) return -1;
    return may_follow(timeline, row, slot[SLOT_TS], slot[SLOT_SIZE]) ? 1 : -1;
}

/* Take the packets that are next out of their slots; how many, or -1 if not all are for us, and then none is taken. */
static int64_t take_round(const Onward *onward, int64_t waiting)
{
    const Timeline *timeline = &onward->timeline;
    int64_t count = 0;
    for (int64_t i = 0; i < waiting; i++) {
        int found = look(onward, onward->waiting[i]);
        if (found < 0) return -1;
        if (found) onward->rows[count++] = onward->waiting[i];
    }
    if (count > onward->arg[ON_OUT].a.n - onward->written || onward->arg[ON_TURN].i + onward->rounds >= onward->arg[ON_TURNS].a.n)
        return -1;
    for (int64_t i = 0; i < count; i++) {
        int64_t row = onward->rows[i], place = unlink_first(timeline, row), *slot = slot_of(timeline, place);
        follows(timeline, row, slot[SLOT_SEQ], slot[SLOT_TS], slot[SLOT_SIZE]);
        onward->slots[i] = place;
        *AT(int32_t, onward->arg[ON_STARTS], i) = 0;
    }
    return count;
}

/* Rounds, until nothing is next or it is not for us; rows that Python is to look at, or -1. */
static int64_t go_on(Onward *onward, int64_t waiting)
{
    while (waiting && !onward->changed) {
        int64_t count = take_round(onward, waiting);
        if (count <= 0) return count ? waiting : 0;
        Arg rows = {.a = {(char *)onward->rows, count, 1, sizeof(int64_t)}};
        Arg slots = {.a = {(char *)onward->slots, count, 1, sizeof(int64_t)}};
        if (!hear(onward, rows, &slots, onward->timeline.payloads)) return -1;
        waiting = keep_waiting(onward, rows);
    }
    return waiting;
}

/* onward(columns, straight(), format of each row, link of each row, part of a frame of each row, neural, format, samples,
          line_hz, ms, learn_ms, rise_db, found, starts, pcm, joined, level, flags, changed, notes,
          moment, link, turns, turn, rows, places, packets, first, sizes, out)

   With `places`: of each row the packet there, with sizes[i] bytes of audio from first[i] on, which has moved its row's
   timeline.  Behind these, or without them, what waits and is next, while it is usual, and no caller has begun or
   ceased to speak.  Each round has a turn, whether it teaches (voice.py, background.py).  `notes` says what became of
   it; 0 rounds: some rows or packets are not on this way, and nothing has been done.  The third part of `found` are the
   rows that are left, `changed` those whose callers may have begun or ceased to speak.  `out` are records.  Returns 0. */
int64_t onward(const Arg *arg)
{
    Onward onward;
    int64_t waiting = 0;
    if (!begin(&onward, arg)) return -1;
    int usual = are_usual(arg);
    if (usual && arg[ON_PLACES].a.n) {
        for (Py_ssize_t i = 0; i < arg[ON_ROWS].a.n; i++) *AT(int32_t, arg[ON_STARTS], i) = (int32_t)*AT(int64_t, arg[ON_FIRST], i);
        if (!hear(&onward, arg[ON_ROWS], &arg[ON_PLACES], &arg[ON_PACKETS])) return -1;
    }
    waiting = keep_waiting(&onward, arg[ON_ROWS]);
    if (usual) waiting = go_on(&onward, waiting);
    if (waiting < 0) return -1;
    const int64_t notes[ONWARD_NOTES] = {onward.written, onward.rounds, onward.changed, waiting};
    for (int k = 0; k < ONWARD_NOTES; k++) *AT(int64_t, arg[ON_NOTES], k) = notes[k];
    return 0;
}
