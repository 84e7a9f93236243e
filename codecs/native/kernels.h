/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernels of codecs/ that stand in files of their own. */
#ifndef TRUNKLINE_KERNELS_H
#define TRUNKLINE_KERNELS_H

#include "binding.h"

/* made_up.c */
Run pitch, conceal, conceal_between, analyse, synthesise, voicing;

#endif
