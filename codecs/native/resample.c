/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/resample.py, where one rate is a whole multiple of the other.

   Both ways are sums over taps of one line of samples, moved on by one for each tap: up, one such sum for each of the
   outputs that an input becomes; down, the line is first parted into one for each input that becomes an output. */
#include "samples.h"
#include <string.h>

#define EIGHTS 10
#define LANES (8 * EIGHTS) /* outputs at once, 10 ms at 8 kHz: their sums stay in registers */

typedef float Eight __attribute__((vector_size(32), aligned(4))); /* where it is too wide, the compiler halves it */

FAST static void widen(const int16_t *from, float *to, int n)
{
    for (int i = 0; i < n; i++) to[i] = from[i];
}

/* to[i] += sum over k of taps[k * stride] * line[i + k], for i < n; `line` and `to` have room for LANES more. */
FAST static void correlate(const float *line, const float *taps, int count, int stride, float *to, int n)
{
    for (int first = 0; first < n; first += LANES) {
        Eight sum[EIGHTS], *at_first = (Eight *)(to + first);
        for (int i = 0; i < EIGHTS; i++) sum[i] = at_first[i];
        for (int k = 0; k < count; k++) {
            float tap = taps[k * stride];
            const Eight *at = (const Eight *)(line + first + k);
            for (int i = 0; i < EIGHTS; i++) sum[i] += tap * at[i];
        }
        for (int i = 0; i < EIGHTS; i++) at_first[i] = sum[i];
    }
}

/* The same without the zeros before the first tap and behind the last: of a Nyquist filter one phase is a single tap. */
static void filter_line(const float *line, const float *taps, int count, int stride, float *to, int n)
{
    while (count && taps[(count - 1) * stride] == 0) count--;
    for (; count && *taps == 0; count--, line++) taps += stride;
    correlate(line, taps, count, stride, to, n);
}

/* Rounded to the nearest, ties to even, as rint does: adding 1.5 * 2^23 leaves no bits for a fraction. */
FAST static void narrow(const float *from, int16_t *to, int n)
{
    for (int i = 0; i < n; i++) {
        float value = from[i] < -32768.0f ? -32768.0f : from[i] > 32767.0f ? 32767.0f : from[i];
        to[i] = (int16_t)((value + 12582912.0f) - 12582912.0f);
    }
}

FAST static void interleave(const int16_t *even, const int16_t *odd, int16_t *to, int n)
{
    for (int i = 0; i < n; i++) {
        to[2 * i] = even[i];
        to[2 * i + 1] = odd[i];
    }
}

static void up_by(const Filter *filter, const float *line, int n, int16_t *out)
{
    float sum[MOST_SAMPLES + LANES];
    int16_t part[2][MOST_SAMPLES];
    int count = filter->history + 1, up = filter->up;
    for (int phase = 0; phase < up; phase++) {
        memset(sum, 0, (n + LANES) * sizeof *sum);
        filter_line(line, filter->taps + phase * count, count, 1, sum, n);
        narrow(sum, part[phase & 1], n);
        if (up == 2) continue;
        for (int i = 0; i < n; i++) out[i * up + phase] = part[phase & 1][i];
    }
    if (up == 2) interleave(part[0], part[1], out, n);
}

static void down_by(const Filter *filter, const float *line, int n, int16_t *out)
{
    float sum[MOST_SAMPLES + LANES], part[MOST_SAMPLES + MOST_HISTORY + LANES];
    int outputs = n / filter->down, count = filter->history + 1, down = filter->down;
    memset(sum, 0, (outputs + LANES) * sizeof *sum);
    for (int phase = 0; phase < down; phase++) {
        int taps = (count - phase + down - 1) / down, needed = outputs + taps;
        for (int i = 0; i < needed && i * down + phase < n + count; i++) part[i] = line[i * down + phase];
        memset(part + needed, 0, LANES * sizeof *part);
        filter_line(part, filter->taps + phase, taps, down, sum, outputs);
    }
    narrow(sum, out, outputs);
}

void resample(const Filter *filter, int16_t *history, const int16_t *pcm, int n, int16_t *out)
{
    float line[MOST_HISTORY + MOST_SAMPLES + 2 * LANES];
    int kept = filter->history;
    widen(history, line, kept);
    widen(pcm, line + kept, n);
    memset(line + kept + n, 0, 2 * LANES * sizeof *line);
    if (n >= kept) memcpy(history, pcm + n - kept, kept * sizeof *history);
    else {
        memmove(history, history + n, (kept - n) * sizeof *history);
        memcpy(history + kept - n, pcm, n * sizeof *history);
    }
    if (filter->down == 1) up_by(filter, line, n, out);
    else down_by(filter, line, n, out);
}
