/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernels of the downlink one after the other, for the usual tick: who is due, their packets, away with them, counted.
   packet_round.py binds it. */
#include "packets.h"

/* `notes`, which tell Python what there is to do; from MADE_EACH on, how many packets were made of each format. */
enum { DUE_COUNT, IS_BEHIND, OPENED, MADE_ALL, IS_SENT, REFUSED, MADE_EACH };

static int64_t refuse(const char *what)
{
    PyErr_Format(PyExc_ValueError, "%s: its arrays and kernels do not go together", what);
    return -1;
}

enum { SEND, SPOKEN, LEAST, DELAYS, PACKETS, BYTES, MADE, SAMPLES, SENT, NOTES, DUE, LATE_NS, RUNNING, NOW_NS, COUNTS };

/* The packets of one format, from place `at` on; how many were refused, then none is counted. -1 with an exception. */
static int64_t leave_of_format(const Arg *arg, int64_t at, int64_t n, int64_t bytes)
{
    Arg rows = items_of(&arg[MADE], at, n), packets = items_of(&arg[PACKETS], at, n), sent = items_of(&arg[SENT], at, n);
    Arg all = {.a = {NULL, 0, 1, sizeof(int32_t)}};
    packets.a.m = bytes;
    if (run_bound(arg[SEND].k.of[0], (Arg[]){rows, packets, all, sent}, 4) < 0) return -1;
    Arg size = {.i = bytes - HEADER_BYTES};
    return run_bound(arg[SPOKEN].k.of[0], (Arg[]){rows, items_of(&arg[SAMPLES], at, n), sent, size}, 4);
}

static int fits(const Arg *arg)
{
    int64_t formats = arg[BYTES].a.n, made = 0;
    if (arg[SEND].k.n != 1 || arg[SPOKEN].k.n != 1 || arg[LEAST].k.n != 1 || arg[DELAYS].k.n != 1) return 0;
    if (arg[NOTES].a.n != MADE_EACH + formats || arg[NOTES].a.step != sizeof(int64_t) || formats > 63) return 0;
    for (int64_t f = 0; f < formats; f++) {
        int64_t n = *AT(int64_t, arg[NOTES], MADE_EACH + f), bytes = *AT(int32_t, arg[BYTES], f);
        if (n < 0 || n > arg[MADE].a.n || bytes < HEADER_BYTES || bytes > arg[PACKETS].a.m) return 0;
        made += n;
    }
    int64_t due = *AT(int64_t, arg[NOTES], DUE_COUNT);
    return made <= arg[MADE].a.n && made <= arg[PACKETS].a.n && made <= arg[SAMPLES].a.n && made <= arg[SENT].a.n &&
           due >= 0 && due <= arg[DUE].a.n && due <= arg[LATE_NS].a.n;
}

/* leave(send_packets(), spoken(), least(), delays(), packets, bytes, made, samples, sent, notes, due, late_ns, running,
         now_ns, counts): what was made leaves and is counted, `bytes` long each in its format.  When the next packet is
   due; or -1, if the sockets refused any (of the formats whose bit is set in REFUSED nothing is counted), or somebody is
   still due.  With `counts` it counts how late they were, by the clock that now_ns is of. */
int64_t leave(const Arg *arg)
{
    if (!fits(arg)) return refuse("leave");
    int64_t *notes = AT(int64_t, arg[NOTES], 0), at = 0;
    notes[IS_SENT] = 1;
    notes[REFUSED] = 0;
    for (int64_t f = 0; f < arg[BYTES].a.n; f++) {
        int64_t n = notes[MADE_EACH + f];
        int64_t refused = n ? leave_of_format(arg, at, n, *AT(int32_t, arg[BYTES], f)) : 0;
        if (refused < 0) return -1;
        notes[REFUSED] |= (int64_t)(refused > 0) << f;
        at += n;
    }
    int64_t next_ns = run_bound(arg[LEAST].k.of[0], &arg[RUNNING], 1);
    if (PyErr_Occurred() || notes[REFUSED] || next_ns <= arg[NOW_NS].i) return -1;
    if (arg[COUNTS].i) {
        Arg due = items_of(&arg[DUE], 0, notes[DUE_COUNT]), late_ns = items_of(&arg[LATE_NS], 0, notes[DUE_COUNT]);
        Arg since_ns = {.i = clock_ns(CLOCK_MONOTONIC) - arg[NOW_NS].i};
        if (run_bound(arg[DELAYS].k.of[0], (Arg[]){due, late_ns, since_ns}, 3) < 0) return -1;
    }
    return next_ns;
}

/* play(due(), speak(), leave(), packets, line, made, samples, opens, others, due, late_ns, notes, running, now_ns, sends,
        counts): all of the above for who is due, with a kernel `speak` for each format.  When the next packet is due;
   or -1, if there is something to do: nothing was done where somebody is behind; packets have not left if some of them
   open a talkspurt, or without `sends`; else as `leave` says.  Rows of other formats, and those that `speak`
   leaves, are still due. */
int64_t play(const Arg *arg)
{
    enum { DUE_OF, SPEAK, LEAVE, DATA, LINE, ROWS, SAID, OPENS, OTHERS, DUE_ROWS, LATE, NOTED, RUN, NOW, SENDS, COUNT };
    int64_t formats = arg[SPEAK].k.n, made = 0, others = 0;
    if (arg[DUE_OF].k.n != 1 || arg[NOTED].a.n != MADE_EACH + formats || arg[NOTED].a.step != sizeof(int64_t) ||
        (arg[SENDS].i && arg[LEAVE].k.n != 1))
        return refuse("play");
    int64_t *notes = AT(int64_t, arg[NOTED], 0);
    int64_t found = run_bound(arg[DUE_OF].k.of[0], (Arg[]){arg[RUN], arg[NOW], arg[DUE_ROWS], arg[LATE]}, 4);
    if (found < 0) return -1;
    for (int64_t k = 0; k < arg[NOTED].a.n; k++) notes[k] = 0;
    notes[DUE_COUNT] = found & UINT32_MAX;
    if ((notes[IS_BEHIND] = found >> 32)) return -1;
    for (int64_t f = 0; f < formats; f++) {
        Arg rest[] = {items_of(&arg[DUE_ROWS], 0, notes[DUE_COUNT]), arg[NOW], rest_of(&arg[DATA], made), arg[LINE],
                      rest_of(&arg[ROWS], made), rest_of(&arg[SAID], made), rest_of(&arg[OPENS], made),
                      rest_of(&arg[OTHERS], others)};
        if ((found = run_bound(arg[SPEAK].k.of[f], rest, sizeof rest / sizeof *rest)) < 0) return -1;
        notes[MADE_EACH + f] = found & SPEAK_COUNT;
        made += found & SPEAK_COUNT;
        others += found >> 20 & SPEAK_COUNT;
        notes[OPENED] += found >> 40;
    }
    notes[MADE_ALL] = made;
    if (notes[OPENED] || !arg[SENDS].i) return -1;
    return run_bound(arg[LEAVE].k.of[0], (Arg[]){arg[RUN], arg[NOW], arg[COUNT]}, 3);
}
