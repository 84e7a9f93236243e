/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The callers of `trunkline bench`: sends and receives the RTP of many calls, and writes down when.
 *
 *   generator CALLS PACKET_NS TIMESTAMP_STEP PAYLOAD_TYPE PAYLOADS WIDTH PATTERN_LENGTH PATTERN_STEP WINDOW KEY_BYTES
 *             LOSS SUITE HOST PLAN RECORD
 *
 * PLAN holds the pattern (a uint16 a packet: which payload), the lengths of the payloads (uint16), the payloads (WIDTH
 * bytes each), and for each call two master keys of KEY_BYTES (with salt): ours, theirs.  Packet k of call i carries
 * payload pattern[(i * PATTERN_STEP + k) % PATTERN_LENGTH].  LOSS of a million packets are left out (lossy.py).  SUITE "-" and KEY_BYTES 0: in the clear.  SRTP is by
 * libsrtp, where this has been built with -DWITH_SRTP: packets are protected before their time is taken.
 *
 * Says "ports RTCP P0 P1 ..." (one UDP socket a call, one for the RTCP of all), reads "go PACKETS TAIL Q0 Q1 ..."
 * (packets of each call, packet times to listen on afterwards, the other side's ports; RTCP is the next one), says
 * "started T0" (CLOCK_MONOTONIC, ns), and when all is sent and heard writes RECORD and says "done".
 *
 * Calls are spread evenly over the packet time, in slots of 1 ms: one wake-up a slot, whatever the number of calls.
 * In its slot a call's packet is sent, and what has come for it is read; arrival is the kernel's receive timestamp,
 * so that reading late does not count as arriving late, and nobody who sends to us has to wake us.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_SRTP
#include <srtp2/srtp.h>
#endif

#define SLOT_NS 1000000LL
#define WINDOW_BYTES 36 /* a period of 16-bit samples at 16 kHz, and no hole at the end of struct heard */
#define START_NS 50000000LL
#define REPORT_NS 5000000000LL
#define MAX_PACKET 2048

struct heard {
    int64_t arrival_ns;
    uint32_t call, timestamp;
    uint16_t sequence, bytes;
    uint8_t window[WINDOW_BYTES];
};

struct call {
    int fd;
    struct sockaddr_in rtcp;
    uint32_t ssrc, first_timestamp;
    uint16_t first_sequence;
    int64_t heard;
#ifdef WITH_SRTP
    srtp_t out, in;
#endif
};

static int calls, timestamp_step, payload_type, payload_count, width, pattern_length, pattern_step, window_offset,
    key_bytes, loss;
static int64_t packet_ns, realtime_offset_ns, heard_count, heard_room, send_errors, unrecorded, reports_heard;
static uint16_t *pattern, *lengths;
static uint8_t *payloads, *keys;
static struct call *table;
static struct heard *heard;
static int64_t *sent_ns;
static int reports_fd;

static void fail(const char *what)
{
    fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *room(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size);
    if (!block)
        fail("memory");
    return block;
}

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* CLOCK_REALTIME - CLOCK_MONOTONIC: the pair of readings that lie closest together. */
static int64_t clock_offset(void)
{
    int64_t best = INT64_MAX, offset = 0;
    for (int i = 0; i < 50; i++) {
        int64_t before = now_ns(CLOCK_MONOTONIC), real = now_ns(CLOCK_REALTIME), after = now_ns(CLOCK_MONOTONIC);
        if (after - before < best)
            best = after - before, offset = real - (before + after) / 2;
    }
    return offset;
}

static void put16(uint8_t *p, uint32_t v) { p[0] = v >> 8; p[1] = v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16); put16(p + 2, v); }
static uint32_t get16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static uint32_t get32(const uint8_t *p) { return get16(p) << 16 | get16(p + 2); }

static int udp_socket(const char *host, int stamped)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET};
    if (fd < 0)
        fail("no more sockets (raise the limit of open files)");
    if (inet_pton(AF_INET, host, &here.sin_addr) != 1 || bind(fd, (struct sockaddr *)&here, sizeof here))
        fail("bind");
    if (stamped && setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one))
        fail("SO_TIMESTAMPNS");
    return fd;
}

