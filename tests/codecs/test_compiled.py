# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled kernels: what the binding refuses, what it holds on to, and that they compute what NumPy does."""

from __future__ import annotations

import ctypes
import gc
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.codecs import compiled
from trunkline.codecs.level import FLOOR_DBOV, level_by_numpy, level_dbov_of
from trunkline.codecs.resample import Resampler, get_resampler

pytestmark = pytest.mark.skipif(compiled.native is None, reason="built without a compiler")

MULTIPLES = [(a, b) for a in (8000, 16000, 24000, 48000) for b in (8000, 16000, 24000, 48000) if a != b]
COMPILED = [pair for pair in MULTIPLES if max(pair) % min(pair) == 0]


def bind(name: str, *first: Any) -> compiled.Kernel:
    kernel = compiled.bind(name, *first)
    assert kernel is not None
    return kernel


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


class Level:
    """`level` with arguments that it takes, but for one."""

    def __init__(self) -> None:
        self.given: list[Any] = [np.ones((3, 80), np.int16), 1, np.zeros(3, np.float32)]

    def __call__(self, place: int, value: Any) -> int:
        return bind("level")(*self.given[:place], value, *self.given[place + 1 :])


@pytest.fixture
def level() -> Level:
    return Level()


@pytest.fixture
def resampling() -> Callable[..., int]:
    """`resample` from 8 to 16 kHz of two frames for the first two rows of four, with arguments replaced by name."""
    filter_ = get_resampler(8000, 16000)

    def run(**changed: Any) -> int:
        given: dict[str, Any] = {
            "taps": filter_.phases,
            "up": 2,
            "down": 1,
            "history": filter_.new_history(4),
            "rows": np.arange(2),
            "pcm": np.ones((2, 160), np.int16),
            "out": np.zeros((2, 320), np.int16),
        } | changed
        return bind("resample", *list(given.values())[:3])(*list(given.values())[3:])

    return run


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(0, [[1, 2]], id="a list"),
        pytest.param(0, None, id="nothing"),
        pytest.param(0, "text", id="text"),
        pytest.param(0, b"12", id="bytes"),
        pytest.param(0, np.int16(3), id="a number for an array"),
        pytest.param(0, np.ones((3, 80), np.int32), id="int32"),
        pytest.param(0, np.ones((3, 80), np.uint16), id="uint16"),
        pytest.param(0, np.ones((3, 80), np.float16), id="float16"),
        pytest.param(0, np.ones((3, 80), ">i2"), id="byte-swapped"),
        pytest.param(0, np.zeros((3, 80), [("a", "i2")]), id="a field"),
        pytest.param(0, np.full((3, 80), None), id="objects"),
        pytest.param(0, np.zeros((3, 80), "M8[s]"), id="dates, which have no buffer"),
        pytest.param(0, np.ones(80, np.int16), id="one dimension"),
        pytest.param(0, np.ones((1, 3, 80), np.int16), id="three dimensions"),
        pytest.param(0, np.ones((), np.int16), id="no dimension"),
        pytest.param(0, np.ones((3, 160), np.int16)[:, ::2], id="gaps within a row"),
        pytest.param(0, np.ones((3, 80), np.int16)[:, ::-1], id="a row backwards"),
        pytest.param(0, np.ones((80, 3), np.int16).T, id="columns side by side"),
        pytest.param(0, np.frombuffer(bytes(481), np.int16, 240, 1).reshape(3, 80), id="odd address"),
        pytest.param(
            0, np.ndarray((3, 80), np.int16, bytes(600), strides=(161, 2)), id="rows at odd addresses"
        ),
        pytest.param(1, 1.0, id="a fraction for a number"),
        pytest.param(1, np.ones(2, np.int64), id="an array for a number"),
        pytest.param(1, "1", id="text for a number"),
        pytest.param(1, None, id="nothing for a number"),
        pytest.param(2, read_only(np.zeros(3, np.float32)), id="read-only"),
        pytest.param(2, np.zeros(3, np.float64), id="float64"),
        pytest.param(2, np.zeros((3, 1), np.float32), id="two dimensions"),
        pytest.param(2, bytes(12), id="bytes to write to"),
    ],
)
def test_arguments_of_another_kind_are_refused(level: Level, place: int, value: Any) -> None:
    """An exception, never a conversion: a converted copy would be written to in vain."""
    with pytest.raises(TypeError):
        level(place, value)
    assert not level.given[2].any()


