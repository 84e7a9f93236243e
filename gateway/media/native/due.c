/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of gateway/media/soonest.py. */
#include "media.h"

#define NEVER ((int64_t)1 << 62)

/* least(column, rows): the least of column[rows]; NEVER if there are no rows */
int64_t least(const Arg *arg)
{
    int64_t found = NEVER;
    for (Py_ssize_t i = 0; i < arg[1].a.n; i++) {
        int64_t value = *AT(int64_t, arg[0], *AT(int64_t, arg[1], i));
        if (value < found) found = value;
    }
    return found;
}
