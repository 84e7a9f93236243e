/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The usual packet all the way: what express.c and hear.c do for a batch step by step, packet by packet.

   A packet is taken that is as expected, of one format, and on the straight way to one connection: its bytes become a
   record of the connection's message, and what is known of its call is fetched once.  All others are left as they came,
   with all that is known of their rows, to the code that goes step by step.  See usual.py. */
#include "uplink.h"
#include <string.h>

enum {
    STATE = OF_RECORDS + OF_PACKETS, LEVEL_UP_DBOV, ECHO_DBOV, UNTOLD, /* voice.py */
    MUTED, BEHIND, WATCHED, NEURAL, WITHHELD, OPEN, SPEAKING, PART_OF_FRAME, LINK_OF_ROW, /* who goes straight, and where */
    DECODED, FORMAT_INDEX, SAMPLES, CONSTANTS, PLACES, TAKEN, RELATIVE_NS, UNUSUAL, CHANGED, SERVED, REFUSED, ELSEWHERE,
    ROWS, PACKETS, LENGTHS, NAMED, NOW_NS, COUNT, LINK, BEYOND, LEARNS, LISTENS, MESSAGE
};

_Static_assert((int)TAKEN == USUAL_TAKEN && (int)RELATIVE_NS == USUAL_RELATIVE_NS, "they are where uplink.h says");

/* usual.py */
enum { MOST_CREDIT_NS, EXTRA, EARLIEST_NS, EARLY_NS, LATE_NS, FRAME_MS, LEARN_MS, RISE_DB, CONSTANT_COUNT };

/* One call of the kernel. */
typedef struct {
    const Arg *arg, *packets; /* all arguments, and those that express.c begins with */
    Filter filter;
    Moment moment;
    Py_ssize_t n, frame; /* samples of a packet, and of what the agent gets of it */
    double ms, learn_ms, rise_db;
    Py_ssize_t taken, written, unusual, changed;
} Way;

static int begin(Way *way, const Arg *arg)
{
    const Array *message = &arg[MESSAGE].a;
    Py_ssize_t n = arg[ROWS].a.n, count = (Py_ssize_t)arg[COUNT].i;
    if (arg[CONSTANTS].a.n != CONSTANT_COUNT || arg[SAMPLES].i < 1 || arg[SAMPLES].i > MOST_SAMPLES || arg[DOWN].i < 1)
        return 0;
    double of[CONSTANT_COUNT];
    for (int k = 0; k < CONSTANT_COUNT; k++) of[k] = *AT(double, arg[CONSTANTS], k);
    *way = (Way){.arg = arg, .packets = arg + OF_RECORDS, .n = (Py_ssize_t)arg[SAMPLES].i, .ms = of[FRAME_MS]};
    way->moment = (Moment){arg[NOW_NS].i, (int64_t)of[MOST_CREDIT_NS], of[EXTRA], of[EARLIEST_NS], of[EARLY_NS], of[LATE_NS]};
    way->learn_ms = arg[LEARNS].i ? of[LEARN_MS] : 0;
    way->rise_db = arg[LISTENS].i ? of[RISE_DB] : -1;
    way->frame = way->n / arg[DOWN].i * arg[UP].i;
    int fits = filter_of(arg, way->n, way->frame, &way->filter) && arg[STATE].a.m == VA_FIELDS &&
               way->packets[FLOW].a.m == FLOW_FIELDS && way->packets[STEP].a.m == FLOW_FIELDS &&
               way->packets[RECEIVED_BY_WORKER].a.n >= 1 && arg[HEADS + FRAMES_OF_WORKER].a.n >= 1 && arg[DECODED].a.n == 256 &&
               arg[DECODED].a.step == sizeof(int16_t) && arg[PACKETS].a.n == n && arg[LENGTHS].a.n == n &&
               arg[NAMED].a.n == n && n < 1 << USUAL_BITS && count >= 0 && count <= n && arg[ELSEWHERE].a.n >= 3 &&
               arg[ELSEWHERE].a.step == sizeof(int64_t) &&
               arg[REFUSED].a.n >= 1;
    if (arg[LINK].i >= 0) /* else nothing is written */
        fits = fits && message->step == 1 && !((uintptr_t)message->data % 2) &&
               (message->n - PREFIX_BYTES) / ((Py_ssize_t)sizeof(Record) + 2 * way->frame) >= count;
    for (int k = PLACES; k <= CHANGED; k++) fits = fits && arg[k].a.n >= n;
    for (Py_ssize_t k = 0; fits && count < n && k < count; k++) {
        int64_t place = *AT(int64_t, arg[PLACES], k);
        fits = place >= 0 && place < n;
    }
    return fits;
}

