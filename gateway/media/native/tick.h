/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `tick` says of itself to `ticks`, and both to usual_ticks.py. */
#ifndef TRUNKLINE_TICK_H
#define TRUNKLINE_TICK_H

#include "binding.h"

/* Where a tick has stopped; its notes are good up to there. */
enum { PACKETS_TAKEN, MESSAGE_LEFT, AGENT_HEARD, STOPPED, ROUND_LEFT, ALL_DONE, NOT_BEGUN };
enum { TICK_PACKETS, TICK_OTHER_FDS, TICK_STRANGERS, TICK_USUAL_SAID, TICK_SENT_BYTES, TICK_READ_BYTES, TICK_SAID,
       TICK_NEXT_NS, TICK_CPU_NS, TICK_NOTES };

/* Of a kernel `tick`. */
int64_t *tick_notes(PyObject *kernel);

#endif
