/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Payloads of which a table says all, wherever they lie in their packets: Uplink._decode. */
#include "uplink.h"

/* decode(table, rows, packets, starts, pcm): pcm[i] is what table[256] says of the bytes from starts[i] on of
   packets[rows[i]] */
int64_t decode(const Arg *arg)
{
    const Arg *rows = &arg[1], *packets = &arg[2], *starts = &arg[3], *pcm = &arg[4];
    const int16_t *table = AT(int16_t, arg[0], 0);
    int fits = arg[0].a.n == 256 && arg[0].a.step == sizeof *table && starts->a.n == rows->a.n && pcm->a.n == rows->a.n;
    for (Py_ssize_t i = 0; fits && i < rows->a.n; i++) {
        int64_t start = *AT(int32_t, *starts, i);
        fits = start >= 0 && start + pcm->a.m <= packets->a.m;
    }
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "decode: the shapes of table, packets and pcm do not go together");
        return -1;
    }
    for (Py_ssize_t i = 0; i < rows->a.n; i++)
        expand_to(table, AT(uint8_t, *packets, *AT(int64_t, *rows, i)) + *AT(int32_t, *starts, i), AT(int16_t, *pcm, i),
                  pcm->a.m);
    return 0;
}
