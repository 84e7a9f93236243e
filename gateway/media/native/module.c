/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernels of gateway/media as a module: trunkline.gateway.media._native. */
#include "binding.h"
#include "media.h"

static const Kernel kernels[] = {
    {"least", "q1@ rows", least},
    {NULL, NULL, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Kernels over a worker's table; see compiled.py.",
};

PyMODINIT_FUNC PyInit__native(void)
{
    return make_module(&definition, kernels);
}
