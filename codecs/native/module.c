/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernels of codecs/ as a module: trunkline.codecs._native. */
#include "binding.h"
#include "samples.h"

/* level(pcm, every, level): pcm[n, samples], of which one in `every` counts; level[n] */
static int64_t level(const Arg *arg)
{
    Py_ssize_t every = arg[1].i, count = every > 0 ? (arg[0].a.m + every - 1) / every : -1;
    if (count < 0 || arg[2].a.n < arg[0].a.n) {
        PyErr_SetString(PyExc_ValueError, "level: one level for each row, of one sample in at least 1");
        return -1;
    }
    for (Py_ssize_t i = 0; i < arg[0].a.n; i++)
        *AT(float, arg[2], i) = level_dbov(AT(int16_t, arg[0], i), count, every);
    return 0;
}

/* resample(taps, up, down, history, rows, pcm, out): history[rows] goes with each row of pcm; -1: out of bounds */
static int64_t resample_rows(const Arg *arg)
{
    Filter filter = {AT(float, arg[0], 0), (int)arg[1].i, (int)arg[2].i, (int)arg[0].a.m - 1};
    const Arg *history = &arg[3], *rows = &arg[4], *pcm = &arg[5], *out = &arg[6];
    int64_t made = pcm->a.m / filter.down * filter.up;
    int fits = filter.up >= 1 && filter.down >= 1 && (filter.up == 1 || filter.down == 1) && filter.history >= 0 &&
               arg[0].a.n == filter.up && arg[0].a.step == (Py_ssize_t)(arg[0].a.m * sizeof(float)) &&
               filter.history <= MOST_HISTORY && filter.history <= history->a.m && pcm->a.m <= MOST_SAMPLES &&
               pcm->a.m % filter.down == 0 && out->a.m >= made && pcm->a.n == rows->a.n && out->a.n >= rows->a.n;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "resample: the shapes of taps, history, pcm and out do not go together");
        return -1;
    }
    for (Py_ssize_t i = 0; i < rows->a.n; i++)
        resample(&filter, AT(int16_t, *history, *AT(int64_t, *rows, i)), AT(int16_t, *pcm, i), (int)pcm->a.m,
                 AT(int16_t, *out, i));
    return 0;
}

static const Kernel kernels[] = {
    {"level", "h2 int f1!", level},
    {"resample", "f2 int int h2!@ rows h2 h2!", resample_rows},
    {NULL, NULL, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Kernels over samples; see compiled.py.",
};

PyMODINIT_FUNC PyInit__native(void)
{
    return make_module(&definition, kernels);
}
