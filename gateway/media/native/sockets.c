/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of poller.py and udp.py: what is ready, a datagram from each socket that is, and one to each row.

   Addresses are compared and sent to as the kernel has them, sockaddr_in or sockaddr_in6; sockaddr.py makes them. */
#include "sockets.h"
#include "media.h"
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define SOCKADDR_BYTES ((Py_ssize_t)sizeof(struct sockaddr_in6))
#define OLD_NS 1000000000 /* a stepped wall clock is not an old packet */

static int64_t too_small(const char *what)
{
    PyErr_Format(PyExc_ValueError, "sockets: no room for %s", what);
    return -1;
}

/* Whether an array [most, bytes] is room for so many events. */
static int is_room(const Array *events, int64_t count)
{
    Py_ssize_t event = sizeof(struct epoll_event);
    return count >= 0 && count <= events->n && events->m >= event && events->step == events->m;
}

/* How many descriptors of an epoll are ready, whose events are then in `events`. */
int64_t ready(const Arg *arg)
{
    enum { EPOLL, EVENTS, TIMEOUT_MS };
    struct epoll_event *events = AT(struct epoll_event, arg[EVENTS], 0);
    int found, most = (int)arg[EVENTS].a.n;
    if (!is_room(&arg[EVENTS].a, 1) || arg[EVENTS].a.n > INT_MAX) return too_small("events");
    if (arg[TIMEOUT_MS].i == 0) {
        found = epoll_wait((int)arg[EPOLL].i, events, most, 0);
    } else {
        Py_BEGIN_ALLOW_THREADS
        found = epoll_wait((int)arg[EPOLL].i, events, most, (int)arg[TIMEOUT_MS].i);
        Py_END_ALLOW_THREADS
    }
    if (found >= 0) return found;
    if (errno != EINTR) PyErr_SetFromErrno(PyExc_OSError);
    else PyErr_CheckSignals(); /* then nothing is ready: who waits will ask again */
    return 0;
}

/* Length of an address that can be sent to, 0 if it is none. */
static socklen_t address_bytes(const char *address)
{
    sa_family_t family;
    memcpy(&family, address, sizeof family);
    return family == AF_INET ? sizeof(struct sockaddr_in) : family == AF_INET6 ? sizeof(struct sockaddr_in6) : 0;
}

/* Family, port and host; the flow label and the interface of IPv6, which lie between and behind, say nothing. */
static int is_same(const char *address, const char *other)
{
    if (memcmp(address, other, 4)) return 0;
    switch (address_bytes(address)) {
    case sizeof(struct sockaddr_in): return !memcmp(address + 4, other + 4, 4);
    case sizeof(struct sockaddr_in6): return !memcmp(address + 8, other + 8, 16);
    default: return 0;
    }
}

/* How long ago the kernel got a message, -1 if it does not say. */
static int64_t age_ns(struct msghdr *message)
{
    struct timespec then, now;
    for (struct cmsghdr *said = CMSG_FIRSTHDR(message); said; said = CMSG_NXTHDR(message, said)) {
        if (said->cmsg_level != SOL_SOCKET || said->cmsg_type != SO_TIMESTAMPNS) continue;
        if (said->cmsg_len < CMSG_LEN(sizeof then)) continue;
        memcpy(&then, CMSG_DATA(said), sizeof then);
        clock_gettime(CLOCK_REALTIME, &now);
        int64_t age = ((int64_t)now.tv_sec - then.tv_sec) * 1000000000 + (now.tv_nsec - then.tv_nsec);
        return age >= 0 && age < OLD_NS ? age : -1;
    }
    return -1;
}

/* A datagram with its age; its address goes to `source`. */
static ssize_t receive_timed(int fd, char *packet, size_t room, char *source, int64_t *age)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec place = {packet, room};
    struct msghdr message = {
        .msg_name = source, .msg_namelen = SOCKADDR_BYTES, .msg_iov = &place, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof control,
    };
    ssize_t size;
    do size = recvmsg(fd, &message, MSG_DONTWAIT);
    while (size < 0 && errno == EINTR);
    *age = size < 0 ? -1 : age_ns(&message);
    return size;
}

static ssize_t receive_plain(int fd, char *packet, size_t room, char *source)
{
    ssize_t size;
    do {
        socklen_t length = SOCKADDR_BYTES;
        size = recvfrom(fd, packet, room, MSG_DONTWAIT, (struct sockaddr *)source, &length);
    } while (size < 0 && errno == EINTR);
    return size;
}

enum { EVENTS = OF_RECEIVING, FOUND, LOOK, BEHIND, TIMED };

static int has_room(const Arg *arg)
{
    Py_ssize_t most = arg[RECEIVED].a.n, found = (Py_ssize_t)arg[FOUND].i;
    if (most > RECEIVED_COUNT) return (too_small("how many there are"), 0);
    if (!is_room(&arg[EVENTS].a, found))
        return (too_small("events"), 0);
    if (arg[REMOTES].a.m < SOCKADDR_BYTES || arg[SOURCES].a.m < SOCKADDR_BYTES || arg[SOURCES].a.n < most)
        return (too_small("addresses"), 0);
    if (arg[ROWS_RECEIVED].a.n < most || arg[LENGTHS_RECEIVED].a.n < most || arg[ARE_NAMED].a.n < most)
        return (too_small("packets"), 0);
    if (arg[LOOKED].a.n < arg[ROW_OF].a.n || arg[OTHERS].a.n < found || arg[OTHERS].a.m < 2 || arg[TIMED_NOTES].a.n < 2)
        return (too_small("what else there is to say"), 0);
    return 1;
}