static int port_of(int fd)
{
    struct sockaddr_in here;
    socklen_t size = sizeof here;
    if (getsockname(fd, (struct sockaddr *)&here, &size))
        fail("getsockname");
    return ntohs(here.sin_port);
}

#ifdef WITH_SRTP
static srtp_t session(const char *suite, uint8_t *key, srtp_ssrc_type_t direction)
{
    srtp_policy_t policy;
    srtp_t made;
    memset(&policy, 0, sizeof policy);
    if (!strcmp(suite, "AES_CM_128_HMAC_SHA1_80"))
        srtp_crypto_policy_set_rtp_default(&policy.rtp), policy.rtcp = policy.rtp;
    else if (!strcmp(suite, "AES_CM_128_HMAC_SHA1_32"))
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&policy.rtp), srtp_crypto_policy_set_rtp_default(&policy.rtcp);
    else if (!strcmp(suite, "AES_256_CM_HMAC_SHA1_80"))
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy.rtp), policy.rtcp = policy.rtp;
    else if (!strcmp(suite, "AEAD_AES_128_GCM"))
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp), policy.rtcp = policy.rtp;
    else if (!strcmp(suite, "AEAD_AES_256_GCM"))
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy.rtp), policy.rtcp = policy.rtp;
    policy.ssrc.type = direction, policy.key = key, policy.window_size = 128;
    if (srtp_create(&made, &policy)) {
        fprintf(stderr, "generator: libsrtp does not do %s here\n", suite);
        exit(1);
    }
    return made;
}
#endif

/* Encrypt and authenticate in place; returns the new size. */
static int protect(struct call *c, uint8_t *packet, int size, int rtcp)
{
#ifdef WITH_SRTP
    if (key_bytes && (rtcp ? srtp_protect_rtcp(c->out, packet, &size) : srtp_protect(c->out, packet, &size)))
        send_errors++;
#endif
    (void)c, (void)packet, (void)rtcp;
    return size;
}

/* The size in the clear, 0 for what is not authentic. */
static int unprotect(struct call *c, uint8_t *packet, int size)
{
#ifdef WITH_SRTP
    if (key_bytes && srtp_unprotect(c->in, packet, &size))
        return 0;
#endif
    (void)c, (void)packet;
    return size;
}

/* A sender report with a CNAME, every 5 s as RFC 3550 6.2 has it for two parties. */
static void send_report(struct call *c, int64_t k)
{
    _Alignas(8) uint8_t p[44 + 64] = {0x80, 200, 0, 6};
    int64_t real = now_ns(CLOCK_REALTIME);
    put32(p + 4, c->ssrc);
    put32(p + 8, real / 1000000000LL + 2208988800LL);
    put32(p + 12, ((uint64_t)(real % 1000000000LL) << 32) / 1000000000LL);
    put32(p + 16, c->first_timestamp + k * timestamp_step);
    put32(p + 20, k);
    put32(p + 24, k * lengths[0]);
    p[28] = 0x81, p[29] = 202, p[31] = 3;
    put32(p + 32, c->ssrc);
    memcpy(p + 36, "\1\5bench", 7);
    if (sendto(reports_fd, p, protect(c, p, 44, 1), 0, (struct sockaddr *)&c->rtcp, sizeof c->rtcp) < 0)
        return; /* a report more or less */
}

/* The network's doing, every time the same: splitmix64 of call and packet. */
static int is_left_out(uint64_t i, uint64_t k)
{
    uint64_t x = (i << 32 | k) + 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    return k && x % 1000000 < (uint64_t)loss;
}

static void send_packet(int i, int64_t k, int64_t packets)
{
    struct call *c = &table[i];
    _Alignas(8) uint8_t p[MAX_PACKET];
    int which = pattern[((int64_t)i * pattern_step + k) % pattern_length];
    p[0] = 0x80;
    p[1] = payload_type | (k ? 0 : 0x80);
    put16(p + 2, c->first_sequence + k);
    put32(p + 4, c->first_timestamp + k * timestamp_step);
    put32(p + 8, c->ssrc);
    memcpy(p + 12, payloads + which * width, lengths[which]);
    int size = protect(c, p, 12 + lengths[which], 0);
    int64_t at = now_ns(CLOCK_MONOTONIC);
    if (send(c->fd, p, size, 0) < 0)
        send_errors++;
    else
        sent_ns[i * packets + k] = at;
}

