/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of FrameQueue in frame_queue.py, a row at a time. */
#include "queue.h"
#include "samples.h"
#include <string.h>

int open_queue(const Arg *arg, Queue *queue)
{
    const Array *ring = &arg[QUEUE_RING].a, *pool = &arg[QUEUE_POOL].a;
    int fits = arg[QUEUE_FREE].a.n == pool->n && arg[QUEUE_LEVELS].a.n == 3 && arg[QUEUE_HEAD].a.n == ring->n &&
               arg[QUEUE_COUNT].a.n == ring->n && arg[QUEUE_PARTIAL].a.n == ring->n && arg[QUEUE_CUT].a.n == ring->n &&
               arg[QUEUE_CUT].a.m == pool->m && pool->m > 0 && ring->m > 0 && pool->m <= INT32_MAX && ring->m <= INT32_MAX;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the arrays of a queue do not go together");
        return 0;
    }
    int64_t *levels = AT(int64_t, arg[QUEUE_LEVELS], 0);
    *queue = (Queue){arg, &levels[0], &levels[1], levels[2], (int32_t)pool->m, (int32_t)ring->m};
    return 1;
}

PREFETCHES expect_block(const Queue *queue, int32_t block)
{
    fetch_ahead(AT(int16_t, queue->arg[QUEUE_POOL], block), queue->block * sizeof(int16_t));
}

/* A block for the row's end. The next but one is sent for. */
static char *new_block(const Queue *queue, int64_t row)
{
    int32_t *count = queue_count(queue, row), head = *AT(int32_t, queue->arg[QUEUE_HEAD], row);
    int32_t taken = *AT(int32_t, queue->arg[QUEUE_FREE], --*queue->free_count);
    AT(int32_t, queue->arg[QUEUE_RING], row)[(head + (int64_t)*count) % queue->limit] = taken;
    *queue->owed -= (*count)++ < queue->promised;
    if (*queue->free_count >= 2) expect_block(queue, *AT(int32_t, queue->arg[QUEUE_FREE], *queue->free_count - 2));
    return AT(char, queue->arg[QUEUE_POOL], taken);
}

void queue_append(const Queue *queue, int64_t row, const char *pcm, int64_t samples)
{
    int32_t *held = queue_partial(queue, row), size = queue->block;
    char *cut = AT(char, queue->arg[QUEUE_CUT], row);
    while (*held + samples >= size) {
        char *block = new_block(queue, row);
        int64_t wanted = size - *held;
        memcpy(block, cut, *held * sizeof(int16_t));
        memcpy(block + *held * sizeof(int16_t), pcm, wanted * sizeof(int16_t));
        pcm += wanted * sizeof(int16_t);
        samples -= wanted;
        *held = 0;
    }
    memcpy(cut + *held * sizeof(int16_t), pcm, samples * sizeof(int16_t));
    *held += (int32_t)samples;
}

/* Where a row keeps which block is its oldest. */
static const int32_t *oldest(const Queue *queue, int64_t row)
{
    return AT(int32_t, queue->arg[QUEUE_RING], row) + *AT(int32_t, queue->arg[QUEUE_HEAD], row);
}

void queue_expect_place(const Queue *queue, int64_t row)
{
    fetch_ahead(oldest(queue, row), sizeof(int32_t));
}

void queue_expect_block(const Queue *queue, int64_t row)
{
    if (*queue_count(queue, row)) expect_block(queue, *oldest(queue, row));
}

const int16_t *queue_peek(const Queue *queue, int64_t row)
{
    return AT(int16_t, queue->arg[QUEUE_POOL], *oldest(queue, row));
}

const int16_t *queue_pop(const Queue *queue, int64_t row)
{
    int32_t *head = AT(int32_t, queue->arg[QUEUE_HEAD], row), block = *oldest(queue, row);
    *head = (*head + 1) % queue->limit;
    *queue->owed += (*queue_count(queue, row))-- <= queue->promised;
    *AT(int32_t, queue->arg[QUEUE_FREE], (*queue->free_count)++) = block;
    return AT(int16_t, queue->arg[QUEUE_POOL], block);
}
