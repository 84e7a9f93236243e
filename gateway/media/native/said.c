/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of AgentLinks._audio, Playback.push and Downlink.push, for what needs no more than a place in its queue;
   agent_speech.py binds it and says what is left to them. */
#include "queue.h"
#include <string.h>

enum {
    CHANNELS, AGENT_READY, INDEX_OF_ROW, SPEAKS, OF_ROW, FORMAT, QUEUE = SAID_QUEUE,
    WATCHED = QUEUE + QUEUE_ARGS, OVER, TALKING, WAIT_NS, AUDIBLE, CUSHION_NS, LEAST, MOST, SEEN, SEND, PTIME_NS,
    FRAMES, ALL_FRAMES, QUEUED_SINCE_NS, FIRST_SAMPLES, OFFSET_NS, NEED_NS, TURNS, STATE, LONG_ABOVE, CROWDED_ABOVE,
    CROWDED_BELOW, LINK, TURN, LOOKS, NOW_NS, CHANNEL, PCM, LEFT, LONG, HEARD, HEARD_AFTER,
};

/* What is known of a row in this run, from its first record on. */
enum { WAITS = 1, IS_LEFT = 2, IS_LONG = 4 };

static int64_t row_of(const Arg *arg, Py_ssize_t capacity, Py_ssize_t record)
{
    uint32_t channel;
    memcpy(&channel, AT(char, arg[CHANNEL], record), sizeof channel);
    int64_t row = channel & ROW_OF_CHANNEL;
    int known = row < capacity && *AT(uint32_t, arg[CHANNELS], row) == channel && *AT(uint8_t, arg[AGENT_READY], row) &&
                *AT(int64_t, arg[INDEX_OF_ROW], row) == arg[LINK].i && *AT(uint8_t, arg[SPEAKS], row) &&
                *AT(int16_t, arg[OF_ROW], row) == arg[FORMAT].i;
    return known ? row : -1;
}

/* The first sample that is louder than `most`, or -1. */
static Py_ssize_t first_loud(const char *pcm, Py_ssize_t samples, int most)
{
    for (Py_ssize_t i = 0; i < samples; i++) {
        int16_t sample;
        memcpy(&sample, pcm + i * sizeof sample, sizeof sample);
        if (sample > most || sample < -most) return i;
    }
    return -1;
}

static int64_t queued(const Queue *queue, int64_t row)
{
    return (int64_t)*queue_count(queue, row) * queue->block + *queue_partial(queue, row);
}

/* TurnLedger._heard: is this the answer that somebody waits for? How many samples are played before it is heard. */
static int64_t answer_in(const Arg *arg, const Queue *queue, int64_t row, const char *pcm, Py_ssize_t samples)
{
    if (!(*AT(uint8_t, arg[STATE], row) & WAITS)) return 0;
    Py_ssize_t loud = first_loud(pcm, samples, (int)arg[AUDIBLE].i);
    if (loud < 0) return 0;
    *AT(uint8_t, arg[STATE], row) &= ~WAITS;
    return queued(queue, row) + loud + 1;
}

/* How long could the row go on without what comes now? */
static int64_t spare_ns(const Arg *arg, const Queue *queue, int64_t row)
{
    int64_t queued_ns = queued(queue, row) * *AT(int64_t, arg[PTIME_NS], row) / queue->block;
    return queued_ns + AT(int64_t, arg[SEND], row)[SEND_DUE_NS] - arg[NOW_NS].i;
}

/* Pace.look */
static void look(const Arg *arg, int64_t row, int64_t spare)
{
    int64_t *least = AT(int64_t, arg[LEAST], row), *most = AT(int64_t, arg[MOST], row);
    if (spare < *least) *least = spare;
    if (spare > *most) *most = spare;
    ++*AT(int32_t, arg[SEEN], row);
}

/* Prebuffer.look */
static void look_at_wait(const Arg *arg, int64_t row, int64_t spare)
{
    int64_t need = *AT(int64_t, arg[OFFSET_NS], row) - spare, *most = AT(int64_t, arg[NEED_NS], row);
    if (need < 0) need = 0;
    if (need > *most) *most = need;
}

static void first_in_run(const Arg *arg, const Queue *queue, int64_t row)
{
    int talking = *AT(uint8_t, arg[TALKING], row) == 1;
    int speaks = talking || *queue_count(queue, row) || *queue_partial(queue, row);
    int waits = *AT(uint8_t, arg[WATCHED], row) && !(speaks && *AT(uint8_t, arg[OVER], row));
    int patient = *AT(int64_t, arg[WAIT_NS], row) > arg[CUSHION_NS].i;
    *AT(int64_t, arg[TURNS], row) = arg[TURN].i;
    *AT(uint8_t, arg[STATE], row) = waits ? WAITS : 0;
    if (talking && arg[LOOKS].i) look(arg, row, spare_ns(arg, queue, row));
    if (talking && patient) look_at_wait(arg, row, spare_ns(arg, queue, row));
}

