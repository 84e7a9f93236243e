/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Twin of gateway/media/quality.py: figures of each row, and whose agents are to be told of them.

   The E-model is that of rtp/emodel.py, whose table of Id by delay comes with the arguments. */
#include "media.h"
#include "bursts.h"
#include <math.h>

/* figures.Figure */
enum { MOS, R_FACTOR, LOSS_PERCENT, DISCARD_PERCENT, BURSTS, BURST_MS, BURST_LOSS_PERCENT, GAP_MS, GAP_LOSS_PERCENT,
       DELAY_MS, RECENT_MOS, RECENT_LOSS_PERCENT, MOS_MIN, PEER_MOS, PEER_R_FACTOR, PEER_LOSS_PERCENT,
       PEER_DISCARD_PERCENT, PEER_BURST_MS, PEER_BURST_LOSS_PERCENT, R_LISTENING, FIGURES };
/* columns.peer_xr */
enum { XR_SEEN, XR_RATING, XR_SCORE, XR_LOSS, XR_DISCARD, XR_BURST_MS, XR_BURST_LOSS, XR_FIELDS };
/* what QualityWatch counts of a row */
enum { EXPECTED, MISSING, GONE, BEHIND, COUNTED };
enum { IE, BPL };

enum {
    QUALITY, BEFORE, TOLD_NS, TOLD_MOS, LOSS_COUNTS, OF_PACKETS_RECEIVED, PACKETS_LOST, DROPS, NEXT_SEQ, LOSS_FROM,
    LOSS_CARRY, PTIME_TS, CLOCK_HZ, TARGET_NS, RTT_MS, PEER_EXPECTED, PEER_LOST, PEER_XR, OUR_PTIME_NS, FORMAT,
    DISCARDS, DELAYS_MS, ID, UNDISTURBED, RECENT_LEAST_MS, NOTABLE_MOS, TELL_NS, /* bound */
    CODECS, ROWS, NOW_NS, TELL
};

/* One row, while it is looked at. */
typedef struct {
    const Arg *arg;
    int64_t row, counted[COUNTED], lost;
    double packet_ms, rtt_ms, wait_ms, delay_id, ie, bpl;
} Row;

static double percent(int64_t part, int64_t whole)
{
    return 100.0 * (double)(part < whole ? part : whole) / (double)(whole > 1 ? whole : 1);
}

static double share(double part, double whole)
{
    return part / (whole > 1 ? whole : 1);
}

/* np.interp over the table of Id. */
static double delay_impairment(const Arg *arg, double ms)
{
    Py_ssize_t low = 0, high = arg[DELAYS_MS].a.n - 1;
    if (!(ms > *AT(double, arg[DELAYS_MS], 0))) return *AT(double, arg[ID], 0);
    if (ms >= *AT(double, arg[DELAYS_MS], high)) return *AT(double, arg[ID], high);
    while (high - low > 1) {
        Py_ssize_t middle = (low + high) / 2;
        if (*AT(double, arg[DELAYS_MS], middle) <= ms) low = middle;
        else high = middle;
    }
    double x = *AT(double, arg[DELAYS_MS], low), y = *AT(double, arg[ID], low);
    double slope = (*AT(double, arg[ID], high) - y) / (*AT(double, arg[DELAYS_MS], high) - x);
    return slope * (ms - x) + y;
}

static double equipment(const Row *one, double missing_percent, double run)
{
    double ratio = run * (1 - missing_percent / 100);
    if (ratio < 1) ratio = 1;
    return one->ie + (95 - one->ie) * missing_percent / (missing_percent / ratio + one->bpl);
}

static double rating(const Row *one, double delay_id, double equipment_id)
{
    double r = one->arg[UNDISTURBED].f - delay_id - equipment_id;
    return r < 0 ? 0 : r > 100 ? 100 : r;
}

static double mos(double r)
{
    double score = 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6;
    return score < 1 ? 1 : score;
}