/* One datagram of socket `fd` as packet i of a batch; whether there was one. */
static int take_packet(const Arg *arg, int fd, int32_t row, Py_ssize_t i, int64_t *notes)
{
    char *packet = AT(char, arg[RECEIVED], i), *source = AT(char, arg[SOURCES], i);
    size_t room = (size_t)arg[RECEIVED].a.m;
    ssize_t size;
    int64_t age = -1;
    memset(source, 0, sizeof(sa_family_t));
    if (arg[TIMED].i && notes[0] < 0) size = receive_timed(fd, packet, room, source, &age);
    else size = receive_plain(fd, packet, room, source);
    if (size < 0) return 0; /* nothing there after all, or an ICMP error that says nothing of this packet */
    if (age >= 0) notes[0] = row, notes[1] = age;
    *AT(int64_t, arg[ROWS_RECEIVED], i) = row;
    *AT(int32_t, arg[LENGTHS_RECEIVED], i) = (int32_t)size;
    *AT(char, arg[ARE_NAMED], i) = (char)is_same(source, AT(char, arg[REMOTES], row));
    return 1;
}

/* A datagram of each socket that was found ready, as `UdpSockets.receive` says; returns how many there are, and << 20
   how many other descriptors.

   `notes` gets row (-1: none) and age of the packet that was timed. */
int64_t receive(const Arg *arg)
{
    if (!has_room(arg)) return -1;
    const struct epoll_event *events = AT(const struct epoll_event, arg[EVENTS], 0);
    int64_t notes[2] = {-1, 0}, look = arg[LOOK].i, others = 0;
    Py_ssize_t n = 0;
    for (Py_ssize_t k = 0; k < arg[FOUND].i; k++) {
        int fd = events[k].data.fd;
        int32_t row = fd >= 0 && fd < arg[ROW_OF].a.n ? *AT(int32_t, arg[ROW_OF], fd) : -1;
        if (row < 0 || row >= arg[REMOTES].a.n) {
            int32_t *other = AT(int32_t, arg[OTHERS], others++);
            other[0] = fd, other[1] = (int32_t)events[k].events;
            continue;
        }
        int64_t *looked = AT(int64_t, arg[LOOKED], fd);
        if (arg[BEHIND].i && *looked != look - 1) continue;
        *looked = look;
        if (n < arg[RECEIVED].a.n) n += take_packet(arg, fd, row, n, notes);
    }
    for (int i = 0; i < 2; i++) *AT(int64_t, arg[TIMED_NOTES], i) = notes[i];
    return n | others << RECEIVED_BITS;
}

/* Rows whose sockets were found ready; returns how many. */
int64_t waiting(const Arg *arg)
{
    enum { ROW_OF_FD, WAITING, READY, COUNT };
    Py_ssize_t n = 0;
    if (!is_room(&arg[READY].a, arg[COUNT].i)) return too_small("events");
    if (arg[WAITING].a.n < arg[COUNT].i) return too_small("rows");
    const struct epoll_event *events = AT(const struct epoll_event, arg[READY], 0);
    for (Py_ssize_t k = 0; k < arg[COUNT].i; k++) {
        int fd = events[k].data.fd;
        int32_t row = fd >= 0 && fd < arg[ROW_OF_FD].a.n ? *AT(int32_t, arg[ROW_OF_FD], fd) : -1;
        if (row >= 0) *AT(int64_t, arg[WAITING], n++) = row;
    }
    return n;
}

/* A datagram to each row, packets[n, bytes], of which lengths[n] bytes (all, if there are no lengths) count;
   returns how many the kernel refused, where `sent` is false. */
int64_t send_packets(const Arg *arg)
{
    enum { FDS, TO, SEND_ROWS, DATA, SIZES, SENT };
    Py_ssize_t n = arg[SEND_ROWS].a.n, each = arg[SIZES].a.n;
    int64_t refused = 0;
    if (arg[DATA].a.n < n || arg[SENT].a.n < n || (each && each < n)) return too_small("packets");
    if (arg[TO].a.m < SOCKADDR_BYTES) return too_small("addresses");
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t row = *AT(int64_t, arg[SEND_ROWS], i), size = each ? *AT(int32_t, arg[SIZES], i) : arg[DATA].a.m;
        const char *remote = AT(char, arg[TO], row);
        int fd = *AT(int32_t, arg[FDS], row);
        socklen_t length = address_bytes(remote);
        ssize_t taken = -1;
        if (fd < 0) taken = 0; /* nobody is there */
        else if (length && size >= 0 && size <= arg[DATA].a.m) {
            do taken = sendto(fd, AT(char, arg[DATA], i), (size_t)size, MSG_DONTWAIT,
                              (const struct sockaddr *)remote, length);
            while (taken < 0 && errno == EINTR);
        }
        *AT(char, arg[SENT], i) = taken >= 0;
        refused += taken < 0;
    }
    return refused;
}
