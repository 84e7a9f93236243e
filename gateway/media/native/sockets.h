/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `receive` has found, for the kernel that goes on with it: tick.c. */
#ifndef TRUNKLINE_SOCKETS_H
#define TRUNKLINE_SOCKETS_H

#include "binding.h"

/* What `receive` is bound to, ... */
enum { ROW_OF, LOOKED, REMOTES, RECEIVED, SOURCES, ROWS_RECEIVED, LENGTHS_RECEIVED, ARE_NAMED, OTHERS, TIMED_NOTES, OF_RECEIVING };
/* ... and what it says: so many packets, and above that how many other descriptors. */
#define RECEIVED_BITS 20
#define RECEIVED_COUNT ((1 << RECEIVED_BITS) - 1)

#endif
