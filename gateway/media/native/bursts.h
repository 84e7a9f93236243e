/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bursts and gaps of loss, of rtp/loss_bursts.py: counts of a row, and what they come to. */
#ifndef TRUNKLINE_BURSTS_H
#define TRUNKLINE_BURSTS_H

#include <stdint.h>

#define GMIN 16

/* columns of loss_counts */
enum { LOST, C11, C13, C14, C22, C23, C33, BURST_COUNTS };

typedef struct {
    double bursts, burst_density, burst_packets, gap_density, gap_packets, loss_run;
} Bursts;

/* After `received` packets in a row, `missing` in a row, at least 1, did not come. */
void note_missing(int64_t *counts, int64_t received, int64_t missing);

/* As of now; `received` packets have come since the last missing one. */
Bursts measure_bursts(const int64_t *counts, int64_t received);

#endif
