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

FAST static void pass_by_4(const Turns *turns, int part, int apart, const Points *from, Points *to)
{
    int step = turns->size / (4 * part);
    for (int p = 0; p < part; p++) {
        double c1 = turns->cosine[p * step], s1 = turns->sine[p * step];
        double c2 = turns->cosine[2 * p * step], s2 = turns->sine[2 * p * step];
        double c3 = turns->cosine[3 * p * step], s3 = turns->sine[3 * p * step];
        const double *re = from->re + p * apart, *im = from->im + p * apart;
        double *restrict to_re = to->re + 4 * p * apart, *restrict to_im = to->im + 4 * p * apart;
        int far = part * apart;
        for (int q = 0; q < apart; q++) {
            double sum_re = re[q] + re[q + 2 * far], sum_im = im[q] + im[q + 2 * far];
            double less_re = re[q] - re[q + 2 * far], less_im = im[q] - im[q + 2 * far];
            double odd_re = re[q + far] + re[q + 3 * far], odd_im = im[q + far] + im[q + 3 * far];
            double off_re = im[q + far] - im[q + 3 * far], off_im = re[q + 3 * far] - re[q + far]; /* times -i */
            double re1 = less_re + off_re, im1 = less_im + off_im, re2 = sum_re - odd_re, im2 = sum_im - odd_im;
            double re3 = less_re - off_re, im3 = less_im - off_im;
            to_re[q] = sum_re + odd_re, to_im[q] = sum_im + odd_im;
            to_re[q + apart] = re1 * c1 - im1 * s1, to_im[q + apart] = re1 * s1 + im1 * c1;
            to_re[q + 2 * apart] = re2 * c2 - im2 * s2, to_im[q + 2 * apart] = re2 * s2 + im2 * c2;
            to_re[q + 3 * apart] = re3 * c3 - im3 * s3, to_im[q + 3 * apart] = re3 * s3 + im3 * c3;
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
    for (int left = turns->size / 2, apart = 1; left > 1;) {
        int radix = left % 4 == 0 ? 4 : left % 2 == 0 ? 2 : left % 3 == 0 ? 3 : 5;
        if (radix == 4) pass_by_4(turns, left / radix, apart, points, others);
        else pass_by(radix, turns, left / radix, apart, points, others);
        Points *done = others;
        others = points, points = done;
        left /= radix, apart *= radix;
    }
    return points;
}

void spectrum_of(const Turns *turns, const double *sound, double *re, double *im)
{
    Points points, others;
    int half = turns->size / 2;
    for (int k = 0; k < half; k++) points.re[k] = sound[2 * k], points.im[k] = sound[2 * k + 1];
    const Points *z = transform(turns, &points, &others);
    for (int k = 0; k <= half; k++) {
        int at = k % half, back = (half - k) % half;
        double even_re = (z->re[at] + z->re[back]) / 2, even_im = (z->im[at] - z->im[back]) / 2;
        double odd_re = (z->im[at] + z->im[back]) / 2, odd_im = (z->re[back] - z->re[at]) / 2;
        double c = turns->cosine[k], s = turns->sine[k];
        re[k] = even_re + odd_re * c - odd_im * s;
        im[k] = even_im + odd_re * s + odd_im * c;
    }
}

/* With real and imaginary parts exchanged, before and after, a transform is its own inverse but for the size. */
void sound_of(const Turns *turns, double *re, double *im, double *sound)
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
    for (int k = 0; k < half; k++) {
        sound[2 * k] = z->im[k] / turns->size;
        sound[2 * k + 1] = z->re[k] / turns->size;
    }
}
