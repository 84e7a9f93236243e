/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What agents say in one read: the audio messages at its beginning (agent_bridge/wire.py), one after the other to `said`. */
#include "frame.h"
#include "queue.h"
#include <string.h>

#define HEADER_BYTES HEADER_BYTES_OF_MESSAGE
#define RECORD_BYTES ((int64_t)sizeof(Record))
#define MOST_PAYLOAD (4 << 20)

enum { SAID, OF_ROW, SAID_OF, MARKED, LEFT, LONG, HEARD, HEARD_AFTER, PLACES, NOTES, LINK, TURN, LOOKS, NOW_NS, DATA, SIZE };
enum { LEFT_COUNT, LONG_COUNT, HEARD_COUNT, MESSAGE_COUNT, ENOUGH, COUNTS }; /* `notes` */
enum { BEGINS, ENDS, LEFT_TO, PLACE }; /* `places`: of a message of which something is left */

typedef struct {
    Array channel, pcm; /* of its records, where they were read */
    int64_t bytes;      /* headers and all; 0: there is no whole message of audio */
} Message;

/* The message that begins here, if it is whole and as wire.py wants it: whatever is wrong with one is said there. */
static Message message_at(char *data, int64_t size)
{
    Message none = {.bytes = 0};
    uint32_t payload, count;
    uint16_t samples;
    if (size < HEADER_BYTES + AUDIO_HEADER_BYTES) return none;
    memcpy(&payload, data, sizeof payload);
    memcpy(&samples, data + HEADER_BYTES, sizeof samples);
    memcpy(&count, data + HEADER_BYTES + 4, sizeof count);
    if (data[4] != AUDIO || data[5] || data[6] || data[7] || payload > MOST_PAYLOAD) return none;
    int64_t record = RECORD_BYTES + 2 * (int64_t)samples;
    if (!samples || !count || AUDIO_HEADER_BYTES + count * record != payload || HEADER_BYTES + payload > size) return none;
    char *first = data + HEADER_BYTES + AUDIO_HEADER_BYTES;
    return (Message){{first, count, 1, record}, {first + RECORD_BYTES, count, samples, record}, HEADER_BYTES + (int64_t)payload};
}

/* How many bytes of messages there are, of so many records at most: with more of them it is enough, and the rest may come
   again. None, if there might not be room for all of them: who gets how much then is not decided by who comes first.
   -1 with an exception. */
static int64_t measure(const Arg *arg, int64_t most, int *enough)
{
    int64_t size = 0, records = 0, samples = 0;
    for (Message message; (message = message_at(arg[DATA].a.data + size, arg[SIZE].i - size)).bytes; size += message.bytes) {
        if (records + message.channel.n > most) {
            *enough = size > 0;
            break;
        }
        records += message.channel.n;
        samples += message.channel.n * message.pcm.m;
    }
    for (Py_ssize_t k = 0; k < arg[SAID].k.n; k++) {
        Queue queue;
        if (!open_queue(bound_arguments(arg[SAID].k.of[k]) + SAID_QUEUE, &queue)) return -1;
        int64_t begun = records < queue_rows(&queue) ? records : queue_rows(&queue); /* blocks that are completed */
        if (!queue_has_room(&queue, begun + samples / queue.block)) return *enough = 0;
    }
    return size;
}

/* Which kernels this message is for: those of its rows' formats. */
static void mark(const Arg *arg, const Message *message)
{
    memset(AT(uint8_t, arg[MARKED], 0), 0, arg[SAID].k.n);
    for (Py_ssize_t i = 0; i < message->channel.n; i++) {
        uint32_t channel;
        memcpy(&channel, message->channel.data + i * message->channel.step, sizeof channel);
        int64_t row = channel & ROW_OF_CHANNEL;
        int64_t format = row < arg[OF_ROW].a.n ? *AT(int16_t, arg[OF_ROW], row) : -1;
        int64_t k = format >= 0 && format < arg[SAID_OF].a.n ? *AT(int64_t, arg[SAID_OF], format) : -1;
        if (k >= 0 && k < arg[SAID].k.n) *AT(uint8_t, arg[MARKED], k) = 1;
    }
}

