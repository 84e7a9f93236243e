/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that had to wait, or that others were missing before: as kernels of their own do it, one after the other. */
#include "media.h"

enum { DECODE, VOICE, JOIN, RECORDS, LEARN_MS, MS, RISE_DB, ROWS, INDEX, PACKETS, STARTS, PCM, JOINED, LEVEL, FLAGS,
       CHANGED, OUT };

/* straight(decode(), voice(), join(), records(), learn_ms, ms, rise_db, rows, index, packets, starts, pcm, joined, level,
            flags, changed, out)

   Payloads as long as a row of `pcm`, from starts[i] on of packets[index[i]], of rows that are heard at once: records `out`.
   Returns how many, and << 20 of how many rows the callers may have begun or ceased to speak; `changed` gets their places. */
int64_t straight(const Arg *arg)
{
    Py_ssize_t n = arg[ROWS].a.n;
    int fits = arg[INDEX].a.n == n && arg[STARTS].a.n == n && arg[PCM].a.n >= n && arg[JOINED].a.n >= n && n < 1 << 20;
    for (int k = DECODE; k <= RECORDS; k++) fits = fits && arg[k].k.n == 1;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "straight: there must be one kernel of each, and room for each row");
        return -1;
    }
    Arg pcm = items_of(&arg[PCM], 0, n), joined = items_of(&arg[JOINED], 0, n);
    if (run_bound(arg[DECODE].k.of[0], (Arg[]){arg[INDEX], arg[PACKETS], arg[STARTS], pcm}, 4) < 0) return -1;
    Arg heard[] = {arg[LEARN_MS], arg[MS], arg[ROWS], pcm, arg[LEVEL], arg[FLAGS], arg[CHANGED]};
    int64_t changed = run_bound(arg[VOICE].k.of[0], heard, sizeof heard / sizeof *heard);
    if (changed < 0) return -1;
    int64_t faded = run_bound(arg[JOIN].k.of[0], (Arg[]){arg[ROWS], pcm, joined}, 3);
    if (faded < 0) return -1;
    Arg said[] = {arg[RISE_DB], arg[ROWS], pcm, faded ? joined : pcm, arg[LEVEL], arg[FLAGS], arg[OUT]};
    int64_t written = run_bound(arg[RECORDS].k.of[0], said, sizeof said / sizeof *said);
    return written < 0 ? -1 : written | changed << 20;
}
