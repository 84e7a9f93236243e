/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of the uplink: what good frames, those that were made up, and the usual ones have in common. */
#include "frame.h"
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "records are little-endian"
#endif

int make_filter(const Array *taps, int64_t up, int64_t down, const Array *history, Filter *filter)
{
    *filter = (Filter){(const float *)taps->data, (int)up, (int)down, (int)taps->m - 1};
    return up >= 1 && down >= 1 && (up == 1 || down == 1) && up <= MOST_SAMPLES && down <= MOST_SAMPLES &&
           taps->m >= 1 && taps->m <= MOST_HISTORY + 1 && taps->m - 1 <= history->m && taps->n == up &&
           (taps->n == 1 || taps->step == taps->m * (Py_ssize_t)sizeof(float));
}

void to_agent(const Filter *filter, int16_t *history, const int16_t *pcm, Py_ssize_t n, int16_t *frame)
{
    if (filter->up == filter->down) memcpy(frame, pcm, n * sizeof *frame);
    else resample(filter, history, pcm, (int)n, frame);
}

Py_ssize_t record_samples(const Array *records)
{
    if (records->m % 2 || records->step % 2 || (uintptr_t)records->data % 2) return 0;
    return (records->m - (Py_ssize_t)sizeof(Record)) / 2;
}

Py_ssize_t write_prefix(char *message, Py_ssize_t samples, Py_ssize_t count)
{
    struct {
        uint32_t payload_bytes;
        uint8_t kind, reserved[3];
        uint16_t samples, reserved_too;
        uint32_t count;
    } prefix = {.kind = AUDIO, .samples = (uint16_t)samples, .count = (uint32_t)count};
    Py_ssize_t records = count * ((Py_ssize_t)sizeof(Record) + 2 * samples);
    prefix.payload_bytes = (uint32_t)(records + AUDIO_HEADER_BYTES);
    _Static_assert(sizeof prefix == PREFIX_BYTES, "a prefix has no holes");
    memcpy(message, &prefix, sizeof prefix);
    return PREFIX_BYTES + records;
}

int write_head(const Arg *columns, int64_t row, unsigned flags, Py_ssize_t samples, char *record)
{
    int64_t *position = AT(int64_t, columns[UP_POSITION], row);
    uint16_t *owed = AT(uint16_t, columns[UP_FLAGS], row);
    Record head = {*AT(uint32_t, columns[CHANNELS], row), (uint16_t)(flags | *owed), 0, *position};
    *position += samples;
    if (!*AT(uint8_t, columns[AGENT_READY], row)) return 0;
    *owed = 0;
    memcpy(record, &head, sizeof head);
    ++*AT(int64_t, columns[FRAMES_TO_AGENT], row);
    return 1;
}