/* One message to the kernel of one format; what that finds goes behind what was found before. False with an exception. */
static int take(const Arg *arg, PyObject *said, const Message *message, int64_t *count)
{
    Arg rest[] = {arg[LINK], arg[TURN], arg[LOOKS], arg[NOW_NS], {.a = message->channel}, {.a = message->pcm},
                  rest_of(&arg[LEFT], count[LEFT_COUNT]), rest_of(&arg[LONG], count[LONG_COUNT]),
                  rest_of(&arg[HEARD], count[HEARD_COUNT]), rest_of(&arg[HEARD_AFTER], count[HEARD_COUNT])};
    int64_t found = run_bound(said, rest, sizeof rest / sizeof *rest);
    if (found < 0) return 0;
    count[LEFT_COUNT] += found & SAID_COUNT;
    count[LONG_COUNT] += found >> 20 & SAID_COUNT;
    count[HEARD_COUNT] += found >> 40;
    return 1;
}

/* One message to the kernels it is for; notes where it lies, if something is left of it. False with an exception. */
static int take_message(const Arg *arg, const Message *message, int64_t at, int64_t *count)
{
    int64_t before = count[LEFT_COUNT];
    mark(arg, message);
    for (Py_ssize_t k = 0; k < arg[SAID].k.n; k++)
        if (*AT(uint8_t, arg[MARKED], k) && !take(arg, arg[SAID].k.of[k], message, count)) return 0;
    if (count[LEFT_COUNT] == before) return 1;
    int64_t *place = AT(int64_t, arg[PLACES], count[MESSAGE_COUNT]++);
    place[BEGINS] = at + HEADER_BYTES;
    place[ENDS] = at + message->bytes;
    place[LEFT_TO] = count[LEFT_COUNT];
    return 1;
}

static int fits(const Arg *arg)
{
    int good = arg[SIZE].i >= 0 && arg[SIZE].i <= arg[DATA].a.n && arg[DATA].a.step == 1 && arg[NOTES].a.n >= COUNTS &&
               arg[PLACES].a.n > 0 && arg[PLACES].a.m == PLACE && arg[MARKED].a.n >= arg[SAID].k.n &&
               arg[MARKED].a.step == 1;
    if (!good) PyErr_SetString(PyExc_ValueError, "said_in: there are fewer bytes than that, or no room for notes");
    return good;
}

/* said_in(said(), of_row, said_of, marked, left, long, heard, heard_after, places, notes, link, turn, looks, now_ns, data,
   size): how many of the bytes were taken; or -1 less that, if there is something in notes[5]: how many records are left,
   by their places in their messages; how many rows have got a long queue; how many have answered; of how many messages
   something is left, as many as there are places at most; whether that was enough, and what follows may come again.
   places[n, 3]: where the payload of such a message begins and ends, and where in `left` its records end.
   There is a kernel `said` for each format that calls have, and said_of[format] tells which. */
int64_t said_in(const Arg *arg)
{
    int64_t room = INT32_MAX, count[COUNTS] = {0}, at = 0, size;
    int enough = 0;
    if (!fits(arg)) return -1;
    for (int k = LEFT; k <= HEARD_AFTER; k++)
        if (arg[k].a.n < room) room = arg[k].a.n;
    /* Each kernel wants room for all records of a message behind what others have found in it. */
    if ((size = measure(arg, room / 2, &enough)) < 0) return -1;
    for (Message message; at < size && count[MESSAGE_COUNT] < arg[PLACES].a.n; at += message.bytes) {
        message = message_at(arg[DATA].a.data + at, size - at);
        if (!take_message(arg, &message, at, count)) return -1;
    }
    count[ENOUGH] = enough || at < size;
    int64_t notes = 0;
    for (int k = 0; k < COUNTS; k++) notes |= *AT(int64_t, arg[NOTES], k) = count[k];
    return notes ? -1 - at : at;
}
