/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernels over the table of a media worker: what Python does batch by batch is done packet by packet here.

   Each has its twin in the Python module that binds it, which says what is done and why; kernels take the usual
   cases and leave the others, whose packets or rows they name, to that code. */
#ifndef TRUNKLINE_MEDIA_H
#define TRUNKLINE_MEDIA_H

#include "binding.h"

/* sockets.c */
Run ready, receive, send_packets, waiting;
/* express.c */
Run express, expand;
/* hear.c */
Run voice, frames, records;
/* columns.SEND_FIELDS */
enum { SEND_SEQ, SEND_TS, SEND_DUE_NS, SEND_PACKETS, SEND_OCTETS, SEND_FRAMES, SEND_POSITION, SEND_FIELDS };

/* said.c, speak.c, due.c */
Run said, speak, spoken, due, least, delays;

#endif
