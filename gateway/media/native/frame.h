/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Line audio as the agent gets it: at its rate, in a record of our dialect (PROTOCOL.md, section 3). */
#ifndef TRUNKLINE_FRAME_H
#define TRUNKLINE_FRAME_H

#include "binding.h"
#include "samples.h"

/* As agent_bridge/wire.py has it. */
typedef struct {
    uint32_t channel;
    uint16_t flags, reserved;
    int64_t position;
} Record;

/* Of an audio message, before its records: what all messages begin with, and what those of audio go on with. */
#define HEADER_BYTES_OF_MESSAGE 8
#define AUDIO_HEADER_BYTES 8
#define PREFIX_BYTES (HEADER_BYTES_OF_MESSAGE + AUDIO_HEADER_BYTES)
#define AUDIO 2

/* The prefix of a message of so many records of so many samples; returns the length of the whole. */
Py_ssize_t write_prefix(char *message, Py_ssize_t samples, Py_ssize_t count);

/* Columns that records are made of, as they follow each other among the arguments of a kernel. */
enum { UP_POSITION, UP_FLAGS, AGENT_READY, CHANNELS, FRAMES_TO_AGENT, FRAMES_OF_WORKER, OF_HEADS };

/* The resampler that these arguments are, with room for what it remembers of a row; whether it is one. */
int make_filter(const Array *taps, int64_t up, int64_t down, const Array *history, Filter *filter);

/* pcm[n] of the line as frame. A filter whose rates are alike is none. */
void to_agent(const Filter *filter, int16_t *history, const int16_t *pcm, Py_ssize_t n, int16_t *frame);

/* Samples of each record that an array [records, bytes] has room for; below 1 where it has none. */
Py_ssize_t record_samples(const Array *records);

/* The head of a record in front of the frame, whose place the row's timeline leaves behind; whether the agent gets it. */
int write_head(const Arg *columns, int64_t row, unsigned flags, Py_ssize_t samples, char *record);

#endif
