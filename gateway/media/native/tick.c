/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The usual tick as a whole: packets of callers to their agent, what it says to the queues, packets to callers.

   Each step is a kernel of its own; this one runs them after each other, with a write and a read in between, and
   stops where there is more to do than that.  usual_ticks.py goes on from there. */
#include "frame.h"
#include "media.h"
#include "sockets.h"
#include "tick.h"
#include "uplink.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    RECEIVE, USUAL, LATE, LEAST, UPLINK_DELAYS, SAID_IN, PLAY, NOTES, /* bound */
    EVENTS, FOUND, LOOK, NOW_NS, DUE_NS, RUNNING, LINK, LEARNS, LISTENS, ALL_LATE, MESSAGE, SAMPLES, FD, DATA, AGAIN, RUN,
    RUNS, LOOKS, HEARS, STOP_FD, PLAYS, PLAY_NS, TIMES
};

static int64_t *note(const Arg *arg, int which) { return AT(int64_t, arg[NOTES], which); }

int64_t *tick_notes(PyObject *kernel)
{
    return AT(int64_t, bound_arguments(kernel)[NOTES], 0);
}

static int fits(const Arg *arg)
{
    int good = arg[NOTES].a.n >= TICK_NOTES && arg[NOTES].a.step == sizeof(int64_t) && arg[MESSAGE].a.n >= PREFIX_BYTES &&
               arg[MESSAGE].a.step == 1 && arg[DATA].a.step == 1 && arg[SAMPLES].i > 0 && arg[SAMPLES].i <= UINT16_MAX &&
               arg[LINK].i >= 0;
    for (int k = RECEIVE; k <= PLAY; k++) good = good && arg[k].k.n == 1;
    if (!good) PyErr_SetString(PyExc_ValueError, "tick: its arrays and kernels do not go together");
    return good;
}

/* The turn of n packets that were taken. */
static int learn_late_of(const Arg *arg, int64_t n)
{
    const Arg *usual = bound_arguments(arg[USUAL].k.of[0]);
    Arg rest[] = {items_of(&usual[USUAL_TAKEN], 0, n), items_of(&usual[USUAL_RELATIVE_NS], 0, n), arg[NOW_NS]};
    return run_bound(arg[LATE].k.of[0], rest, sizeof rest / sizeof *rest) >= 0;
}

/* A packet of each socket that is ready, and all the way to the message; whether that is all that there was to do. */
static int take_packets(const Arg *arg, const Arg *received)
{
    const Arg now = arg[NOW_NS], beyond = {.i = -1};
    Arg look[] = {arg[EVENTS], arg[FOUND], arg[LOOK], {.i = 0}, {.i = 1}};
    int64_t found = run_bound(arg[RECEIVE].k.of[0], look, sizeof look / sizeof *look);
    if (found < 0) return 0;
    int64_t n = found & RECEIVED_COUNT;
    *note(arg, TICK_PACKETS) = n;
    *note(arg, TICK_OTHER_FDS) = found >> RECEIVED_BITS;
    Arg batch[] = {items_of(&received[ROWS_RECEIVED], 0, n), items_of(&received[RECEIVED], 0, n),
                   items_of(&received[LENGTHS_RECEIVED], 0, n), items_of(&received[ARE_NAMED], 0, n), now, {.i = n},
                   arg[LINK], beyond, arg[LEARNS], arg[LISTENS], arg[MESSAGE]};
    int64_t said = run_bound(arg[USUAL].k.of[0], batch, sizeof batch / sizeof *batch);
    if (said < 0) return 0;
    *note(arg, TICK_USUAL_SAID) = said;
    if ((said & USUAL_COUNT) || said >> 2 * USUAL_BITS) return 0;
    if (arg[ALL_LATE].i && !learn_late_of(arg, n)) return 0;
    return run_bound(arg[LEAST].k.of[0], &arg[RUNNING], 1) > arg[DUE_NS].i && !PyErr_Occurred();
}