static int receive(int i, int keep)
{
    _Alignas(8) uint8_t data[MAX_PACKET];
    union { char bytes[CMSG_SPACE(sizeof(struct timespec))]; struct cmsghdr align; } control;
    struct iovec iov = {data, sizeof data};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t size = recvmsg(table[i].fd, &message, 0);
    if (size < 0)
        return errno == ECONNREFUSED; /* an ICMP error was read: there may be more behind it */
    if (!keep)
        return 1;
    table[i].heard++;
    size = unprotect(&table[i], data, size);
    if (size < 12)
        return 1;
    if (heard_count == heard_room) {
        unrecorded++;
        return 1;
    }
    struct heard *h = &heard[heard_count++];
    h->call = i, h->bytes = size, h->sequence = get16(data + 2), h->timestamp = get32(data + 4);
    memset(h->window, 0, WINDOW_BYTES);
    for (int j = 0; j < WINDOW_BYTES && 12 + window_offset + j < size; j++)
        h->window[j] = data[12 + window_offset + j];
    h->arrival_ns = now_ns(CLOCK_MONOTONIC);
    for (struct cmsghdr *m = CMSG_FIRSTHDR(&message); m; m = CMSG_NXTHDR(&message, m))
        if (m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(m), sizeof t);
            h->arrival_ns = t.tv_sec * 1000000000LL + t.tv_nsec - realtime_offset_ns;
        }
    return 1;
}

static void run(int64_t packets, int64_t tail, int64_t start)
{
    int64_t slots = packet_ns / SLOT_NS, report_every = REPORT_NS / packet_ns;
    uint8_t junk[MAX_PACKET];
    for (int64_t k = 0; k < packets + tail; k++)
        for (int64_t slot = 0, first = 0; slot < slots; slot++) {
            int64_t next = ((slot + 1) * calls + slots - 1) / slots; /* first call of the next slot */
            if (next == first)
                continue;
            int64_t due = start + k * packet_ns + slot * SLOT_NS;
            struct timespec wake = {due / 1000000000LL, due % 1000000000LL};
            if (now_ns(CLOCK_MONOTONIC) < due)
                while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL) == EINTR)
                    ;
            for (int64_t i = first; i < next && k < packets; i++) {
                if (!is_left_out(i, k))
                    send_packet(i, k, packets);
                if ((k + i * 7) % report_every == 0)
                    send_report(&table[i], k);
            }
            /* One packet a packet time comes; more are read only where some are due, so that the end of the
             * queue need not be asked for each time. */
            for (int64_t i = first; i < next; i++)
                while (receive(i, 1) && (k >= packets || table[i].heard < k - 1))
                    ;
            while (recv(reports_fd, junk, sizeof junk, 0) >= 0)
                reports_heard++;
            first = next;
        }
}

static void save(const char *path, int64_t packets, int64_t start)
{
    int64_t slots = packet_ns / SLOT_NS;
    int64_t *phase = room(calls, sizeof *phase);
    for (int64_t slot = 0, i = 0; slot < slots; slot++)
        for (; i < ((slot + 1) * calls + slots - 1) / slots; i++)
            phase[i] = slot * SLOT_NS;
    int64_t head[] = {2, calls, packets, heard_count, start, clock_offset() - realtime_offset_ns,
                      send_errors, unrecorded, reports_heard, sizeof *heard};
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(head, sizeof head, 1, file) != 1 || fwrite(phase, sizeof *phase, calls, file) != (size_t)calls ||
        fwrite(sent_ns, sizeof *sent_ns, calls * packets, file) != (size_t)(calls * packets) ||
        fwrite(heard, sizeof *heard, heard_count, file) != (size_t)heard_count || fclose(file))
        fail(path);
}

