/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/resample.py, where one rate is a whole multiple of the other.

   Both ways are sums over taps of one line of samples, moved on by one for each tap: up, one such sum for each of the
   outputs that an input becomes; down, the line is first parted into one for each input that becomes an output. LANES
   outputs are made at once, whose sums stay in registers; loads are what bounds it, as most cross a cache line. */
#include "samples.h"
#include <string.h>

#define LANES 80 /* 10 ms at 8 kHz */
#define INLINE static inline __attribute__((always_inline))

/* Samples with zeros behind them for outputs that nobody wants. */
typedef float Line[MOST_HISTORY + MOST_SAMPLES + 2 * LANES];

/* to[i] = sum over k < count of taps[k * stride] * line[i + k], for i < LANES; added to what is there if `more` */
#define DEFINE_CORRELATE(name, Vector, width)                                                             \
    typedef float Vector __attribute__((vector_size(4 * width), aligned(4)));                             \
    INLINE void name(const float *line, const float *taps, int count, int stride, int more, float *to)    \
    {                                                                                                     \
        Vector sum[LANES / width], *there = (Vector *)to;                                                 \
        for (int i = 0; i < LANES / width; i++) sum[i] = more ? there[i] : (Vector){0};                   \
        for (int k = 0; k < count; k++) {                                                                 \
            float tap = taps[k * stride];                                                                 \
            const Vector *at = (const Vector *)(line + k);                                                \
            for (int i = 0; i < LANES / width; i++) sum[i] += tap * at[i];                                \
        }                                                                                                 \
        for (int i = 0; i < LANES / width; i++) there[i] = sum[i];                                        \
    }

/* Vectors that are too wide for a processor the compiler halves; quartering them it makes a mess. */
DEFINE_CORRELATE(correlate, Eight, 8)
DEFINE_CORRELATE(correlate_wide, Sixteen, 16)

/* The same for i < n, without the zeros before the first tap and behind the last: of a Nyquist filter one phase is a
   single tap. */
INLINE void filter_line(int wide, const float *line, const float *taps, int count, int stride, int more, float *to, int n)
{
    while (count && taps[(count - 1) * stride] == 0) count--;
    for (; count && *taps == 0; count--, line++) taps += stride;
    for (int i = 0; i < n; i += LANES) {
        if (wide) correlate_wide(line + i, taps, count, stride, more, to + i);
        else correlate(line + i, taps, count, stride, more, to + i);
    }
}

/* To the nearest, ties to even, as rint does, in the low 16 bits: adding 1.5 * 2^23 leaves no bits for a fraction. */
INLINE uint32_t rounded(float sample)
{
    float value = sample > -32768.0f ? sample : -32768.0f;
    uint32_t bits;
    value = (value < 32767.0f ? value : 32767.0f) + 12582912.0f;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

#define LITTLE (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

INLINE void round_pairs(const float *first, const float *second, int n, int16_t *out)
{
    const float *low = LITTLE ? first : second, *high = LITTLE ? second : first;
    for (int i = 0; i < n; i++) {
        uint32_t pair = (rounded(low[i]) & 0xFFFF) | rounded(high[i]) << 16;
        memcpy(out + 2 * i, &pair, sizeof pair);
    }
}

INLINE void up_by(int wide, const Filter *filter, const int16_t *history, const int16_t *pcm, int n, int16_t *out)
{
    Line line;
    float sum[2][MOST_SAMPLES + LANES];
    int kept = filter->history, up = filter->up;
    for (int i = 0; i < kept; i++) line[i] = history[i];
    for (int i = 0; i < n; i++) line[kept + i] = pcm[i];
    memset(line + kept + n, 0, LANES * sizeof *line);
    for (int phase = 0; phase < up; phase++) {
        float *of_phase = sum[phase & 1];
        filter_line(wide, line, filter->taps + phase * (kept + 1), kept + 1, 1, 0, of_phase, n);
        if (up == 2) continue;
        for (int i = 0; i < n; i++) out[i * up + phase] = (int16_t)rounded(of_phase[i]);
    }
    if (up == 2) round_pairs(sum[0], sum[1], n, out);
}

/* Each `down`th sample of the history with the frame behind it, from `phase` on; returns how many. */
INLINE int part(const Filter *filter, const int16_t *history, const int16_t *pcm, int n, int phase, float *line)
{
    int kept = filter->history, down = filter->down;
    int old = (kept - phase + down - 1) / down, all = (kept + n - phase + down - 1) / down;
    pcm += old * down + phase - kept;
    for (int i = 0; i < old; i++) line[i] = history[i * down + phase];
    for (int i = 0; i < all - old; i++) line[old + i] = pcm[i * down];
    return all;
}

/* The same of two, by words: the wanted half is moved up, then down. */
INLINE void part_pairs(const int16_t *pairs, int n, int phase, float *line)
{
    int up = phase == LITTLE ? 0 : 16;
    for (int i = 0; i < n; i++) {
        uint32_t pair;
        memcpy(&pair, pairs + 2 * i, sizeof pair);
        line[i] = (float)((int32_t)(pair << up) >> 16);
    }
}

INLINE void down_by(int wide, const Filter *filter, const int16_t *history, const int16_t *pcm, int n, int16_t *out)
{
    Line line;
    float sum[MOST_SAMPLES + LANES];
    int down = filter->down, kept = filter->history, outputs = n / down;
    for (int phase = 0; phase < down; phase++) {
        int filled = kept / 2 + outputs, taps = (kept + 1 - phase + down - 1) / down;
        if (down == 2 && kept % 2 == 0) {
            part_pairs(history, kept / 2, phase, line);
            part_pairs(pcm, outputs, phase, line + kept / 2);
        } else filled = part(filter, history, pcm, n, phase, line);
        memset(line + filled, 0, LANES * sizeof *line);
        filter_line(wide, line, filter->taps + phase, taps, down, phase > 0, sum, outputs);
    }
    for (int i = 0; i < outputs; i++) out[i] = (int16_t)rounded(sum[i]);
}

FAST static void resample_fast(const Filter *filter, const int16_t *history, const int16_t *pcm, int n, int16_t *out)
{
    if (filter->down == 1) up_by(0, filter, history, pcm, n, out);
    else down_by(0, filter, history, pcm, n, out);
}

WIDE static void resample_wide(const Filter *filter, const int16_t *history, const int16_t *pcm, int n, int16_t *out)
{
    if (filter->down == 1) up_by(1, filter, history, pcm, n, out);
    else down_by(1, filter, history, pcm, n, out);
}

void resample(const Filter *filter, int16_t *history, const int16_t *pcm, int n, int16_t *out)
{
    int kept = filter->history;
    if (HAS_WIDE) resample_wide(filter, history, pcm, n, out);
    else resample_fast(filter, history, pcm, n, out);
    if (n >= kept) memcpy(history, pcm + n - kept, kept * sizeof *history);
    else {
        memmove(history, history + n, (kept - n) * sizeof *history);
        memcpy(history + kept - n, pcm, n * sizeof *history);
    }
}
