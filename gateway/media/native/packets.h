/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Second half of a packet's way to the caller: PCM to the rate of the line, its code, its header. */
#ifndef TRUNKLINE_PACKETS_H
#define TRUNKLINE_PACKETS_H

#include "media.h"
#include "samples.h"
#include "wire.h"

#define CODES 65536

typedef struct {
    uint8_t payload_type, marker;
    uint32_t ssrc;
    int64_t sequence, timestamp; /* extended */
} Header;

void write_header(const Header *header, uint8_t *to);

/* PCM at the agent's rate to that of the line. A filter whose rates are alike is none, and has no history. */
void to_line(const Filter *filter, int16_t *history, const int16_t *pcm, int n, int16_t *line);

/* code[i] = table[line[i]], table u8[CODES]. */
void encode(const uint8_t *table, const int16_t *line, int n, uint8_t *code);

#endif
