"""Vectors that are only partly inside of an array, as every kind of processor moves them."""

from functools import cache

import numpy as np
import pytest
from llvmlite import ir
from numba.core import types

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.masks import LaneMask, MaskedMoves
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import registers
from flatprop.numbers.lanes import REGISTER_BYTES, lane_count
from guards import assert_guards_intact, at_the_end_of_memory, guarded
from networks import DTYPES

# Any processor runs what is written for another kind, if not as fast.
KINDS = {
    "AVX-512": MaskedMoves(loads=True, stores=True),
    "AVX": MaskedMoves(loads=True, stores=False),
    "NEON": MaskedMoves(loads=False, stores=False),
}
every_case = pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, dtype) for kind in KINDS for dtype in DTYPES],
    ids=lambda value: getattr(value, "__name__", value),
)


@cache
def functions_of(kind):
    """What a kind of processor does: move a vector under a mask; a loop over three arrays."""
    moves = KINDS[kind]

    @routine(count=types.int64)
    def move(builder, count, source, out, vector):
        lanes = lane_count(out.element)
        pointer = ir.VectorType(out.element, lanes).as_pointer()
        here, there, whole = (builder.bitcast(a.data, pointer) for a in (source, out, vector))
        mask = LaneMask(builder, out.element, count, moves)
        (inside,) = mask.load([here])
        mask.store([inside], [there])
        builder.store(inside, whole, align=REGISTER_BYTES // lanes)

    @routine()
    def twice_and_sum(builder, source, total, out):
        arrays = (array._replace(masks=moves) for array in (source, total, out))
        for register in registers(*arrays, written_only=1):
            register.store(register[0] + register[1], 1)
            register.store(register[0] * 2.0, 2)

    @kernel
    def call_move(count, source, out, vector):
        move(count, source, out, vector)

    @kernel
    def call_loop(source, total, out):
        twice_and_sum(source, total, out)

    return call_move, call_loop


@every_case
def test_a_mask_has_the_first_lanes(kind, dtype):
    move, _ = functions_of(kind)
    lanes = REGISTER_BYTES // np.dtype(dtype).itemsize
    numbers = np.arange(1, lanes + 1).astype(dtype)
    for count in (-(2**40), -1, *range(lanes + 2), 2**40):
        inside = min(max(count, 0), lanes)
        source = at_the_end_of_memory(numbers[:inside])
        out, vector = at_the_end_of_memory(np.zeros(inside, dtype)), np.full(lanes, 7, dtype)
        move(count, source, out, vector)
        np.testing.assert_array_equal(out, source)
        np.testing.assert_array_equal(vector, np.where(np.arange(lanes) < inside, numbers, 0))
        whole, out = guarded(np.zeros(inside, dtype))
        move(count, source, out, vector)
        np.testing.assert_array_equal(out, source)
        assert_guards_intact(whole)


@every_case
def test_loops_end_where_arrays_end(kind, dtype):
    _, loop = functions_of(kind)
    lanes = REGISTER_BYTES // np.dtype(dtype).itemsize
    for length in range(2 * lanes + 2):
        numbers = np.arange(length).astype(dtype)
        source, total, out = (at_the_end_of_memory(n) for n in (numbers, 3 - numbers, numbers))
        loop(source, total, out)
        np.testing.assert_array_equal(source, numbers)
        np.testing.assert_array_equal(total, np.full(length, 3))
        np.testing.assert_array_equal(out, 2 * numbers)
        (whole, total), (other, out) = guarded(3 - numbers), guarded(numbers)
        loop(source, total, out)
        np.testing.assert_array_equal(total, np.full(length, 3))
        np.testing.assert_array_equal(out, 2 * numbers)
        assert_guards_intact(whole)
        assert_guards_intact(other)