/* The message to the agent; whether the socket took all of it. */
static int send_message(const Arg *arg)
{
    int64_t written = *note(arg, TICK_USUAL_SAID) >> USUAL_BITS & USUAL_COUNT;
    ssize_t sent, size = written ? write_prefix(arg[MESSAGE].a.data, (Py_ssize_t)arg[SAMPLES].i, written) : 0;
    if (!size) return 1;
    do sent = send((int)arg[FD].i, arg[MESSAGE].a.data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    *note(arg, TICK_SENT_BYTES) = sent < 0 ? 0 : sent; /* whatever it was, it comes again */
    return sent == size;
}

/* How old the packet is by now that was timed. */
static int count_delay(const Arg *arg, const Arg *received)
{
    const Arg *timed = &received[TIMED_NOTES];
    if (*AT(int64_t, *timed, 0) < 0) return 1;
    Arg since_ns = {.i = clock_ns(CLOCK_MONOTONIC) - arg[NOW_NS].i};
    return run_bound(arg[UPLINK_DELAYS].k.of[0], (Arg[]){items_of(timed, 0, 1), items_of(timed, 1, 1), since_ns}, 3) >= 0;
}

/* Whether a descriptor is ready; `only_read`: to be read, and nothing else. */
static int is_ready(const Arg *arg, const Arg *received, int64_t fd, int only_read)
{
    for (int64_t k = 0; k < *note(arg, TICK_OTHER_FDS); k++) {
        const int32_t *other = AT(int32_t, received[OTHERS], k);
        if (other[0] == fd && (other[1] == EPOLLIN || !only_read)) return 1;
    }
    return 0;
}

/* One read of what the agent says: how many bytes, if all of it is where it belongs; 0: there is no more; -1: it is not. */
static int64_t read_agent(const Arg *arg, int64_t run)
{
    ssize_t n;
    do n = recv((int)arg[FD].i, arg[DATA].a.data, (size_t)arg[DATA].a.n, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
    *note(arg, TICK_READ_BYTES) = n < 0 ? -(int64_t)errno : n;
    *note(arg, TICK_SAID) = 0;
    if (n <= 0) return -1;
    Arg rest[] = {arg[LINK], {.i = run}, arg[LOOKS], arg[NOW_NS], arg[DATA], {.i = n}};
    int64_t said = run_bound(arg[SAID_IN].k.of[0], rest, sizeof rest / sizeof *rest);
    *note(arg, TICK_SAID) = said;
    return PyErr_Occurred() || said != n ? -1 : n;
}

/* What the agent says, in one read or a few; whether nothing of it is left to do. */
static int hear_agent(const Arg *arg)
{
    for (int64_t k = 0, n, size = 0; k < arg[RUNS].i && size < arg[DATA].a.n; k++, size += n) {
        if ((n = read_agent(arg, arg[RUN].i + k)) < 0) return 0;
        if (n < arg[AGAIN].i) break;
    }
    return 1;
}

/* Packets to callers, where any are due; whether that was all. */
static int play_round(const Arg *arg)
{
    if (arg[NOW_NS].i < arg[PLAY_NS].i) return 1;
    int64_t next_ns = run_bound(arg[PLAY].k.of[0], (Arg[]){arg[RUNNING], arg[NOW_NS], {.i = 1}, {.i = 1}}, 4);
    *note(arg, TICK_NEXT_NS) = next_ns;
    return next_ns >= 0;
}

/* tick(receive(), usual(), late(), least(), delays(), said_in(), play(), notes,
        events, found, look, now_ns, due_ns, rows that run, link, learns, listens, all late, message, samples, fd, data,
        again, run, runs, looks, hears, stop fd, plays, play_ns, times)

   `least` is of the deadlines of frames, of which none may be `due_ns` or sooner, and `delays` counts those of the uplink.
   `message` is for records of so many `samples` to the agent's descriptor `fd`; what is read of it, if `hears`, goes into
   `data`, and if that is `again` bytes, there may be more, and it is read once more, until that is as many bytes as `data`
   has, or so many `runs`, whose numbers begin with `run`.  Where `stop fd` is ready no packets are played, as it may say
   that some are not to be; nor where others are, if agents are heard, or without `plays`.  `times`: look at the CPU clock. */
int64_t tick(const Arg *arg)
{
    if (!fits(arg)) return -1;
    const Arg *received = bound_arguments(arg[RECEIVE].k.of[0]);
    for (int k = 0; k < TICK_NOTES; k++) *note(arg, k) = 0;
    *note(arg, TICK_NEXT_NS) = arg[PLAY_NS].i;
    if (!take_packets(arg, received)) return PACKETS_TAKEN;
    int is_sent = send_message(arg);
    if (!count_delay(arg, received)) return -1;
    if (arg[TIMES].i) *note(arg, TICK_CPU_NS) = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (!is_sent) return MESSAGE_LEFT;
    int is_there = is_ready(arg, received, arg[FD].i, 1);
    *note(arg, TICK_STRANGERS) = *note(arg, TICK_OTHER_FDS) - is_there;
    if (is_there && arg[HEARS].i && !hear_agent(arg)) return AGENT_HEARD;
    int is_due = arg[NOW_NS].i >= arg[PLAY_NS].i, others_first = arg[HEARS].i && *note(arg, TICK_STRANGERS);
    if (is_ready(arg, received, arg[STOP_FD].i, 0) || (is_due && (!arg[PLAYS].i || others_first))) return STOPPED;
    return play_round(arg) ? ALL_DONE : ROUND_LEFT;
}
