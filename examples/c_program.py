"""A network called from C: trained here, written as one C file, compiled, and compared.

A thermistor (10 kΩ at 25 °C) and a 10 kΩ resistor divide 3.3 V. The voltage between them is
a curved function of the temperature. Firmware needs the inverse function, and a network of
2 x 8 tanh units learns it. `net.to_c` writes the network as C99 without dependencies.
c_program/main.c calls the network. The output of the C program is compared with
`net.predict` and with the truth.

    python examples/c_program.py            # writes thermistor.c, .h and .png beside main.c
    python examples/c_program.py --fast     # less training

The example needs a C compiler: `cc`, or the compiler that the environment variable CC names.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import flatprop as fp

MAIN = Path(__file__).parent / "c_program" / "main.c"


def voltage(celsius):
    """The voltage of the divider, by the thermistor's B equation with B = 3950 K."""
    resistance = 10e3 * np.exp(3950 * (1 / (celsius + 273.15) - 1 / 298.15))
    return 3.3 * 10e3 / (10e3 + resistance)


def train(iterations):
    celsius = np.linspace(-40, 125, 500)
    x, y = voltage(celsius) / 1.65 - 1, celsius / 100  # both between about -1 and 1
    layers = [fp.Dense(8, "tanh"), fp.Dense(8, "tanh"), fp.Dense(1)]
    net = fp.Network(1, layers, dtype="float64", rng=0)
    net.fit(x[:, None], y, optimizer=fp.LevenbergMarquardt(), epochs=iterations, batch_size=None)
    firmware = fp.Network(1, layers, dtype="float32")
    firmware.params = net.params
    return firmware


def run_in_c(source, volts):
    """The temperatures that main.c, with the network of this file, computes from volts (rows,)."""
    with tempfile.TemporaryDirectory() as scratch:
        program = str(Path(scratch) / "thermometer")
        compiler = os.environ.get("CC", "cc").split()
        options = ["-std=c99", "-O2", "-I", str(source.parent)]
        command = [*compiler, *options, str(MAIN), str(source), "-lm", "-o", program]
        subprocess.run(command, check=True)
        text = "\n".join(f"{v:.9g}" for v in volts)
        output = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    return np.array([line.split()[1] for line in output.stdout.splitlines()], float)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="less training")
    parser.add_argument("--output", type=Path, default=MAIN.with_name("thermistor.png"))
    options = parser.parse_args()

    net = train(iterations=200 if options.fast else 1_000)
    celsius = np.linspace(-40, 125, 1_000)
    volts = voltage(celsius).astype("float32")
    source = options.output.with_name("thermistor.c")
    net.to_c(source, header=True)
    from_c = run_in_c(source, volts)
    from_python = 100 * net.predict(volts[:, None] / np.float32(1.65) - 1)[:, 0]

    error, difference = np.abs(from_c - celsius).max(), np.abs(from_c - from_python).max()
    print(f"largest error of the network, -40 to 125 °C: {error:.3f} °C")
    print(f"largest difference between C and predict: {difference:.1e} °C")
    draw(options.output, volts, celsius, from_c, from_python)


def draw(path, volts, celsius, from_c, from_python):
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(7, 8), sharex=True, height_ratios=(3, 1, 1), layout="constrained"
    )
    top.plot(volts, celsius, color="0.7", linewidth=5, label="thermistor")
    top.plot(volts, from_c, color="C3", label="network, computed by the C program")
    top.set(ylabel="temperature / °C", title="a thermometer's characteristic in C")
    top.legend(frameon=False)
    middle.plot(volts, 1e3 * (from_c - celsius), color="C3")
    middle.set(ylabel="error / mK")
    bottom.plot(volts, 1e6 * (from_c - from_python), ".", color="C0", markersize=3)
    bottom.set(xlabel="voltage / V", ylabel="C - predict / µK")
    for axes in (middle, bottom):
        axes.axhline(0, color="0.7", linewidth=1, zorder=0)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
