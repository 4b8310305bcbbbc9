"""An uncertainty for every input: a spectrum whose noise depends on the wavelength.

A spectrometer measures the absorbance A(λ) = -log10 I of a dye, where I is the share of the
light that passes. The counts have dark noise and shot noise, so that A is exact where the dye is
clear, and uncertain where it is dark: error propagation says σ_A = σ_I / (I ln 10).

The network knows none of this. Its two outputs are the mean and the log-variance of A, and the
loss is the likelihood of normal errors, `"gaussian_nll"`. From the scatter of the measurements
it finds the curve and σ(λ) at once. Held-out measurements show how much that is worth: how many
lie inside the band, and how much less likely they are with one σ for all wavelengths.

    python examples/spectrum.py            # some seconds; writes spectrum.png
    python examples/spectrum.py --fast     # less training
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import flatprop as fp

LOW, HIGH = 400.0, 700.0  # nm
DARK, SHOT = 0.006, 0.02  # noise of I: without light, and at I = 1


def absorbance(wavelength):
    """Two bands of a dye, over a constant background."""
    main = 1.25 * np.exp(-(((wavelength - 565) / 32) ** 2))
    return 0.05 + main + 0.55 * np.exp(-(((wavelength - 480) / 30) ** 2))


def sigma(wavelength):
    """The standard deviation of a measured absorbance."""
    light = 10 ** -absorbance(wavelength)
    return np.sqrt(DARK**2 + SHOT**2 * light) / (light * np.log(10))


def measure(count, rng):
    wavelength = rng.uniform(LOW, HIGH, count)
    return wavelength, absorbance(wavelength) + sigma(wavelength) * rng.standard_normal(count)


def scaled(wavelength):
    """Inputs between -1 and 1."""
    return (2 * wavelength - LOW - HIGH) / (HIGH - LOW)


def train(wavelength, measured, epochs):
    """A network from the wavelength to the mean and the log-variance of the absorbance."""
    layers = [fp.Dense(32, "tanh"), fp.Dense(32, "tanh"), fp.Dense(2)]
    net = fp.Network(1, layers, "gaussian_nll", rng=0)
    optimizer = fp.Adam(fp.schedules.Cosine(0.005))
    net.fit(scaled(wavelength), measured, optimizer=optimizer, epochs=epochs, batch_size=100)
    return net


def predict(net, wavelength):
    """Mean and standard deviation."""
    mean, log_variance = net.predict(scaled(wavelength)).T
    return mean, np.exp(log_variance / 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="less training")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    samples, held_out = measure(40_000, rng), measure(10_000, rng)
    net = train(*samples, epochs=100 if options.fast else 200)

    grid = np.linspace(LOW, HIGH, 301)
    mean, found = predict(net, grid)
    print(
        f"largest error of the mean {np.abs(mean - absorbance(grid)).max():.4f}, of sigma ", end=""
    )
    print(f"{100 * np.abs(found / sigma(grid) - 1).max():.1f} %, at any wavelength")

    mean, deviation = predict(net, held_out[0])
    away = np.abs(held_out[1] - mean)
    for width in (1, 2):
        inside = 100 * np.mean(away < width * deviation)
        print(f"inside {width} sigma: {inside:.1f} % of the held-out measurements")
    one = np.sqrt(np.mean(away**2))
    gain = np.log(one / deviation) + ((away / one) ** 2 - (away / deviation) ** 2) / 2
    print(f"each is {np.exp(gain.mean()):.2f} times as likely as with one sigma for all")
    draw(options.output, net, *samples)


def draw(path, net, wavelength, measured):
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.2), width_ratios=(3, 2), layout="constrained"
    )
    grid = np.linspace(LOW, HIGH, 301)
    mean, found = predict(net, grid)
    some = slice(0, 2_000)
    left.plot(wavelength[some], measured[some], ".", color="0.6", markersize=2.5, label="measured")
    left.fill_between(
        grid, mean - 2 * found, mean + 2 * found, color="C0", alpha=0.3, label="network, ±2σ"
    )
    left.plot(grid, mean, color="C0", label="network, mean")
    left.plot(grid, absorbance(grid), "k:", linewidth=1, label="truth")
    left.set(xlabel="wavelength λ / nm", ylabel="absorbance", xlim=(LOW, HIGH))
    left.legend(frameon=False, loc="upper left", markerscale=3)

    right.fill_between(
        grid, 0.9 * sigma(grid), 1.1 * sigma(grid), color="0.85", label="truth ± 10 %"
    )
    right.plot(grid, sigma(grid), "k:", linewidth=1, label="truth")
    right.plot(grid, found, color="C0", label="network")
    right.set(xlabel="wavelength λ / nm", ylabel="σ of the absorbance", xlim=(LOW, HIGH))
    right.set_yscale("log")
    right.set_yticks([0.01, 0.02, 0.05], ["0.01", "0.02", "0.05"])
    right.minorticks_off()
    right.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
