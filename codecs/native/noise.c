/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/comfort_noise.py. */
#include "made_up.h"
#include <math.h>
#include <string.h>

#define WHITE_NOISE_CORRECTION 1.0001

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

/* re + i im = white / A(e^iw), by Horner's rule for all bins at once. */
FAST static void colour(const Turns *turns, const double *white, const double *forward, int order, double *re, double *im)
{
    int bins = turns->size / 2 + 1;
    for (int k = 0; k < bins; k++) re[k] = forward[order], im[k] = 0;
    for (int m = order - 1; m >= 0; m--)
        for (int k = 0; k < bins; k++) {
            double was = re[k];
            re[k] = was * turns->cosine[k] - im[k] * turns->sine[k] + forward[m];
            im[k] = was * turns->sine[k] + im[k] * turns->cosine[k];
        }
    for (int k = 0; k < bins; k++) {
        double power = re[k] * re[k] + im[k] * im[k], was = re[k];
        re[k] = (white[2 * k] * was + white[2 * k + 1] * im[k]) / power;
        im[k] = (white[2 * k + 1] * was - white[2 * k] * im[k]) / power;
    }
}

void synthesise_row(const Turns *turns, const double *white, double level_dbov, const double *reflection, int order,
                    double *noise, int samples)
{
    double forward[ORDER + 1] = {1}, re[MOST_BINS], im[MOST_BINS], whole[MOST_TURNS], gain = 1;
    for (int m = 1; m <= order; m++) {
        step_up(forward, m, reflection[m - 1]);
        gain *= 1 - reflection[m - 1] * reflection[m - 1];
    }
    double amplitude = 32768 * pow(10, level_dbov / 20) * sqrt(gain);
    colour(turns, white, forward, order, re, im);
    sound_of(turns, re, im, whole);
    for (int i = 0; i < samples; i++) noise[i] = amplitude * whole[turns->size - samples + i];
}
