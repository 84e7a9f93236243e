/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of PacketWriter.send_audio in packets.py, up to the sockets. */
#include "packets.h"
#include <string.h>

void write_header(const Header *header, uint8_t *to)
{
    uint32_t lead = 0x80000000u | (uint32_t)(header->marker ? 0x80 : 0) << 16;
    lead |= (uint32_t)header->payload_type << 16 | (header->sequence & 0xFFFF);
    uint32_t words[3] = {lead, (uint32_t)header->timestamp, header->ssrc};
    if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        for (int i = 0; i < 3; i++) words[i] = __builtin_bswap32(words[i]);
    memcpy(to, words, sizeof words);
}

/* Silence sounds like silence, where the filter remembers nothing else. */
static int are_zero(const int16_t *pcm, int n)
{
    int16_t any = 0;
    int i = 0;
    for (; i + 32 <= n && !any; i += 32)
        for (int k = 0; k < 32; k++) any |= pcm[i + k];
    for (; i < n; i++) any |= pcm[i];
    return !any;
}

void to_line(const Filter *filter, int16_t *history, const int16_t *pcm, int n, int16_t *line)
{
    if (filter->up == filter->down) memcpy(line, pcm, n * sizeof *line);
    else if (are_zero(pcm, n) && are_zero(history, filter->history))
        memset(line, 0, n / filter->down * filter->up * sizeof *line);
    else resample(filter, history, pcm, n, line);
}

void encode(const uint8_t *table, const int16_t *line, int n, uint8_t *code)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) code[i + k] = table[(uint16_t)line[i + k]];
    for (; i < n; i++) code[i] = table[(uint16_t)line[i]];
}
