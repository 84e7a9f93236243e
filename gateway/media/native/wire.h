/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Words of RTP and RTCP, and the clocks of the latter: rtp/rtcp_timing.py. */
#ifndef TRUNKLINE_WIRE_H
#define TRUNKLINE_WIRE_H

#include <stdint.h>

#define HEADER_BYTES 12 /* of RTP, the plain one */
#define NTP_EPOCH_S 2208988800LL /* seconds from 1900 to 1970 */

static inline uint8_t *put_word(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24), at[1] = (uint8_t)(value >> 16), at[2] = (uint8_t)(value >> 8), at[3] = (uint8_t)value;
    return at + 4;
}

static inline uint32_t get_word(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* DLSR: in 1/65536 s */
static inline uint32_t delay_units(int64_t elapsed_ns)
{
    if (elapsed_ns < 0) return 0;
    int64_t units = (elapsed_ns / 1000000000 << 16) + ((elapsed_ns % 1000000000) << 16) / 1000000000;
    return units < 0xFFFFFFFFLL ? (uint32_t)units : 0xFFFFFFFFu;
}

#endif