/* Totals of the call: `QualityWatch._counted`. */
static void count(Row *one, const int64_t *counts)
{
    const Arg *arg = one->arg;
    const int64_t *drops = AT(int64_t, arg[DROPS], one->row);
    int64_t discarded = 0, lost = *AT(int64_t, arg[PACKETS_LOST], one->row);
    for (Py_ssize_t k = 0; k < arg[DISCARDS].a.n; k++) discarded += drops[*AT(int64_t, arg[DISCARDS], k)];
    one->lost = lost > 0 ? lost : 0;
    one->counted[EXPECTED] = *AT(int64_t, arg[OF_PACKETS_RECEIVED], one->row) + one->lost;
    one->counted[MISSING] = one->lost + discarded;
    one->counted[GONE] = counts[C13] + counts[C14] + counts[C23] + counts[C33] + (counts[LOST] > 0);
    one->counted[BEHIND] = counts[C33];
}

static Row look(const Arg *arg, int64_t row)
{
    Row one = {.arg = arg, .row = row};
    const double *codec = AT(double, arg[CODECS], *AT(int16_t, arg[FORMAT], row));
    one.packet_ms = (double)(*AT(int64_t, arg[PTIME_TS], row) * 1000) / (double)*AT(int64_t, arg[CLOCK_HZ], row);
    one.rtt_ms = *AT(float, arg[RTT_MS], row);
    one.wait_ms = one.packet_ms + *AT(double, arg[TARGET_NS], row) / 1e6;
    one.ie = codec[IE], one.bpl = codec[BPL];
    count(&one, AT(int64_t, arg[LOSS_COUNTS], row));
    return one;
}

/* What came since the agent was told last; what is too short to judge keeps its old figures, which are still there. */
static void recent(const Row *one, float *out)
{
    const int64_t *before = AT(int64_t, one->arg[BEFORE], one->row);
    int64_t since[COUNTED];
    for (int k = 0; k < COUNTED; k++) since[k] = one->counted[k] - before[k];
    float least = out[RECENT_MOS] == 0 ? NAN : out[MOS_MIN];
    if (!((double)since[EXPECTED] * one->packet_ms < one->arg[RECENT_LEAST_MS].f)) {
        double part = percent(since[MISSING] > 0 ? since[MISSING] : 0, since[EXPECTED]);
        double run = share(since[GONE] > 1 ? (double)since[GONE] : 1, (double)(since[GONE] - since[BEHIND]));
        out[RECENT_MOS] = (float)mos(rating(one, one->delay_id, equipment(one, part, run)));
        out[RECENT_LOSS_PERCENT] = (float)part;
    } else if (out[RECENT_MOS] == 0) {
        out[RECENT_MOS] = out[RECENT_LOSS_PERCENT] = NAN;
    }
    out[MOS_MIN] = fminf(least, out[RECENT_MOS]);
}

static void heard(Row *one, float *out)
{
    const Arg *arg = one->arg;
    int64_t arrived = *AT(int64_t, arg[NEXT_SEQ], one->row) - *AT(int64_t, arg[LOSS_FROM], one->row);
    Bursts bursts = measure_bursts(AT(int64_t, arg[LOSS_COUNTS], one->row),
                                   (arrived > 0 ? arrived : 0) + *AT(int64_t, arg[LOSS_CARRY], one->row));
    double missing = percent(one->counted[MISSING], one->counted[EXPECTED]);
    double loss = percent(one->lost, one->counted[EXPECTED]), worn = equipment(one, missing, bursts.loss_run);
    double delay_ms = one->rtt_ms / 2 + one->wait_ms;
    one->delay_id = delay_impairment(arg, delay_ms);
    double r = rating(one, one->delay_id, worn);
    out[LOSS_PERCENT] = (float)loss;
    out[DISCARD_PERCENT] = (float)(missing - loss);
    out[BURSTS] = (float)bursts.bursts;
    out[BURST_MS] = (float)(bursts.burst_packets * one->packet_ms);
    out[BURST_LOSS_PERCENT] = (float)(bursts.burst_density * 100);
    out[GAP_MS] = (float)(bursts.gap_packets * one->packet_ms);
    out[GAP_LOSS_PERCENT] = (float)(bursts.gap_density * 100);
    out[DELAY_MS] = one->rtt_ms > 0 ? (float)delay_ms : NAN;
    out[R_FACTOR] = (float)r;
    out[MOS] = (float)mos(r);
    out[R_LISTENING] = (float)rating(one, delay_impairment(arg, 0), worn);
    recent(one, out);
}