int main(int argc, char **argv)
{
    if (argc != 16) {
        fprintf(stderr, "generator: see the head of generator.c\n");
        return 2;
    }
    int *numbers[] = {&timestamp_step, &payload_type, &payload_count, &width, &pattern_length, &pattern_step,
                      &window_offset, &key_bytes, &loss};
    calls = atoi(argv[1]), packet_ns = atoll(argv[2]);
    for (int i = 0; i < 9; i++)
        *numbers[i] = atoi(argv[3 + i]);
    const char *suite = argv[12], *host = argv[13];
    if (width > MAX_PACKET - 200) {
        fprintf(stderr, "generator: payloads of %d bytes\n", width);
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    FILE *plan = fopen(argv[14], "rb");
    pattern = room(pattern_length, sizeof *pattern), lengths = room(payload_count, sizeof *lengths);
    payloads = room(payload_count, width), keys = room(calls, 2 * key_bytes);
    if (!plan || fread(pattern, sizeof *pattern, pattern_length, plan) != (size_t)pattern_length ||
        fread(lengths, sizeof *lengths, payload_count, plan) != (size_t)payload_count ||
        fread(payloads, width, payload_count, plan) != (size_t)payload_count ||
        (key_bytes && fread(keys, 2 * key_bytes, calls, plan) != (size_t)calls))
        fail(argv[14]);
    fclose(plan);

#ifdef WITH_SRTP
    if (srtp_init()) {
        fprintf(stderr, "generator: libsrtp does not start\n");
        return 1;
    }
#else
    if (key_bytes) {
        fprintf(stderr, "generator: built without libsrtp, for %s\n", suite);
        return 1;
    }
#endif
    table = room(calls, sizeof *table);
    reports_fd = udp_socket(host, 0);
    printf("ports %d", port_of(reports_fd));
    for (int i = 0; i < calls; i++) {
        table[i].fd = udp_socket(host, 1);
        table[i].ssrc = 0x54000000u + i;
        /* Both wrap in the warm-up, as on long calls they do. (Asterisk 22 drops the packet with number 0.) */
        table[i].first_sequence = 0xFFD0 - i % 32;
        table[i].first_timestamp = 0xFFFFFFFFu - timestamp_step * (50 + i % 32);
#ifdef WITH_SRTP
        if (key_bytes) {
            table[i].out = session(suite, keys + 2 * i * key_bytes, ssrc_any_outbound);
            table[i].in = session(suite, keys + (2 * i + 1) * key_bytes, ssrc_any_inbound);
        }
#endif
        printf(" %d", port_of(table[i].fd));
    }
    printf("\n");
    fflush(stdout);

    long long packets, tail;
    int port;
    if (scanf("go %lld %lld", &packets, &tail) != 2)
        return 0; /* whoever started us has changed his mind */
    for (int i = 0; i < calls; i++) {
        struct sockaddr_in there = {.sin_family = AF_INET};
        if (scanf("%d", &port) != 1)
            return 0;
        inet_pton(AF_INET, host, &there.sin_addr);
        there.sin_port = htons(port);
        if (connect(table[i].fd, (struct sockaddr *)&there, sizeof there))
            fail("connect");
        table[i].rtcp = there;
        table[i].rtcp.sin_port = htons(port + 1);
    }
    sent_ns = room(calls * packets, sizeof *sent_ns);
    heard_room = calls * (packets + tail + 100);
    heard = room(heard_room, sizeof *heard);
    /* Touched now: no page fault while it counts. */
    memset(sent_ns, 0, calls * packets * sizeof *sent_ns);
    memset(heard, 0, heard_room * sizeof *heard);
    realtime_offset_ns = clock_offset();
    int64_t start = now_ns(CLOCK_MONOTONIC) + START_NS + now_ns(CLOCK_REALTIME) % SLOT_NS;
    for (int i = 0; i < calls; i++) /* what was said to us before we spoke */
        while (receive(i, 0))
            ;
    printf("started %lld\n", (long long)start);
    fflush(stdout);
    run(packets, tail, start);
    save(argv[15], packets, start);
    printf("done\n");
    return 0;
}
