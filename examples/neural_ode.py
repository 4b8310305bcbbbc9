"""A neural ODE: the right-hand side of a differential equation, learned from noisy data.

A van der Pol oscillator is observed for two periods from three starts. A network f(x) is
fitted so that the solution of dx/dt = f(x), by Runge-Kutta's method, passes through the
observations. The solver and its exact backward pass are one compiled function, which calls the
network like any other function. SciPy's L-BFGS-B minimises over the network's one flat
vector. Then an implicit solver of SciPy solves the fitted equation, with the network's
Jacobian. Its solutions go on after the last observation for three times the observed time.

    python examples/neural_ode.py            # about twenty seconds; writes neural_ode.png
    python examples/neural_ode.py --fast     # fewer iterations
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numba
import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import flatprop as fp
from flatprop.kernels import forward, gradient_workspace_size, vjp

STARTS = np.array([[2.0, 0.0], [0.2, 0.3], [-2.5, 2.5]])
INTERVAL, OBSERVATIONS, NOISE = 0.1, 140, 0.05  # time between observations, their number, σ
SUBSTEPS = 2  # Runge-Kutta steps from one observation to the next


def van_der_pol(t, x):
    return np.array([x[1], 1.5 * (1 - x[0] ** 2) * x[1] - x[0]])


@numba.njit(cache=True)
def misfit_and_gradient(params, layers, observed, interval, substeps, workspace):
    """Mean squared misfit of the solution to observed[time, start, component], and its gradient.

    The stages of a step are k_s = f(x_s) at x_s = x + h A_s k_(s-1), s = 0 to 3. The step takes
    x to x + h Σ B_s k_s. The backward pass is the chain rule through these two formulas.
    """
    A, B = (0.0, 0.5, 0.5, 1.0, 0.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)  # no stage uses k_3
    h = interval / substeps
    steps = substeps * (observed.shape[0] - 1)
    x = observed[0].copy()
    k = np.zeros_like(x)
    visited = np.empty((steps, 4, *x.shape))  # every x_s, for the backward pass
    residual = np.zeros_like(observed)
    for n in range(steps):
        change = np.zeros_like(x)
        for s in range(4):
            visited[n, s] = x + h * A[s] * k
            forward(layers, params, visited[n, s], k, workspace)
            change += h * B[s] * k
        x += change
        if (n + 1) % substeps == 0:
            residual[(n + 1) // substeps] = x - observed[(n + 1) // substeps]

    gradient = np.zeros_like(params)
    dL_dx, dL_dxs = np.zeros_like(x), np.zeros_like(x)
    for n in range(steps - 1, -1, -1):
        if (n + 1) % substeps == 0:
            dL_dx += 2 / residual.size * residual[(n + 1) // substeps]
        total = dL_dx.copy()
        for s in range(3, -1, -1):
            dL_dk = h * (B[s] * dL_dx + A[s + 1] * dL_dxs)
            vjp(layers, params, visited[n, s], dL_dk, dL_dxs, gradient, workspace)
            total += dL_dxs
        dL_dx = total
    return np.mean(residual**2), gradient


def fit(net, observed, iterations):
    """Fit by L-BFGS, short pieces of the observations first: long ones have many poor minima."""
    pieces = np.lib.stride_tricks.sliding_window_view(observed, 10, axis=0)
    pieces = np.moveaxis(pieces[::3], -1, 0).reshape(10, -1, 2)
    for name, part in (("pieces of a second", pieces), ("whole trajectories", observed)):
        workspace = np.empty(gradient_workspace_size(net.layers, part.shape[1]))
        result = minimize(
            misfit_and_gradient,
            net.params.copy(),
            args=(net.layers, part, INTERVAL, SUBSTEPS, workspace),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations},
        )
        net.params = result.x
        print(f"{name}: {result.nit} iterations, ", end="")
        print(f"root mean square misfit {np.sqrt(result.fun):.4f} (noise {NOISE})")


def solve(right_hand_side, start, times, **options):
    limits = times[[0, -1]]
    return solve_ivp(right_hand_side, limits, start, t_eval=times, rtol=1e-6, **options).y.T


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="fewer iterations")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    times = INTERVAL * np.arange(OBSERVATIONS)
    observed = np.stack([solve(van_der_pol, start, times) for start in STARTS], axis=1)
    observed[1:] += NOISE * rng.standard_normal(observed[1:].shape)

    net = fp.Network(2, [fp.Dense(32, "tanh"), fp.Dense(2)], dtype="float64", rng=0)
    fit(net, observed, iterations=100 if options.fast else 600)

    later = np.linspace(0, 4 * times[-1], 2_000)
    truth = [solve(van_der_pol, start, later) for start in STARTS]
    learned = [
        solve(
            lambda t, x: net.predict(x[None])[0],
            start,
            later,
            method="Radau",
            jac=lambda t, x: net.jacobian(x[None])[0],
        )
        for start in STARTS
    ]
    error = np.sqrt(np.mean((np.array(learned) - truth) ** 2))
    print(f"root mean square error of the trajectories, 4 times as long: {error:.4f}")
    draw(options.output, times, observed, later, truth, learned, net)


def draw(path, times, observed, later, truth, learned, net):
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 4.5), width_ratios=(2, 1), layout="constrained"
    )
    left.plot(later, truth[0][:, 0], color="0.6", linewidth=4, label="truth")
    left.plot(later, learned[0][:, 0], color="C3", label="learned equation")
    left.plot(times, observed[:, 0, 0], "k.", markersize=4, label="observed")
    left.axvspan(times[-1], later[-1], color="C0", alpha=0.07)
    left.text(1.02 * times[-1], 3.0, "extrapolation", color="C0")
    left.set(xlabel="time t / s", ylabel="$x_1$ / m", ylim=(-2.6, 3.4), xlim=later[[0, -1]])
    left.legend(loc="upper right", ncols=3, frameon=False)

    grid = np.stack(np.meshgrid(np.linspace(-3, 3, 30), np.linspace(-4, 4, 30)), axis=-1)
    flow = net.predict(grid.reshape(-1, 2)).reshape(grid.shape)
    x, v = np.moveaxis(grid, -1, 0)
    right.streamplot(x, v, *np.moveaxis(flow, -1, 0), color="0.85", density=0.9)
    for start in range(len(STARTS)):
        right.plot(*observed[:, start].T, "k.", markersize=3)
        right.plot(*learned[start].T, color="C3", linewidth=1)
        right.plot(*STARTS[start], "o", color="C0")
    right.set(xlabel="$x_1$ / m", ylabel="$x_2$ / (m/s)", title="phase plane, learned flow")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
