/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of gateway/media/express.py: which packets of a batch are as expected, and all that these move. */
#include "uplink.h"
#include <math.h>

#define MARKER 0x00800000
#define KIND (1 << 16)

double relative_ns(const Arg *arg, int64_t row, int64_t now_ns)
{
    return now_ns - (double)AT(int64_t, arg[FLOW], row)[RX_NEXT_TS] * *AT(double, arg[TICK_NS], row);
}

int as_expected(const int64_t *flow, const uint8_t *packet, int64_t length, int64_t room)
{
    int64_t bytes = flow[EXPECTED_BYTES];
    if (bytes > 0 ? length != bytes : bytes == 0) return 0;
    return length > HEADER_BYTES && length <= room &&
           (get_word(packet) & ~(int64_t)MARKER) == (flow[EXPECTED_LEAD] | (flow[RX_NEXT_SEQ] & 0xFFFF)) &&
           get_word(packet + 4) == (flow[RX_NEXT_TS] & 0xFFFFFFFF) && get_word(packet + 8) == flow[EXPECTED_SSRC];
}

/* `step` is what the packet adds to each field. */
void count_packet(const Arg *arg, int64_t row, int64_t length, const Moment *moment)
{
    int64_t *flow = AT(int64_t, arg[FLOW], row), clock_hz = *AT(int64_t, arg[CLOCK_HZ], row);
    const int64_t *step = AT(int64_t, arg[STEP], row);
    double *jitter = AT(double, arg[JITTER_TS], row);
    uint64_t *seen = AT(uint64_t, arg[SEEN], row);
    int64_t transit = moment->now_ns / 1000 * clock_hz / 1000000 - flow[RX_NEXT_TS];
    *jitter += (fabs((double)(transit - flow[RX_TRANSIT_TS])) - *jitter) / 16; /* RFC 3550 A.8 */
    flow[RX_TRANSIT_TS] = transit;
    flow[CREDIT_NS] += moment->now_ns - flow[CREDIT_AT_NS];
    flow[RX_LAST_NS] = flow[CREDIT_AT_NS] = moment->now_ns;
    for (int k = 0; k < FLOW_FIELDS; k++) flow[k] += step[k];
    if (flow[EXPECTED_BYTES] < 0) flow[OCTETS_RECEIVED] += length - HEADER_BYTES;
    if (flow[CREDIT_NS] < moment->most_credit_ns)
        flow[CREDIT_NS] += (int64_t)((double)step[RX_DEADLINE_NS] * moment->extra);
    *seen = *seen << 1 | 1;
}

/* express(flow, step, tick_ns, base_delay_ns, jitter_ts, clock_hz, seen, format, packets_received,
           now_ns, most_credit_ns, extra, earliest_ns, early_ns, late_ns,
           rows, packets, lengths, may, which, rest, wanted, kinds, relative_ns)

   `which` and `rest` become the places of the packets that are as expected, and of those that are not; `wanted` the
   places in `which` of those whose lateness is below early_ns or above late_ns.  `kinds` and `relative_ns` belong to
   `which`.  Returns how many are in `which`, and << 20 in `wanted`, and << 40 whether there are several kinds. */
int64_t express(const Arg *arg)
{
    const Arg *rows = &arg[15], *packets = &arg[16], *lengths = &arg[17], *may = &arg[18];
    Moment moment = {arg[9].i, arg[10].i, arg[11].f, arg[12].f, arg[13].f, arg[14].f};
    Py_ssize_t n = rows->a.n;
    int fits = arg[FLOW].a.m == FLOW_FIELDS && arg[STEP].a.m == FLOW_FIELDS && arg[RECEIVED_BY_WORKER].a.n >= 1 &&
               packets->a.n == n && packets->a.m >= HEADER_BYTES && lengths->a.n == n && may->a.n == n && n < 1 << 20;
    for (int k = 19; k < 24; k++) fits = fits && arg[k].a.n >= n;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "express: the shapes of the columns and of the batch do not go together");
        return -1;
    }
    int64_t taken = 0, left = 0, wanted = 0, mixed = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t row = *AT(int64_t, *rows, i), length = *AT(int32_t, *lengths, i), *flow = AT(int64_t, arg[FLOW], row);
        double relative = relative_ns(arg, row, moment.now_ns);
        double late = relative - *AT(double, arg[BASE_DELAY_NS], row); /* nan before there is a base */
        if (!*AT(uint8_t, *may, i) || !(late >= moment.earliest_ns) ||
            !as_expected(flow, AT(uint8_t, *packets, i), length, packets->a.m)) {
            *AT(int64_t, arg[20], left++) = i;
            continue;
        }
        int64_t kind = flow[EXPECTED_BYTES] + *AT(int16_t, arg[FORMAT], row) * KIND;
        count_packet(arg, row, length, &moment);
        if (late < moment.early_ns || late > moment.late_ns) *AT(int64_t, arg[21], wanted++) = taken;
        *AT(int64_t, arg[19], taken) = i;
        *AT(int64_t, arg[22], taken) = kind;
        *AT(double, arg[23], taken) = relative;
        mixed |= kind != *AT(int64_t, arg[22], 0);
        taken++;
    }
    *AT(int64_t, arg[RECEIVED_BY_WORKER], 0) += taken;
    return taken | wanted << 20 | mixed << 40;
}

void expand_to(const int16_t *table, const uint8_t *payload, int16_t *pcm, Py_ssize_t n)
{
    Py_ssize_t k = 0;
    for (; k + 8 <= n; k += 8)
        for (int of_eight = 0; of_eight < 8; of_eight++) pcm[k + of_eight] = table[payload[k + of_eight]];
    for (; k < n; k++) pcm[k] = table[payload[k]];
}

/* expand(table, rows, packets, pcm): pcm[i] is what table[256] says of the bytes behind the header of packets[rows[i]] */
int64_t expand(const Arg *arg)
{
    const Arg *rows = &arg[1], *packets = &arg[2], *pcm = &arg[3];
    const int16_t *table = AT(int16_t, arg[0], 0);
    if (arg[0].a.n != 256 || arg[0].a.step != sizeof *table || pcm->a.n < rows->a.n ||
        packets->a.m < HEADER_BYTES + pcm->a.m) {
        PyErr_SetString(PyExc_ValueError, "expand: the shapes of table, packets and pcm do not go together");
        return -1;
    }
    for (Py_ssize_t i = 0; i < rows->a.n; i++)
        expand_to(table, AT(uint8_t, *packets, *AT(int64_t, *rows, i)) + HEADER_BYTES, AT(int16_t, *pcm, i), pcm->a.m);
    return 0;
}
