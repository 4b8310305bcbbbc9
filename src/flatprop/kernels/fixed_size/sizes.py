"""What is constant in a function that is compiled for one network."""

import json
from typing import NamedTuple

from llvmlite import ir

from flatprop.kernels.loops.vector_loops import DOUBLE
from flatprop.numbers.lanes import lane_count

TILE_REGISTERS = 8
"""How many registers the widest layer of the rows that go through together may fill."""


class Sizes(NamedTuple):
    """All of a network but its parameters."""

    bits: int
    """32 or 64, of the dtype."""
    units: tuple[int, ...]
    """Of the inputs, then of every layer."""
    activations: tuple[int, ...]
    """The codes of the layer records."""
    loss: int
    """This and the following: the fields of `records.LOSS_RECORD`."""
    divisor: float
    from_logits: int
    parameter: float
    rows: int
    """Of the data; 0 where only the call tells."""

    def text(self) -> str:
        """As one string: what Numba's cache tells apart functions by, in every process."""
        return json.dumps(self)

    @classmethod
    def of_text(cls, text: str) -> "Sizes":
        """The inverse of `text`."""
        bits, units, activations, *rest = json.loads(text)
        return cls(bits, tuple(units), tuple(activations), *rest)

    @property
    def element(self) -> ir.Type:
        """The LLVM type of a number."""
        return ir.FloatType() if self.bits == 32 else DOUBLE

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Those of every W and, as one row, b, in the order of the parameters."""
        pairs = zip(self.units[:-1], self.units[1:], strict=True)
        return [shape for inputs, units in pairs for shape in ((inputs, units), (1, units))]

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(inputs * units for inputs, units in self.shapes)

    @property
    def tile(self) -> int:
        """How many rows go through the network together at most."""
        return max(1, TILE_REGISTERS * lane_count(self.element) // max(self.units))
