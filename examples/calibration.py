"""Calibration of an expensive model by a surrogate, with error bars.

Two molecules A form a dimer B. B falls apart again or decays to C: 2 A <-> B -> C. What are
the three rate constants, given noisy concentrations of A and B?

The model is a stiff differential equation. It stands for a simulation that takes hours, so it
is run at 300 points only. All points are known beforehand, so a real simulation could run them
in parallel. A network learns from these runs what the model computes, by Levenberg-Marquardt.
The error of the network is far smaller than the noise. SciPy's `least_squares` then fits the
network to the measurements, with the network's exact Jacobian. One such fit takes
milliseconds, so it can be repeated from many starts.

    python examples/calibration.py            # about twenty seconds; writes calibration.png
    python examples/calibration.py --fast     # fewer runs of the model, less training
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares
from scipy.stats import qmc

import flatprop as fp

NAMES = ["$k_1$ / (L/mol s)", "$k_{-1}$ / (1/s)", "$k_2$ / (1/s)"]
LOW, HIGH = np.array([-0.5, -1.5, -1.5]), np.array([1.0, 0.0, 0.0])  # of log10(k)
TRUTH = np.array([0.35, -0.6, -0.9])
TIMES = np.geomspace(0.1, 10, 12)  # s
NOISE = 0.02  # mol/L


def simulate(log_rates, times=TIMES):
    """The concentrations (mol/L) of A at all times, then the concentrations of B."""
    forth, back, decay = 10.0**log_rates

    def rates_of_change(t, concentrations):
        A, B = concentrations
        dimerised = forth * A**2 - back * B
        return -2 * dimerised, dimerised - decay * B

    solution = solve_ivp(
        rates_of_change, (0, times[-1]), (1, 0), "LSODA", times, rtol=1e-8, atol=1e-10
    )
    return solution.y.ravel()


def train_surrogate(runs, epochs):
    """A network from the three parameters, scaled to ±1, to all measured quantities."""
    unit = qmc.LatinHypercube(3, rng=0).random(runs)
    outputs = np.array([simulate(LOW + (HIGH - LOW) * point) for point in unit])
    X, held_out = 2 * unit - 1, runs // 5
    net = fp.Network(
        3,
        [fp.Dense(12, "tanh"), fp.Dense(12, "tanh"), fp.Dense(2 * len(TIMES))],
        dtype="float64",
        rng=0,
    )
    history = net.fit(
        X[held_out:],
        outputs[held_out:],
        optimizer=fp.LevenbergMarquardt(),
        epochs=epochs,
        batch_size=None,
        validation_data=(X[:held_out], outputs[:held_out]),
    )
    error = np.sqrt(history.val_loss[-1])
    print(f"{runs} runs; error of the surrogate in unseen ones {error:.1e} mol/L, noise {NOISE}")
    return net


def calibrate(net, measured, starts=20):
    """The parameters that least squares finds, and their covariance."""

    def residuals(x):
        return (net.predict(x[None])[0] - measured) / NOISE

    def jacobian(x):
        return net.jacobian(x[None])[0] / NOISE

    rng = np.random.default_rng(0)
    fits = [
        least_squares(residuals, start, jacobian, bounds=(-1, 1))
        for start in rng.uniform(-1, 1, (starts, 3))
    ]
    best = min(fits, key=lambda fit: fit.cost)
    scale = (HIGH - LOW) / 2
    covariance = scale[:, None] * np.linalg.inv(best.jac.T @ best.jac) * scale
    same = sum(np.allclose(fit.x, best.x, atol=1e-3) for fit in fits)
    print(f"{same} of {starts} starts lead to the same fit; chi² {2 * best.cost:.1f}", end=" ")
    print(f"for {len(measured) - 3} degrees of freedom")
    return LOW + scale * (best.x + 1), covariance


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="fewer runs, less training")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()

    noise = NOISE * np.random.default_rng(0).standard_normal(2 * len(TIMES))
    measured = simulate(TRUTH) + noise
    net = train_surrogate(*((150, 60) if options.fast else (300, 200)))
    found, covariance = calibrate(net, measured)
    sigma = np.sqrt(np.diag(covariance))
    for name, value, error, true in zip(("k1", "k-1", "k2"), found, sigma, TRUTH, strict=True):
        print(f"log10 {name:3} = {value:6.3f} ± {error:.3f} (true {true:6.3f}, ", end="")
        print(f"{(value - true) / error:+.1f} sigma)")
    draw(options.output, measured, found, covariance)


def draw(path, measured, found, covariance):
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.5), width_ratios=(3, 2), layout="constrained"
    )
    fine = np.geomspace(0.05, 15, 200)
    draws = np.random.default_rng(0).multivariate_normal(found, covariance, 50)
    band = np.array([simulate(rates, fine) for rates in draws]).reshape(50, 2, -1)
    for species, name in enumerate("AB"):
        colour = f"C{species}"
        spread = 2 * band[:, species].std(axis=0)
        fitted = simulate(found, fine).reshape(2, -1)[species]
        left.fill_between(fine, fitted - spread, fitted + spread, color=colour, alpha=0.3)
        left.plot(fine, fitted, color=colour)
        left.plot(fine, simulate(TRUTH, fine).reshape(2, -1)[species], "k:", linewidth=1)
        points = measured.reshape(2, -1)[species]
        left.errorbar(
            TIMES, points, NOISE, fmt="o", color=colour, markersize=4, label=f"{name}, measured ±σ"
        )
    left.plot([], [], color="0.4", label="model as calibrated, ±2σ")
    left.plot([], [], "k:", label="truth")
    left.set(xlabel="time / s", ylabel="concentration / (mol/L)", xscale="log", ylim=(0, 1))
    left.legend(frameon=False)

    right.errorbar(found, range(3), xerr=2 * np.sqrt(np.diag(covariance)), fmt="o", capsize=4)
    right.plot(TRUTH, range(3), "k|", markersize=18, label="truth")
    right.barh(range(3), HIGH - LOW, 0.35, LOW, color="0.9", zorder=0, label="searched")
    right.set_yticks(range(3), NAMES)
    right.set(xlabel="log$_{10}$ of the rate constant, ±2σ", ylim=(2.5, -0.9))
    right.legend(frameon=False, loc="upper right", ncols=2)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
