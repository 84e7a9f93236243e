/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The floor: what a media worker costs that does nothing but its system calls.  It stands where the worker stands,
 * and makes of each packet a frame for the agent, and of each frame that comes back a packet: by table look-up,
 * without jitter buffer, statistics, RTCP, resampling, queues or clocks.
 *
 *   floor DIALECT CALLS SAMPLES
 *
 * DIALECT audiosocket: one connection a call, each packet at once: four system calls a frame (UDP in, agent out,
 * agent in, UDP out).  DIALECT trunkline: one connection for all, and a tick of 2.5 ms that leaves in one write, as
 * the worker has it; 16 kHz by saying each sample twice.  SAMPLES are those of a packet, PCMU at 8 kHz.
 *
 * Says "ports Q0 Q1 ...", reads "go AGENT P0 P1 ..." (a path, or a port on 127.0.0.1; the callers' ports), says "up"
 * when the agent has all calls, and ends with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 2500000LL
#define EVENTS 1024
#define INPUT (8 << 20)

static int calls, samples, poller, *udp, *agent;
static uint16_t *sequence;
static int16_t expand[256];
static uint8_t compress[65536];

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* G.711: mu-law both ways, by the segments of its definition. */
static void make_tables(void)
{
    for (int code = 0; code < 256; code++) {
        int v = ~code & 255, magnitude = ((((v & 15) << 3) + 132) << (v >> 4 & 7)) - 132;
        expand[code] = v & 128 ? -magnitude : magnitude;
    }
    for (int i = 0; i < 65536; i++) {
        int s = (int16_t)i, magnitude = (s < 0 ? -s : s) + 132, segment = 7;
        if (magnitude > 32767)
            magnitude = 32767;
        while (segment && !(magnitude & 128 << segment))
            segment--;
        compress[i] = ~((s < 0) << 7 | segment << 4 | (magnitude >> (segment + 3) & 15));
    }
}

static void watch(int fd, uint32_t key)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = key};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

static void write_all(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = send(fd, (const char *)data + done, size - done, 0);
        if (n < 0)
            fail("agent");
        done += n;
    }
}

static void send_packet(int call, const int16_t *pcm, int stride)
{
    uint8_t p[12 + 1024] = {0x80, 0};
    uint16_t number = sequence[call]++;
    uint32_t timestamp = htonl((uint32_t)number * samples), ssrc = htonl(call + 1);
    p[2] = number >> 8, p[3] = number;
    memcpy(p + 4, &timestamp, 4);
    memcpy(p + 8, &ssrc, 4);
    for (int i = 0; i < samples; i++)
        p[12 + i] = compress[(uint16_t)pcm[i * stride]];
    if (send(udp[call], p, 12 + samples, 0) < 0 && errno != ECONNREFUSED)
        fail("send");
}

/* --- one connection a call ---------------------------------------------------------------------- */

static void audiosocket(void)
{
    static struct epoll_event events[EVENTS];
    int size = 3 + 2 * samples;
    uint8_t packet[2048], (*waiting)[2048] = calloc(calls, sizeof *waiting);
    int *filled = calloc(calls, sizeof *filled);
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int e = 0; e < n; e++) {
            uint32_t key = events[e].data.u32;
            if (key == UINT32_MAX)
                return;
            int call = key >> 1;
            if (!(key & 1)) {
                uint8_t frame[3 + 2048] = {0x10, 2 * samples >> 8, 2 * samples};
                if (recv(udp[call], packet, sizeof packet, 0) != 12 + samples)
                    continue;
                for (int i = 0; i < samples; i++)
                    memcpy(frame + 3 + 2 * i, &expand[packet[12 + i]], 2);
                write_all(agent[call], frame, size);
                continue;
            }
            ssize_t got = recv(agent[call], waiting[call] + filled[call], size - filled[call], 0);
            if (got <= 0 && errno != EAGAIN)
                return;
            filled[call] += got > 0 ? got : 0;
            if (filled[call] == size) {
                int16_t pcm[1024];
                memcpy(pcm, waiting[call] + 3, 2 * samples);
                send_packet(call, pcm, 1);
                filled[call] = 0;
            }
        }
    }
}

/* --- all calls on one connection ----------------------------------------------------------------- */

struct record { uint32_t channel; uint16_t flags, reserved; uint64_t position; };

static void take_echo(uint8_t *input, size_t *filled)
{
    ssize_t got = recv(agent[0], input + *filled, INPUT - *filled, MSG_DONTWAIT);
    size_t place = 0, stride = sizeof(struct record) + 4 * samples;
    if (got <= 0)
        return;
    *filled += got;
    while (*filled - place >= 8) {
        uint32_t size, count;
        memcpy(&size, input + place, 4);
        if (*filled - place < 8 + size)
            break;
        if (input[place + 4] == 2) {
            memcpy(&count, input + place + 12, 4);
            for (uint32_t i = 0; i < count; i++) {
                struct record head;
                int16_t pcm[2048];
                memcpy(&head, input + place + 16 + i * stride, sizeof head);
                memcpy(pcm, input + place + 16 + i * stride + sizeof head, 4 * samples);
                send_packet(head.channel, pcm, 2);
            }
        }
        place += 8 + size;
    }
    memmove(input, input + place, *filled -= place);
}

