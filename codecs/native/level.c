/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/level.py. */
#include "samples.h"
#include <math.h>

#define FLOOR_DBOV -127.0f
#define FULL_SCALE_POWER (32768.0 * 32768.0)

FAST static uint64_t sum_of_squares(const int16_t *pcm, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += (uint32_t)((int32_t)pcm[i] * pcm[i]);
    return sum;
}

float level_dbov(const int16_t *pcm, size_t n, size_t stride)
{
    uint64_t sum = 0;
    if (stride == 1) sum = sum_of_squares(pcm, n);
    else
        for (size_t i = 0; i < n; i++) sum += (uint32_t)((int32_t)pcm[i * stride] * pcm[i * stride]);
    if (sum == 0) return FLOOR_DBOV;
    float level = 10.0f * log10f((float)(sum / ((double)n * FULL_SCALE_POWER)));
    return level < FLOOR_DBOV ? FLOOR_DBOV : level > 0 ? 0 : level;
}
