/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernels of gateway/media as a module: trunkline.gateway.media._native. */
#include "binding.h"
#include "media.h"

static const Kernel kernels[] = {
    /* epoll, events, timeout in ms */
    {"ready", "int B2! int", ready},
    /* row of each descriptor, its last look, remotes, packets, sources, rows, lengths, named, others, notes,
       events, how many, look, behind, timed */
    {"receive", "i1 q1! B2 B2! B2! q1! i1! ?1! i2! q1! B2 int int int int", receive},
    /* descriptors, remotes, rows, packets, lengths, sent */
    {"send_packets", "i1@ B2@ rows B2 i1 ?1!", send_packets},
    {NULL, NULL, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Kernels over a worker's table; see compiled.py.",
};

PyMODINIT_FUNC PyInit__native(void)
{
    return make_module(&definition, kernels);
}