static void trunkline(void)
{
    static struct epoll_event events[EVENTS];
    size_t stride = sizeof(struct record) + 4 * samples, filled = 0;
    uint8_t *out = malloc(16 + EVENTS * stride), *input = malloc(INPUT), packet[2048];
    uint64_t *position = calloc(calls, sizeof *position);
    struct timespec now, wake;
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        uint32_t count = 0;
        for (int e = 0; e < n; e++) {
            uint32_t key = events[e].data.u32;
            if (key == UINT32_MAX)
                return;
            int call = key >> 1;
            if (key & 1) {
                take_echo(input, &filled);
                continue;
            }
            if (recv(udp[call], packet, sizeof packet, 0) != 12 + samples)
                continue;
            uint8_t *at = out + 16 + count++ * stride;
            struct record head = {call, 0, 0, position[call]};
            position[call] += 2 * samples;
            memcpy(at, &head, sizeof head);
            for (int i = 0; i < 2 * samples; i++)
                memcpy(at + sizeof head + 2 * i, &expand[packet[12 + i / 2]], 2);
        }
        if (count) {
            uint32_t size = 8 + count * stride, header[4] = {size, 2, 2 * samples, count};
            memcpy(out, header, sizeof header);
            write_all(agent[0], out, 8 + size);
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t next = ((now.tv_sec * 1000000000LL + now.tv_nsec) / TICK_NS + 1) * TICK_NS;
        wake.tv_sec = next / 1000000000LL, wake.tv_nsec = next % 1000000000LL;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
    }
}

static void say(const char *text)
{
    uint32_t header[2] = {strlen(text), 1};
    write_all(agent[0], header, sizeof header);
    write_all(agent[0], text, strlen(text));
}

static void offer_all(void)
{
    char text[400];
    uint8_t input[4096];
    int accepted = -1; /* its hello comes first */
    uint32_t size;
    say("{\"type\":\"hello\",\"versions\":[1],\"gateway\":\"floor\"}");
    for (int i = 0; i < calls; i++) {
        snprintf(text, sizeof text, "{\"type\":\"start\",\"channel\":%d,\"call\":{\"call_id\":"
                 "\"00000000-0000-4000-8000-%012d\"},\"audio\":{\"encoding\":\"s16le\",\"sample_rate_hz\":16000,"
                 "\"frame_ms\":%d,\"frame_samples\":%d},\"resumed\":false,\"position\":0}",
                 i, i, samples / 8, 2 * samples);
        say(text);
        for (; accepted <= i; accepted++)
            if (recv(agent[0], input, 8, MSG_WAITALL) != 8 || (memcpy(&size, input, 4), size > sizeof input) ||
                recv(agent[0], input, size, MSG_WAITALL) != (ssize_t)size)
                fail("the agent's answer");
    }
}

/* --- both ---------------------------------------------------------------------------------------- */

static void connect_agent(int i, const char *where, int native)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_port = htons(atoi(where))};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    int one = 1, room = INPUT;
    tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    snprintf(local.sun_path, sizeof local.sun_path, "%s", where);
    agent[i] = socket(native ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    if (agent[i] < 0 || connect(agent[i], native ? (struct sockaddr *)&local : (struct sockaddr *)&tcp,
                                native ? sizeof local : sizeof tcp))
        fail("agent");
    if (native)
        setsockopt(agent[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    else
        setsockopt(agent[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int native = !strcmp(argv[1], "trunkline"), port;
    char where[108];
    calls = atoi(argv[2]), samples = atoi(argv[3]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    make_tables();
    poller = epoll_create1(0);
    udp = calloc(calls, sizeof *udp), agent = calloc(calls, sizeof *agent), sequence = calloc(calls, sizeof *sequence);
    printf("ports");
    for (int i = 0; i < calls; i++) {
        struct sockaddr_in here = {.sin_family = AF_INET};
        socklen_t size = sizeof here;
        here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        udp[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (udp[i] < 0 || bind(udp[i], (struct sockaddr *)&here, size) ||
            getsockname(udp[i], (struct sockaddr *)&here, &size))
            fail("sockets");
        printf(" %d", ntohs(here.sin_port));
    }
    printf("\n");
    fflush(stdout);
    if (scanf("go %107s", where) != 1)
        return 0;
    for (int i = 0; i < calls; i++) {
        struct sockaddr_in there = {.sin_family = AF_INET};
        there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (scanf("%d", &port) != 1)
            return 0;
        there.sin_port = htons(port);
        if (connect(udp[i], (struct sockaddr *)&there, sizeof there))
            fail("connect");
        watch(udp[i], i << 1);
        if (native && i)
            continue;
        connect_agent(i, where, native);
        watch(agent[i], i << 1 | 1);
        if (!native) {
            uint8_t id[19] = {1, 0, 16, 0, 0, 0, 0, 0, 0, 0x40, 0, 0x80};
            for (int digit = 0, rest = i; digit < 12; digit++, rest /= 10)
                id[18 - digit / 2] |= rest % 10 << (digit % 2 * 4);
            write_all(agent[i], id, sizeof id);
        }
    }
    if (native)
        offer_all();
    watch(STDIN_FILENO, UINT32_MAX);
    printf("up\n");
    fflush(stdout);
    native ? trunkline() : audiosocket();
    return 0;
}
