/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Usual ticks one after the other, and the sleep between them: what rhythm.py and loop.py do where nothing special happens.
   usual_ticks.py binds it. */
#include "media.h"
#include "tick.h"
#include <errno.h>

enum {
    READY, TICK, EDGES_US, HEARTBEAT_NS, TICKS, DURATIONS, LONGEST_US, TURNS, STATE, /* bound */
    EVENTS, RUNNING, LINK, MESSAGE, SAMPLES, FD, DATA, AGAIN, STOP_FD, PLAYS, LOOK, RUN, RUNS,
    GRID_NS, BEGUN_NS, UNTIL_NS, ATTEND_NS, RASTER_NS, PLAY_NS, HANDLED_NS, LISTEN_NS, FEW, HURRIED_NS, TOLERATED_NS
};
/* usual_ticks.py; the last one stays from call to call. */
enum { NOW_NS, WANTED_NS, LATE_NS, BEHIND_NS, DONE_NS, FOUND, HEARS, HEARD, AGENTS_NS, LOOKED, CPU_NS, LOOKS, DRAWN, NOTED };
enum { OF_VOICE, OF_BACKGROUND, OF_LATENESS, OF_PACE, DRAWS };

typedef struct {
    const Arg *arg;
    int64_t *state, *tick; /* what there is to say, of all ticks and of the last */
} Ticks;

/* Whether it is a batch's turn, that of one in so many (lateness.py, `draws`): xorshift64. */
static int draw(const Ticks *ticks, int which)
{
    uint64_t drawn = (uint64_t)ticks->state[DRAWN];
    drawn ^= drawn << 13, drawn ^= drawn >> 7, drawn ^= drawn << 17;
    ticks->state[DRAWN] = (int64_t)drawn;
    return drawn % (uint64_t)*AT(int64_t, ticks->arg[TURNS], which) == 0;
}

/* Sleep, if the time has not come yet; 0 with an exception. */
static int sleep_until(int64_t then_ns)
{
    struct timespec then = {then_ns / 1000000000, then_ns % 1000000000};
    int failed;
    if (then_ns <= clock_ns(CLOCK_MONOTONIC)) return 1;
    do {
        Py_BEGIN_ALLOW_THREADS
        failed = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0) return 0;
    } while (failed == EINTR);
    return 1;
}

/* The next point of the grid, and what is ready there; whether this is a tick such as we do. */
static int wait(const Ticks *ticks)
{
    const Arg *arg = ticks->arg;
    int64_t *state = ticks->state, begun_ns = state[NOW_NS];
    state[WANTED_NS] = (begun_ns / arg[GRID_NS].i + 1) * arg[GRID_NS].i;
    if (!sleep_until(state[WANTED_NS])) return 0;
    state[FOUND] = run_bound(arg[READY].k.of[0], &(Arg){.i = 0}, 1);
    state[NOW_NS] = *AT(int64_t, arg[HEARTBEAT_NS], 0) = clock_ns(CLOCK_MONOTONIC);
    state[LATE_NS] = state[NOW_NS] - state[WANTED_NS];
    return state[FOUND] > arg[FEW].i && state[FOUND] < arg[EVENTS].a.n && state[LATE_NS] <= arg[HURRIED_NS].i;
}

/* One tick; where it stopped, -1 with an exception. */
static int64_t one(const Ticks *ticks)
{
    const Arg *arg = ticks->arg;
    int64_t *state = ticks->state, now_ns = state[NOW_NS], play_ns = ticks->tick[TICK_NEXT_NS];
    state[HEARS] = now_ns >= play_ns || now_ns - state[AGENTS_NS] >= arg[LISTEN_NS].i;
    if (state[HEARS]) state[AGENTS_NS] = now_ns;
    int learns = draw(ticks, OF_VOICE), listens = draw(ticks, OF_BACKGROUND), all_late = draw(ticks, OF_LATENESS);
    state[LOOKED] = state[HEARS] && draw(ticks, OF_PACE);
    int64_t k = state[LOOKS]++;
    Arg rest[] = {arg[EVENTS], {.i = state[FOUND]}, {.i = arg[LOOK].i + k}, {.i = now_ns},
                  {.i = now_ns / arg[RASTER_NS].i * arg[RASTER_NS].i}, arg[RUNNING], arg[LINK], {.i = learns}, {.i = listens},
                  {.i = all_late}, arg[MESSAGE], arg[SAMPLES], arg[FD], arg[DATA], arg[AGAIN],
                  {.i = arg[RUN].i + k * arg[RUNS].i}, arg[RUNS], {.i = state[LOOKED]}, {.i = state[HEARS]}, arg[STOP_FD],
                  arg[PLAYS], {.i = play_ns}, {.i = !k}};
    int64_t at = run_bound(arg[TICK].k.of[0], rest, sizeof rest / sizeof *rest);
    if (at == PACKETS_TAKEN) return at;
    state[HEARD] |= ticks->tick[TICK_READ_BYTES] != 0;
    if (!k) state[CPU_NS] = ticks->tick[TICK_CPU_NS];
    return at;
}

