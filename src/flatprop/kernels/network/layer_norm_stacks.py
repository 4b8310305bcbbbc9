"""Layer normalisation of stacks: values with their derivatives along directions.

With x̂ = r (x - m) and ⟨·⟩ as in `layer_norm`, and ẋ and ẍ for the derivatives of x,

    p = r (ẋ - ⟨ẋ⟩)       q = r (ẍ - ⟨ẍ⟩)       α = ⟨x̂ p⟩

the derivatives of x̂ along a direction, and along two of them, are

    p - α x̂               q - α₂ p₁ - α₁ p₂ + κ x̂,  κ = 3 α₁ α₂ - ⟨p₁ p₂⟩ - ⟨x̂ q⟩

x̂, p and q stay in the place of z, and r in that of f''. On the way back h, h₁ and h₂ are γ times
the gradients with respect to the outputs and their two derivatives along one direction. Then

    A = 6 α ⟨h₂ x̂⟩ - ⟨h₁ x̂⟩ - 2 ⟨h₂ p⟩
    ∂L/∂q = h₂ - ⟨h₂ x̂⟩ x̂
    ∂L/∂p = h₁ - 2 α h₂ - 2 ⟨h₂ x̂⟩ p + A x̂
    ∂L/∂x̂ = h + Σ over directions of κ h₂ - α h₁ - ⟨h₂ x̂⟩ q + A p
    ∂L/∂ẍ = r (∂L/∂q - ⟨∂L/∂q⟩)       ∂L/∂ẋ = r (∂L/∂p - ⟨∂L/∂p⟩)
    ∂L/∂x = r (∂L/∂x̂ - ⟨∂L/∂x̂⟩ - S x̂),  S = ⟨x̂ ∂L/∂x̂⟩ + Σ over directions of ⟨p ∂L/∂p⟩ + ⟨q ∂L/∂q⟩

where S is what comes from r. Sums over a row are in float64.
"""

import math

import numpy as np

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import fill
from flatprop.kernels.network.layer_call import row_at, stack_at
from flatprop.kernels.network.passed_on import given_stack
from flatprop.kernels.network.records import array_at


@kernel
def normalise_stack(c, like, epsilon):
    """FORWARD_STACK; see `layer_call`."""
    x, z, out = given_stack(c, like), stack_at(c.slope, c, like), stack_at(c.out, c, like)
    scale, shift = row_at(c.params, 0, c, like), row_at(c.params, 1, c, like)
    kept, n, parts = array_at(c.bend, like, c.rows), c.units, c.height // c.rows
    pairs = array_at(c.pairs, np.int64, 0)
    for i in range(c.rows):
        r = 1.0
        for number in range(parts):
            row, mean = number * c.rows + i, 0.0
            for j in range(n):
                mean += x[row, j]
            mean /= n
            if number == 0:
                squares = 0.0
                for j in range(n):
                    squares += (x[i, j] - mean) ** 2
                r = 1.0 / math.sqrt(squares / n + epsilon)
                kept[i] = r
            for j in range(n):
                z[row, j] = r * (x[row, j] - mean)
        # The values last, and the second derivatives first: `out` may be z.
        for number in range(parts - 1, c.count, -1):
            m, row = number - 1 - c.count, number * c.rows + i
            first = other = m
            if c.pairs != 0:
                first, other = pairs[2 * m], pairs[2 * m + 1]
            first, other = (1 + first) * c.rows + i, (1 + other) * c.rows + i
            along = along_other = product = bent = 0.0
            for j in range(n):
                along += z[i, j] * z[first, j]
                along_other += z[i, j] * z[other, j]
                product += z[first, j] * z[other, j]
                bent += z[i, j] * z[row, j]
            along, along_other = along / n, along_other / n
            share = 3.0 * along * along_other - (product + bent) / n
            for j in range(n):
                change = z[row, j] - along_other * z[first, j] - along * z[other, j]
                out[row, j] = scale[0, j] * (change + share * z[i, j])
        for number in range(1, 1 + c.count):
            row, along = number * c.rows + i, 0.0
            for j in range(n):
                along += z[i, j] * z[row, j]
            along /= n
            for j in range(n):
                out[row, j] = scale[0, j] * (z[row, j] - along * z[i, j])
        for j in range(n):
            out[i, j] = scale[0, j] * z[i, j] + shift[0, j]


@kernel
def normalise_stack_back(c, like):
    """BACKWARD_STACK; second derivatives are along each of the first directions."""
    z, given, out = (
        stack_at(c.slope, c, like),
        stack_at(c.dL_dz, c, like),
        stack_at(c.out, c, like),
    )
    scale, of_scale, of_shift = (
        row_at(c.params, 0, c, like),
        row_at(c.gradient, 0, c, like),
        row_at(c.gradient, 1, c, like),
    )
    kept, n = array_at(c.bend, like, c.rows), c.units
    seconds = c.height // c.rows - 1 - c.count
    back, trains = c.out != 0, c.gradient != 0
    if trains and c.flag == 0:
        fill(of_scale, 0.0)
        fill(of_shift, 0.0)
    for i in range(c.rows):
        r, of_r = kept[i], 0.0
        if trains:
            for j in range(n):
                of_scale[0, j] += given[i, j] * z[i, j]
                of_shift[0, j] += given[i, j]
        if back:
            for j in range(n):
                out[i, j] = scale[0, j] * given[i, j]
        for k in range(1, 1 + c.count):
            first, second, bends = k * c.rows + i, (c.count + k) * c.rows + i, k <= seconds
            along = along_g = 0.0
            for j in range(n):
                along += z[i, j] * z[first, j] / n
                along_g += scale[0, j] * given[first, j] * z[i, j] / n
            share = bent = change = 0.0
            if bends:
                for j in range(n):
                    y, p, h = z[i, j], z[first, j], scale[0, j] * given[second, j]
                    share -= (p * p + y * z[second, j]) / n
                    bent += h * y / n
                    change -= 2.0 * h * p / n
                share += 3.0 * along * along
            change += 6.0 * along * bent - along_g
            if trains:
                for j in range(n):
                    moved = given[first, j] * (z[first, j] - along * z[i, j])
                    if bends:
                        curved = z[second, j] - 2.0 * along * z[first, j] + share * z[i, j]
                        moved += given[second, j] * curved
                    of_scale[0, j] += moved
            if back:
                mean = mean_second = 0.0
                for j in range(n):
                    y, p, h = z[i, j], z[first, j], scale[0, j] * given[first, j]
                    of_p, of_y = h + change * y, change * p - along * h
                    if bends:
                        q, h = z[second, j], scale[0, j] * given[second, j]
                        of_p -= 2.0 * (along * h + bent * p)
                        of_y += share * h - bent * q
                        of_q = h - bent * y
                        out[second, j] = of_q
                        mean_second += of_q / n
                        of_r += of_q * q / n
                    out[first, j] = of_p
                    out[i, j] += of_y
                    mean += of_p / n
                    of_r += of_p * p / n
                for j in range(n):
                    out[first, j] = r * (out[first, j] - mean)
                    if bends:
                        out[second, j] = r * (out[second, j] - mean_second)
        if back:
            mean = 0.0
            for j in range(n):
                mean += out[i, j] / n
                of_r += out[i, j] * z[i, j] / n
            for j in range(n):
                out[i, j] = r * (out[i, j] - mean - z[i, j] * of_r)
