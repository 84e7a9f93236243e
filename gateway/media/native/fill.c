/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A frame that never came, on its way to the agents: twin of Uplink.fill. What is made up is not remembered as good
   audio, and teaches nothing. */
#include "fill.h"
#include "frame.h"
#include "media.h"

static int is_side_by_side(const Array *array, size_t size)
{
    return array->n < 2 || array->step == (Py_ssize_t)size;
}

static int has_noise(Batch *batch)
{
    const Arg *arg = batch->arg;
    const Array *turns = &arg[TURNS].a;
    batch->turns = (Turns){(int)turns->m, AT(double, arg[TURNS], 0), AT(double, arg[TURNS], 1)};
    return turns->n == 2 && can_transform(turns->m) && batch->samples <= turns->m && arg[WHITE].a.n >= 1 &&
           arg[WHITE].a.m == turns->m + 2 && arg[NOISE_REFLECTION].a.m == ORDER && arg[COMFORT_REFLECTION].a.m == ORDER &&
           arg[BACKGROUND].a.m <= MOST_PIECE && arg[WINDOW].a.n == arg[BACKGROUND].a.m &&
           is_side_by_side(&arg[WINDOW].a, sizeof(double));
}

static int has_places(const Batch *batch)
{
    const Arg *call = batch->call;
    Py_ssize_t n = batch->n, waiting = call[ENDS].a.n;
    return n < 1 << 20 && call[QUIET].a.n == n && call[FLAGS].a.n >= n && call[CEASED].a.n >= n && call[OUT].a.n >= n &&
           (waiting == 0 || waiting == n) && call[GAP_TS].a.n == waiting && is_side_by_side(&call[PAYLOAD].a, 1);
}

/* Frames of `samples` at the agent's rate, if they can be made of these arguments. */
static int is_batch(Batch *batch, const Arg *arg, const Arg *call, Py_ssize_t samples)
{
    const Array *table = &arg[DECODE].a;
    *batch = (Batch){.arg = arg, .call = call, .n = call[ROWS].a.n};
    int fits = make_filter(&arg[TAPS].a, arg[UP].i, arg[DOWN].i, &arg[UP_HISTORY].a, &batch->filter) && samples >= 0 && samples % batch->filter.up == 0 &&
               samples / batch->filter.up <= MOST_SAMPLES / batch->filter.down;
    if (fits) {
        batch->samples = (int)(samples / batch->filter.up * batch->filter.down);
        batch->rate_hz = (int)arg[LINE_HZ].i;
        fits = can_conceal(arg[LINE_HISTORY].a.m, batch->samples, arg[LINE_HZ].i) && has_noise(batch) &&
               arg[VOICE].a.m == VA_FIELDS && (table->n == 0 || table->n == 256) &&
               is_side_by_side(table, sizeof(int16_t)) && has_places(batch);
    }
    if (!fits) PyErr_SetString(PyExc_ValueError, "fill: the shapes of columns, tables, rows and frames do not go together");
    return fits;
}

/* Row of place i, whose frame at the agent's rate this becomes. */
static int64_t fill(Batch *batch, Py_ssize_t i, int16_t *frame)
{
    int16_t pcm[MOST_SAMPLES];
    int64_t row = *AT(int64_t, batch->call[ROWS], i);
    *AT(uint16_t, batch->call[FLAGS], i) = make_up(batch, i, row, pcm);
    if (va_count(AT(double, batch->arg[VOICE], row), 0, batch->samples * 1000.0 / batch->rate_hz))
        *AT(int64_t, batch->call[CEASED], batch->ceased++) = row;
    to_agent(&batch->filter, AT(int16_t, batch->arg[UP_HISTORY], row), pcm, batch->samples, frame);
    return row;
}

/* filled_frames(common..., hurried, rows, quiet, gap_ts, ends, payload, flags, ceased, frames)

   A frame that is missing of each row; `quiet` where concealment has ended. `payload` is what waits behind the gaps,
   up to ends[i] that of row i, gap_ts[i] after its frame begins; both are empty where nothing waits. `ceased` becomes
   the rows that have now ceased to speak; returns how many. */
int64_t filled_frames(const Arg *arg)
{
    Batch batch;
    if (!is_batch(&batch, arg, arg + COMMON, arg[COMMON + OUT].a.m)) return -1;
    for (Py_ssize_t i = 0; i < batch.n; i++) fill(&batch, i, AT(int16_t, batch.call[OUT], i));
    return batch.ceased;
}

/* filled_records(common..., up_position, up_flags, agent_ready, channels, frames_to_agent, frames of the worker, hurried,
                  rows, quiet, gap_ts, ends, payload, flags, ceased, records)

   The same into records of a message of our dialect; rows whose agent is not ready have none.  Returns how many have
   ceased, and << 20 how many records there are. */
int64_t filled_records(const Arg *arg)
{
    const Arg *heads = arg + COMMON, *call = heads + OF_HEADS, *out = &call[OUT];
    Py_ssize_t samples = record_samples(&out->a);
    Batch batch;
    if (!is_batch(&batch, arg, call, samples)) return -1;
    if (heads[FRAMES_OF_WORKER].a.n < 1 || samples < 1) {
        PyErr_SetString(PyExc_ValueError, "fill: one record for each row");
        return -1;
    }
    int64_t written = 0;
    for (Py_ssize_t i = 0; i < batch.n; i++) {
        char *record = AT(char, *out, written);
        int64_t row = fill(&batch, i, (int16_t *)(record + sizeof(Record)));
        written += write_head(heads, row, *AT(uint16_t, call[FLAGS], i), samples, record);
    }
    *AT(int64_t, heads[FRAMES_OF_WORKER], 0) += written;
    return batch.ceased | written << 20;
}