/* A tick is over that nobody else has to do with: Rhythm.done. */
static void count(const Ticks *ticks, int64_t done_ns)
{
    const Arg *arg = ticks->arg;
    int64_t *state = ticks->state, took_us = (done_ns - state[NOW_NS]) / 1000;
    int64_t late_ns = done_ns - state[WANTED_NS] - arg[TOLERATED_NS].i, since_ns = done_ns - state[DONE_NS];
    if (late_ns > 0) state[BEHIND_NS] += late_ns < since_ns ? late_ns : since_ns;
    state[DONE_NS] = *AT(int64_t, arg[HEARTBEAT_NS], 0) = done_ns;
    ++*AT(int64_t, arg[TICKS], 0);
    ++*AT(int64_t, arg[DURATIONS], bucket_of(&arg[EDGES_US], took_us));
    int64_t *longest_us = AT(int64_t, arg[LONGEST_US], 0);
    if (took_us > *longest_us) *longest_us = took_us;
}

static int fits(const Arg *arg)
{
    int good = arg[READY].k.n == 1 && arg[TICK].k.n == 1 && arg[STATE].a.n == NOTED && arg[STATE].a.step == sizeof(int64_t) &&
               arg[HEARTBEAT_NS].a.n && arg[TICKS].a.n && arg[LONGEST_US].a.n && arg[TURNS].a.n == DRAWS &&
               arg[DURATIONS].a.n == arg[EDGES_US].a.n + 1 && arg[GRID_NS].i > 0 && arg[RASTER_NS].i > 0;
    for (int k = 0; good && k < DRAWS; k++) good = *AT(int64_t, arg[TURNS], k) > 0;
    if (!good) PyErr_SetString(PyExc_ValueError, "ticks: its arrays and kernels do not go together");
    return good;
}

/* ticks(ready(), tick(), edges_us, heartbeat_ns, ticks, durations, longest_us, turns, state,
         events, running, link, message, samples, fd, data, again, stop fd, plays, look, run, runs: as `tick` has them;
         grid_ns, begun_ns, until_ns, attend_ns, raster_ns, play_ns, handled_ns, listen_ns, few, hurried_ns, tolerated_ns)

   Sleeps and ticks until a tick is not over when `tick` is: it stopped on its way, it is `attend_ns`, or descriptors that
   are none of ours are ready and agents are heard; and no longer than `until_ns`.  Returns where the last one stopped, and
   << 3 whether it is over; NOT_BEGUN, if what was found calls for something else.  The last one is the caller's to count.
   Their looks and runs are numbered from `look` and `run` on. */
int64_t ticks(const Arg *arg)
{
    if (!fits(arg)) return -1;
    int64_t *state = AT(int64_t, arg[STATE], 0), at, done_ns;
    Ticks ticks = {arg, state, tick_notes(arg[TICK].k.of[0])};
    for (int k = 0; k < DRAWN; k++) state[k] = 0;
    state[NOW_NS] = arg[BEGUN_NS].i;
    state[AGENTS_NS] = arg[HANDLED_NS].i;
    state[DONE_NS] = clock_ns(CLOCK_MONOTONIC);
    ticks.tick[TICK_NEXT_NS] = arg[PLAY_NS].i;
    for (;;) {
        if (!wait(&ticks)) return NOT_BEGUN;
        if ((at = one(&ticks)) < 0 || PyErr_Occurred()) return -1;
        int strangers = state[HEARS] && ticks.tick[TICK_STRANGERS];
        if (at != ALL_DONE || strangers || state[NOW_NS] >= arg[ATTEND_NS].i) return at;
        done_ns = clock_ns(CLOCK_MONOTONIC);
        if (done_ns >= arg[UNTIL_NS].i) return at | 1 << 3;
        count(&ticks, done_ns);
    }
}
