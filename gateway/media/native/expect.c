/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of Express.expect: what rows expect after packets that were not as expected. */
#include "timeline.h"
#include "wire.h"

#define VERSION 0x80000000
#define SECOND_NS 1000000000
#define MIN_PTIME_DIVISOR 100

enum { FLOW, STEP, SSRC, PROVEN, RECEIVING, HAS_TRANSIT, HELD, LOST_RUN, LATE_SINCE_NS, PAYLOAD_BYTES, PAYLOAD_TS, PACKET_TS,
       CLOCK_HZ, PT, IS_VARIABLE, SLIP, ROWS };

/* Whether the row's next packet follows from the one before. */
static int is_steady(const Arg *arg, int64_t row, const int64_t *flow)
{
    int64_t lasts = *AT(int64_t, arg[PAYLOAD_TS], row);
    return *AT(uint8_t, arg[PROVEN], row) == 1 && *AT(uint8_t, arg[RECEIVING], row) &&
           *AT(uint8_t, arg[HAS_TRANSIT], row) == 1 && !*AT(int32_t, arg[HELD], row) && !*AT(int32_t, arg[LOST_RUN], row) &&
           !*AT(int64_t, arg[LATE_SINCE_NS], row) && flow[RX_MAX_SEQ] + 1 == flow[RX_NEXT_SEQ] &&
           flow[RX_MAX_TS] + lasts == flow[RX_NEXT_TS] &&
           (lasts == *AT(int64_t, arg[PACKET_TS], row) || lasts * MIN_PTIME_DIVISOR < *AT(int64_t, arg[CLOCK_HZ], row)) &&
           *AT(int64_t, arg[PAYLOAD_BYTES], row) > 0 && *AT(double, arg[SLIP], row) < 1;
}

/* expect(flow, step, ssrc, proven, receiving, has_transit, held, lost_run, late_since_ns, payload_bytes, payload_ts,
          packet_ts, clock_hz, receive_pt, variable, slip, rows) */
int64_t expect(const Arg *arg)
{
    if (arg[FLOW].a.m != FLOW_FIELDS || arg[STEP].a.m != FLOW_FIELDS) {
        PyErr_SetString(PyExc_ValueError, "expect: these are not the columns of a flow");
        return -1;
    }
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i), *flow = AT(int64_t, arg[FLOW], row), *step = AT(int64_t, arg[STEP], row);
        int64_t lasts = *AT(int64_t, arg[PAYLOAD_TS], row), bytes = *AT(int64_t, arg[PAYLOAD_BYTES], row);
        int64_t lasts_ns = lasts * SECOND_NS / *AT(int64_t, arg[CLOCK_HZ], row);
        int any_length = *AT(uint8_t, arg[IS_VARIABLE], row);
        flow[EXPECTED_BYTES] = !is_steady(arg, row, flow) ? 0 : any_length ? -lasts : HEADER_BYTES + bytes;
        flow[EXPECTED_LEAD] = VERSION | (int64_t)*AT(int16_t, arg[PT], row) << 16;
        flow[EXPECTED_SSRC] = *AT(uint32_t, arg[SSRC], row);
        step[RX_NEXT_SEQ] = step[RX_MAX_SEQ] = step[RX_RECEIVED] = step[PACKETS_RECEIVED] = 1;
        step[RX_NEXT_TS] = step[RX_MAX_TS] = lasts;
        step[RX_DEADLINE_NS] = lasts_ns;
        step[CREDIT_NS] = -lasts_ns;
        step[OCTETS_RECEIVED] = any_length ? 0 : bytes;
    }
    return 0;
}
