/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames whose time has run out, made up, and what waits behind them, where that is usual: Timeline.advance. */
#include "onward.h"
#include <string.h>

#define COUNT 0xFFFFF
#define AHEAD_MS 20 /* made_up_frame.c */

/* Kernels and room for what they take, and what comes with each call. */
enum { LACKS, FILLED, ONWARD, SCHEDULE, QUIET, GAP_TS, ENDS, PAYLOAD, FILL_FLAGS, CEASED, LACKING, SAID, MOMENT,
       OF_ROWS = MOMENT + MOMENT_ARGS, HURRIED, LINK, RECORDS, /* of catch_up: */ TURNS, TURN, /* of refill: */ COUNTS = TURNS };
/* `said`: as `lacks` counts them, whether the frames were made up, the records of these, and how many rows have ceased. */
enum { SAY_FILLED, SAY_GAPS, SAY_OVER, SAY_MADE, SAY_WRITTEN, SAY_CEASED, SAID_FIELDS };

static Arg numbers(const Arg *arg, int field, int64_t count)
{
    return (Arg){.a = {(char *)AT(int64_t, arg[LACKING], field), count, 1, sizeof(int64_t)}};
}

static int fits(const Arg *arg)
{
    int good = arg[SAID].a.n == SAID_FIELDS && arg[LACKING].a.n == LACKS_COUNT;
    for (int k = LACKS; k <= SCHEDULE; k++) good = good && arg[k].k.n == 1;
    for (int k = QUIET; k <= CEASED; k++) good = good && (k == PAYLOAD || arg[k].a.n >= arg[LACKING].a.m);
    if (!good) PyErr_SetString(PyExc_ValueError, "catch_up: its kernels and arrays do not go together");
    return good;
}

/* Frames of this row are as long as a packet of this way, and go straight to its agent. */
static int is_usual(const Arg *arg, int64_t row)
{
    const Arg *bound = bound_arguments(arg[ONWARD].k.of[0]);
    return is_on_way(bound, arg[LINK].i, row) && row < bound[AT_PACKET_TS].a.n && row < bound[AT_CLOCK_HZ].a.n &&
           *AT(int64_t, bound[AT_PACKET_TS], row) * bound[ON_LINE_HZ].i / *AT(int64_t, bound[AT_CLOCK_HZ], row) ==
               bound[ON_SAMPLES].i;
}

static int are_usual(const Arg *arg, Arg rows)
{
    for (Py_ssize_t k = 0; k < rows.a.n; k++)
        if (!is_usual(arg, *AT(int64_t, rows, k))) return 0;
    return 1;
}

/* Runs `lacks`: for all of these rows, or those whose time has run out. */
static int64_t count_lacking(const Arg *arg, int all, Arg rows)
{
    Arg rest[MOMENT_ARGS + 3];
    for (int k = 0; k < MOMENT_ARGS; k++) rest[k] = arg[MOMENT + k];
    rest[MOMENT_ARGS] = (Arg){.i = all}, rest[MOMENT_ARGS + 1] = rows, rest[MOMENT_ARGS + 2] = arg[LACKING];
    return run_bound(arg[LACKS].k.of[0], rest, MOMENT_ARGS + 3);
}

/* What waits behind the gaps, end to end; 0 where there is no room for it. */
static int put_ahead(const Arg *arg, int64_t filled, int64_t gaps)
{
    const Arg *payloads = &arg[MOMENT + MOMENT_PAYLOADS], *slots = &arg[MOMENT + MOMENT_SLOTS];
    int64_t most = bound_arguments(arg[ONWARD].k.of[0])[ON_LINE_HZ].i * AHEAD_MS / 1000, gap = 0, end = 0;
    for (int64_t k = 0; k < filled; k++) {
        int64_t row = *AT(int64_t, numbers(arg, LACKS_ROW, filled), k);
        *AT(int64_t, arg[GAP_TS], k) = 0;
        if (gap < gaps && *AT(int64_t, numbers(arg, LACKS_GAP_ROW, gaps), gap) == row) {
            int64_t slot = *AT(int64_t, numbers(arg, LACKS_GAP_SLOT, gaps), gap), size = AT(int64_t, *slots, slot)[SLOT_SIZE];
            if (size > most) size = most;
            if (end + size > arg[PAYLOAD].a.n) return 0;
            memcpy(AT(char, arg[PAYLOAD], end), AT(char, *payloads, slot), size);
            *AT(int64_t, arg[GAP_TS], k) = *AT(int64_t, numbers(arg, LACKS_GAP_TS, gaps), gap++);
            end += size;
        }
        *AT(int64_t, arg[ENDS], k) = end;
    }
    return 1;
}

/* The frames as records behind those that are `written`: how many, << 20 behind how many rows have ceased to speak; -1 with
   an exception. */
static int64_t make_up(const Arg *arg, int64_t filled, int64_t gaps, int64_t written)
{
    int64_t waiting = gaps ? filled : 0;
    for (int64_t k = 0; k < filled; k++)
        *AT(uint8_t, arg[QUIET], k) = *AT(int64_t, numbers(arg, LACKS_SILENT, filled), k) > 0;
    Arg rest[] = {arg[HURRIED], numbers(arg, LACKS_ROW, filled), items_of(&arg[QUIET], 0, filled),
                  items_of(&arg[GAP_TS], 0, waiting), items_of(&arg[ENDS], 0, waiting), arg[PAYLOAD], arg[FILL_FLAGS],
                  arg[CEASED], rest_of(&arg[RECORDS], written)};
    return run_bound(arg[FILLED].k.of[0], rest, sizeof rest / sizeof *rest);
}

