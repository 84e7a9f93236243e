/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernels: compiled loops over NumPy arrays, called from Python with next to no cost.

   A kernel is a C function of arguments that are arrays or numbers.  What it takes is a text, one
   word an argument, which is checked at each call:

       type     h H i I q Q f d B ?    as NumPy's characters: i16 u16 i32 u32 i64 u64 f32 f64 u8 bool
                int real               numbers
                rows                   q1, row numbers; at most one argument of a kernel
                NAME()                 a tuple of kernels of that name, for this one to run (`run_bound`)
       shape    1 or 2 dimensions      elements of the last one lie side by side in arrays of 2
       !        is written to
       @        has a row for each index in the argument `rows`, which are checked to be there
       ~        elements may lie at any address, as in what came through a socket: the kernel copies each

   Elements are in the machine's own order, and aligned but for `~`; rows, and elements of arrays of 1, may lie any distance
   apart, backwards too.

   `bind(name, *first)` fixes the first arguments once, columns of a table say; the rest come with each call. */
#ifndef TRUNKLINE_BINDING_H
#define TRUNKLINE_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

typedef struct {
    char *data;
    Py_ssize_t n;    /* rows, or elements of an array of one dimension */
    Py_ssize_t m;    /* elements of a row; 1 in an array of one dimension */
    Py_ssize_t step; /* bytes from row to row */
} Array;

typedef struct {
    PyObject *const *of;
    Py_ssize_t n;
} Kernels;

typedef union {
    Array a;
    Kernels k;
    int64_t i;
    double f;
} Arg;

typedef int64_t Run(const Arg *arg);

typedef struct {
    const char *name;
    const char *takes;
    Run *run;
} Kernel;

/* Row i of argument `arg` as a pointer to `type`. */
#define AT(type, arg, i) ((type *)((arg).a.data + (i) * (arg).a.step))

/* So many items of an array, from `first` on; */
static inline Arg items_of(const Arg *arg, int64_t first, int64_t count)
{
    Array a = arg->a;
    return (Arg){.a = {a.data + first * a.step, count, a.m, a.step}};
}

/* ... all that are left. */
static inline Arg rest_of(const Arg *arg, int64_t first) { return items_of(arg, first, arg->a.n - first); }

/* The one function of a module: makes it of a list of kernels that ends with an empty name. */
PyObject *make_module(struct PyModuleDef *definition, const Kernel *kernels);

/* Run a kernel out of an argument `NAME()`, with `rest` for those of its arguments that are not bound: no types are
   checked, but its rows are. -1 with an exception, or what it returns. */
int64_t run_bound(PyObject *kernel, const Arg *rest, int count);

/* Those of its arguments that are bound, for whoever knows what they are. */
const Arg *bound_arguments(PyObject *kernel);

#define MOST_ARGUMENTS 64

#endif
