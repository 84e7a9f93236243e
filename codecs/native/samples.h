/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loops over samples, one row of a batch each: what kernels are made of, here and in gateway/media/native.

   Each has its twin in the NumPy module of the same name in codecs/, which says what is computed and why. */
#ifndef TRUNKLINE_SAMPLES_H
#define TRUNKLINE_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

/* Compiled for newer processors besides, where the C library can choose at load time. GCC knows that name from 12 on. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define FAST __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FAST
#endif

/* Vectors of 64 bytes, where they do not slow the processor down: those that have VBMI2 are not slowed down any more. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(NARROW)
#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2")))
#define HAS_WIDE (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vl"))
#else
#define WIDE
#define HAS_WIDE 0
#endif

/* Of a function that only prefetches gcc thinks that it does nothing, unless it is part of another one. */
#define PREFETCHES static inline __attribute__((always_inline)) void

/* Have what a later row will need on its way from memory meanwhile. Any address will do: none is read. */
PREFETCHES fetch_ahead(const void *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)from + at, 1);
}

/* level.py: dBov of n samples that lie `stride` apart. */
float level_dbov(const int16_t *pcm, size_t n, size_t stride);

/* resample.py: one of the rates is a whole multiple of the other. `taps` f32[up, history + 1]; up, or down, is 1.
   `history` holds as many samples as are needed before a frame, and is brought up to date. */
typedef struct {
    const float *taps;
    int up, down, history;
} Filter;

#define MOST_HISTORY 512
#define MOST_SAMPLES 5760 /* 120 ms at 48 kHz */

void resample(const Filter *filter, int16_t *history, const int16_t *pcm, int n, int16_t *out);

/* voice_activity.py: fields of a row of its state. */
enum { VA_BEGIN, VA_VOICE_MS, VA_QUIET_MS, VA_START_MS, VA_STOP_MS, VA_FLOOR, VA_LOW, VA_BEFORE, VA_AGE_MS, VA_ANCHOR,
       VA_STEADY_MS, VA_MARGIN_DB, VA_FIELDS };

void va_learn(double *row, double level, double ms);
int va_is_voice(const double *row, double level, double least_dbov);
int va_count(double *row, int voice, double ms);

#endif
