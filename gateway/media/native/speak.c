/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of Downlink._send_due, Echo.played and PacketWriter.send_audio in the two cases that are nearly all: agents who
   go on speaking, and agents who go on saying nothing.  speaking.py binds it. */
#include "queue.h"
#include "samples.h"
#include <string.h>

#define HEADER_BYTES 12
#define CODES 65536

enum {
    QUEUE, TAPS = QUEUE_ARGS, UP, DOWN, HISTORY, TABLE, EVERY, LOUD_DBOV, DECAY_DB, FLOOR_DBOV, FORMAT, OF_ROW, SENDING,
    APART, TALKING, LAST_SAMPLE, ECHO_DBOV, ECHO_LOSS_DB, LOUD_NS, FRAMES_SILENCE, SEND, SEND_PT, SSRC, PTIME_TS,
    PTIME_NS, SEND_SILENCE, ROWS, NOW_NS, PACKETS, LINE, MADE, SAMPLES, OTHERS,
};

enum { SPEAKS, SILENT, HELD, OTHER };

static int kind_of(const Arg *arg, const Queue *queue, int64_t row)
{
    if (*AT(uint8_t, arg[APART], row)) return OTHER;
    if (!*AT(uint8_t, arg[SENDING], row)) return HELD;
    if (*AT(uint8_t, arg[TALKING], row)) return *queue_count(queue, row) ? SPEAKS : OTHER;
    int nothing = !*queue_count(queue, row) && !*queue_partial(queue, row) && !*AT(int16_t, arg[LAST_SAMPLE], row);
    return nothing && arg[SEND_SILENCE].i ? SILENT : OTHER;
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

static void note_echo(const Arg *arg, int64_t row, float level)
{
    double *echo = AT(double, arg[ECHO_DBOV], row), before = *echo - arg[DECAY_DB].f;
    double now = level - *AT(double, arg[ECHO_LOSS_DB], row);
    *echo = now > before ? now : before;
    if (level > (float)arg[LOUD_DBOV].f) *AT(int64_t, arg[LOUD_NS], row) = arg[NOW_NS].i;
}

/* A block of silence sounds like one, if the filter remembers nothing else. */
static int is_silent(const Filter *filter, const int16_t *history)
{
    for (int i = 0; i < filter->history; i++)
        if (history[i]) return 0;
    return 1;
}

static void to_line(const Arg *arg, const Filter *filter, int64_t row, const int16_t *pcm, int n, int16_t *out)
{
    int16_t *history = AT(int16_t, arg[HISTORY], row);
    if (filter->up == filter->down) memcpy(out, pcm, n * sizeof *out);
    else resample(filter, history, pcm, n, out);
}

static void write_header(const Arg *arg, int64_t row, uint8_t *to)
{
    const int64_t *send = AT(int64_t, arg[SEND], row);
    uint32_t lead = 0x80000000u | (uint32_t)*AT(uint8_t, arg[SEND_PT], row) << 16 | (send[SEND_SEQ] & 0xFFFF);
    uint32_t words[3] = {lead, (uint32_t)send[SEND_TS], *AT(uint32_t, arg[SSRC], row)};
    for (int i = 0; i < 3; i++) words[i] = __builtin_bswap32(words[i]);
    memcpy(to, words, HEADER_BYTES);
}

static void encode(const uint8_t *table, const int16_t *pcm, int n, uint8_t *to)
{
    for (int i = 0; i < n; i++) to[i] = table[(uint16_t)pcm[i]];
}

/* One packet, or what its encoder is to be given: place `i` of the batch. */
static void make(const Arg *arg, const Filter *filter, int64_t row, const int16_t *pcm, int n, int64_t i)
{
    static const int16_t silence[MOST_SAMPLES];
    int16_t line[MOST_SAMPLES];
    int made = n / filter->down * filter->up, coded = arg[TABLE].a.n == CODES;
    int16_t *out = coded ? line : AT(int16_t, arg[LINE], i);
    uint8_t *packet = AT(uint8_t, arg[PACKETS], i);
    if (coded) write_header(arg, row, packet);
    if (pcm == NULL && is_silent(filter, AT(int16_t, arg[HISTORY], row))) {
        if (coded) memset(packet + HEADER_BYTES, *AT(uint8_t, arg[TABLE], 0), made);
        else memset(out, 0, made * sizeof *out);
        return;
    }
    to_line(arg, filter, row, pcm ? pcm : silence, n, out);
    if (coded) encode(AT(uint8_t, arg[TABLE], 0), out, made, packet + HEADER_BYTES);
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
               arg[MADE].a.n >= n && arg[SAMPLES].a.n >= n && arg[OTHERS].a.n >= n;
    for (Py_ssize_t i = 0; good && i < n; i++) good = *AT(int64_t, arg[ROWS], i) < queue_rows(queue);
    if (!good) PyErr_SetString(PyExc_ValueError, "speak: the shapes of queue, filter, columns and packets do not go together");
    return good;
}

/* speak(columns..., rows, now_ns, packets, line, made, samples, others): how many packets were made, and above bit 32
   how many rows of this format were left.  Clocks and counters wait until they have been sent. */
int64_t speak(const Arg *arg)
{
    Queue queue;
    Filter filter = {AT(float, arg[TAPS], 0), (int)arg[UP].i, (int)arg[DOWN].i, (int)arg[TAPS].a.m - 1};
    if (!open_queue(&arg[QUEUE], &queue) || !fits(arg, &queue, &filter)) return -1;
    int64_t made = 0, others = 0;
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i);
        if (*AT(int16_t, arg[OF_ROW], row) != arg[FORMAT].i) continue;
        int kind = kind_of(arg, &queue, row);
        if (kind == HELD) hold(arg, row);
        if (kind == OTHER) *AT(int64_t, arg[OTHERS], others++) = row;
        if (kind != SPEAKS && kind != SILENT) continue;
        const int16_t *pcm = kind == SPEAKS ? queue_pop(&queue, row) : NULL;
        int64_t every = arg[EVERY].i;
        note_echo(arg, row, pcm ? level_dbov(pcm, (queue.block + every - 1) / every, every) : (float)arg[FLOOR_DBOV].f);
        if (pcm) *AT(int16_t, arg[LAST_SAMPLE], row) = pcm[queue.block - 1];
        else ++*AT(int64_t, arg[FRAMES_SILENCE], row);
        make(arg, &filter, row, pcm, queue.block, made);
        *AT(int64_t, arg[SAMPLES], made) = pcm ? queue.block : 0;
        *AT(int64_t, arg[MADE], made++) = row;
    }
    return made | others << 32;
}
