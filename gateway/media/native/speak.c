/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of Downlink._send_due for rows at which nothing but speech and silence can happen.  speaking.py binds it. */
#include "packets.h"
#include "queue.h"
#include <string.h>

enum {
    QUEUE, TAPS = QUEUE_ARGS, UP, DOWN, HISTORY, TABLE, EVERY, LOUD_DBOV, DECAY_DB, FLOOR_DBOV, FADE_SAMPLES, CUSHION_NS,
    FORMAT, OF_ROW, SENDING, APART, WAIT_NS, TALKING, LAST_SAMPLE, ECHO_DBOV, ECHO_LOSS_DB, LOUD_NS, QUEUED_SINCE_NS,
    STOPPED_NS, NOISE_DUE_NS, FRAMES_SILENCE, SEND, SEND_PT, SSRC, PTIME_TS, PTIME_NS, SEND_SILENCE,
    ROWS, NOW_NS, PACKETS, LINE, MADE, SAMPLES, OPENS, OTHERS,
};

/* What a row does with the packet that is due. */
enum Act {
    SPEAKS, /* goes on with a whole block */
    OPENS_UP, /* begins with one */
    ENDS,   /* says the block that was not finished, and what it lacks is fade */
    STOPS,  /* has run dry */
    SILENT, /* says nothing, as before; the last sample may have to fade */
    HELD,   /* may not be heard */
    OTHER,  /* is left */
};

static enum Act silence(const Arg *arg, int64_t row)
{
    return arg[SEND_SILENCE].i || *AT(int16_t, arg[LAST_SAMPLE], row) ? SILENT : OTHER;
}

static enum Act act_of(const Arg *arg, const Queue *queue, int64_t row)
{
    if (*AT(uint8_t, arg[APART], row)) return OTHER;
    if (!*AT(uint8_t, arg[SENDING], row)) return HELD;
    int32_t count = *queue_count(queue, row), partial = *queue_partial(queue, row);
    if (*AT(uint8_t, arg[TALKING], row) == 1) return count ? SPEAKS : partial ? ENDS : STOPS;
    if (!count && !partial) return silence(arg, row);
    if (*AT(int64_t, arg[WAIT_NS], row) > arg[CUSHION_NS].i) return OTHER;
    int late = arg[NOW_NS].i - *AT(int64_t, arg[QUEUED_SINCE_NS], row) >= arg[CUSHION_NS].i;
    if (!late && count < 2) return silence(arg, row);
    return count ? OPENS_UP : OTHER;
}

/* Nobody is to hear anything of a row: a new talkspurt follows, and nothing is left to fade. */
static void hold(const Arg *arg, int64_t row)
{
    int64_t *send = AT(int64_t, arg[SEND], row);
    *AT(uint8_t, arg[TALKING], row) = 0;
    *AT(int16_t, arg[LAST_SAMPLE], row) = 0;
    *AT(double, arg[ECHO_DBOV], row) = arg[FLOOR_DBOV].f;
    send[SEND_TS] += *AT(int64_t, arg[PTIME_TS], row);
    send[SEND_DUE_NS] += *AT(int64_t, arg[PTIME_NS], row);
}

static void fade(const Arg *arg, int16_t last, int16_t *pcm, int n)
{
    int length = (int)arg[FADE_SAMPLES].i;
    for (int i = 0; i < n; i++) pcm[i] = i < length ? (int16_t)(last * (float)(1 - (double)i / length)) : 0;
}

/* The row's block: in the pool, or made here. Its first *samples are the agent's. */
static const int16_t *block_of(const Arg *arg, const Queue *queue, int64_t row, enum Act act, int16_t *made, int *samples)
{
    static const int16_t nothing[MOST_SAMPLES];
    *samples = queue->block;
    if (act == SPEAKS || act == OPENS_UP) return queue_pop(queue, row);
    *samples = 0;
    int16_t last = *AT(int16_t, arg[LAST_SAMPLE], row);
    if (act == ENDS) {
        int32_t *held = queue_partial(queue, row);
        memcpy(made, AT(int16_t, arg[QUEUE + QUEUE_CUT], row), *held * sizeof *made);
        last = made[*held - 1];
        *samples = *held;
        *held = 0;
    } else if (last == 0) return nothing;
    fade(arg, last, made + *samples, queue->block - *samples);
    return made;
}

/* Of a talkspurt that begins, Python notes the rest. */
static void note_act(const Arg *arg, const Queue *queue, int64_t row, enum Act act, int samples)
{
    int goes_on = act == SPEAKS || act == OPENS_UP;
    if (act == ENDS || act == STOPS) {
        int64_t last_ns = samples * *AT(int64_t, arg[PTIME_NS], row) / queue->block;
        *AT(int64_t, arg[STOPPED_NS], row) = AT(int64_t, arg[SEND], row)[SEND_DUE_NS] + last_ns;
    }
    *AT(uint8_t, arg[TALKING], row) = (uint8_t)goes_on;
    if (act == STOPS || act == SILENT) ++*AT(int64_t, arg[FRAMES_SILENCE], row);
    if (!arg[SEND_SILENCE].i) *AT(int64_t, arg[NOISE_DUE_NS], row) = 0; /* a pause is told of when it begins */
}

