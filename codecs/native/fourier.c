/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fourier transforms of real signals: half as many complex points, by Stockham's passes, which sort as they go.

   Of `left` points that are still to be combined, each for `apart` interleaved transforms, a pass of some radix takes
   those that lie a radix-th apart. Innermost are loops over what is interleaved, side by side. */
#include "made_up.h"
#include <string.h>

#define MOST_POINTS (MOST_TURNS / 2)

typedef struct {
    double re[MOST_POINTS], im[MOST_POINTS];
} Points;

int can_transform(int64_t size)
{
    if (size < LEAST_TURNS || size > MOST_TURNS || size % 2) return 0;
    for (int factor = 2; factor <= 5; factor++)
        while (size % factor == 0) size /= factor;
    return size == 1;
}

typedef double Four __attribute__((vector_size(32), aligned(8))); /* where it is too wide, the compiler halves it */

/* Four of the sums over four points each, in place; of the three last outputs each is turned by c + i s. */
static inline void combine(Four *re, Four *im, const Four *c, const Four *s)
{
    Four sum_re = re[0] + re[2], sum_im = im[0] + im[2], less_re = re[0] - re[2], less_im = im[0] - im[2];
    Four odd_re = re[1] + re[3], odd_im = im[1] + im[3];
    Four off_re = im[1] - im[3], off_im = re[3] - re[1]; /* times -i */
    Four turned_re[3] = {less_re + off_re, sum_re - odd_re, less_re - off_re};
    Four turned_im[3] = {less_im + off_im, sum_im - odd_im, less_im - off_im};
    re[0] = sum_re + odd_re, im[0] = sum_im + odd_im;
    for (int i = 0; i < 3; i++) {
        re[i + 1] = turned_re[i] * c[i] - turned_im[i] * s[i];
        im[i + 1] = turned_re[i] * s[i] + turned_im[i] * c[i];
    }
}

/* Where nothing is interleaved as yet, and `part` is a multiple of four. */
FAST static void first_by_4(const Turns *turns, int part, const Points *from, Points *to)
{
    int step = turns->size / (4 * part);
    for (int p = 0; p < part; p += 4) {
        Four re[4], im[4], c[3], s[3];
        for (int j = 0; j < 4; j++) {
            re[j] = *(const Four *)(from->re + p + part * j);
            im[j] = *(const Four *)(from->im + p + part * j);
        }
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < 4; k++) {
                c[i][k] = turns->cosine[(i + 1) * (p + k) * step];
                s[i][k] = turns->sine[(i + 1) * (p + k) * step];
            }
        combine(re, im, c, s);
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 4; i++) {
                to->re[4 * (p + k) + i] = re[i][k];
                to->im[4 * (p + k) + i] = im[i][k];
            }
    }
}

/* Where `apart` is a multiple of four. */
FAST static void pass_by_4(const Turns *turns, int part, int apart, const Points *from, Points *to)
{
    int step = turns->size / (4 * part), far = part * apart;
    for (int p = 0; p < part; p++) {
        Four c[3], s[3];
        for (int i = 0; i < 3; i++) {
            c[i] = (Four){0} + turns->cosine[(i + 1) * p * step];
            s[i] = (Four){0} + turns->sine[(i + 1) * p * step];
        }
        for (int q = 0; q < apart; q += 4) {
            Four re[4], im[4];
            for (int j = 0; j < 4; j++) {
                re[j] = *(const Four *)(from->re + p * apart + q + far * j);
                im[j] = *(const Four *)(from->im + p * apart + q + far * j);
            }
            combine(re, im, c, s);
            for (int i = 0; i < 4; i++) {
                *(Four *)(to->re + (4 * p + i) * apart + q) = re[i];
                *(Four *)(to->im + (4 * p + i) * apart + q) = im[i];
            }
        }
    }
}

/* Any other: each output is a sum over all inputs. */
FAST static void pass_by(int radix, const Turns *turns, int part, int apart, const Points *from, Points *to)
{
    int step = turns->size / (radix * part), turn = turns->size / radix;
    for (int p = 0; p < part; p++)
        for (int i = 0; i < radix; i++) {
            double *restrict re = to->re + (radix * p + i) * apart, *restrict im = to->im + (radix * p + i) * apart;
            memset(re, 0, apart * sizeof *re);
            memset(im, 0, apart * sizeof *im);
            for (int j = 0; j < radix; j++) {
                int at = (turn * (i * j % radix) + step * p * i) % turns->size;
                double c = turns->cosine[at], s = turns->sine[at];
                const double *of_re = from->re + (p + part * j) * apart, *of_im = from->im + (p + part * j) * apart;
#pragma GCC ivdep
                for (int q = 0; q < apart; q++) {
                    re[q] += of_re[q] * c - of_im[q] * s;
                    im[q] += of_re[q] * s + of_im[q] * c;
                }
            }
        }
}

/* Returns where the result is, in either of the two. */
static Points *transform(const Turns *turns, Points *points, Points *others)
{
    for (int left = turns->size / 2, apart = 1, radix; left > 1; left /= radix, apart *= radix) {
        int first = apart == 1 && left % 16 == 0, later = apart % 4 == 0 && left % 4 == 0;
        radix = first || later ? 4 : left % 2 == 0 ? 2 : left % 3 == 0 ? 3 : 5;
        if (first) first_by_4(turns, left / radix, points, others);
        else if (later) pass_by_4(turns, left / radix, apart, points, others);
        else pass_by(radix, turns, left / radix, apart, points, others);
        Points *done = others;
        others = points, points = done;
    }
    return points;
}

FAST void spectrum_of(const Turns *turns, const double *sound, double *restrict re, double *restrict im)
{
    Points points, others;
    int half = turns->size / 2;
    for (int k = 0; k < half; k++) points.re[k] = sound[2 * k], points.im[k] = sound[2 * k + 1];
    const Points *z = transform(turns, &points, &others);
    re[0] = z->re[0] + z->im[0], re[half] = z->re[0] - z->im[0];
    im[0] = im[half] = 0;
    for (int k = 1; k < half; k++) {
        int back = half - k;
        double even_re = (z->re[k] + z->re[back]) / 2, even_im = (z->im[k] - z->im[back]) / 2;
        double odd_re = (z->im[k] + z->im[back]) / 2, odd_im = (z->re[back] - z->re[k]) / 2;
        double c = turns->cosine[k], s = turns->sine[k];
        re[k] = even_re + odd_re * c - odd_im * s;
        im[k] = even_im + odd_re * s + odd_im * c;
    }
}

/* With real and imaginary parts exchanged, before and after, a transform is its own inverse but for the size. */
FAST void sound_of(const Turns *turns, double *re, double *im, double *sound)
{
    Points points, others;
    int half = turns->size / 2;
    im[0] = im[half] = 0; /* a real signal has none there */
    for (int k = 0; k < half; k++) {
        double even_re = re[k] + re[half - k], even_im = im[k] - im[half - k];
        double less_re = re[k] - re[half - k], less_im = im[k] + im[half - k];
        double c = turns->cosine[k], s = -turns->sine[k];
        double odd_re = less_re * c - less_im * s, odd_im = less_re * s + less_im * c;
        points.im[k] = even_re - odd_im;
        points.re[k] = even_im + odd_re;
    }
    const Points *z = transform(turns, &points, &others);
    double share = 1.0 / turns->size;
    for (int k = 0; k < half; k++) {
        sound[2 * k] = z->im[k] * share;
        sound[2 * k + 1] = z->re[k] * share;
    }
}
