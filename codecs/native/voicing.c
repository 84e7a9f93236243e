/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of codecs/voicing.py. */
#include "made_up.h"
#include <math.h>
#include <string.h>

double voicing_row(const Turns *turns, const Voices *voices, const int16_t *pcm)
{
    double sound[MOST_TURNS], re[MOST_BINS], im[MOST_BINS], best = -INFINITY;
    int64_t sum = 0;
    for (int i = 0; i < voices->n; i++) sum += pcm[i];
    double mean = (double)sum / voices->n;
    for (int i = 0; i < voices->n; i++) sound[i] = (pcm[i] - mean) * voices->window[i];
    memset(sound + voices->n, 0, (turns->size - voices->n) * sizeof *sound);
    spectrum_of(turns, sound, re, im);
    for (int k = 0; k <= turns->size / 2; k++) {
        re[k] = (re[k] * re[k] + im[k] * im[k]) * voices->band[k];
        im[k] = 0;
    }
    sound_of(turns, re, im, sound);
    if (!(sound[0] > 1.0)) return 0.0;
    for (int lag = voices->shortest; lag < voices->longest; lag++) {
        double at_lag = sound[lag] / voices->of_window[lag];
        if (at_lag > best) best = at_lag;
    }
    return best / sound[0];
}
