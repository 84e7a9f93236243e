/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of Filler.join: good audio behind what was made up blind begins with a short fade from it. */
#include "made_up.h"
#include "media.h"
#include <math.h>
#include <string.h>

#define SILENT_RUN 1000
#define MERGE_MS 5
#define MOST_WIDTH 240

enum { LINE_HISTORY, LINE_HZ, LOST_RUN, AHEAD_FROM, COMFORT_UNTIL_VOICE, PACKET_TS, CLOCK_HZ, ROWS, PCM, JOINED };

static int fits(const Arg *arg)
{
    const Array *pcm = &arg[PCM].a, *joined = &arg[JOINED].a;
    int fits = can_conceal(arg[LINE_HISTORY].a.m, pcm->m, arg[LINE_HZ].i) && pcm->n == arg[ROWS].a.n &&
               joined->n >= pcm->n && joined->m == pcm->m;
    if (!fits) PyErr_SetString(PyExc_ValueError, "join: the shapes of history and pcm do not go together");
    return fits;
}

static int any_lost(const Arg *arg)
{
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++)
        if (*AT(int32_t, arg[LOST_RUN], *AT(int64_t, arg[ROWS], i))) return 1;
    return 0;
}

static int is_blind(const Arg *arg, int64_t row)
{
    int32_t lost = *AT(int32_t, arg[LOST_RUN], row);
    return lost > 0 && lost < SILENT_RUN && *AT(int64_t, arg[AHEAD_FROM], row) < 0 && *AT(int64_t, arg[CLOCK_HZ], row) > 0;
}

static int16_t whole(double sound)
{
    return (int16_t)rint(sound > -32768.0 ? (sound < 32767.0 ? sound : 32767.0) : -32768.0);
}

static void fade(const Arg *arg, int64_t row, int width, int16_t *pcm)
{
    double made_up[MOST_WIDTH];
    int rate_hz = (int)arg[LINE_HZ].i;
    Before before = {AT(int16_t, arg[LINE_HISTORY], row), (int)arg[LINE_HISTORY].a.m, rate_hz};
    int64_t lost = *AT(int32_t, arg[LOST_RUN], row), packet_ts = *AT(int64_t, arg[PACKET_TS], row);
    int64_t start = lost * packet_ts * rate_hz / *AT(int64_t, arg[CLOCK_HZ], row);
    conceal_row(before, start > 0 ? start : 0, width, made_up);
    for (int k = 0; k < width; k++) {
        double share = (k + 0.5) / width;
        pcm[k] = whole(made_up[k] * (1 - share) + pcm[k] * share);
    }
}

/* join(line_history, line_hz, lost_run, ahead_from, comfort_until_voice, packet_ts, clock_hz, rows, pcm, joined)

   `joined` becomes the same audio with fades where they are needed; returns of how many rows. With 0 it is left alone. */
int64_t join(const Arg *arg)
{
    if (!fits(arg)) return -1;
    if (!any_lost(arg)) return 0;
    const Arg *rows = &arg[ROWS];
    size_t bytes = arg[PCM].a.m * sizeof(int16_t);
    int width = samples_of(MERGE_MS, (int)arg[LINE_HZ].i), faded = 0;
    if (width > arg[PCM].a.m) width = (int)arg[PCM].a.m;
    for (Py_ssize_t i = 0; i < rows->a.n; i++)
        faded += is_blind(arg, *AT(int64_t, *rows, i));
    for (Py_ssize_t i = 0; i < rows->a.n; i++) {
        int64_t row = *AT(int64_t, *rows, i);
        if (faded) memcpy(AT(int16_t, arg[JOINED], i), AT(int16_t, arg[PCM], i), bytes);
        if (is_blind(arg, row)) fade(arg, row, width, AT(int16_t, arg[JOINED], i));
        *AT(uint8_t, arg[COMFORT_UNTIL_VOICE], row) = 0;
        *AT(int64_t, arg[AHEAD_FROM], row) = -1;
    }
    return width ? faded : 0;
}