def test_the_refusal_says_what_was_wanted(level: Level) -> None:
    """By the kernel's name and the argument's place, counted from 0."""
    with pytest.raises(TypeError, match=r"level: argument 0 must be an array of type 'h' with 2 dimension\(s\)"):
        level(0, np.ones((3, 80), np.int32))
    with pytest.raises(TypeError, match=r"argument 2 must be a writable array of type 'f'.* cannot be written to"):
        level(2, read_only(np.zeros(3, np.float32)))
    with pytest.raises(TypeError, match="has others"):
        level(0, np.ones(3, np.int16))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
def test_numbers_beyond_64_bits_are_refused(level: Level, number: int) -> None:
    with pytest.raises(OverflowError):
        level(1, number)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 60])
def test_too_few_or_too_many_arguments_are_refused(count: int) -> None:
    with pytest.raises(TypeError, match="level takes 3 arguments"):
        bind("level")(*[np.ones((1, 80), np.int16)] * count)


def test_arguments_come_by_place_only(level: Level) -> None:
    with pytest.raises(TypeError, match="by place"):
        bind("level")(*level.given, every=1)
    with pytest.raises(TypeError, match="by place"):
        bind("level")(*level.given[:2], level=level.given[2])
    with pytest.raises(TypeError):
        compiled.native.bind(name="level")


def test_what_is_bound_is_checked_as_well() -> None:
    with pytest.raises(TypeError, match="level has 3 arguments, not 4"):
        compiled.bind("level", np.ones((1, 80), np.int16), 1, np.zeros(1, np.float32), 1)
    with pytest.raises(TypeError, match="argument 0"):
        compiled.bind("level", np.ones((1, 80), np.int32))
    with pytest.raises(TypeError, match="argument 2"):
        compiled.bind("level", np.ones((1, 80), np.int16), 1, np.zeros(1))


@pytest.mark.parametrize("name", ["", "lev", "levels", "résample", "x" * 10_000])
def test_an_unknown_kernel_is_a_lookup_error(name: str) -> None:
    with pytest.raises(LookupError, match="there is no kernel"):
        compiled.bind(name)


def test_a_kernel_has_a_name_and_is_made_by_bind_alone() -> None:
    with pytest.raises(LookupError):
        compiled.native.bind()
    for name in (None, 3, b"level"):
        with pytest.raises(TypeError):
            compiled.native.bind(name)
    with pytest.raises(TypeError, match="cannot create"):
        type(compiled.bind("level"))()


# --- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [-1, 4, 2**40, -(2**63), 2**63 - 1])
def test_rows_that_are_not_there_are_refused(resampling: Callable[..., int], row: int) -> None:
    """Before anything is written."""
    history, out = get_resampler(8000, 16000).new_history(4), np.zeros((2, 320), np.int16)
    with pytest.raises(IndexError, match=f"resample: there is no row {row}"):
        resampling(rows=np.array([0, row]), history=history, out=out)
    assert not history.any() and not out.any()


def test_a_table_without_rows_has_none(resampling: Callable[..., int]) -> None:
    with pytest.raises(IndexError, match="there is no row 0"):
        resampling(history=get_resampler(8000, 16000).new_history(0))


def test_no_rows_are_no_work(resampling: Callable[..., int]) -> None:
    """With a table that has none, either."""
    nothing = {"rows": np.arange(0), "pcm": np.ones((0, 160), np.int16), "out": np.zeros((0, 320), np.int16)}
    assert resampling(**nothing) == 0
    assert resampling(**nothing, history=get_resampler(8000, 16000).new_history(0)) == 0


@pytest.mark.parametrize("bound", [4, 5, 7])
def test_rows_are_checked_at_each_call_where_they_are_bound(bound: int) -> None:
    """What a bound array says may have changed since."""
    filter_, rows = get_resampler(8000, 16000), np.arange(2)
    given = (filter_.phases, 2, 1, filter_.new_history(4), rows, np.ones((2, 160), np.int16),
             np.zeros((2, 320), np.int16))  # fmt: skip
    kernel = bind("resample", *given[:bound])
    assert kernel(*given[bound:]) == 0
    rows[1] = 4
    with pytest.raises(IndexError, match="there is no row 4"):
        kernel(*given[bound:])


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.float64])
def test_rows_are_int64(resampling: Callable[..., int], dtype: type) -> None:
    with pytest.raises(TypeError, match="argument 4"):
        resampling(rows=np.arange(2).astype(dtype))