static void heard_by_peer(const Row *one, float *out)
{
    const Arg *arg = one->arg;
    const float *xr = AT(float, arg[PEER_XR], one->row);
    int seen = xr[XR_SEEN] != 0;
    double loss = percent(*AT(int64_t, arg[PEER_LOST], one->row), *AT(int64_t, arg[PEER_EXPECTED], one->row));
    double said = seen ? (isnan(xr[XR_LOSS]) ? 0 : xr[XR_LOSS]) + (double)(isnan(xr[XR_DISCARD]) ? 0 : xr[XR_DISCARD]) : 0;
    double late = delay_impairment(arg, one->rtt_ms / 2 + (double)*AT(int64_t, arg[OUR_PTIME_NS], one->row) / 1e6);
    double ours = rating(one, late, equipment(one, loss > said ? loss : said, 1));
    double r = seen && !isnan(xr[XR_RATING]) ? xr[XR_RATING] : ours;
    out[PEER_R_FACTOR] = (float)r;
    out[PEER_MOS] = seen && !isnan(xr[XR_SCORE]) ? xr[XR_SCORE] : (float)mos(r);
    out[PEER_LOSS_PERCENT] = (float)loss;
    out[PEER_DISCARD_PERCENT] = seen ? xr[XR_DISCARD] : NAN;
    out[PEER_BURST_MS] = seen ? xr[XR_BURST_MS] : NAN;
    out[PEER_BURST_LOSS_PERCENT] = seen ? xr[XR_BURST_LOSS] : NAN;
}

/* Whether the agent is to hear of it, every five seconds or on a change; the next interval begins there. */
static int tells(const Row *one, const float *out)
{
    const Arg *arg = one->arg;
    int64_t *told_ns = AT(int64_t, arg[TOLD_NS], one->row);
    double *told_mos = AT(double, arg[TOLD_MOS], one->row);
    int changed = fabs(out[RECENT_MOS] - *told_mos) >= arg[NOTABLE_MOS].f; /* false for nan */
    if (!changed && arg[NOW_NS].i - *told_ns < arg[TELL_NS].i) return 0;
    for (int k = 0; k < COUNTED; k++) AT(int64_t, arg[BEFORE], one->row)[k] = one->counted[k];
    *told_ns = arg[NOW_NS].i;
    *told_mos = out[RECENT_MOS];
    return 1;
}

static int is_sound(const Arg *arg)
{
    Py_ssize_t reasons = arg[DROPS].a.m;
    for (Py_ssize_t k = 0; k < arg[DISCARDS].a.n; k++) {
        int64_t reason = *AT(int64_t, arg[DISCARDS], k);
        if (reason < 0 || reason >= reasons) return 0;
    }
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i);
        int16_t format = *AT(int16_t, arg[FORMAT], row);
        if (format < 0 || format >= arg[CODECS].a.n || !*AT(int64_t, arg[CLOCK_HZ], row)) return 0;
    }
    return arg[QUALITY].a.m >= FIGURES && arg[BEFORE].a.m == COUNTED && arg[LOSS_COUNTS].a.m == BURST_COUNTS &&
           arg[PEER_XR].a.m == XR_FIELDS && arg[CODECS].a.m == 2 && arg[DELAYS_MS].a.n > 1 &&
           arg[ID].a.n == arg[DELAYS_MS].a.n && (!arg[TELL].a.n || arg[TELL].a.n >= arg[ROWS].a.n);
}

/* rate(..., codecs, rows, now_ns, tell): brings `quality` of these rows up to date; returns how many agents are to be
   told, whose rows go to `tell`.  Nobody is, if that is empty. */
int64_t rate(const Arg *arg)
{
    int64_t told = 0;
    if (!is_sound(arg)) {
        PyErr_SetString(PyExc_ValueError, "rate: the shapes of its arrays do not go together");
        return -1;
    }
    for (Py_ssize_t i = 0; i < arg[ROWS].a.n; i++) {
        int64_t row = *AT(int64_t, arg[ROWS], i);
        Row one = look(arg, row);
        float *out = AT(float, arg[QUALITY], row);
        if (one.counted[EXPECTED]) heard(&one, out);
        else for (int k = 0; k < FIGURES; k++) out[k] = NAN;
        for (Py_ssize_t k = PEER_MOS; k < arg[QUALITY].a.m; k++) if (k != R_LISTENING) out[k] = NAN;
        if (*AT(int64_t, arg[PEER_EXPECTED], row) > 0) heard_by_peer(&one, out);
        if (arg[TELL].a.n && tells(&one, out)) *AT(int64_t, arg[TELL], told++) = row;
    }
    return told;
}