/* Packet i is of this kernel's format and connection; else `elsewhere` gets those of the first that may go another way. */
static int is_here(const Arg *arg, Py_ssize_t i, int64_t row)
{
    int64_t format = *AT(int16_t, arg[OF_RECORDS + FORMAT], row), link = *AT(int64_t, arg[LINK_OF_ROW], row);
    int64_t *elsewhere = AT(int64_t, arg[ELSEWHERE], 0);
    if (link < 0) return 0;
    if (format == arg[FORMAT_INDEX].i && link == arg[LINK].i) return 1;
    if (elsewhere[0] >= 0 || i <= arg[BEYOND].i) return 0;
    int served = format >= 0 && format < arg[SERVED].a.n && *AT(uint8_t, arg[SERVED], format);
    if (served && !*AT(uint8_t, arg[REFUSED], link % arg[REFUSED].a.n))
        elsewhere[0] = format, elsewhere[1] = link, elsewhere[2] = i;
    return 0;
}

/* Nobody changes the row's frames on their way, or lets them wait. */
static int is_straight(const Arg *arg, int64_t row)
{
    if (*AT(uint8_t, arg[MUTED], row) | *AT(uint8_t, arg[BEHIND], row) | *AT(uint8_t, arg[WATCHED], row) |
        *AT(uint8_t, arg[NEURAL], row))
        return 0;
    if (*AT(uint8_t, arg[WITHHELD], row) && !(*AT(uint8_t, arg[SPEAKING], row) == 1 && *AT(uint8_t, arg[OPEN], row)))
        return 0;
    return *AT(int64_t, arg[PART_OF_FRAME], row) == 0;
}

/* As the kernel `voice` does, for one frame. Where the caller may have begun or ceased to speak, the row is one of
   `changed`; or, where that decides where the frame goes, this is 0 and nothing has changed. */
static int hear_voice(Way *way, int64_t row, float level, unsigned *flags)
{
    const Arg *arg = way->arg;
    double *kept = AT(double, arg[STATE], row), state[VA_FIELDS];
    memcpy(state, kept, sizeof state);
    if (way->learn_ms > 0) va_learn(state, level, way->learn_ms);
    int is_voice = va_is_voice(state, level, *AT(double, arg[ECHO_DBOV], row));
    if (*AT(uint8_t, arg[UNTOLD], row)) is_voice = level > SPEECH_DBOV;
    if (va_count(state, is_voice, way->ms)) {
        if (*AT(uint8_t, arg[WITHHELD], row)) return 0;
        *AT(int64_t, arg[CHANGED], way->changed++) = row;
    }
    memcpy(kept, state, sizeof state);
    *AT(float, arg[LEVEL_UP_DBOV], row) = level;
    *flags = is_voice ? FLAG_SPEECH : 0;
    return 1;
}

/* Packet i, if it is the usual one. */
static int take(Way *way, Py_ssize_t i, int16_t *pcm)
{
    const Arg *arg = way->arg;
    int64_t row = *AT(int64_t, arg[ROWS], i), length = *AT(int32_t, arg[LENGTHS], i);
    const uint8_t *packet = AT(uint8_t, arg[PACKETS], i);
    unsigned flags;
    if (!is_here(arg, i, row) || !*AT(uint8_t, arg[NAMED], i) || length != HEADER_BYTES + way->n) return 0;
    double relative = relative_ns(way->packets, row, way->moment.now_ns);
    double late = relative - *AT(double, way->packets[BASE_DELAY_NS], row); /* nan before there is a base */
    const int64_t *flow = AT(int64_t, way->packets[FLOW], row);
    if (!(late >= way->moment.earliest_ns) || flow[EXPECTED_BYTES] < 0 || !is_straight(arg, row) ||
        !as_expected(flow, packet, length, arg[PACKETS].a.m))
        return 0;
    expand_to(AT(int16_t, arg[DECODED], 0), packet + HEADER_BYTES, pcm, way->n);
    float level = level_dbov(pcm, way->n, 1);
    if (!hear_voice(way, row, level, &flags)) return 0;
    count_packet(way->packets, row, length, &way->moment);
    char *record = arg[MESSAGE].a.data + PREFIX_BYTES + way->written * ((Py_ssize_t)sizeof(Record) + 2 * way->frame);
    hear(arg, &way->filter, row, pcm, pcm, way->n, level, way->rise_db, (int16_t *)(record + sizeof(Record)));
    way->written += write_head(arg + HEADS, row, flags, way->frame, record);
    Py_ssize_t place = arg[ROWS].a.n - (Py_ssize_t)arg[COUNT].i + way->taken++;
    if (late < way->moment.early_ns || late > way->moment.late_ns) *AT(int64_t, arg[UNUSUAL], way->unusual++) = place;
    *AT(int64_t, arg[TAKEN], place) = row;
    *AT(double, arg[RELATIVE_NS], place) = relative;
    return 1;
}

