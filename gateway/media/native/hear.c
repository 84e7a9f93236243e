/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Good audio of one format on its way to the agents: twins of voice.py, background.py and the end of uplink.py. */
#include "uplink.h"
#include <string.h>

/* voice(state, level_up_dbov, echo_dbov, untold, learn_ms, ms, rows, pcm, level, flags, changed)

   Levels and flags of frames of `ms`; with learn_ms above 0 they teach the floor, for so long.  `changed` becomes the
   places of those who may have begun or ceased to speak; returns how many. */
int64_t voice(const Arg *arg)
{
    const Arg *rows = &arg[6], *pcm = &arg[7];
    Py_ssize_t n = rows->a.n;
    if (arg[0].a.m != VA_FIELDS || pcm->a.n != n || arg[8].a.n < n || arg[9].a.n < n || arg[10].a.n < n) {
        PyErr_SetString(PyExc_ValueError, "voice: the shapes of state, pcm and what becomes of it do not go together");
        return -1;
    }
    int64_t changed = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t row = *AT(int64_t, *rows, i);
        double *state = AT(double, arg[0], row);
        float level = level_dbov(AT(int16_t, *pcm, i), pcm->a.m, 1);
        *AT(float, arg[8], i) = *AT(float, arg[1], row) = level;
        if (arg[4].f > 0) va_learn(state, level, arg[4].f);
        int is_voice = va_is_voice(state, level, *AT(double, arg[2], row));
        if (*AT(uint8_t, arg[3], row)) is_voice = level > SPEECH_DBOV;
        if (va_count(state, is_voice, arg[5].f)) *AT(int64_t, arg[10], changed++) = i;
        *AT(uint16_t, arg[9], i) = is_voice ? FLAG_SPEECH : 0;
    }
    return changed;
}

#define FLOOR_DBOV -78.0f
#define FALL 0.25f
#define NEAR_DB 3.0f

/* The newest samples become the end of a history. */
static void keep(int16_t *history, Py_ssize_t room, const int16_t *pcm, Py_ssize_t n)
{
    if (n < room) memmove(history, history + n, (room - n) * sizeof *history);
    else pcm += n - room, n = room;
    memcpy(history + room - n, pcm, n * sizeof *history);
}

/* What comes with each call. */
enum { RISE_DB, ROWS, PCM, HEARD, LEVEL, CALL };

static void listen(const Arg *arg, int64_t row, const int16_t *pcm, Py_ssize_t n, float level, float rise)
{
    float *noise = AT(float, arg[NOISE_DBOV], row), heard = level > FLOOR_DBOV ? level : FLOOR_DBOV;
    if (*noise > 0) *noise = heard; /* the first frame of a call */
    float above = heard - *noise;
    *noise += above < 0 ? above * FALL : rise;
    if (!(above < NEAR_DB)) return;
    Py_ssize_t room = arg[BACKGROUND].a.m, piece = n < room ? n : room;
    memcpy(AT(int16_t, arg[BACKGROUND], row) + room - piece, pcm + n - piece, piece * sizeof *pcm);
    *AT(uint8_t, arg[NOISE_KNOWN], row) = 0;
}

int filter_of(const Arg *arg, Py_ssize_t n, Py_ssize_t samples, Filter *filter)
{
    return make_filter(&arg[TAPS].a, arg[UP].i, arg[DOWN].i, &arg[UP_HISTORY].a, filter) && n <= MOST_SAMPLES &&
           n % filter->down == 0 && n / filter->down * filter->up == samples;
}

/* Whether frames of `samples` at the agent's rate can be made of a call's arguments; what of. */
static int can_hear(const Arg *arg, const Arg *call, Py_ssize_t samples, Filter *filter)
{
    Py_ssize_t n = call[ROWS].a.n, m = call[PCM].a.m;
    int fits = filter_of(arg, m, samples, filter) && call[PCM].a.n == n && call[HEARD].a.n == n && call[HEARD].a.m == m &&
               call[LEVEL].a.n >= n;
    if (!fits) PyErr_SetString(PyExc_ValueError, "hear: the shapes of histories, taps, pcm and frames do not go together");
    return fits;
}

void hear(const Arg *arg, const Filter *filter, int64_t row, const int16_t *pcm, const int16_t *heard, Py_ssize_t n,
          float level, double rise_db, int16_t *frame)
{
    keep(AT(int16_t, arg[LINE_HISTORY], row), arg[LINE_HISTORY].a.m, pcm, n);
    if (rise_db >= 0) listen(arg, row, pcm, n, level, (float)rise_db);
    to_agent(filter, AT(int16_t, arg[UP_HISTORY], row), heard, n, frame);
}

/* Frame i of a call. */
static void hear_one(const Arg *arg, const Arg *call, const Filter *filter, Py_ssize_t i, int16_t *frame)
{
    hear(arg, filter, *AT(int64_t, call[ROWS], i), AT(int16_t, call[PCM], i), AT(int16_t, call[HEARD], i), call[PCM].a.m,
         *AT(float, call[LEVEL], i), call[RISE_DB].f, frame);
}

/* frames(common..., rise_db, rows, pcm, heard, level, frames)

   `pcm` is kept for concealment and, with a rise_db that is not negative, tells of the background; `heard`, the same
   but for fades, becomes frames. */
int64_t frames(const Arg *arg)
{
    const Arg *call = arg + OF_HEARING, *out = &call[CALL];
    Filter filter;
    if (!can_hear(arg, call, out->a.m, &filter)) return -1;
    if (out->a.n < call[ROWS].a.n) {
        PyErr_SetString(PyExc_ValueError, "frames: one frame for each row");
        return -1;
    }
    for (Py_ssize_t i = 0; i < call[ROWS].a.n; i++) hear_one(arg, call, &filter, i, AT(int16_t, *out, i));
    return 0;
}

/* records(common..., up_position, up_flags, agent_ready, channels, frames_to_agent, frames of the worker,
           rise_db, rows, pcm, heard, level, flags, records)

   The same into records of a message of our dialect; rows whose agent is not ready have none.  Returns how many. */
int64_t records(const Arg *arg)
{
    const Arg *call = arg + OF_RECORDS, *flags = &call[CALL], *out = &call[CALL + 1];
    const Arg *heads = arg + HEADS;
    Py_ssize_t samples = record_samples(&out->a);
    Filter filter;
    if (!can_hear(arg, call, samples, &filter)) return -1;
    if (out->a.n < call[ROWS].a.n || flags->a.n < call[ROWS].a.n || heads[FRAMES_OF_WORKER].a.n < 1 || samples < 1) {
        PyErr_SetString(PyExc_ValueError, "records: one record, and flags, for each row");
        return -1;
    }
    int64_t written = 0;
    for (Py_ssize_t i = 0; i < call[ROWS].a.n; i++) {
        char *record = AT(char, *out, written);
        hear_one(arg, call, &filter, i, (int16_t *)(record + sizeof(Record)));
        written += write_head(heads, *AT(int64_t, call[ROWS], i), *AT(uint16_t, *flags, i), samples, record);
    }
    *AT(int64_t, heads[FRAMES_OF_WORKER], 0) += written;
    return written;
}
