/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernels of codecs/ as a module: trunkline.codecs._native. */
#include "binding.h"
#include "kernels.h"
#include "samples.h"

/* level(pcm, every, level): pcm[n, samples], of which one in `every` counts; level[n] */
static int64_t level(const Arg *arg)
{
    Py_ssize_t every = arg[1].i, samples = arg[0].a.m;
    if (every < 1 || arg[2].a.n < arg[0].a.n) {
        PyErr_SetString(PyExc_ValueError, "level: one level for each row, of one sample in at least 1");
        return -1;
    }
    Py_ssize_t count = samples ? (samples - 1) / every + 1 : 0;
    for (Py_ssize_t i = 0; i < arg[0].a.n; i++)
        *AT(float, arg[2], i) = level_dbov(AT(int16_t, arg[0], i), count, every);
    return 0;
}

/* Taps of one phase after the other; `up` is their number, and a frame is whole. */
static int is_filter(const Array *taps, int64_t up, int64_t down)
{
    return up >= 1 && down >= 1 && (up == 1 || down == 1) && taps->n == up && down <= MOST_SAMPLES && taps->m >= 1 &&
           taps->m <= MOST_HISTORY + 1 && (up == 1 || taps->step == (Py_ssize_t)(taps->m * sizeof(float)));
}

/* resample(taps, up, down, history, rows, pcm, out): history[rows] goes with each row of pcm */
static int64_t resample_rows(const Arg *arg)
{
    const Arg *history = &arg[3], *rows = &arg[4], *pcm = &arg[5], *out = &arg[6];
    int64_t up = arg[1].i, down = arg[2].i, kept = arg[0].a.m - 1, samples = pcm->a.m;
    if (!is_filter(&arg[0].a, up, down) || kept > history->a.m || samples > MOST_SAMPLES || samples % down ||
        out->a.m < samples / down * up || pcm->a.n != rows->a.n || out->a.n < rows->a.n) {
        PyErr_SetString(PyExc_ValueError, "resample: the shapes of taps, history, pcm and out do not go together");
        return -1;
    }
    Filter filter = {AT(float, arg[0], 0), (int)up, (int)down, (int)kept};
    for (Py_ssize_t i = 0; i < rows->a.n; i++)
        resample(&filter, AT(int16_t, *history, *AT(int64_t, *rows, i)), AT(int16_t, *pcm, i), (int)pcm->a.m,
                 AT(int16_t, *out, i));
    return 0;
}

static const Kernel kernels[] = {
    {"level", "h2 int f1!", level},
    {"resample", "f2 int int h2!@ rows h2 h2!", resample_rows},
    {"pitch", "d2 int int d1 q1! d1!", pitch},
    {"conceal", "h2 int q1 d2!", conceal},
    {"conceal_between", "h2 h2 int q1 q1 q1 d2!", conceal_between},
    {"analyse", "h2 d1 d2!", analyse},
    {"synthesise", "d2 d2 d1 d2 q1 d2!", synthesise},
    {"voicing", "d2 d1 d1 d1 int int h2 d1!", voicing},
    {NULL, NULL, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Kernels over samples; see compiled.py.",
};

PyMODINIT_FUNC PyInit__native(void)
{
    return make_module(&definition, kernels);
}
