/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernels of gateway/media as a module: trunkline.gateway.media._native. */
#include "binding.h"
#include "fill.h"
#include "media.h"
#include "onward.h"
#include "queue.h"
#include "timeline.h"

static const Kernel kernels[] = {
    /* epoll, events, timeout in ms */
    {"ready", "int B2! int", ready},
    /* row of each descriptor, its last look, remotes, packets, sources, rows, lengths, named, others, notes,
       events, how many, look, behind, timed */
    {"receive", "i1 q1! B2 B2! B2! q1! i1! ?1! i2! q1! B2 int int int int", receive},
    /* descriptors, remotes, rows, packets, lengths, sent */
    {"send_packets", "i1@ B2@ rows B2 i1 ?1!", send_packets},
    {"express",
     "q2!@ q2@ d1@ d1@ d1!@ q1@ Q1!@ h1@ q1! int int real real real real rows B2 i1 ?1 q1! q1! q1! q1! d1!", express},
    {"expand", "h1 rows B2@ h2!", expand},
    {"voice", "d2!@ f1!@ d1@ ?1@ real real rows h2 f1! H1! q1!", voice},
    {"frames", "h2!@ h2!@ f1!@ ?1!@ h2!@ f2 int int real rows h2 h2 f1 h2!", frames},
    {"records", "h2!@ h2!@ f1!@ ?1!@ h2!@ f2 int int q1!@ H1!@ ?1@ I1@ q1!@ q1! real rows h2 h2 f1 H1 B2!", records},
    {"usual",
     "h2!@ h2!@ f1!@ ?1!@ h2!@ f2 int int q1!@ H1!@ ?1@ I1@ q1!@ q1! q2!@ q2@ d1@ d1@ d1!@ q1@ Q1!@ h1@ q1! "
     "d2!@ f1!@ d1@ ?1@ ?1@ ?1@ ?1@ ?1@ ?1@ ?1@ B1@ q1@ q1@ h1 int int d1 q1! q1! d1! q1! q1! ?1 ?1 q1! "
     "rows B2 i1 ?1 int int int int int int B1!",
     usual},
    {"least", "q1@ rows", least},
    {"said",
     "I1 ?1 q1 ?1 h1 int " QUEUE_TAKES " ?1 ?1 B1 q1 int int q1! q1! i1! q2 q1 q1! q1! q1! q1! q1 q1! q1! B1! real "
     "real real int int int int I1~ h2~ q1! q1! q1! q1!",
     said},
    {"speak",
     QUEUE_TAKES " f2 int int h2!@ B1 int real real real int int int h1@ ?1@ ?1@ q1@ B1!@ h1!@ d1!@ d1@ q1!@ q1@ q1!@ "
     "q1!@ q1!@ q2!@ B1@ I1@ q1@ q1@ int rows int B2! h2! q1! q1! ?1! q1!",
     speak},
    {"suited", QUEUE_TAKES " i1@ ?1@ q2@ h1@ int real rows int q1!", suited},
    {"due", "q2@ int rows int q1! q1!", due},
    {"spoken", "q2!@ q1@ q1@ q1! rows q1 ?1 int", spoken},
    {"delays", "q1 I2!@ q1! rows q1 int", delays},
    {"missing", "q2! q1! q1! int int int", missing},
    {"rate",
     "f2!@ q2!@ q1!@ d1!@ q2@ q1@ q1@ q2@ q1@ q1@ q1@ q1@ q1@ d1@ f1@ q1@ q1@ f2@ q1@ h1@ q1 d1 d1 real real real int "
     "d2 rows int q1!", rate},
    {"learn_late",
     "d1!@ d1!@ f2!@ d1!@ q1@ q1!@ q1!@ real real real real real real real real rows d1 int", learn_late},
    {"late", "learn_late() q2!@ q1@ d1@ d1@ rows d1 int", late},
    {"due_by", "q1@ rows int q1!", due_by},
    {"report",
     "q1!@ q1!@ ?1!@ q2!@ q1!@ ?2@ q2@ q2@ I1@ I1@ B1@ q1@ q1@ q1@ q1!@ q1!@ d1@ q1@ B2@ B1 int int rows d2 int B2! q1! "
     "q1!", report},
    {"hear_report", "I1 q1 q1 I1 B1 q1 q2! q1! q1! q1! f1! f1! int int int int int B1 int", hear_report},
    {"said_in", "said() h1 q1 B1! q1! q1! q1! q1! q2! q1! int int int int B1 int", said_in},
    {"leave", "send_packets() spoken() least() delays() B2 i1 q1 q1 ?1! q1! q1 q1 q1 int int", leave},
    {"play", "due() speak() leave() B2! h2! q1! q1! ?1! q1! q1! q1! q1! q1 int int int", play},
    {"admit",
     TIMELINE_TAKES " I1@ ?1@ h1@ q1@ B1!@ d1!@ q1@ q1!@ q1!@ Q1!@ q1! " MOMENT_TAKES
     " real real int rows B2 i1 ?1 q2! d1!",
     admit},
    {"follow", TIMELINE_TAKES " " MOMENT_TAKES " rows q2!", follow},
    {"lacks", TIMELINE_TAKES " " MOMENT_TAKES " int rows q2!", lacks},
    {"schedule", TIMELINE_TAKES " " MOMENT_TAKES " rows", schedule},
    {"expect", "q2!@ q2!@ I1@ B1@ ?1@ B1@ i1@ i1@ q1@ q1@ q1@ q1@ q1@ h1@ ?1@ d1@ rows", expect},
    {"decode", "h1 rows B2@ i1 h2!", decode},
    {"straight",
     "decode() voice() join() records() real real real rows q1 B2 i1 h2! h2! f1! H1! q1! B2!", straight},
    {"filled_frames", FILL_TAKES " " FILL_CALL_TAKES " h2!", filled_frames},
    {"filled_records", FILL_TAKES " q1!@ H1!@ ?1@ I1@ q1!@ q1! " FILL_CALL_TAKES " B2!", filled_records},
    {"join", "h2@ int i1@ q1!@ ?1!@ q1@ q1@ rows h2 h2!", join},
    {"tick",
     "receive() usual() late() least() delays() said_in() play() q1! "
     "B2 int int int int rows int int int int B1! int int B1! int int int int int int int int int", tick},
    {"ticks",
     "ready() tick() q1 q1! q1! q1! q1! q1 q1! "
     "B2 rows int B1! int int B1! int int int int int int int int int int int int int int int int int", ticks},
    /* row of each descriptor, rows, events, how many */
    {"waiting", "i1 q1! B2 int", waiting},
    {"onward",
     TIMELINE_TAKES " " ONWARD_BOUND_TAKES " " MOMENT_TAKES " " ONWARD_CALL_TAKES " rows q1 B2 q1 q1 B2!", onward},
    {"catch_up",
     "lacks() filled_records() onward() schedule() ?1! q1! q1! B1! H1! q1! q2! q1! " MOMENT_TAKES " q1 int int B2! B1 int",
     catch_up},
    {"refill",
     "lacks() filled_records() onward() schedule() ?1! q1! q1! B1! H1! q1! q2! q1! " MOMENT_TAKES " q1 int int B2! q1",
     refill},
    {NULL, NULL, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Kernels over a worker's table; see compiled.py.",
};

PyMODINIT_FUNC PyInit__native(void)
{
    return make_module(&definition, kernels);
}