/* One record to its queue; false if it is left, and so is all that follows for its row.  What is an answer is heard
   after *answer samples. */
static int append(const Arg *arg, const Queue *queue, int room, int64_t row, const char *pcm, Py_ssize_t samples,
                  int64_t *answer)
{
    if (*AT(int64_t, arg[TURNS], row) != arg[TURN].i) first_in_run(arg, queue, row);
    uint8_t *state = AT(uint8_t, arg[STATE], row);
    int64_t whole = (*queue_partial(queue, row) + samples) / queue->block, count = *queue_count(queue, row);
    if (*state & IS_LEFT || !room || count + whole > queue->limit) {
        *state |= IS_LEFT;
        return 0;
    }
    int64_t held = *queue_partial(queue, row), frames = (held + samples + queue->block - 1) / queue->block - (held > 0);
    *AT(int64_t, arg[FRAMES], row) += frames;
    *AT(int64_t, arg[ALL_FRAMES], 0) += frames;
    if (count == 0) *AT(int64_t, arg[QUEUED_SINCE_NS], row) = arg[NOW_NS].i;
    *answer = answer_in(arg, queue, row, pcm, samples);
    queue_append(queue, row, pcm, samples);
    if (*AT(int64_t, arg[QUEUED_SINCE_NS], row) == arg[NOW_NS].i)
        *AT(int64_t, arg[FIRST_SAMPLES], row) = queued(queue, row);
    return 1;
}

static int fits(const Arg *arg, const Queue *queue)
{
    static const int by_row[] = {CHANNELS, AGENT_READY, INDEX_OF_ROW, SPEAKS, OF_ROW, WATCHED, OVER, TALKING, WAIT_NS,
                                 LEAST, MOST, SEEN, SEND, PTIME_NS, FRAMES, QUEUED_SINCE_NS, FIRST_SAMPLES,
                                 OFFSET_NS, NEED_NS, TURNS, STATE};
    Py_ssize_t n = arg[CHANNEL].a.n;
    int good = arg[PCM].a.n == n && n < 1 << 20 && arg[SEND].a.m == SEND_FIELDS && arg[ALL_FRAMES].a.n > 0 &&
               arg[LEFT].a.n >= n && arg[HEARD].a.n >= n && arg[HEARD_AFTER].a.n >= n && arg[LONG].a.n >= n &&
               arg[LONG].a.step == sizeof(int64_t);
    for (size_t i = 0; i < sizeof by_row / sizeof *by_row; i++) good &= arg[by_row[i]].a.n >= queue_rows(queue);
    if (!good) PyErr_SetString(PyExc_ValueError, "said: the shapes of columns and records do not go together");
    return good;
}

/* said(columns..., link, turn, looks, now_ns, channel, pcm, left, long, heard, heard_after): how many records are left;
   20 bits above, how many rows have got a long queue, and above that how many rows have answered */
int64_t said(const Arg *arg)
{
    Queue queue;
    if (!open_queue(&arg[QUEUE], &queue) || !fits(arg, &queue)) return -1;
    Py_ssize_t records = arg[CHANNEL].a.n, samples = arg[PCM].a.m, capacity = queue_rows(&queue);
    int64_t left = 0, is_long = 0, heard = 0, *rows = AT(int64_t, arg[LONG], 0);
    /* Who gets how much of a pool that is nearly empty is not decided by who comes first. */
    int room = queue_has_room(&queue, records * (1 + samples / queue.block));
    for (Py_ssize_t i = 0; i < records; i++) {
        int64_t row = row_of(arg, capacity, i), after = 0;
        if (row < 0) continue;
        const char *pcm = AT(char, arg[PCM], i);
        if (append(arg, &queue, room, row, pcm, samples, &after)) rows[is_long++] = row;
        else *AT(int64_t, arg[LEFT], left++) = i;
        if (after == 0) continue;
        *AT(int64_t, arg[HEARD_AFTER], heard) = after;
        *AT(int64_t, arg[HEARD], heard++) = row;
    }
    int crowded = (double)(*queue.free_count - *queue.owed) < arg[CROWDED_BELOW].f;
    double most = crowded ? arg[CROWDED_ABOVE].f : arg[LONG_ABOVE].f;
    int64_t pushed = is_long;
    is_long = 0;
    for (int64_t i = 0; i < pushed; i++) {
        uint8_t *state = AT(uint8_t, arg[STATE], rows[i]);
        if (*queue_count(&queue, rows[i]) <= most || *state & IS_LONG) continue; /* once in a run is enough */
        *state |= IS_LONG;
        rows[is_long++] = rows[i];
    }
    return left | is_long << 20 | heard << 40;
}
