/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What agents say in one read: the audio messages at its beginning (agent_bridge/wire.py), one after the other to `said`. */
#include "queue.h"
#include <string.h>

#define HEADER_BYTES 8
#define AUDIO_HEADER_BYTES 8
#define RECORD_BYTES 16
#define PCM_AT 16
#define AUDIO 2
#define MOST_PAYLOAD (4 << 20)

enum { SAID, LEFT, LONG, HEARD, HEARD_AFTER, NOTES, LINK, TURN, LOOKS, NOW_NS, DATA, SIZE };
enum { LEFT_COUNT, LONG_COUNT, HEARD_COUNT, COUNTS }; /* `notes` */

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
    return (Message){{first, count, 1, record}, {first + PCM_AT, count, samples, record}, HEADER_BYTES + (int64_t)payload};
}

/* How many bytes of messages there are, of so many records at most; none, if there might not be room for all of them: who
   gets how much then is not decided by who comes first. -1 with an exception. */
static int64_t measure(const Arg *arg, int64_t most)
{
    int64_t size = 0, records = 0, samples = 0;
    for (Message message; (message = message_at(arg[DATA].a.data + size, arg[SIZE].i - size)).bytes; size += message.bytes) {
        if (records + message.channel.n > most) break;
        records += message.channel.n;
        samples += message.channel.n * message.pcm.m;
    }
    for (Py_ssize_t k = 0; k < arg[SAID].k.n; k++) {
        Queue queue;
        if (!open_queue(bound_arguments(arg[SAID].k.of[k]) + SAID_QUEUE, &queue)) return -1;
        int64_t begun = records < queue_rows(&queue) ? records : queue_rows(&queue); /* blocks that are completed */
        if (!queue_has_room(&queue, begun + samples / queue.block)) return 0;
    }
    return size;
}

/* The rest of an array. */
static Arg from(const Arg *arg, int64_t first)
{
    Array a = arg->a;
    return (Arg){.a = {a.data + first * a.step, a.n - first, a.m, a.step}};
}

/* One message to the kernel of one format; what that finds goes behind what was found before. False with an exception. */
static int take(const Arg *arg, PyObject *said, const Message *message, int64_t records, int64_t *count)
{
    Arg rest[] = {arg[LINK], arg[TURN], arg[LOOKS], arg[NOW_NS], {.a = message->channel}, {.a = message->pcm},
                  from(&arg[LEFT], count[LEFT_COUNT]), from(&arg[LONG], count[LONG_COUNT]),
                  from(&arg[HEARD], count[HEARD_COUNT]), from(&arg[HEARD_AFTER], count[HEARD_COUNT])};
    int64_t found = run_bound(said, rest, sizeof rest / sizeof *rest);
    if (found < 0) return 0;
    int64_t left = found & SAID_COUNT;
    for (int64_t i = 0; i < left; i++) *AT(int64_t, rest[6], i) += records;
    count[LEFT_COUNT] += left;
    count[LONG_COUNT] += found >> 20 & SAID_COUNT;
    count[HEARD_COUNT] += found >> 40;
    return 1;
}

/* said_in(said(), left, long, heard, heard_after, notes, link, turn, looks, now_ns, data, size): how many of the bytes were
   taken; or -1 less that, if there is something in notes[3]: how many records are left, counted from the first of
   all; how many rows have a long queue; how many have answered.  There is a kernel `said` for each format. */
int64_t said_in(const Arg *arg)
{
    int64_t room = INT32_MAX, count[COUNTS] = {0}, records = 0, at = 0, taken;
    for (int k = LEFT; k <= HEARD_AFTER; k++)
        if (arg[k].a.n < room) room = arg[k].a.n;
    if (arg[SIZE].i < 0 || arg[SIZE].i > arg[DATA].a.n || arg[DATA].a.step != 1 || arg[NOTES].a.n < COUNTS) {
        PyErr_SetString(PyExc_ValueError, "said_in: there are fewer bytes than that, or no room for notes");
        return -1;
    }
    /* Each kernel wants room for all records of a message behind what others have found in it. */
    if ((taken = measure(arg, room / 2)) < 0) return -1;
    for (Message message; at < taken; at += message.bytes, records += message.channel.n) {
        message = message_at(arg[DATA].a.data + at, taken - at);
        for (Py_ssize_t k = 0; k < arg[SAID].k.n; k++)
            if (!take(arg, arg[SAID].k.of[k], &message, records, count)) return -1;
    }
    for (int k = 0; k < COUNTS; k++) *AT(int64_t, arg[NOTES], k) = count[k];
    return count[LEFT_COUNT] || count[LONG_COUNT] || count[HEARD_COUNT] ? -1 - taken : taken;
}
