/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is made up where nothing came, one row at a time: pitch.c, conceal.c, noise.c; and how like a voice a sound is.

   Each has its twin in the NumPy module of the same name in codecs/, which says what is computed and why. Sums of
   samples are of whole numbers in double, exact in any order: a pitch is the same here and there, to the last bit. */
#ifndef TRUNKLINE_MADE_UP_H
#define TRUNKLINE_MADE_UP_H

#include "samples.h"

/* Products and sums as they stand, not fused: where two candidates are as good, rounding decides as it does in NumPy. */
#if defined(__GNUC__) && !defined(__clang__)
#define EXACT __attribute__((optimize("fp-contract=off")))
#else
#define EXACT
#endif

#define MOST_GOOD 2400 /* 50 ms at 48 kHz, the longest history */
#define LANES_BEYOND 40

/* -- pitch.c: `recent` and `line` have room for LANES_BEYOND more, which are read and mean nothing -- */

/* to[k] becomes the sum over s of line[k + s] * piece[s], s < n, for k < count; `to` has as much room. */
void correlate(const double *line, const double *piece, int n, double *to, int count);

/* Period of n whole numbers, at most MOST_GOOD, newest last; `expected` is 0 where nothing is. */
int pitch_period(const double *recent, int n, int template, int rate_hz, double expected, double *likeness);
int has_room_for_pitch(int64_t n, int64_t template, int rate_hz);

/* -- conceal.c: good samples before a loss, whose next `samples` begin `start` after them -- */

typedef struct {
    const int16_t *history;
    int n, rate_hz;
} Before;

typedef struct {
    const int16_t *pcm; /* what follows the gap */
    int n;
    int64_t known, length; /* where in the gap that was first known, and the whole of it */
} Behind;

int can_conceal(int64_t history, int64_t samples, int64_t rate_hz);
int can_look_ahead(int64_t samples, int rate_hz);
int samples_of(double ms, int rate_hz);
void fade_left(int64_t start, int samples, int rate_hz, double *left);
void conceal_row(Before before, int64_t start, int samples, double *sound);
void conceal_between_row(Before before, Behind behind, int64_t start, int samples, double *sound);

/* -- fourier.c: of 2^a 3^b 5^c points -- */

typedef struct {
    int size;                  /* of a real signal, even */
    const double *cosine, *sine; /* e^(-2 pi i k / size), k < size */
} Turns;

#define LEAST_TURNS 16  /* noise.c reads so many that lie behind the last bin */
#define MOST_TURNS 6144 /* for 120 ms of noise at 48 kHz */
#define MOST_BINS (MOST_TURNS / 2 + 1)

int can_transform(int64_t size);
/* From and to size / 2 + 1 bins; the inverse takes what it is given for scratch. */
void spectrum_of(const Turns *turns, const double *sound, double *re, double *im);
void sound_of(const Turns *turns, double *re, double *im, double *sound);

/* -- comfort_noise.py, as noise.c -- */

#define ORDER 10
#define LIMIT 0.98
#define MOST_PIECE 5760

void analyse_row(const int16_t *pcm, int n, const double *window, double *reflection);
/* The last `samples` of a frame of noise, at most the size of `turns`; `white` is its spectrum, re and im in turn; the
   coefficients are within LIMIT. */
void synthesise_row(const Turns *turns, const double *white, double level_dbov, const double *reflection, int order,
                    double *noise, int samples);

/* -- voicing.py -- */

typedef struct {
    const double *window, *band, *of_window;
    int n, shortest, longest; /* samples; lags, the last not included */
} Voices;

double voicing_row(const Turns *turns, const Voices *voices, const int16_t *pcm);

#endif
