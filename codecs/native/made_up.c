/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernels of what is made up: checks of shapes, and a loop over rows. */
#include "made_up.h"
#include "kernels.h"
#include <string.h>

static int64_t refuse(const char *why)
{
    PyErr_SetString(PyExc_ValueError, why);
    return -1;
}

static int is_long(const Arg *of_rows, Py_ssize_t rows)
{
    return of_rows->a.n >= rows;
}

/* pitch(recent, template, rate_hz, expected, period, likeness): recent[n, H] of whole numbers */
int64_t pitch(const Arg *arg)
{
    const Arg *recent = &arg[0];
    int64_t samples = recent->a.m, template = arg[1].i, rate_hz = arg[2].i;
    Py_ssize_t n = recent->a.n;
    if (rate_hz < 8000 || rate_hz > 48000 || samples > MOST_GOOD || template < 1 || template > samples ||
        template < rate_hz / 16000 || !has_room_for_pitch(samples, template, (int)rate_hz) || !is_long(&arg[3], n) ||
        !is_long(&arg[4], n) || !is_long(&arg[5], n))
        return refuse("pitch: no room for a template and a period, or no place for what is found");
    for (Py_ssize_t i = 0; i < n; i++) {
        double line[MOST_GOOD + LANES_BEYOND] = {0};
        memcpy(line, AT(double, *recent, i), samples * sizeof *line);
        *AT(int64_t, arg[4], i) = pitch_period(line, (int)samples, (int)template, (int)rate_hz,
                                               *AT(double, arg[3], i), AT(double, arg[5], i));
    }
    return 0;
}

static Before before_of(const Arg *history, Py_ssize_t i, int64_t rate_hz)
{
    return (Before){AT(int16_t, *history, i), (int)history->a.m, (int)rate_hz};
}

/* conceal(history, rate_hz, start, sound) */
int64_t conceal(const Arg *arg)
{
    const Arg *history = &arg[0], *start = &arg[2], *sound = &arg[3];
    Py_ssize_t n = history->a.n;
    if (!can_conceal(history->a.m, sound->a.m, arg[1].i) || !is_long(start, n) || !is_long(sound, n))
        return refuse("conceal: the shapes of history, start and sound do not go together");
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t at = *AT(int64_t, *start, i);
        conceal_row(before_of(history, i, arg[1].i), at > 0 ? at : 0, (int)sound->a.m, AT(double, *sound, i));
    }
    return 0;
}

/* conceal_between(history, ahead, rate_hz, start, known, length, sound) */
int64_t conceal_between(const Arg *arg)
{
    const Arg *history = &arg[0], *ahead = &arg[1], *sound = &arg[6];
    int64_t rate_hz = arg[2].i;
    Py_ssize_t n = history->a.n;
    if (!can_conceal(history->a.m, sound->a.m, rate_hz) || !can_look_ahead(ahead->a.m, (int)rate_hz) ||
        ahead->a.m > MOST_SAMPLES || !is_long(ahead, n) || !is_long(&arg[3], n) || !is_long(&arg[4], n) ||
        !is_long(&arg[5], n) || !is_long(sound, n))
        return refuse("conceal_between: the shapes of history, ahead and sound do not go together");
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t at = *AT(int64_t, arg[3], i);
        Behind behind = {AT(int16_t, *ahead, i), (int)ahead->a.m, *AT(int64_t, arg[4], i), *AT(int64_t, arg[5], i)};
        conceal_between_row(before_of(history, i, rate_hz), behind, at > 0 ? at : 0, (int)sound->a.m,
                            AT(double, *sound, i));
    }
    return 0;
}

/* analyse(pcm, window, reflection): reflection[n, ORDER] */
int64_t analyse(const Arg *arg)
{
    const Arg *pcm = &arg[0], *window = &arg[1], *reflection = &arg[2];
    if (pcm->a.m > MOST_PIECE || window->a.n != pcm->a.m || window->a.step != sizeof(double) ||
        reflection->a.m != ORDER || !is_long(reflection, pcm->a.n))
        return refuse("analyse: the shapes of pcm, window and reflection do not go together");
    for (Py_ssize_t i = 0; i < pcm->a.n; i++)
        analyse_row(AT(int16_t, *pcm, i), (int)pcm->a.m, AT(double, *window, 0), AT(double, *reflection, i));
    return 0;
}

static int turns_of(const Arg *table, Turns *turns)
{
    *turns = (Turns){(int)table->a.m, AT(double, *table, 0), AT(double, *table, 1)};
    return table->a.n == 2 && can_transform(table->a.m);
}

/* synthesise(turns, white, level_dbov, reflection, piece, noise): turns[2, size], white[pieces, size + 2] */
int64_t synthesise(const Arg *arg)
{
    const Arg *white = &arg[1], *reflection = &arg[3], *noise = &arg[5];
    Py_ssize_t n = noise->a.n;
    Turns turns;
    if (!turns_of(&arg[0], &turns) || white->a.n < 1 || white->a.m != turns.size + 2 || reflection->a.m > ORDER ||
        noise->a.m > turns.size || !is_long(&arg[2], n) || !is_long(reflection, n) || !is_long(&arg[4], n))
        return refuse("synthesise: the shapes of white noise, colour and noise do not go together");
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t piece = *AT(int64_t, arg[4], i) % white->a.n;
        synthesise_row(&turns, AT(double, *white, piece < 0 ? piece + white->a.n : piece), *AT(double, arg[2], i),
                       AT(double, *reflection, i), (int)reflection->a.m, AT(double, *noise, i), (int)noise->a.m);
    }
    return 0;
}

/* voicing(turns, window, band, of_window, shortest, longest, pcm, found): the lags are below `longest` */
int64_t voicing(const Arg *arg)
{
    const Arg *pcm = &arg[6], *found = &arg[7];
    int64_t shortest = arg[4].i, longest = arg[5].i, samples = pcm->a.m;
    Turns turns;
    if (!turns_of(&arg[0], &turns) || samples < 1 || samples > turns.size || arg[1].a.n != samples ||
        arg[2].a.n != turns.size / 2 + 1 || shortest < 0 || shortest >= longest || longest > arg[3].a.n ||
        longest > turns.size || arg[1].a.step != sizeof(double) || arg[2].a.step != sizeof(double) ||
        arg[3].a.step != sizeof(double) || !is_long(found, pcm->a.n))
        return refuse("voicing: the shapes of window, band and pcm do not go together");
    Voices voices = {AT(double, arg[1], 0), AT(double, arg[2], 0), AT(double, arg[3], 0), (int)samples, (int)shortest,
                     (int)longest};
    for (Py_ssize_t i = 0; i < pcm->a.n; i++)
        *AT(double, *found, i) = voicing_row(&turns, &voices, AT(int16_t, *pcm, i));
    return 0;
}
