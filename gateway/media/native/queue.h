/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Queues of agents' audio: the arrays of frame_queue.py, which says how they go together. */
#ifndef TRUNKLINE_QUEUE_H
#define TRUNKLINE_QUEUE_H

#include "media.h"

/* As `FrameQueue.arrays` has them; `@` is not asked for, as rows are checked against `queue_rows`. */
#define QUEUE_TAKES "h2! i1! q1! i2! i1! i1! h2! i1!"
enum { QUEUE_POOL, QUEUE_FREE, QUEUE_LEVELS, QUEUE_RING, QUEUE_HEAD, QUEUE_COUNT, QUEUE_CUT, QUEUE_PARTIAL, QUEUE_ARGS };

typedef struct {
    const Arg *arg;
    int64_t *free_count, *owed; /* blocks that are free; of these, promised to rows that do not hold them yet */
    int64_t promised;
    int32_t block, limit;
} Queue;

/* 0 and a ValueError, if the arrays from `arg` on are no queue. */
int open_queue(const Arg *arg, Queue *queue);

/* So many rows the queue has. */
static inline Py_ssize_t queue_rows(const Queue *queue) { return queue->arg[QUEUE_RING].a.n; }
static inline int32_t *queue_count(const Queue *queue, int64_t row) { return AT(int32_t, queue->arg[QUEUE_COUNT], row); }
static inline int32_t *queue_partial(const Queue *queue, int64_t row)
{
    return AT(int32_t, queue->arg[QUEUE_PARTIAL], row);
}

/* Whether so many more blocks fit, whatever rows they are for. */
static inline int queue_has_room(const Queue *queue, int64_t blocks) { return blocks <= *queue->free_count - *queue->owed; }

/* Append samples, anywhere in memory, for which there is room: to the row's limit, and in the pool. */
void queue_append(const Queue *queue, int64_t row, const char *pcm, int64_t samples);

/* A row's turn comes soon: have the place of its oldest block on its way from memory, and a few rows later the block. */
void queue_expect_place(const Queue *queue, int64_t row);
void queue_expect_block(const Queue *queue, int64_t row);

/* The oldest block of a row that has one; it stays where it is. */
const int16_t *queue_peek(const Queue *queue, int64_t row);

/* Take the oldest block of a row that has one. It is free, and stays as it is until the next one is taken. */
const int16_t *queue_pop(const Queue *queue, int64_t row);

#endif