def test_rows_of_arrays_may_lie_anywhere(resampling: Callable[..., int]) -> None:
    """Backwards, apart, every second one: what indexing gives without a copy."""
    rng = np.random.default_rng(1)
    pcm = rng.integers(-9000, 9000, (4, 160)).astype(np.int16)
    whole, parts = np.zeros((2, 320), np.int16), np.zeros((4, 330), np.int16)
    resampling(pcm=pcm[[3, 1]], out=whole)
    assert resampling(pcm=pcm[::-2], out=parts[::2, 5:325], rows=np.array([1, 9, 0, 9])[::2]) == 0
    np.testing.assert_array_equal(parts[::2, 5:325], whole)
    assert not parts[1::2].any() and not parts[:, :5].any() and not parts[:, 325:].any()


# --- what a kernel itself refuses ------------------------------------------------------------------


@pytest.mark.parametrize("every", [0, -1, -(2**63)])
def test_an_exception_of_a_kernel_reaches_the_caller(level: Level, every: int) -> None:
    with pytest.raises(ValueError, match="level: one level for each row"):
        level(1, every)


def test_a_level_has_a_place_for_each_row(level: Level) -> None:
    with pytest.raises(ValueError, match="level: one level for each row"):
        level(2, np.zeros(2, np.float32))


@pytest.mark.parametrize(
    "changed",
    [
        {"up": 0}, {"down": 0}, {"up": -1}, {"down": -1}, {"up": 3}, {"up": 2**32}, {"up": 2**32 + 2},
        {"down": 2**32}, {"down": 2**32 + 1}, {"down": -(2**63)}, {"up": 2, "down": 2},
        {"taps": np.zeros((0, 40), np.float32)}, {"taps": np.zeros((2, 0), np.float32)},
        {"taps": np.zeros((2, 600), np.float32)}, {"taps": np.zeros((2, 80), np.float32)[:, :40]},
        {"taps": np.zeros((1, 40), np.float32)},
        {"history": np.zeros((4, 3), np.int16)},
        {"pcm": np.ones((2, 5761), np.int16), "out": np.zeros((2, 20_000), np.int16)},
        {"pcm": np.ones((3, 160), np.int16)}, {"pcm": np.ones((1, 160), np.int16)},
        {"out": np.zeros((2, 319), np.int16)}, {"out": np.zeros((1, 320), np.int16)},
        {"taps": np.zeros((1, 40), np.float32), "up": 1, "down": 3},
    ],
)  # fmt: skip
def test_shapes_that_do_not_go_together_are_refused(
    resampling: Callable[..., int], changed: dict[str, Any]
) -> None:
    """Nothing is written out of bounds, and nothing is divided by 0."""
    with pytest.raises(ValueError, match="resample: the shapes"):
        resampling(**changed)


# --- what is held --------------------------------------------------------------------------------


def test_a_kernel_holds_what_is_bound_and_lets_go_of_it() -> None:
    filter_ = get_resampler(8000, 16000)
    taps, history = filter_.phases.copy(), filter_.new_history(4)
    before = sys.getrefcount(taps), sys.getrefcount(history)
    kernel = bind("resample", taps, 2, 1, history)
    assert (sys.getrefcount(taps), sys.getrefcount(history)) == (before[0] + 1, before[1] + 1)
    with pytest.raises(ValueError, match="resize"):
        taps.resize((4, 4))
    kernel(np.arange(2), np.ones((2, 160), np.int16), np.zeros((2, 320), np.int16))
    del kernel
    assert (sys.getrefcount(taps), sys.getrefcount(history)) == before


def test_a_kernel_keeps_its_arrays_alive() -> None:
    """The caller need not."""
    filter_ = get_resampler(8000, 16000)
    kernel = bind("resample", filter_.phases.copy(), 2, 1, filter_.new_history(4))
    gc.collect()
    pcm, out = np.full((1, 160), 1000, np.int16), np.zeros((1, 320), np.int16)
    for _ in range(2):
        kernel(np.arange(1), pcm, out)
    assert np.all(np.abs(out - 1000) <= 2)


def test_neither_a_call_nor_a_refusal_keeps_anything() -> None:
    filter_ = get_resampler(8000, 16000)
    taps, history, rows = filter_.phases.copy(), filter_.new_history(4), np.arange(2)
    pcm, out = np.ones((2, 160), np.int16), np.zeros((2, 320), np.int16)
    held = (taps, history, rows, pcm, out)
    kernel = bind("resample", taps, 2, 1)
    kind = type(kernel)
    before = [sys.getrefcount(one) for one in (*held, kind)]
    kernel(history, rows, pcm, out)
    for wrong in ((history, rows, pcm, out[:, ::2]), (history, rows + 4, pcm, out), (history, rows, pcm[:1], out)):
        with pytest.raises((TypeError, IndexError, ValueError)):
            kernel(*wrong)
    with pytest.raises(TypeError):
        bind("resample", taps, 2, 1, history, rows, pcm, None)
    del wrong
    gc.collect()
    assert [sys.getrefcount(one) for one in (*held, kind)] == before


