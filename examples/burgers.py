"""A differential equation solved by a network, and the same equation with an unknown in it.

Burgers' equation u_t + u u_x = ν u_xx with ν = 0.01/π, u(0, x) = -sin πx and u(t, ±1) = 0 is the
first example of Raissi, Perdikaris & Karniadakis (2019). From a smooth start it makes a front
of a width of 0.01. As there, a network 2-20-20-20-20-20-20-20-20-1 of tanh is to satisfy the
equation at 10,000 points of a Latin hypercube, and to have the values that are known at 100
points of the three sides. Here these are evenly spaced, there they are random, with which the
error is some times as large: little else holds the front in its place. L-BFGS minimises the sum
of both mean squares, and the second input is scaled, as there. The solution is compared with the
one of Cole and Hopf,

    u(t, x) = -∫ sin πy f(y) e^(-z²) dz / ∫ f(y) e^(-z²) dz,    y = x - √(4νt) z,
    f(y) = e^(-cos πy / 2πν),

by Gauss and Hermite's quadrature, on the 256 x 100 grid of the article. It reports a relative
error of 6.7e-4.

Then ν is unknown. In the place of boundary and initial values there are 2,000 measurements of u
with noise, and ν is trained with the network.

    python examples/burgers.py            # about five minutes; writes burgers.png
    python examples/burgers.py --fast     # a wider front, a smaller network
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numba
import numpy as np
from scipy.stats import qmc

import flatprop as fp


def inputs(x, t):
    """Inputs of the network between -1 and 1. A step of 1 in t is one of 2 in the second input."""
    return np.stack([x, 2 * t - 1], axis=1)


AXES = [[1, 0], [0, 2]]  # so slopes along these are those by x and by t
OPTIMIZER = fp.LBFGS(maxcor=50, ftol=0, gtol=1e-9, maxls=50)


def collocation(count):
    x, t = qmc.LatinHypercube(2, rng=0).random(count).T
    return inputs(2 * x - 1, t)


def solve(viscosity, layers, points, iterations):
    """A network that solves the equation, from its values on three sides."""

    @numba.njit
    def burgers(x, u, du, d2u):
        u_x, u_t = du
        return u_t + u * u_x - viscosity * d2u[0]

    x, t = np.linspace(-1, 1, 50), np.linspace(0.02, 1, 25)
    start, left, right = inputs(x, 0 * x), inputs(0 * t - 1, t), inputs(0 * t + 1, t)
    known = np.concatenate([start, left, right])
    values = np.concatenate([-np.sin(np.pi * x), 0 * t, 0 * t])

    net = fp.Network(2, [*layers, fp.Dense(1)], dtype="float64", rng=0)
    equation = fp.Equation(burgers, collocation(points), directions=AXES)
    net.fit(known, values, equations=equation, optimizer=OPTIMIZER, epochs=iterations)
    return net, known


@numba.njit
def unknown_viscosity(x, u, du, d2u, log_viscosity):
    u_x, u_t = du
    return u_t + u * u_x - math.exp(log_viscosity) * d2u[0]


def identify(x, t, measured, layers, points, iterations):
    """The viscosity after each iteration, from measurements of u."""
    equation = fp.Equation(
        unknown_viscosity,
        collocation(points),
        directions=AXES,
        unknowns={"log_viscosity": math.log(0.1)},  # its exponential cannot become negative
    )
    net = fp.Network(2, [*layers, fp.Dense(1)], dtype="float64", rng=0)
    course = []
    net.fit(
        inputs(x, t),
        measured,
        equations=equation,
        optimizer=OPTIMIZER,
        epochs=iterations,
        callbacks=lambda epoch: course.append(math.exp(equation.unknowns["log_viscosity"])),
    )
    return np.array(course)


def exact(x, t, viscosity):
    z, weight = np.polynomial.hermite.hermgauss(100)
    y = x[:, None] - np.sqrt(4 * viscosity * t[:, None]) * z
    f = weight * np.exp(-np.cos(np.pi * y) / (2 * np.pi * viscosity))
    return -(f * np.sin(np.pi * y)).sum(axis=1) / f.sum(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a wider front, a smaller network")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()

    viscosity, layers, points, iterations = 0.01 / np.pi, 8 * [fp.Dense(20, "tanh")], 10_000, 8_000
    if options.fast:
        viscosity, layers, points, iterations = 0.1 / np.pi, 3 * [fp.Dense(20, "tanh")], 1_000, 400
    began = time.perf_counter()
    net, known = solve(viscosity, layers, points, iterations)
    x, t = (axis.ravel() for axis in np.meshgrid(np.linspace(-1, 1, 256), np.arange(100) / 100))
    truth, found = exact(x, t, viscosity), net.predict(inputs(x, t))[:, 0]
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    print(f"{iterations:,} iterations in {time.perf_counter() - began:.0f} s: ", end="")
    print(f"relative error {error:.2e}")

    rng = np.random.default_rng(0)
    some = rng.choice(x.size, 2_000, replace=False)
    courses = {}
    for noise in (0.01, 0.05):
        measured = truth[some] + noise * truth.std() * rng.standard_normal(some.size)
        courses[noise] = identify(x[some], t[some], measured, layers, points // 5, iterations // 2)
        off = courses[noise][-1] / viscosity - 1
        print(f"viscosity from data with {100 * noise:.0f} % noise: off by {100 * off:+.2f} %")
    draw(options.output, net, known, viscosity, courses)


def draw(path, net, known, viscosity, courses):
    figure, axes = plt.subplot_mosaic(
        [["map", "map", "map", "course"], [0.25, 0.5, 0.75, "course"]],
        figsize=(13, 5.5),
        width_ratios=(1, 1, 1, 1.5),
        layout="constrained",
    )
    x, t = np.linspace(-1, 1, 401), np.linspace(0, 1, 201)
    u = net.predict(inputs(*(axis.ravel() for axis in np.meshgrid(x, t)))).reshape(201, 401)
    image = axes["map"].pcolormesh(t, x, u.T, cmap="RdBu_r", vmin=-1, vmax=1, rasterized=True)
    figure.colorbar(image, ax=axes["map"], label="u")
    axes["map"].plot((known[:, 1] + 1) / 2, known[:, 0], "kx", markersize=4, clip_on=False)
    axes["map"].set(title="the network; crosses: known values", xlabel="t", ylabel="x")
    for cut in (0.25, 0.5, 0.75):
        axes["map"].axvline(cut, color="0.3", linewidth=0.8)
        t = np.full_like(x, cut)
        axes[cut].plot(x, exact(x, t, viscosity), color="0.7", linewidth=4, label="exact")
        axes[cut].plot(x, net.predict(inputs(x, t)), color="C3", linewidth=1, label="network")
        axes[cut].set(title=f"t = {cut}", xlabel="x", ylabel="u", ylim=(-1.1, 1.1))
    axes[0.25].legend(frameon=False, loc="lower left", handlelength=1)

    for noise, course in courses.items():
        iterations = np.arange(1, len(course) + 1)
        axes["course"].plot(iterations, course / viscosity, label=f"{100 * noise:.0f} % noise")
    axes["course"].axhline(1, color="k", linestyle=":", linewidth=1)
    axes["course"].set(title="the inverse problem", xlabel="iteration", xscale="log", yscale="log")
    axes["course"].set(ylabel="viscosity / true viscosity", ylim=(0.5, 60))
    axes["course"].set_yticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
    axes["course"].minorticks_off()
    axes["course"].legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