static void note_sound(const Arg *arg, int64_t row, const int16_t *pcm, int n)
{
    int64_t every = arg[EVERY].i;
    float level = level_dbov(pcm, (n + every - 1) / every, every);
    double *echo = AT(double, arg[ECHO_DBOV], row), before = *echo - arg[DECAY_DB].f;
    double now = level - *AT(double, arg[ECHO_LOSS_DB], row);
    *echo = now > before ? now : before;
    if (level > (float)arg[LOUD_DBOV].f) *AT(int64_t, arg[LOUD_NS], row) = arg[NOW_NS].i;
    *AT(int16_t, arg[LAST_SAMPLE], row) = pcm[n - 1];
}

/* One packet, or what its encoder is to be given: place `i` of the batch. */
static void make(const Arg *arg, const Filter *filter, int64_t row, const int16_t *pcm, int n, int marker, int64_t i)
{
    int16_t line[MOST_SAMPLES], *history = AT(int16_t, arg[HISTORY], row);
    if (arg[TABLE].a.n != CODES) {
        to_line(filter, history, pcm, n, AT(int16_t, arg[LINE], i));
        return;
    }
    const int64_t *send = AT(int64_t, arg[SEND], row);
    Header header = {*AT(uint8_t, arg[SEND_PT], row), (uint8_t)marker, *AT(uint32_t, arg[SSRC], row), send[SEND_SEQ],
                     send[SEND_TS]};
    uint8_t *packet = AT(uint8_t, arg[PACKETS], i);
    write_header(&header, packet);
    to_line(filter, history, pcm, n, line);
    encode(AT(uint8_t, arg[TABLE], 0), line, n / filter->down * filter->up, packet + HEADER_BYTES);
}

static int fits(const Arg *arg, const Queue *queue, const Filter *filter)
{
    int64_t block = queue->block, n = arg[ROWS].a.n;
    int whole = filter->up >= 1 && filter->down >= 1 && (filter->up == 1 || filter->down == 1) &&
                block <= MOST_SAMPLES && block % filter->down == 0;
    int64_t made = whole ? block / filter->down * filter->up : 0;
    int coded = arg[TABLE].a.n == CODES;
    int good = whole && made <= MOST_SAMPLES && arg[TAPS].a.n == filter->up && filter->history >= 0 &&
               arg[TAPS].a.step == (Py_ssize_t)(arg[TAPS].a.m * sizeof(float)) && filter->history <= MOST_HISTORY &&
               filter->history <= arg[HISTORY].a.m && arg[SEND].a.m == SEND_FIELDS && arg[EVERY].i > 0 &&
               (coded ? arg[PACKETS].a.n >= n && arg[PACKETS].a.m >= HEADER_BYTES + made && arg[TABLE].a.step == 1
                      : arg[TABLE].a.n == 0 && arg[LINE].a.n >= n && arg[LINE].a.m >= made) &&
               arg[MADE].a.n >= n && arg[SAMPLES].a.n >= n && arg[OPENS].a.n >= n && arg[OTHERS].a.n >= n;
    for (Py_ssize_t i = 0; good && i < n; i++) good = *AT(int64_t, arg[ROWS], i) < queue_rows(queue);
    if (!good) PyErr_SetString(PyExc_ValueError, "speak: the shapes of queue, filter, columns and packets do not go together");
    return good;
}

/* What rows after place i will need: with many calls, nothing of it is in a cache that is near. */
PREFETCHES prefetch(const Arg *arg, const Queue *queue, const Filter *filter, Py_ssize_t i)
{
    Py_ssize_t n = arg[ROWS].a.n;
    if (i + 4 < n) {
        int64_t row = *AT(int64_t, arg[ROWS], i + 4);
        queue_expect_place(queue, row);
        fetch_ahead(AT(int16_t, arg[HISTORY], row), filter->history * sizeof(int16_t));
        fetch_ahead(AT(int64_t, arg[SEND], row), SEND_FIELDS * sizeof(int64_t));
    }
    if (i + 2 < n) queue_expect_block(queue, *AT(int64_t, arg[ROWS], i + 2));
}

/* speak(columns..., rows, now_ns, packets, line, made, samples, opens, others): how many packets were made; 20 bits
   above, how many rows of this format were left, and above that how many packets open a talkspurt.  Clocks and counters
   wait until they have been sent. */
int64_t speak(const Arg *arg)
{
    Queue queue;
    Filter filter = {AT(float, arg[TAPS], 0), (int)arg[UP].i, (int)arg[DOWN].i, (int)arg[TAPS].a.m - 1};
    if (!open_queue(&arg[QUEUE], &queue) || !fits(arg, &queue, &filter)) return -1;
    int64_t made = 0, others = 0, opened = 0;
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i);
        prefetch(arg, &queue, &filter, i);
        if (*AT(int16_t, arg[OF_ROW], row) != arg[FORMAT].i) continue;
        enum Act act = act_of(arg, &queue, row);
        if (act == HELD) hold(arg, row);
        if (act == OTHER) *AT(int64_t, arg[OTHERS], others++) = row;
        if (act == HELD || act == OTHER) continue;
        int16_t own[MOST_SAMPLES];
        int samples;
        const int16_t *pcm = block_of(arg, &queue, row, act, own, &samples);
        note_act(arg, &queue, row, act, samples);
        note_sound(arg, row, pcm, queue.block);
        make(arg, &filter, row, pcm, queue.block, act == OPENS_UP, made);
        *AT(int64_t, arg[SAMPLES], made) = samples;
        *AT(uint8_t, arg[OPENS], made) = act == OPENS_UP;
        *AT(int64_t, arg[MADE], made++) = row;
        opened += act == OPENS_UP;
    }
    return made | others << 20 | opened << 40;
}