def test_many_refusals_do_not_grow_memory() -> None:
    """A stage that is refused each tick must not be what ends the process."""
    kernel = bind("level")
    pcm, every, out = np.ones((1, 8), np.int16), 1, np.zeros(1, np.float32)
    wrong = ((pcm,), (pcm, every, None), (pcm, "1", out), (pcm, 0, out), (pcm[0], every, out))

    def refuse(times: int) -> None:
        for number in range(times):
            try:
                kernel(*wrong[number % len(wrong)])
            except (TypeError, ValueError):
                continue
            raise AssertionError("it was taken")

    refuse(1000)
    before = resident_kb()
    refuse(100_000)
    assert resident_kb() - before < 500


def test_many_kernels_do_not_grow_memory() -> None:
    taps, history = get_resampler(8000, 16000).phases, np.zeros((4, 40), np.int16)

    def make(times: int) -> None:
        for _ in range(times):
            bind("resample", taps, 2, 1, history)
            with pytest.raises(TypeError):
                compiled.native.bind("resample", taps, 2, 1, None)

    make(100)
    before = resident_kb()
    make(10_000)
    assert resident_kb() - before < 500


def resident_kb() -> int:
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


# --- twins ---------------------------------------------------------------------------------------


def numpy_only(from_hz: int, to_hz: int) -> Resampler:
    resampler = Resampler(from_hz, to_hz)
    resampler._kernel = None
    return resampler


LENGTHS_MS = st.sampled_from([0, 0.125, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 125, 250])