/* Packet i is next: what is known of its call is on its way from memory meanwhile. */
PREFETCHES expect_packet(const Way *way, Py_ssize_t i)
{
    const Arg *arg = way->arg;
    int64_t row = *AT(int64_t, arg[ROWS], i);
    fetch_ahead(AT(char, way->packets[FLOW], row), FLOW_FIELDS * sizeof(int64_t));
    fetch_ahead(AT(char, way->packets[STEP], row), FLOW_FIELDS * sizeof(int64_t));
    fetch_ahead(AT(char, arg[STATE], row), VA_FIELDS * sizeof(double));
    fetch_ahead(AT(char, arg[LINE_HISTORY], row), arg[LINE_HISTORY].a.m * sizeof(int16_t));
    fetch_ahead(AT(char, arg[UP_HISTORY], row), (arg[TAPS].a.m - 1) * sizeof(int16_t));
    fetch_ahead(AT(char, arg[PACKETS], i), HEADER_BYTES + way->n);
}

/* usual(what records, express and voice are bound to, in this order and without what they say of each call,
         muted, behind, watched, neural, withheld, open, speaking, part of a frame, link of each row,
         table, format, samples, constants, places, taken, relative_ns, unusual, changed, served, refused, elsewhere,
         rows, packets, lengths, named, now_ns, count, link, beyond, learns, listens, message)

   The first `count` of `places` say which packets are left of the batch, all if that is their number; afterwards they
   are those that were not taken.  `taken` and `relative_ns` get the rows of the others, and how late they were, behind what
   other calls for the batch have put there; `unusual` the places there of those whose lateness cannot wait.
   `elsewhere` becomes format and link of the first behind place `beyond` that was left for having others, of a format
   that is `served` and a link that is not `refused` (by its number modulo the length of that), and its place; -1 if there is
   none.  Nothing is taken where `link` is negative, and `message` may be empty.
   `changed` gets the rows that were taken and whose callers may have begun or ceased to speak.
   Returns how many are left, and << 15 the records that were written, << 30 the unusual ones, << 45 the changed ones. */
int64_t usual(const Arg *arg)
{
    Way way;
    int16_t pcm[MOST_SAMPLES];
    if (!begin(&way, arg)) {
        PyErr_SetString(PyExc_ValueError, "usual: the shapes of the columns, the batch and the message do not go together");
        return -1;
    }
    Py_ssize_t count = (Py_ssize_t)arg[COUNT].i, left = 0;
    int all = count == arg[ROWS].a.n;
    for (int k = 0; k < 3; k++) *AT(int64_t, arg[ELSEWHERE], k) = -1;
    for (Py_ssize_t k = 0; k < count; k++) {
        int64_t place = all ? k : *AT(int64_t, arg[PLACES], k);
        if (k + 1 < count) expect_packet(&way, all ? k + 1 : *AT(int64_t, arg[PLACES], k + 1));
        if (!take(&way, place, pcm)) *AT(int64_t, arg[PLACES], left++) = place;
    }
    *AT(int64_t, way.packets[RECEIVED_BY_WORKER], 0) += way.taken;
    *AT(int64_t, arg[HEADS + FRAMES_OF_WORKER], 0) += way.written;
    return left | (int64_t)way.written << USUAL_BITS | (int64_t)way.unusual << 2 * USUAL_BITS |
           (int64_t)way.changed << 3 * USUAL_BITS;
}
