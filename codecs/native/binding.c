/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands between Python and the kernels; see binding.h. */
#include "binding.h"
#include <string.h>

typedef struct {
    char type[5];
    int dimensions; /* 0: a number */
    int written, by_row, anywhere, rows;
    char kernels[16]; /* their name, in place of a type */
} Wanted;

typedef struct {
    PyObject_HEAD
    const Kernel *kernel;
    int count, bound; /* arguments, and how many of them are fixed */
    Wanted wanted[MOST_ARGUMENTS];
    Arg arg[MOST_ARGUMENTS];
    Py_buffer held[MOST_ARGUMENTS];
    int rows;         /* place of the argument that names rows, -1 without one; when it is bound, what it says may change */
    Py_ssize_t least; /* rows of the shortest of the bound arrays that are indexed by `rows` */
} Bound;

static int parse_wanted(const char *word, size_t length, Wanted *wanted)
{
    memset(wanted, 0, sizeof *wanted);
    if (length == 4 && !strncmp(word, "rows", 4)) {
        wanted->rows = 1;
        wanted->dimensions = 1;
        strcpy(wanted->type, "q");
        return 0;
    }
    if ((length == 3 && !strncmp(word, "int", 3)) || (length == 4 && !strncmp(word, "real", 4))) {
        memcpy(wanted->type, word, length);
        return 0;
    }
    if (length > 2 && length - 2 < sizeof wanted->kernels && !strncmp(word + length - 2, "()", 2)) {
        memcpy(wanted->kernels, word, length - 2);
        return 0;
    }
    wanted->type[0] = word[0];
    for (size_t i = 1; i < length; i++) {
        switch (word[i]) {
        case '1': case '2': wanted->dimensions = word[i] - '0'; break;
        case '!': wanted->written = 1; break;
        case '@': wanted->by_row = 1; break;
        case '~': wanted->anywhere = 1; break;
        default: return -1;
        }
    }
    return wanted->dimensions ? 0 : -1;
}

static size_t size_of(char type)
{
    return type == 'B' || type == '?' ? 1 : type == 'h' || type == 'H' ? 2 : type == 'i' || type == 'I' || type == 'f' ? 4 : 8;
}

static int is_of(const char *format, char type)
{
    if (format == NULL) return 0;
    char given = format[0] == '<' || format[0] == '=' || format[0] == '@' ? format[1] : format[0];
    if (given == 'l' && sizeof(long) == 8) given = 'q';
    if (given == 'L' && sizeof(long) == 8) given = 'Q';
    return given == type;
}

/* Elements where the processor, and the compiler, expect those of that type; those of a row side by side. */
static int is_laid_out(const Py_buffer *view, const Wanted *wanted)
{
    size_t size = size_of(wanted->type[0]);
    if ((size_t)view->itemsize != size) return 0;
    for (int k = 0; k < view->ndim && !wanted->anywhere; k++)
        if (view->shape[k] > 1 && view->strides[k] % (Py_ssize_t)size) return 0;
    if ((uintptr_t)view->buf % size && view->len && !wanted->anywhere) return 0;
    return view->ndim < 2 || view->shape[1] < 2 || view->strides[1] == view->itemsize;
}

static int refuse(const Bound *self, int place, PyObject *given, const char *why)
{
    const Wanted *wanted = &self->wanted[place];
    PyErr_Format(PyExc_TypeError, "%s: argument %d must be a%s array of type '%s' with %d dimension(s): %R %s",
                 self->kernel->name, place, wanted->written ? " writable" : "n", wanted->type, wanted->dimensions,
                 (PyObject *)Py_TYPE(given), why);
    return -1;
}

static int take_array(const Bound *self, int place, PyObject *given, Py_buffer *view, Array *array)
{
    const Wanted *wanted = &self->wanted[place];
    int flags = PyBUF_STRIDES | PyBUF_FORMAT | (wanted->written ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(given, view, flags) < 0) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError)) return -1;
        PyErr_Clear();
        return refuse(self, place, given, wanted->written ? "is none, or cannot be written to" : "is none");
    }
    const char *why = view->ndim != wanted->dimensions           ? "has others"
                      : !is_of(view->format, wanted->type[0])    ? "is of another type"
                      : !is_laid_out(view, wanted)               ? "does not lie in memory as it must"
                                                                 : NULL;
    if (why) {
        PyBuffer_Release(view);
        return refuse(self, place, given, why);
    }
    array->data = view->buf;
    array->n = view->shape[0];
    array->m = view->ndim == 2 ? view->shape[1] : 1;
    array->step = view->strides[0];
    return 0;
}

