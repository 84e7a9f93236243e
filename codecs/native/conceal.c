/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/conceal.py and codecs/repetition.py, whose names and figures these are. */
#include "made_up.h"
#include <string.h>

#define HOLD_MS 40
#define SILENT_MS 240
#define TEMPLATE_MS 10
#define AHEAD_TEMPLATE_MS 5
#define STAGES 3
#define VOICED 0.5
#define UNVOICED_MS 12
#define STAGE_MS 20
#define OVERLAP_MS 1.5
#define SEAM_MS 1
#define LEAST_HISTORY_MS 12.5 /* shorter than any caller's; leaves room for the shortest period and a template */
#define MOST_OVERLAP 72

/* Good sound, and what is known of it. */
typedef struct {
    const double *good;
    int n, rate_hz, period, stages;
} Held;

int samples_of(double ms, int rate_hz)
{
    return (int)(ms * rate_hz / 1000);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int can_conceal(int64_t history, int64_t samples, int64_t rate_hz)
{
    return rate_hz >= 8000 && rate_hz <= 48000 && history <= MOST_GOOD && samples >= 0 && samples <= MOST_SAMPLES &&
           history >= samples_of(LEAST_HISTORY_MS, (int)rate_hz);
}

int can_look_ahead(int64_t samples, int rate_hz)
{
    return has_room_for_pitch(samples, samples_of(AHEAD_TEMPLATE_MS, rate_hz), rate_hz);
}

FAST void fade_left(int64_t start, int samples, int rate_hz, double *left)
{
    int hold = samples_of(HOLD_MS, rate_hz), silent = samples_of(SILENT_MS, rate_hz);
    double whole = silent - hold, first = (double)(silent - start);
    for (int i = 0; i < samples; i++) {
        double share = (first - i) / whole;
        left[i] = share < 0 ? 0 : share > 1 ? 1 : share;
    }
}

/* -- repetition -- */

static void in_stage(const Held *held, int64_t start, int samples, int64_t stage, double *out)
{
    double looped[MOST_GOOD];
    const double *good = held->good;
    int n = held->n, overlap = samples_of(OVERLAP_MS, held->rate_hz);
    int64_t period = held->period, block = stage * period, began = (stage - 1) * samples_of(STAGE_MS, held->rate_hz);
    int first = n - (int)block, joint = n - overlap, led = (int)most(first - overlap, 0);
    memcpy(looped + first, good + first, block * sizeof *looped);
    for (int i = (int)most(first - joint, 0); i < overlap; i++) {
        double share = (i + 0.5) / overlap;
        looped[joint + i] = good[joint + i] * (1 - share) + good[led + i] * share;
    }
    int64_t at = (start - began + began % period) % block;
    for (int done = 0; done < samples; at = 0) {
        int run = (int)least(block - at, samples - done);
        memcpy(out + done, looped + first + at, run * sizeof *out);
        done += run;
    }
}

/* At most 20 ms, from `start` samples after the end of what is held on. */
static void repeat(const Held *held, int64_t start, int samples, double *out)
{
    double before[MOST_OVERLAP];
    int overlap = samples_of(OVERLAP_MS, held->rate_hz), stage_samples = samples_of(STAGE_MS, held->rate_hz);
    int64_t stage = least(start / stage_samples + 1, least(most((held->n - overlap) / held->period, 1), held->stages));
    int64_t into = start - (stage - 1) * stage_samples;
    in_stage(held, start, samples, stage, out);
    if (stage > 1 && into < overlap) {
        int columns = (int)least(overlap, samples);
        in_stage(held, start, columns, stage - 1, before);
        for (int i = 0; i < columns; i++) {
            double share = (into + i + 0.5) / overlap;
            if (share < 1) out[i] = before[i] * (1 - share) + out[i] * share;
        }
    }
    int seam = samples_of(SEAM_MS, held->rate_hz);
    double step = held->good[held->n - 1] - held->good[most(held->n - 1 - held->period, 0)];
    for (int i = 0; i < samples && start + i < seam; i++) out[i] += step * (1 - (double)(start + i + 1) / (seam + 1));
}

static void repeat_long(const Held *held, int64_t start, int samples, double *out)
{
    int piece = samples_of(STAGE_MS, held->rate_hz);
    for (int at = 0; at < samples; at += piece)
        repeat(held, start + at, (int)least(piece, samples - at), out + at);
}

/* -- the two sides -- */

/* Returns the period of the sound, 0 where it has none. */
static int from_behind(Before before, int64_t start, int samples, double *sound)
{
    double good[MOST_GOOD + LANES_BEYOND], likeness;
    int n = before.n, rate_hz = before.rate_hz;
    for (int i = 0; i < n; i++) good[i] = before.history[i];
    memset(good + n, 0, LANES_BEYOND * sizeof *good);
    int template = (int)least(samples_of(TEMPLATE_MS, rate_hz), n / 2);
    int period = pitch_period(good, n, template, rate_hz, 0, &likeness), voiced = likeness >= VOICED;
    int unvoiced = (int)least(samples_of(UNVOICED_MS, rate_hz), n - samples_of(OVERLAP_MS, rate_hz));
    Held held = {good, n, rate_hz, voiced ? period : (int)most(period, unvoiced), STAGES};
    repeat_long(&held, start, samples, sound);
    if (start + samples > samples_of(HOLD_MS, rate_hz)) {
        double left[MOST_SAMPLES];
        fade_left(start, samples, rate_hz, left);
        for (int i = 0; i < samples; i++) sound[i] *= left[i];
    }
    return voiced ? period : 0;
}

/* What led to the sound ahead, from `left` samples before it on, the last sample first. */
static void from_ahead(Behind behind, int64_t left, int samples, int expected, int rate_hz, double *sound)
{
    double backwards[MOST_GOOD + LANES_BEYOND], likeness;
    int n = (int)least(behind.n, samples_of(STAGE_MS, rate_hz));
    for (int i = 0; i < n; i++) backwards[i] = behind.pcm[n - 1 - i];
    memset(backwards + n, 0, LANES_BEYOND * sizeof *backwards);
    int period = pitch_period(backwards, n, samples_of(AHEAD_TEMPLATE_MS, rate_hz), rate_hz, expected, &likeness);
    Held held = {backwards, n, rate_hz, period, 1};
    repeat_long(&held, most(left - samples, 0), samples, sound);
}

void conceal_row(Before before, int64_t start, int samples, double *sound)
{
    from_behind(before, start, samples, sound);
}

/* The one fades into the other, which comes backwards; `at` is how far into that the first sample is. */
FAST static void lead_over(double *sound, const double *led, int samples, double at, double whole)
{
    for (int i = 0; i < samples; i++) {
        double share = (at + i + 0.5) / whole;
        share = share < 0 ? 0 : share > 1 ? 1 : share;
        sound[i] = sound[i] * (1 - share) + led[samples - 1 - i] * share;
    }
}

void conceal_between_row(Before before, Behind behind, int64_t start, int samples, double *sound)
{
    double led[MOST_SAMPLES];
    int period = from_behind(before, start, samples, sound);
    from_ahead(behind, behind.length - start, samples, period, before.rate_hz, led);
    lead_over(sound, led, samples, (double)(start - behind.known), (double)most(behind.length - behind.known, 1));
}
