/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/pitch.py. */
#include "made_up.h"
#include <math.h>
#include <string.h>

#define SHORTEST_MS 2.5
#define LONGEST_MS 15.0
#define NEARNESS 0.3
#define MOST_PERIODS 512 /* candidates: 15 ms at the highest rate that is searched sample by sample, 32 kHz */

#define FOURS (LANES_BEYOND / 4)
#define LANES (4 * FOURS) /* candidates at once: their sums stay in registers */

typedef double Four __attribute__((vector_size(32), aligned(8))); /* where it is too wide, the compiler halves it */

typedef struct {
    int shortest, longest;
} Periods;

FAST void correlate(const double *line, const double *piece, int n, double *to, int count)
{
    for (int first = 0; first < count; first += LANES) {
        Four sum[FOURS] = {0};
        for (int s = 0; s < n; s++) {
            double sample = piece[s];
            const Four *at = (const Four *)(line + first + s);
            for (int i = 0; i < FOURS; i++) sum[i] += sample * at[i];
        }
        memcpy(to + first, sum, sizeof sum);
    }
}

FAST static double sum_of_squares(const double *piece, int n)
{
    Four sum = {0};
    int s = 0;
    for (; s + 4 <= n; s += 4) {
        Four four = *(const Four *)(piece + s);
        sum += four * four;
    }
    double whole = sum[0] + sum[1] + sum[2] + sum[3];
    for (; s < n; s++) whole += piece[s] * piece[s];
    return whole;
}

/* likeness[k] of line[k ... k + n - 1] to the piece whose products with it those are. */
FAST static void measure(const double *line, const double *product, int n, double own, int count, double *likeness)
{
    double energy[MOST_PERIODS], change[MOST_PERIODS];
    energy[0] = sum_of_squares(line, n);
    for (int k = 1; k < count; k++) change[k] = line[k + n - 1] * line[k + n - 1] - line[k - 1] * line[k - 1];
    for (int k = 1; k < count; k++) energy[k] = energy[k - 1] + change[k];
    for (int k = 0; k < count; k++) {
        double power = energy[k] * own;
        likeness[k] = product[k] / sqrt(power > 1.0 ? power : 1.0);
    }
}

/* The best of candidates whose likeness is given with the longest first; of equally good ones the shortest. */
EXACT static int pick(const double *likeness, Periods among, double expected)
{
    int best = among.shortest;
    double most = -INFINITY, near = expected > 1.0 ? expected : 1.0;
    for (int period = among.shortest; period <= among.longest; period++) {
        double score = likeness[among.longest - period];
        if (expected > 0) {
            double off = fabs(period - expected) / near;
            score = score - NEARNESS * off;
        }
        if (score > most) most = score, best = period;
    }
    return best;
}

static int search(const double *recent, int n, int template, Periods among, double expected, double *likeness)
{
    double product[MOST_PERIODS + LANES], alike[MOST_PERIODS];
    const double *newest = recent + n - template, *line = newest - among.longest;
    int count = among.longest - among.shortest + 1;
    correlate(line, newest, template, product, count);
    measure(line, product, template, sum_of_squares(newest, template), count, alike);
    int best = pick(alike, among, expected);
    *likeness = alike[among.longest - best];
    return best;
}

static Periods periods_of(int n, int template, double rate_hz)
{
    int shortest = (int)rint(SHORTEST_MS * rate_hz / 1000), longest = (int)rint(LONGEST_MS * rate_hz / 1000);
    if (longest > n - template) longest = n - template;
    return (Periods){shortest, longest > shortest ? longest : shortest};
}

/* Sums of `step` samples, as many as there are whole ones, the newest last; returns how many. */
static int coarse_of(const double *recent, int n, int step, double *coarse)
{
    int count = n / step;
    recent += n % step;
    for (int i = 0; i < count; i++) {
        double sum = recent[i * step];
        for (int k = 1; k < step; k++) sum += recent[i * step + k];
        coarse[i] = sum;
    }
    memset(coarse + count, 0, LANES * sizeof *coarse);
    return count;
}

int pitch_period(const double *recent, int n, int template, int rate_hz, double expected, double *likeness)
{
    int step = rate_hz / 16000 > 1 ? rate_hz / 16000 : 1;
    Periods among = periods_of(n, template, rate_hz);
    if (step > 1 && among.longest - among.shortest > 2 * step) {
        double coarse[MOST_GOOD / 2 + LANES], any;
        int count = coarse_of(recent, n, step, coarse), shorter = template / step;
        Periods bounds = periods_of(count, shorter, (double)rate_hz / step);
        int middle = step * search(coarse, count, shorter, bounds, expected / step, &any);
        if (middle > among.longest - step) middle = among.longest - step;
        if (middle < among.shortest + step) middle = among.shortest + step;
        among = (Periods){middle - step, middle + step};
    }
    return search(recent, n, template, among, expected, likeness);
}

int has_room_for_pitch(int64_t n, int64_t template, int rate_hz)
{
    return n >= template + (int64_t)rint(SHORTEST_MS * rate_hz / 1000);
}
