"""Matrix products."""

import itertools
import sys

import numpy as np
import pytest

from flatprop.kernels.compile import kernel
from flatprop.kernels.products import blocks, matmul
from flatprop.kernels.products.blocks import Blocks
from guards import assert_guards_intact, guarded
from networks import both_dtypes, double_first

SIZES = range(1, 21)
SMALL = Blocks(depth=16, rows=24, columns=64, far=1)
"""Parts so small that small matrices have several."""


class Compiled:
    """The products as functions for Python, which are compiled when they are first called."""

    def __init__(self):
        @kernel
        def affine(x, W, b, rectify, z, scratch):
            matmul.affine(x, W, b, rectify, z, scratch)

        @kernel
        def product_transposed_left(a, b, start, alpha, accumulate, out, scratch):
            matmul.product_transposed_left(a, b, start, alpha, accumulate, out, scratch)

        @kernel
        def product_transposed_right(a, b, factor, rectified, out, scratch):
            matmul.product_transposed_right(a, b, factor, rectified, out, scratch)

        @kernel
        def column_sums(a, alpha, accumulate, out, scratch):
            matmul.column_sums(a, alpha, accumulate, out, scratch)

        self.affine, self.column_sums = affine, column_sums
        self.product_transposed_left = product_transposed_left
        self.product_transposed_right = product_transposed_right


compiled = Compiled()


@pytest.fixture(params=["blocks of the caches", "small blocks"])
def any_blocks(request, monkeypatch):
    """The test once more with other blocks."""
    if request.param == "small blocks":
        monkeypatch.setattr(blocks, "BLOCKS", SMALL)
        monkeypatch.setattr(matmul, "BLOCKS", SMALL)
        monkeypatch.setattr(sys.modules[__name__], "compiled", Compiled())


def guarded_scratch(rows, widest, dtype):
    return guarded(np.full(matmul.scratch_size(rows, widest), np.nan, dtype))


def forward_product(x, W, b, rectify=False):
    """x W + b, or relu of it, in a guarded array."""
    whole, z = guarded(np.full((x.shape[0], W.shape[1]), np.nan, x.dtype))
    whole_scratch, scratch = guarded_scratch(x.shape[0], max(W.shape), x.dtype)
    compiled.affine(x, W, b, rectify, z, scratch)
    assert_guards_intact(whole)
    assert_guards_intact(whole_scratch)
    return z


def left_product(a, b, alpha=1.0, kept=None, start=0, stop=None):
    """alpha Aᵀ B, or its rows start to stop, plus what is kept."""
    stop = a.shape[1] if stop is None else stop
    shape = stop - start, b.shape[1]
    whole, out = guarded(np.full(shape, np.nan, a.dtype) if kept is None else kept)
    whole_scratch, scratch = guarded_scratch(a.shape[0], max(a.shape[1], b.shape[1]), a.dtype)
    compiled.product_transposed_left(a, b, start, alpha, kept is not None, out, scratch)
    assert_guards_intact(whole)
    assert_guards_intact(whole_scratch)
    return out


def right_product(a, b, factor, in_place=False, rectified=False):
    """factor ⊙ A Bᵀ, in the place of the factor or not; of a relu's a for its slope."""
    whole, out = guarded(factor if in_place else np.full_like(factor, np.nan))
    whole_scratch, scratch = guarded_scratch(a.shape[0], max(b.shape), a.dtype)
    compiled.product_transposed_right(a, b, out if in_place else factor, rectified, out, scratch)
    assert_guards_intact(whole)
    assert_guards_intact(whole_scratch)
    return out


def sums_of_columns(a, alpha=1.0, kept=None):
    """alpha times the sums over the rows of A, plus what is kept."""
    whole, out = guarded(np.full((1, a.shape[1]), np.nan, a.dtype) if kept is None else kept)
    whole_scratch, scratch = guarded_scratch(*a.shape, a.dtype)
    compiled.column_sums(a, alpha, kept is not None, out, scratch)
    assert_guards_intact(whole)
    assert_guards_intact(whole_scratch)
    return out


# (m, k, n): where tiles, panels and vectors end, columns few enough for their own kernels,
# numbers added up in several blocks, and matrices large enough to be packed
EDGES = [
    *[(8, 8, 16), (8, 8, 17), (32, 32, 1), (1, 32, 32), (33, 32, 1), (3, 341, 1), (3, 1, 342)],
    *[(12, 5, 32), (13, 5, 33), (23, 5, 48), (24, 5, 49), (25, 33, 31), (11, 7, 63), (36, 9, 160)],
    *[(1, 5, 127), (1, 5, 128), (1, 65, 129), (2, 64, 100), (1, 319, 9), (5, 320, 9), (5, 321, 9)],
    *[(100, 33, 3), (31, 100, 7), (5, 641, 33), (321, 12, 13), (700, 6, 5), (50, 70, 130)],
    *[(70, 33, 65), (64, 64, 64), (1, 1, 3000), (1, 3000, 1), (3000, 1, 1), (2, 3000, 2)],
    *[(40, 1030, 260), (330, 1025, 257), (37, 300, 1100)],
]


@double_first
def test_products_of_whole_numbers_are_exact(dtype):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.integers(-8, 9, shape).astype(dtype)

    for m, k, n in itertools.chain(itertools.product(SIZES, repeat=3), EDGES):
        x, W, b, d = draw(m, k), draw(k, n), draw(1, n), draw(m, n)
        assert (forward_product(x, W, b) == x @ W + b).all(), (m, k, n)
        product = x.T @ d
        assert (left_product(x, d) == product).all(), (m, k, n)
        assert (left_product(x, d, -2.0, W) == W - 2 * product).all(), (m, k, n)
        assert (right_product(d, W, x) == x * (d @ W.T)).all(), (m, k, n)
        assert (right_product(d, W, x, in_place=True) == x * (d @ W.T)).all(), (m, k, n)
        relu = forward_product(x, W, b, rectify=True)
        assert (relu == np.maximum(x @ W + b, 0)).all(), (m, k, n)
        through_relu = right_product(d, W, np.maximum(x, 0), rectified=True)
        assert (through_relu == (x > 0) * (d @ W.T)).all(), (m, k, n)
        assert (sums_of_columns(d) == d.sum(axis=0)).all(), (m, k, n)
        assert (sums_of_columns(d, 0.5, b) == b + d.sum(axis=0) / 2).all(), (m, k, n)