@pytest.mark.parametrize(("from_hz", "to_hz"), MULTIPLES)
@settings(max_examples=25)
@given(lengths=st.lists(LENGTHS_MS, min_size=1, max_size=4), seed=st.integers(0, 2**32), loud=st.booleans())
def test_resampling_is_that_of_numpy(
    from_hz: int, to_hz: int, lengths: list[float], seed: int, loud: bool
) -> None:
    """Frames of any length, none and more than a kernel takes among them, in rows of a table, of any loudness."""
    ours, theirs = get_resampler(from_hz, to_hz), numpy_only(from_hz, to_hz)
    rng = np.random.default_rng(seed)
    tables = [np.zeros((5, ours.history_samples + 3), np.int16) for _ in range(2)]
    for length_ms in lengths:
        samples = round(length_ms * from_hz / 1000) // ours.down * ours.down
        rows = rng.permutation(5)[: rng.integers(0, 6)]
        peak = 32768 if loud else 3000
        pcm = rng.integers(-peak, peak, (len(rows), samples)).astype(np.int16)
        if loud and samples:  # square waves overshoot
            pcm = np.where(pcm < 0, -32768, 32767).astype(np.int16)
        made = [one.process_rows(table, rows, pcm) for one, table in zip((ours, theirs), tables, strict=True)]
        assert made[0].shape == made[1].shape == (len(rows), samples * to_hz // from_hz)
        assert made[0].dtype == np.int16
        assert np.all(np.abs(made[0].astype(int) - made[1]) <= 1)
        np.testing.assert_array_equal(tables[0], tables[1])


@pytest.mark.parametrize(("from_hz", "to_hz"), COMPILED)
def test_a_whole_multiple_has_a_kernel_and_what_is_too_long_for_it_is_left_to_numpy(
    from_hz: int, to_hz: int
) -> None:
    ours = get_resampler(from_hz, to_hz)
    assert ours._kernel is not None
    pcm = np.full((1, 5760 + 2 * ours.down), 500, np.int16)
    history = ours.new_history(1)
    out = ours.process_rows(history, np.arange(1), pcm)
    assert out.shape[1] == ours.output_samples(pcm.shape[1])
    assert np.all(np.abs(out[0, -100:] - 500) <= 1) and np.all(history == 500)


class Filter(ctypes.Structure):
    """As native/samples.h has it."""

    _fields_ = (
        ("taps", ctypes.c_void_p), ("up", ctypes.c_int), ("down", ctypes.c_int), ("history", ctypes.c_int),
    )  # fmt: skip


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """`resample` for one row as of a processor without wide vectors: which there are is not for a test to choose."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = pathlib.Path(str(compiled.__file__)).parent / "native" / "resample.c"
    library = tmp_path_factory.mktemp("narrow") / "resample.so"
    flags = ("-DNARROW", "-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).resample

    def at(array: np.ndarray) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    def run(taps: np.ndarray, up: int, down: int, history: np.ndarray, pcm: np.ndarray, out: np.ndarray) -> None:
        given = Filter(taps.ctypes.data, up, down, taps.shape[1] - 1)
        function(ctypes.byref(given), at(history), at(pcm), pcm.shape[1], at(out))

    return run


@pytest.mark.parametrize(("from_hz", "to_hz"), COMPILED)
def test_narrow_vectors_compute_what_wide_ones_do(
    narrow: Callable[..., None], from_hz: int, to_hz: int
) -> None:
    """Frames of many lengths, shorter than the history and no whole number of vectors among them."""
    ours = get_resampler(from_hz, to_hz)
    rng = np.random.default_rng(from_hz + to_hz)
    theirs, history = ours.new_history(1), ours.new_history(1)
    for samples in (0, 1, 3, 40, 79, 80, 81, 160, 161, 320, 5760 // ours.down):
        pcm = rng.integers(-32768, 32768, (1, samples * ours.down)).astype(np.int16)
        out = np.full((1, samples * ours.up + 1), 7, np.int16)
        narrow(ours.phases, ours.up, ours.down, history, pcm, out)
        made = ours.process_rows(theirs, np.arange(1), pcm)
        assert np.all(np.abs(out[:, :-1].astype(int) - made) <= 1) and out[0, -1] == 7
        np.testing.assert_array_equal(history, theirs)


@pytest.mark.parametrize("kept", [0, 1, 2, 5, 72])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (7, 1), (1, 2), (1, 3), (1, 7)])
@pytest.mark.parametrize("is_zero", [False, True])
def test_resampling_by_any_taps_is_its_definition(
    narrow: Callable[..., None], up: int, down: int, kept: int, is_zero: bool
) -> None:
    """Whatever the history: no whole number of outputs, fewer taps than phases, no tap that is not zero."""
    rng = np.random.default_rng(up + down + kept)
    taps = (not is_zero) * rng.uniform(-0.2, 0.2, (up, kept + 1)).astype(np.float32)
    taps[0, : kept // 2] = 0
    pcm = rng.integers(-9000, 9000, (1, 11 * down)).astype(np.int16)
    histories = np.repeat(rng.integers(-9000, 9000, (1, kept)).astype(np.int16), 2, axis=0)
    made = np.zeros((2, 11 * up), np.int16)
    line = np.concatenate([histories[0], pcm[0]])
    wanted = [tap @ line[at : at + kept + 1] for at in range(0, 11 * down, down) for tap in taps.astype(float)]
    bind("resample")(taps, up, down, histories[:1], np.arange(1), pcm, made[:1])
    narrow(taps, up, down, histories[1:], pcm, made[1:])
    assert np.abs(made - np.array(wanted)).max() < 0.51
    np.testing.assert_array_equal(histories, np.tile(line[len(line) - kept :], (2, 1)))


@settings(max_examples=200)
@given(
    rows=st.integers(0, 5),
    samples=st.integers(0, 400),
    every=st.integers(1, 500) | st.just(2**62),
    peak=st.sampled_from([0, 1, 2, 300, 32767]),
    seed=st.integers(0, 2**32),
)
def test_levels_are_those_of_numpy_and_of_the_definition(
    rows: int, samples: int, every: int, peak: int, seed: int
) -> None:
    pcm = np.random.default_rng(seed).integers(-peak, peak + 1, (rows, samples)).astype(np.int16)
    level = np.full(rows + 1, 7, np.float32)
    bind("level")(pcm, every, level)
    assert level[-1] == 7, "beyond its rows nothing is written"
    step = min(every, max(samples, 1))
    np.testing.assert_allclose(level[:-1], level_by_numpy(pcm[:, ::step]), atol=1e-4)
    np.testing.assert_allclose(level[:-1], [level_dbov_of(row[::step].tolist()) for row in pcm], atol=1e-4)


@pytest.mark.parametrize("sample", [-32768, 32767, 0, 1, -1])
def test_levels_at_the_edges(sample: int) -> None:
    """Full scale is 0 dBov and no more; silence is the floor; with rows of no samples, too."""
    pcm, level = np.full((1, 160), sample, np.int16), np.zeros(1, np.float32)
    bind("level")(pcm, 1, level)
    assert level[0] == pytest.approx(level_dbov_of(pcm[0].tolist()), abs=1e-4)
    assert FLOOR_DBOV <= level[0] <= 0
    bind("level")(pcm[:, :0], 1, level)
    assert level[0] == FLOOR_DBOV
