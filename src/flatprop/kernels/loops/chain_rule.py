"""The chain rule of a = f(z) for derivatives along a direction, and its way back.

With ż and z̈ for the first and the second derivative of z along a direction,

    ȧ = f' ż          ä = f'' ż² + f' z̈

and for two directions ä = f'' ż₁ ż₂ + f' z̈. On the way back, from the gradients of a loss with
respect to a, ȧ and ä,

    ∂L/∂z̈ = f' ∂L/∂ä
    ∂L/∂ż = f' ∂L/∂ȧ + 2 f'' ż ∂L/∂ä
    ∂L/∂z = f' ∂L/∂a + Σ over directions of f'' ż ∂L/∂ȧ + (f''' ż² + f'' z̈) ∂L/∂ä

`slope`, `curvature` and `third` are f', f'' and f'''. All arrays are equally long.
"""

from llvmlite import ir

from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import Array, registers
from flatprop.numbers.numbers import fma


@routine()
def first_derivative(builder: ir.IRBuilder, slope: Array, dz: Array, da: Array) -> None:
    """da ← f' ż; `da` may be `dz`."""
    for register in registers(slope, dz, da, written_only=1):
        register.store(register[0] * register[1], 2)


@routine()
def second_derivative(
    builder: ir.IRBuilder,
    slope: Array,
    curvature: Array,
    one: Array,
    other: Array,
    d2z: Array,
    d2a: Array,
) -> None:
    """d2a ← f'' ż₁ ż₂ + f' z̈; `d2a` may be `d2z`, and `one` may be `other`."""
    for register in registers(slope, curvature, one, other, d2z, d2a, written_only=1):
        f1, f2, one_dz, other_dz, d2 = (register[i] for i in range(5))
        register.store(fma(f2 * one_dz, other_dz, f1 * d2), 5)


@routine()
def first_derivative_back(
    builder: ir.IRBuilder, slope: Array, curvature: Array, dz: Array, of_da: Array, of_z: Array
) -> None:
    """From ∂L/∂ȧ to ∂L/∂ż in `of_da`; what it adds to ∂L/∂z is added to `of_z`."""
    first_back(slope, curvature, dz, of_da, of_z)


def first_back(slope: Array, curvature: Array, dz: Array, of_da: Array, of_z: Array) -> None:
    """The loop of `first_derivative_back`."""
    for register in registers(slope, curvature, dz, of_da, of_z):
        f1, f2, d1, g1, total = (register[i] for i in range(5))
        register.store(f1 * g1, 3)
        register.store(fma(f2 * d1, g1, total), 4)


@routine()
def second_derivative_back(
    builder: ir.IRBuilder,
    slope: Array,
    curvature: Array,
    third: Array,
    dz: Array,
    d2z: Array,
    of_da: Array,
    of_d2a: Array,
    of_z: Array,
) -> None:
    """From ∂L/∂ȧ and ∂L/∂ä to ∂L/∂ż and ∂L/∂z̈, in place; `of_z` as before."""
    second_back(slope, curvature, third, dz, d2z, of_da, of_d2a, of_z)


def second_back(*arrays: Array) -> None:
    """The loop of `second_derivative_back`, with its arrays."""
    for register in registers(*arrays):
        f1, f2, f3, d1, d2, g1, g2, total = (register[i] for i in range(8))
        bent = f2 * d1
        register.store(fma(2.0 * bent, g2, f1 * g1), 5)
        register.store(f1 * g2, 6)
        register.store(fma(fma(f3 * d1, d1, f2 * d2), g2, fma(bent, g1, total)), 7)


# ---- one direction for each row: see `slopes_of_one`


@routine()
def slope_back(builder: ir.IRBuilder, slope: Array, curvature: Array, du_da: Array) -> None:
    """In the places of f'' and ∂u/∂a: f'' ∂u/∂a, and ∂u/∂z = f' ∂u/∂a."""
    for register in registers(slope, curvature, du_da):
        f1, f2, du = (register[i] for i in range(3))
        register.store(f2 * du, 1)
        register.store(f1 * du, 2)


@routine()
def derivative_bent(builder: ir.IRBuilder, slope: Array, bent: Array, dz: Array) -> None:
    """In the place of ż, ȧ = f' ż; `bent`, which is f'' ∂u/∂a, is multiplied by ż."""
    for register in registers(slope, bent, dz):
        f1, b, dz_here = (register[i] for i in range(3))
        register.store(b * dz_here, 1)
        register.store(f1 * dz_here, 2)


@routine()
def gradient_bent(builder: ir.IRBuilder, slope: Array, of_a: Array, bent: Array) -> None:
    """In the place of f'' ż ∂u/∂a, ∂L/∂z, which is this and f' ∂L/∂a."""
    for register in registers(slope, of_a, bent):
        register.store(fma(register[0], register[1], register[2]), 2)
