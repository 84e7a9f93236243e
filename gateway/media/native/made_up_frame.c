/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of filling.py and of Background.add. */
#include "fill.h"
#include <math.h>
#include <string.h>

/* agent_bridge/dialect.py */
#define FLAG_CONCEALED 2
#define FLAG_COMFORT_NOISE 4
#define FLAG_GAP 8

#define SILENT_RUN 1000
#define HOLD_MS 40
#define AHEAD_MS 20 /* of what waits behind a gap so much is made use of */
#define LOUDEST_DBOV -40.0f
#define AUDIBLE_DBOV -75.0f
#define FLOOR_DBOV -78.0f

/* -- concealment -- */

/* The beginning of the packet that waits behind the gap of place i; returns how many samples. */
static int behind_of(const Batch *batch, Py_ssize_t i, int16_t *pcm)
{
    const Arg *call = batch->call, *table = &batch->arg[DECODE];
    if (!call[ENDS].a.n) return 0;
    int64_t first = i ? *AT(int64_t, call[ENDS], i - 1) : 0, end = *AT(int64_t, call[ENDS], i);
    if (first < 0 || end < first || end > call[PAYLOAD].a.n) return 0;
    int64_t count = table->a.n ? end - first : (end - first) / 2, most = samples_of(AHEAD_MS, batch->rate_hz);
    const uint8_t *payload = AT(uint8_t, call[PAYLOAD], first);
    if (count > most) count = most;
    if (!table->a.n) memcpy(pcm, payload, count * sizeof *pcm);
    else
        for (int64_t k = 0; k < count; k++) pcm[k] = *AT(int16_t, *table, payload[k]);
    return (int)count;
}

static void conceal(const Batch *batch, Py_ssize_t i, int64_t row, int64_t start, double *sound)
{
    int16_t ahead[MOST_SAMPLES];
    const Arg *arg = batch->arg;
    Before before = {AT(int16_t, arg[LINE_HISTORY], row), (int)arg[LINE_HISTORY].a.m, batch->rate_hz};
    int count = behind_of(batch, i, ahead);
    int64_t clock_hz = *AT(int64_t, arg[CLOCK_HZ], row), *known = AT(int64_t, arg[AHEAD_FROM], row);
    if (!can_look_ahead(count, batch->rate_hz) || clock_hz <= 0) {
        conceal_row(before, start, batch->samples, sound);
        return;
    }
    if (*known < 0) *known = start;
    int64_t gap = *AT(int64_t, batch->call[GAP_TS], i) * batch->rate_hz / clock_hz;
    conceal_between_row(before, (Behind){ahead, count, *known, start + gap}, start, batch->samples, sound);
}

/* -- noise -- */

/* Colour of the row's background, worked out where it has changed since it was last needed. */
static const float *colour_of(const Batch *batch, int64_t row)
{
    const Arg *arg = batch->arg;
    float *reflection = AT(float, arg[NOISE_REFLECTION], row);
    uint8_t *known = AT(uint8_t, arg[NOISE_KNOWN], row);
    if (!*known) {
        double found[ORDER];
        analyse_row(AT(int16_t, arg[BACKGROUND], row), (int)arg[BACKGROUND].a.m, AT(double, arg[WINDOW], 0), found);
        for (int k = 0; k < ORDER; k++) reflection[k] = (float)found[k];
        *known = 1;
    }
    return reflection;
}

/* As much of the noise as is missing of the sound; all of it with a rate of 0. */
FAST static void mix(double *sound, const double *noise, int64_t start, int samples, int rate_hz)
{
    double left[MOST_SAMPLES];
    if (rate_hz) fade_left(start, samples, rate_hz, left);
    else memset(left, 0, samples * sizeof *left);
    for (int k = 0; k < samples; k++) sound[k] += noise[k] * sqrt(1 - left[k] * left[k]);
}

static void add_noise(const Batch *batch, int64_t row, int64_t start, int quiet, int asked, double *sound)
{
    const Arg *arg = batch->arg;
    int samples = batch->samples;
    float known = *AT(float, arg[NOISE_DBOV], row);
    float level = asked ? *AT(float, arg[COMFORT_DBOV], row)
                        : known > 0 ? FLOOR_DBOV : known < LOUDEST_DBOV ? known : LOUDEST_DBOV;
    if (!(level > AUDIBLE_DBOV) || !*AT(uint8_t, arg[RECEIVING], row)) return;
    if (!quiet && start + samples <= samples_of(HOLD_MS, batch->rate_hz)) return;
    const float *colour = asked ? AT(float, arg[COMFORT_REFLECTION], row) : colour_of(batch, row);
    double reflection[ORDER], noise[MOST_SAMPLES];
    for (int k = 0; k < ORDER; k++)
        reflection[k] = colour[k] < (float)-LIMIT ? (float)-LIMIT : colour[k] > (float)LIMIT ? (float)LIMIT : colour[k];
    int64_t pieces = arg[WHITE].a.n, piece = (*AT(int32_t, arg[LOST_RUN], row) + row * 7) % pieces;
    synthesise_row(&batch->turns, AT(double, arg[WHITE], piece < 0 ? piece + pieces : piece), level, reflection, ORDER,
                   noise, samples);
    mix(sound, noise, start, samples, quiet ? 0 : batch->rate_hz);
}

/* -- frames -- */

/* Rounded to the nearest, ties to even: adding 1.5 * 2^52 leaves no bits for a fraction. What is no number is the least. */
FAST static void narrow(const double *from, int16_t *to, int n)
{
    for (int i = 0; i < n; i++) {
        double value = from[i] > -32768.0 ? (from[i] < 32767.0 ? from[i] : 32767.0) : -32768.0;
        to[i] = (int16_t)(int32_t)((value + 6755399441055744.0) - 6755399441055744.0);
    }
}

static uint16_t count_as(const Batch *batch, int64_t row, int gap, int asked)
{
    int column = !gap ? CONCEALED : asked ? COMFORT_NOISE : GAPS;
    ++*AT(int64_t, batch->arg[column], row);
    return !gap ? FLAG_CONCEALED : asked ? FLAG_COMFORT_NOISE : FLAG_GAP;
}

uint16_t make_up(const Batch *batch, Py_ssize_t i, int64_t row, int16_t *pcm)
{
    double sound[MOST_SAMPLES];
    int64_t run = *AT(int32_t, batch->arg[LOST_RUN], row), start = (run > 1 ? run - 1 : 0) * batch->samples;
    int quiet = *AT(uint8_t, batch->call[QUIET], i);
    int asked = *AT(uint8_t, batch->arg[COMFORT_UNTIL_VOICE], row) && run >= SILENT_RUN;
    if (batch->call[HURRIED].i) {
        memset(pcm, 0, batch->samples * sizeof *pcm);
        return count_as(batch, row, 1, 0);
    }
    if (quiet) memset(sound, 0, batch->samples * sizeof *sound);
    else conceal(batch, i, row, start, sound);
    add_noise(batch, row, start, quiet, asked, sound);
    narrow(sound, pcm, batch->samples);
    return count_as(batch, row, quiet, asked);
}