/* A tuple is held as arrays are: `PyBuffer_Release` lets go of either. */
static int take_kernels(const Bound *self, int place, PyObject *given, Py_buffer *view, Kernels *kernels)
{
    const char *name = self->wanted[place].kernels;
    int good = PyTuple_Check(given);
    for (Py_ssize_t k = 0; good && k < PyTuple_GET_SIZE(given); k++) {
        PyObject *item = PyTuple_GET_ITEM(given, k);
        good = Py_TYPE(item) == Py_TYPE((PyObject *)self) && !strcmp(((const Bound *)item)->kernel->name, name);
    }
    if (!good) {
        PyErr_Format(PyExc_TypeError, "%s: argument %d must be a tuple of kernels \"%s\"", self->kernel->name, place, name);
        return -1;
    }
    memset(view, 0, sizeof *view);
    view->obj = Py_NewRef(given);
    *kernels = (Kernels){((PyTupleObject *)given)->ob_item, PyTuple_GET_SIZE(given)};
    return 0;
}

/* Arguments from `first` on; returns how many arrays and tuples are held in `views`, -1 with an exception. */
static int take_all(const Bound *self, int first, PyObject *given, Py_ssize_t skip, Arg *arg, Py_buffer *views)
{
    int held = 0;
    Py_ssize_t count = PyTuple_GET_SIZE(given) - skip;
    for (int k = 0; k < count; k++) {
        PyObject *item = PyTuple_GET_ITEM(given, k + skip);
        const Wanted *wanted = &self->wanted[first + k];
        if (wanted->dimensions) {
            if (take_array(self, first + k, item, &views[held], &arg[first + k].a) < 0) goto failed;
            held++;
            continue;
        }
        if (wanted->kernels[0]) {
            if (take_kernels(self, first + k, item, &views[held], &arg[first + k].k) < 0) goto failed;
            held++;
            continue;
        }
        if (wanted->type[0] == 'i') arg[first + k].i = PyLong_AsLongLong(item);
        else arg[first + k].f = PyFloat_AsDouble(item);
        if (PyErr_Occurred()) goto failed;
    }
    return held;
failed:
    while (held) PyBuffer_Release(&views[--held]);
    return -1;
}

static int rows_are_there(const Bound *self, const Arg *arg)
{
    Py_ssize_t least = self->least;
    if (self->rows < 0) return 1;
    const Arg *rows = &arg[self->rows];
    for (int k = self->bound; k < self->count; k++)
        if (self->wanted[k].by_row && arg[k].a.n < least) least = arg[k].a.n;
    for (Py_ssize_t i = 0; i < rows->a.n; i++) {
        int64_t row = *AT(const int64_t, *rows, i);
        if (row < 0 || row >= least) {
            PyErr_Format(PyExc_IndexError, "%s: there is no row %lld", self->kernel->name, (long long)row);
            return 0;
        }
    }
    return 1;
}

int64_t run_bound(PyObject *kernel, const Arg *rest, int count)
{
    const Bound *self = (const Bound *)kernel;
    Arg arg[MOST_ARGUMENTS];
    if (count != self->count - self->bound) {
        PyErr_Format(PyExc_SystemError, "%s is to be run with %d arguments, not %d", self->kernel->name,
                     self->count - self->bound, count);
        return -1;
    }
    memcpy(arg, self->arg, self->bound * sizeof *arg);
    memcpy(arg + self->bound, rest, count * sizeof *arg);
    return rows_are_there(self, arg) ? self->kernel->run(arg) : -1;
}

const Arg *bound_arguments(PyObject *kernel)
{
    return ((const Bound *)kernel)->arg;
}

