/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/voice_activity.py, whose names and figures these are. */
#include "samples.h"
#include <math.h>

#define QUIETEST_DBOV -65.0
#define LOUDEST_FLOOR_DBOV -15.0
#define LEAST_MARGIN_DB 8.0
#define MOST_MARGIN_DB 16.0
#define MARGIN_BASE_DB 5.0
#define MARGIN_PER_DB 1.5
#define MARGIN_RATE 0.05
#define GO_ON_DB 3.0
#define LEAST_DBOV -50.0
#define GO_ON_WITHIN_MS 200.0
#define BRIDGE_MS 60.0
#define WINDOW_MS 1500.0
#define STEADY_DB 3.0
#define HELD_MS 600.0

/* fmin and fmax are calls, as they have to look out for what is no number. */
static double lesser(double a, double b) { return a < b ? a : b; }
static double greater(double a, double b) { return a > b ? a : b; }

static double between(double value, double least, double most)
{
    return value < least ? least : value > most ? most : value;
}

void va_learn(double *row, double level, double ms)
{
    double heard = between(level, QUIETEST_DBOV, LOUDEST_FLOOR_DBOV);
    row[VA_STEADY_MS] += ms;
    if (fabs(heard - row[VA_ANCHOR]) > STEADY_DB) {
        row[VA_ANCHOR] = heard;
        row[VA_STEADY_MS] = 0;
    }
    row[VA_AGE_MS] += ms;
    row[VA_LOW] = lesser(row[VA_LOW], heard);
    row[VA_FLOOR] = lesser(row[VA_LOW], row[VA_BEFORE]);
    if (row[VA_STEADY_MS] >= HELD_MS && row[VA_FLOOR] < row[VA_ANCHOR] - STEADY_DB)
        row[VA_FLOOR] = row[VA_LOW] = row[VA_BEFORE] = row[VA_ANCHOR];
    double restless = MARGIN_BASE_DB + MARGIN_PER_DB * (heard - row[VA_FLOOR]);
    if (isinf(row[VA_STOP_MS]))
        row[VA_MARGIN_DB] += MARGIN_RATE * (between(restless, LEAST_MARGIN_DB, MOST_MARGIN_DB) - row[VA_MARGIN_DB]);
    row[VA_BEGIN] = greater(row[VA_FLOOR] + row[VA_MARGIN_DB], LEAST_DBOV);
    if (row[VA_AGE_MS] >= WINDOW_MS) {
        row[VA_BEFORE] = row[VA_LOW];
        row[VA_LOW] = INFINITY;
        row[VA_AGE_MS] = 0;
    }
}

int va_is_voice(const double *row, double level, double least_dbov)
{
    double needed = row[VA_BEGIN] - GO_ON_DB * (row[VA_QUIET_MS] < GO_ON_WITHIN_MS);
    return level > greater(needed, least_dbov);
}

int va_count(double *row, int voice, double ms)
{
    row[VA_QUIET_MS] = voice ? 0.0 : row[VA_QUIET_MS] + ms;
    row[VA_VOICE_MS] = row[VA_QUIET_MS] > BRIDGE_MS ? 0.0 : row[VA_VOICE_MS] + ms;
    return (voice && row[VA_VOICE_MS] >= row[VA_START_MS]) || row[VA_QUIET_MS] >= row[VA_STOP_MS];
}
