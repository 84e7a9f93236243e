/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/comfort_noise.py. */
#include "made_up.h"
#include <math.h>
#include <string.h>

#define WHITE_NOISE_CORRECTION 1.0001
#define FOURS 2

typedef double Four __attribute__((vector_size(32), aligned(8)));

/* One more coefficient of A(z), the m-th: step-up recursion. */
static void step_up(double *forward, int m, double k)
{
    double before[ORDER + 1];
    memcpy(before, forward, m * sizeof *before);
    forward[m] = 0;
    for (int i = 1; i <= m; i++) forward[i] += k * before[m - i];
}

void analyse_row(const int16_t *pcm, int n, const double *window, double *reflection)
{
    double line[MOST_PIECE + ORDER + LANES_BEYOND], lags[LANES_BEYOND], forward[ORDER + 1] = {1};
    for (int i = 0; i < n; i++) line[i] = pcm[i] * window[i];
    memset(line + n, 0, (ORDER + LANES_BEYOND) * sizeof *line);
    correlate(line, line, n, lags, ORDER + 1);
    lags[0] *= WHITE_NOISE_CORRECTION;
    double error = lags[0] > 1.0 ? lags[0] : 1.0;
    for (int m = 1; m <= ORDER; m++) {
        double sum = 0;
        for (int i = 0; i < m; i++) sum += forward[i] * lags[m - i];
        double k = -sum / error;
        k = k < -LIMIT ? -LIMIT : k > LIMIT ? LIMIT : k;
        step_up(forward, m, k);
        error *= 1 - k * k;
        reflection[m - 1] = k;
    }
}

/* 1 / A(e^iw) for some bins, by Horner's rule: their sums stay in registers. */
static inline void invert(const Four *c, const Four *s, const double *forward, int order, Four *re, Four *im)
{
    Four sum[FOURS], sum_im[FOURS];
    for (int i = 0; i < FOURS; i++) sum_im[i] = (Four){0}, sum[i] = sum_im[i] + forward[order];
    for (int m = order - 1; m >= 0; m--)
        for (int i = 0; i < FOURS; i++) {
            Four was = sum[i];
            sum[i] = was * c[i] - sum_im[i] * s[i] + forward[m];
            sum_im[i] = was * s[i] + sum_im[i] * c[i];
        }
    for (int i = 0; i < FOURS; i++) {
        Four share = 1 / (sum[i] * sum[i] + sum_im[i] * sum_im[i]);
        re[i] = sum[i] * share;
        im[i] = -sum_im[i] * share;
    }
}

/* re + i im = white / A(e^iw). Behind those of the bins lie as many turns, of which up to seven are read as well. */
FAST static void colour(const Turns *turns, const double *white, const double *forward, int order, double *re, double *im)
{
    int bins = turns->size / 2 + 1;
    for (int first = 0; first < bins; first += 4 * FOURS) {
        const Four *c = (const Four *)(turns->cosine + first), *s = (const Four *)(turns->sine + first);
        invert(c, s, forward, order, (Four *)(re + first), (Four *)(im + first));
    }
    for (int k = 0; k < bins; k++) {
        double was = re[k];
        re[k] = white[2 * k] * was - white[2 * k + 1] * im[k];
        im[k] = white[2 * k + 1] * was + white[2 * k] * im[k];
    }
}

void synthesise_row(const Turns *turns, const double *white, double level_dbov, const double *reflection, int order,
                    double *noise, int samples)
{
    double forward[ORDER + 1] = {1}, re[MOST_BINS + 4 * FOURS], im[MOST_BINS + 4 * FOURS], whole[MOST_TURNS], gain = 1;
    for (int m = 1; m <= order; m++) {
        step_up(forward, m, reflection[m - 1]);
        gain *= 1 - reflection[m - 1] * reflection[m - 1];
    }
    double amplitude = 32768 * pow(10, level_dbov / 20) * sqrt(gain);
    colour(turns, white, forward, order, re, im);
    sound_of(turns, re, im, whole);
    for (int i = 0; i < samples; i++) noise[i] = amplitude * whole[turns->size - samples + i];
}
