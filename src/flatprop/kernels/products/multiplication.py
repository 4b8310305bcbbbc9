"""One matrix product, as functions hand it on to each other."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from llvmlite import ir

from flatprop.kernels.loops.masks import MaskedMoves, splat
from flatprop.kernels.loops.routines import subroutine
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.products.operands import Finish, Strided
from flatprop.kernels.products.tiles import Tiles

# Kinds of products
PLAIN, AFFINE, TRANSPOSED_LEFT, TRANSPOSED_RIGHT = range(4)


class Multiplication(NamedTuple):
    """A product of (m, k) and (k, n), and what becomes of it.

    It stands in the arguments of a function. Such a function looks at them and jumps to the
    function for the case, which has the same arguments, so that none is moved. A small product
    then saves no registers for the sake of a large one.
    """

    builder: ir.IRBuilder
    element: ir.Type
    masks: MaskedMoves
    values: Sequence[ir.Value]
    """The kind; m, n, k; A, B, D and out, each as pointer and strides; alpha, bound; scratch."""

    @property
    def kind(self) -> ir.Value:
        """PLAIN, AFFINE, TRANSPOSED_LEFT or TRANSPOSED_RIGHT."""
        return self.values[0]

    @property
    def shape(self) -> Sequence[ir.Value]:
        """m, n and k."""
        return self.values[1:4]

    @property
    def matrices(self) -> list[Strided]:
        """A, B, D and out."""
        return [Strided(self.builder, *self.values[i : i + 3]) for i in range(4, 16, 3)]

    @property
    def multiplies(self) -> ir.Value:
        """Whether D is multiplied, and B transposed."""
        return self.builder.icmp_signed("==", self.kind, INT64(TRANSPOSED_RIGHT))

    @property
    def work(self) -> ir.Value:
        """Scratch."""
        return self.values[18]

    def tiles(self) -> Tiles:
        """What writes vectors of this product's numbers."""
        return Tiles(self.builder, self.element, self.masks)

    def finish(self) -> Finish:
        """What becomes of vectors of sums."""
        tiles = self.tiles()
        alpha, bound = (splat(self.builder, number, tiles.lanes) for number in self.values[16:18])
        return self.finish_of_one()._replace(alpha=alpha, bound=bound)

    def finish_of_one(self) -> Finish:
        """What becomes of one sum."""
        (_, _, d, out), bound = self.matrices, self.values[17]
        rectifies = self.builder.fcmp_ordered("==", bound, bound.type(0.0))
        return Finish(out, d, self.values[16], self.multiplies, rectifies, bound)

    def is_kind(self, kind: int) -> ir.Value:
        """Whether it is of this kind."""
        return self.builder.icmp_signed("==", self.kind, INT64(kind))

    def call(self, name: str, write: "Writer", last: bool = False) -> None:
        """Call the function `name`, which `write` writes.

        Where that is the `last` act of this function, it is a jump.
        """

        def emit(builder: ir.IRBuilder, *given: ir.Value) -> None:
            write(self._replace(builder=builder, values=given))

        symbol = f"flatprop.{name}.{self.element}"
        call = subroutine(self.builder, symbol, emit, ir.VoidType(), self.values)
        if last:
            call.tail = "tail"


Writer: TypeAlias = Callable[[Multiplication], None]
"""Writes a function that makes a product."""
