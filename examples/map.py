"""A map of 10,000 small networks: how plants grow, fitted anew in each cell.

Growth depends on water and on temperature, and how it does differs from place to place: on cool
heights plants are at their best when it is colder, and on poor soil they need more water. Each
cell of the map has its own network with two inputs, which sees nothing but 60 noisy observations
from that cell. All are trained in one call of `fp.Ensemble.fit`. The temperature that a network
likes best is then a number for the cell, and together they are a map, which is compared with the
true one.

    python examples/map.py            # a few seconds of training; writes map.png
    python examples/map.py --fast     # a map of 900 cells
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import flatprop as fp

OBSERVATIONS = 60  # in each cell
EPOCHS = 600
NOISE = 0.03
WIDTH = 8.0  # °C: how much colder or warmer it may be
SCALE = 20.0  # °C that are one unit of a network's input, from the middle of 15 °C


def landscape(side):
    """The true fields, (side, side): the best temperature in °C, and how far water goes."""
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    ridge = np.exp(-((y - 0.35 - 0.25 * np.sin(4 * x)) ** 2) / 0.015)
    peak = np.exp(-((x - 0.75) ** 2 + (y - 0.75) ** 2) / 0.02)
    best = 22 - 10 * ridge - 8 * peak + 3 * np.sin(3 * x + 5 * y)
    soil = 2.5 + 1.5 * np.sin(7 * x - 2 * y) * np.cos(6 * y)
    return best, soil


def growth(water, temperature, best, soil):
    """What the networks are to find out: growth as a part of the largest one."""
    return np.tanh(soil * water) * np.exp(-0.5 * ((temperature - best) / WIDTH) ** 2)


def observe(best, soil, rng):
    """Inputs (cells, observations, 2) and noisy growth (cells, observations, 1)."""
    water = rng.uniform(0, 1, (best.size, OBSERVATIONS))
    temperature = rng.uniform(-5, 35, water.shape)
    grown = growth(water, temperature, best.reshape(-1, 1), soil.reshape(-1, 1))
    noisy = grown + NOISE * rng.standard_normal(water.shape)
    return np.stack([2 * water - 1, (temperature - 15) / SCALE], axis=2), noisy[..., None]


def best_temperatures(ens):
    """Where each network sees the most growth, with plenty of water."""
    temperature = np.linspace(-5, 35, 161)
    X = np.stack([np.full(161, 0.6), (temperature - 15) / SCALE], axis=1)
    curves = ens.predict(X)[:, :, 0]
    return temperature[curves.argmax(axis=1)], temperature, curves


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="fewer cells")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()
    side = 30 if options.fast else 100

    rng = np.random.default_rng(0)
    best, soil = landscape(side)
    X, y = observe(best, soil, rng)
    layers = [fp.Dense(8, "tanh"), fp.Dense(1)]
    ens = fp.Ensemble(2, layers, members=side * side, rng=0)
    schedule = fp.schedules.Cosine(0.05)
    history = ens.fit(
        X, y, optimizer="adam", learning_rate=schedule, epochs=EPOCHS, batch_size=None
    )
    updates = history.epochs * len(ens)
    print(
        f"{len(ens):,} networks of {ens.params.shape[1]} parameters: {updates:,} updates ", end=""
    )
    print(f"in {history.seconds:.2f} s, {1e9 * history.seconds / updates:.0f} ns each")

    found, temperature, curves = best_temperatures(ens)
    found = found.reshape(side, side)
    error = np.sqrt(np.mean((found - best) ** 2))
    print(f"best temperature: off by {error:.2f} °C (rms); ", end="")
    print(f"the same one for all cells would be off by {best.std():.2f} °C")
    draw(options.output, best, found, soil, (X, y), temperature, curves)


def draw(path, best, found, soil, data, temperature, curves):
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    limits = {"vmin": best.min() - 1, "vmax": best.max() + 1, "cmap": "viridis", "origin": "lower"}
    side = len(best)
    for ax, field, name in zip(axes, (best, found), ("truth", "networks"), strict=False):
        image = ax.imshow(field, **limits)
        ax.set(title=f"best temperature: {name}", xticks=[], yticks=[])
    figure.colorbar(image, ax=axes[:2], label="°C", shrink=0.85)

    inner = best[3:-3, 3:-3]
    rows, columns = np.unravel_index([inner.argmin(), inner.argmax()], inner.shape)
    for place, (row, column) in enumerate(zip(rows + 3, columns + 3, strict=True)):
        colour, cell = f"C{place}", row * side + column
        axes[1].plot(column, row, "o", color=colour, markeredgecolor="w", markersize=9)
        truth = growth(0.8, temperature, best[row, column], soil[row, column])
        axes[2].plot(temperature, truth, ":", color=colour)
        axes[2].plot(temperature, curves[cell], color=colour, label=f"cell {cell:,}")
        observed = 15 + SCALE * data[0][cell, :, 1]
        enough = data[0][cell, :, 0] > 0
        axes[2].plot(observed[enough], data[1][cell, enough, 0], ".", color=colour)
    axes[2].plot([], [], "k:", label="truth")
    axes[2].plot([], [], "k.", label="observed, water > 0.5")
    axes[2].set(xlabel="temperature / °C", ylabel="growth, water 0.8", title="two of the cells")
    axes[2].set(ylim=(-0.1, 1.35))
    axes[2].legend(frameon=False, loc="upper left", ncols=2)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