# around the tiles' heights, the vectors' ends, and the ends of small blocks
BLOCK_EDGES = [
    *itertools.product((5, 23, 24, 25, 49), (15, 16, 17, 40), (15, 31, 33, 65, 130)),
    *[(49, 100, 150), (64, 33, 257), (130, 129, 128), (16, 100, 100), (31, 200, 60)],
]


@pytest.mark.slow
@both_dtypes
@pytest.mark.usefixtures("any_blocks")
def test_products_of_several_blocks_are_exact(dtype):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.integers(-8, 9, shape).astype(dtype)

    for m, k, n in BLOCK_EDGES:
        x, W, b, d = draw(m, k), draw(k, n), draw(1, n), draw(m, n)
        assert (forward_product(x, W, b) == x @ W + b).all(), (m, k, n)
        relu = forward_product(x, W, b, rectify=True)
        assert (relu == np.maximum(x @ W + b, 0)).all(), (m, k, n)
        product = x.T @ d
        assert (left_product(x, d) == product).all(), (m, k, n)
        assert (left_product(x, d, -2.0, W) == W - 2 * product).all(), (m, k, n)
        assert (right_product(d, W, x) == x * (d @ W.T)).all(), (m, k, n)
        assert (right_product(d, W, x, in_place=True) == x * (d @ W.T)).all(), (m, k, n)
        through_relu = right_product(d, W, np.maximum(x, 0), rectified=True)
        assert (through_relu == (x > 0) * (d @ W.T)).all(), (m, k, n)


@both_dtypes
@pytest.mark.usefixtures("any_blocks")
@pytest.mark.slow
@pytest.mark.parametrize("size", [(97, 100, 100), (64, 128, 130), (130, 40, 3), (50, 700, 33)])
def test_rows_have_the_same_bits_whichever_rows_they_are_computed_with(size, dtype):
    """Where a result is cut at multiples of 16, and the last part takes what is left over."""
    m, k, n = size
    rng = np.random.default_rng(2)

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    def cuts(count):
        for first in range(16, count - 15, 16):
            yield [(0, first), (first, count)]
            yield [(0, 16), (16, first), (first, count)]

    x, W, b, d = draw(m, k), draw(k, n), draw(1, n), draw(m, n)
    forward, inputs, weights = (
        forward_product(x, W, b),
        right_product(d, W, x),
        left_product(x, d, -0.1, W),
    )
    for parts in cuts(m):
        for start, stop in parts:
            if start < stop:
                assert (forward_product(x[start:stop], W, b) == forward[start:stop]).all()
                part = right_product(d[start:stop], W, x[start:stop])
                assert (part == inputs[start:stop]).all()
    for parts in cuts(k):
        for start, stop in parts:
            if start < stop:
                part = left_product(x, d, -0.1, W[start:stop], start, stop)
                assert (part == weights[start:stop]).all()


@double_first
def test_some_rows_of_a_product(dtype):
    rng = np.random.default_rng(1)
    for m, k, n in [(5, 40, 3), (5, 40, 20), (30, 700, 70), (40, 1100, 300)]:
        a, b = (rng.integers(-8, 9, (m, size)).astype(dtype) for size in (k, n))
        product = a.T @ b
        for start, stop in [(0, 1), (0, k), (3, 17), (16, 32), (k - 1, k)]:
            part = left_product(a, b, start=start, stop=stop)
            assert (part == product[start:stop]).all(), (m, k, n)


@double_first
@pytest.mark.parametrize(
    "size",
    [(3, 7, 5), (9, 11, 10), (17, 9, 33), (2, 100, 100), (50, 60, 70), (1, 90, 3), (40, 700, 2)],
)
def test_products_round_as_sums_may(size, dtype):
    m, k, n = size
    rng = np.random.default_rng(1)

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    def assert_near(out, factor, a, b, added):
        a, b = a.astype(float), b.astype(float)
        bound = np.abs(factor) * (np.abs(a) @ np.abs(b)) + np.abs(added)
        error = np.abs(out - (factor * (a @ b) + added))
        assert (error <= max(size) * np.finfo(dtype).eps * bound).all()

    x, W, b, d = draw(m, k), draw(k, n), draw(1, n), draw(m, n)
    assert_near(forward_product(x, W, b), 1.0, x, W, b)
    assert_near(left_product(x, d, 0.7, W), 0.7, x.T, d, W)
    assert_near(right_product(d, W, x), x, d, W.T, 0)
    assert_near(sums_of_columns(d, 0.7, b), 0.7, np.ones((1, m)), d, b)


@double_first
def test_what_is_not_read_may_be_nan(dtype):
    """A lane beyond the last column, or what `out` held, never reaches a result."""
    for m, k, n in [(5, 3, 3), (5, 40, 3), (1, 40, 3), (13, 33, 33)]:
        x, W, b = np.ones((m, k), dtype), np.ones((k, n), dtype), np.ones((1, n), dtype)
        x[0, 0] = np.nan
        for rectify in (False, True):
            z = forward_product(x, W, b, rectify)
            assert np.isnan(z[0]).all()
            assert (z[1:] == k + 1).all()