/* What waits behind frames that were made up or given up. */
static int64_t go_on(const Arg *arg, int64_t over, int64_t written)
{
    Arg rest[ONWARD_ARGS], rows = numbers(arg, LACKS_OVER_ROW, over), none = items_of(&rows, 0, 0);
    const Arg more[] = {arg[LINK], arg[TURNS], arg[TURN], rows, none, arg[MOMENT + MOMENT_PAYLOADS], none, none,
                        rest_of(&arg[RECORDS], written)};
    for (int k = 0; k < MOMENT_ARGS; k++) rest[k] = arg[MOMENT + k];
    for (int k = MOMENT_ARGS; k < ONWARD_ARGS; k++) rest[k] = more[k - MOMENT_ARGS];
    if (run_bound(arg[ONWARD].k.of[0], rest, ONWARD_ARGS) < 0) return -1;
    /* Where something is left, deadlines are set behind that, and not twice: for who has no base it is a step each time. */
    const Arg *notes = &bound_arguments(arg[ONWARD].k.of[0])[ON_NOTES];
    if (!*AT(int64_t, *notes, NOTE_ROUNDS) || *AT(int64_t, *notes, NOTE_WAITING)) return 0;
    for (int k = 0; k < MOMENT_ARGS; k++) rest[k] = arg[MOMENT + k];
    rest[MOMENT_ARGS] = rows;
    return run_bound(arg[SCHEDULE].k.of[0], rest, MOMENT_ARGS + 1);
}

/* catch_up(lacks(), filled_records(), onward(), schedule(), quiet, gap_ts, ends, payload, flags, ceased, lacking, said,
            moment, running, hurried, link, records, turns, turn)

   Runs `lacks` for `running`.  If all frames that it demands go straight to the agent of `link`, they are made up, and
   behind them what waits goes `onward`, unless callers have ceased to speak with them; the deadlines of these rows
   are set.  `said` says how many frames, gaps and rows `lacks` has put into `lacking`, and what was done of it.
   Returns 0. */
int64_t catch_up(const Arg *arg)
{
    if (!fits(arg)) return -1;
    const Arg *notes = &bound_arguments(arg[ONWARD].k.of[0])[ON_NOTES];
    int64_t said[SAID_FIELDS] = {0}, made = 0;
    for (Py_ssize_t k = 0; k < notes->a.n; k++) *AT(int64_t, *notes, k) = 0;
    int64_t counts = count_lacking(arg, 0, arg[OF_ROWS]);
    if (counts < 0) return -1;
    said[SAY_FILLED] = counts & COUNT, said[SAY_GAPS] = counts >> 20 & COUNT, said[SAY_OVER] = counts >> 40;
    if (said[SAY_FILLED] <= arg[RECORDS].a.n && are_usual(arg, numbers(arg, LACKS_ROW, said[SAY_FILLED])) &&
        put_ahead(arg, said[SAY_FILLED], said[SAY_GAPS])) {
        if (said[SAY_FILLED] && (made = make_up(arg, said[SAY_FILLED], said[SAY_GAPS], 0)) < 0) return -1;
        said[SAY_MADE] = 1, said[SAY_CEASED] = made & COUNT, said[SAY_WRITTEN] = made >> 20;
        if (!said[SAY_CEASED] && said[SAY_OVER] && go_on(arg, said[SAY_OVER], said[SAY_WRITTEN]) < 0) return -1;
    }
    for (int k = 0; k < SAID_FIELDS; k++) *AT(int64_t, arg[SAID], k) = said[k];
    return 0;
}

/* Rows that are to have more than so many frames, as far as there is room. */
static Arg rows_of_round(const Arg *arg, int64_t round)
{
    Arg rows = numbers(arg, LACKS_OVER_ROW, 0);
    for (Py_ssize_t i = 0; i < arg[OF_ROWS].a.n; i++)
        if (*AT(int64_t, arg[COUNTS], i) > round) *AT(int64_t, rows, rows.a.n++) = *AT(int64_t, arg[OF_ROWS], i);
    return rows;
}

/* refill(what catch_up takes up to `records`, counts)

   So many frames for each of these rows, whatever the time, as far as they are paid for (Timeline._fill): round by round, until
   there is no room, or callers have ceased to speak.  `said` says in how many rounds, and what was written.  Returns 0. */
int64_t refill(const Arg *arg)
{
    if (!fits(arg)) return -1;
    if (arg[COUNTS].a.n != arg[OF_ROWS].a.n || arg[OF_ROWS].a.n > arg[LACKING].a.m) {
        PyErr_SetString(PyExc_ValueError, "refill: one count for each row");
        return -1;
    }
    int64_t said[SAID_FIELDS] = {0};
    for (Arg rows; are_usual(arg, arg[OF_ROWS]) && !said[SAY_CEASED]; said[SAY_MADE]++) {
        rows = rows_of_round(arg, said[SAY_MADE]);
        if (!rows.a.n || rows.a.n > arg[RECORDS].a.n - said[SAY_WRITTEN]) break;
        int64_t counts = count_lacking(arg, 1, rows), made = 0;
        if (counts < 0) return -1;
        if ((counts & COUNT) && (made = make_up(arg, counts & COUNT, 0, said[SAY_WRITTEN])) < 0) return -1;
        said[SAY_FILLED] += counts & COUNT, said[SAY_WRITTEN] += made >> 20, said[SAY_CEASED] = made & COUNT;
    }
    for (int k = 0; k < SAID_FIELDS; k++) *AT(int64_t, arg[SAID], k) = said[k];
    return 0;
}
