/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of Pace.find: rows that are due, and whose next block is one that they wait for. */
#include "queue.h"
#include "samples.h"

enum { BLOCKS = QUEUE_ARGS, AT_ANY_COST, SEND, OF_ROW, FORMAT, QUIET_DBOV, ROWS, NOW_NS, SUITED };

/* Its next block may go or come twice; the only one does not go. */
static int suits(const Arg *arg, const Queue *queue, int64_t row)
{
    int32_t least = *AT(int32_t, arg[BLOCKS], row) > 0 ? 2 : 1;
    if (*queue_count(queue, row) < least) return 0;
    return *AT(uint8_t, arg[AT_ANY_COST], row) ||
           level_dbov(queue_peek(queue, row), queue->block, 1) < (float)arg[QUIET_DBOV].f;
}

/* suited(queue..., blocks, at_any_cost, send, of_row, format, quiet_dbov, rows, now_ns, suited): how many of these rows
   are of the format and suit; `suited` gets them. */
int64_t suited(const Arg *arg)
{
    Queue queue;
    Py_ssize_t n = arg[ROWS].a.n;
    if (!open_queue(arg, &queue)) return -1;
    int fits = arg[SEND].a.m == SEND_FIELDS && arg[SUITED].a.n >= n;
    for (Py_ssize_t i = 0; fits && i < n; i++) fits = *AT(int64_t, arg[ROWS], i) < queue_rows(&queue);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "suited: the shapes of queue, columns and rows do not go together");
        return -1;
    }
    int64_t found = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i);
        if (*AT(int16_t, arg[OF_ROW], row) != arg[FORMAT].i) continue;
        if (AT(int64_t, arg[SEND], row)[SEND_DUE_NS] > arg[NOW_NS].i) continue;
        if (suits(arg, &queue, row)) *AT(int64_t, arg[SUITED], found++) = row;
    }
    return found;
}