static PyObject *bound_call(PyObject *object, PyObject *given, PyObject *named)
{
    Bound *self = (Bound *)object;
    Py_buffer views[MOST_ARGUMENTS];
    Arg arg[MOST_ARGUMENTS];
    PyObject *result = NULL;
    if (PyTuple_GET_SIZE(given) != self->count - self->bound || (named && PyDict_GET_SIZE(named))) {
        return PyErr_Format(PyExc_TypeError, "%s takes %d arguments after those that are bound, by place",
                            self->kernel->name, self->count - self->bound);
    }
    memcpy(arg, self->arg, self->bound * sizeof *arg);
    int held = take_all(self, self->bound, given, 0, arg, views);
    if (held < 0) return NULL;
    if (rows_are_there(self, arg)) {
        int64_t value = self->kernel->run(arg);
        if (!PyErr_Occurred()) result = PyLong_FromLongLong(value);
    }
    while (held) PyBuffer_Release(&views[--held]);
    return result;
}

static void bound_dealloc(PyObject *object)
{
    Bound *self = (Bound *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (int k = 0; k < MOST_ARGUMENTS; k++)
        if (self->held[k].obj) PyBuffer_Release(&self->held[k]);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot bound_slots[] = {
    {Py_tp_call, bound_call},
    {Py_tp_dealloc, bound_dealloc},
    {Py_tp_doc, "A kernel, some of whose arguments are fixed."},
    {0, NULL},
};

static PyType_Spec bound_spec = {
    "trunkline.Kernel", sizeof(Bound), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, bound_slots,
};

typedef struct {
    PyTypeObject *type;
    const Kernel *kernels;
} State;

static int set_up(Bound *self, PyObject *given)
{
    self->rows = -1;
    for (const char *word = self->kernel->takes; *word;) {
        size_t length = strcspn(word, " ");
        int place = self->count;
        if (place == MOST_ARGUMENTS || parse_wanted(word, length, &self->wanted[self->count++]) < 0 ||
            (self->wanted[place].rows && self->rows >= 0)) {
            PyErr_Format(PyExc_SystemError, "%s: \"%s\" is no list of arguments", self->kernel->name, self->kernel->takes);
            return -1;
        }
        if (self->wanted[place].rows) self->rows = place;
        word += length + strspn(word + length, " ");
    }
    self->bound = (int)PyTuple_GET_SIZE(given) - 1;
    if (self->bound > self->count) {
        PyErr_Format(PyExc_TypeError, "%s has %d arguments, not %d", self->kernel->name, self->count, self->bound);
        return -1;
    }
    if (take_all(self, 0, given, 1, self->arg, self->held) < 0) return -1;
    self->least = PY_SSIZE_T_MAX;
    for (int k = 0; k < self->bound; k++)
        if (self->wanted[k].by_row && self->arg[k].a.n < self->least) self->least = self->arg[k].a.n;
    return 0;
}

static PyObject *bind(PyObject *module, PyObject *given)
{
    State *state = PyModule_GetState(module);
    const char *name = PyTuple_GET_SIZE(given) ? PyUnicode_AsUTF8(PyTuple_GET_ITEM(given, 0)) : "";
    if (name == NULL) return NULL;
    for (const Kernel *kernel = state->kernels; kernel->name; kernel++) {
        if (strcmp(kernel->name, name)) continue;
        Bound *self = PyObject_New(Bound, state->type);
        if (self == NULL) return NULL;
        memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
        self->kernel = kernel;
        if (set_up(self, given) < 0) {
            Py_DECREF(self);
            return NULL;
        }
        return (PyObject *)self;
    }
    return PyErr_Format(PyExc_LookupError, "there is no kernel \"%s\"", name);
}

static PyMethodDef bind_method = {
    "bind", bind, METH_VARARGS, "bind(name, *first): a kernel, to be called with the arguments that are left.",
};

PyObject *make_module(struct PyModuleDef *definition, const Kernel *kernels)
{
    definition->m_size = sizeof(State);
    PyObject *module = PyModule_Create(definition);
    if (module == NULL) return NULL;
    State *state = PyModule_GetState(module);
    state->kernels = kernels;
    state->type = (PyTypeObject *)PyType_FromSpec(&bound_spec);
    PyObject *name = PyUnicode_FromString(definition->m_name);
    PyObject *function = state->type && name ? PyCFunction_NewEx(&bind_method, module, name) : NULL;
    Py_XDECREF(name);
    if (function == NULL || PyModule_AddObject(module, "bind", function) < 0) {
        Py_XDECREF(function);
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
