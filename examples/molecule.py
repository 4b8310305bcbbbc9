"""A potential fitted to energies and forces, and molecular dynamics in one compiled loop.

A quantum-chemical calculation takes minutes for the energy of a water molecule and the forces
on its atoms. Here a known potential stands for it. It is asked for 200 bent and stretched
molecules. The energy depends on the three distances between the atoms, which are the inputs of
the network. The forces tell its slopes along them, and `fit(derivatives=...)` takes both.

Then 32 molecules vibrate, by velocity Verlet. The loop is one function of Numba, which in every
step calls `kernels.derivatives` for energies and slopes. These slopes are exactly those of the
energy, so the total energy does not drift: its error is that of the time step, and falls with
its square. The spectrum of the velocities has the vibrations of water, two of the bonds and one
of the angle. They are those of the potential that was asked.

    python examples/molecule.py            # about twenty seconds; writes molecule.png
    python examples/molecule.py --fast     # a shorter run

Units are Å, fs, eV and u.
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numba
import numpy as np

import flatprop as fp
from flatprop.kernels import derivatives, derivatives_workspace_size

MASSES = np.array([15.9949, 1.00783, 1.00783])[:, None]  # u: O, H, H
UNIT = 9.648533e-3  # Å/fs² is what 1 eV/Å gives to 1 u
BOLTZMANN, KCAL = 8.617333e-5, 0.04336410  # eV/K; eV in 1 kcal/mol
BOND, ANGLE = 0.9419, np.radians(107.4)  # Å, rad
PAIRS = np.array([[0, 1], [0, 2], [1, 2]])
DISTANCES = np.array([BOND, BOND, 2 * BOND * np.sin(ANGLE / 2)])  # at rest
SCALE = 0.1  # Å: inputs are distances less those at rest, over this
SAMPLING = 2.0  # fs between two samples of a run


def reference(x):
    """Energies (n,) of molecules at x (n, 3, 3), and the forces on their atoms (n, 3, 3).

    The water of q-TIP4P/F (Habershon, Markland & Manolopoulos 2009), alone.
    """
    bonds = x[:, 1:] - x[:, :1]
    length = np.linalg.norm(bonds, axis=2, keepdims=True)
    along = bonds / length
    s = 2.287 * (length - BOND)
    cosine = (along[:, 0] * along[:, 1]).sum(axis=1)
    bend = np.arccos(cosine) - ANGLE
    energy = (116.09 * KCAL * (s**2 - s**3 + 7 / 12 * s**4)).sum(axis=(1, 2))
    energy += 0.5 * 87.85 * KCAL * bend**2
    stretch = 116.09 * KCAL * 2.287 * (2 * s - 3 * s**2 + 7 / 3 * s**3)
    turn = 87.85 * KCAL * bend / np.sqrt(1 - cosine**2)  # -dE/dcos
    on_h = -stretch * along
    on_h += turn[:, None, None] * (along[:, ::-1] - cosine[:, None, None] * along) / length
    return energy, np.concatenate([-on_h.sum(axis=1, keepdims=True), on_h], axis=1)


def molecules(bonds, angle):
    """Positions (n, 3, 3) from the bonds' lengths (n, 2) and the angle between them (n,)."""
    x = np.zeros((len(bonds), 3, 3))
    x[:, 1, 0] = bonds[:, 0]
    x[:, 2, 0], x[:, 2, 1] = bonds[:, 1] * np.cos(angle), bonds[:, 1] * np.sin(angle)
    return x


def deformed(count, rng):
    bonds = BOND + rng.uniform(-0.12, 0.15, (count, 2))
    return molecules(bonds, ANGLE + np.radians(rng.uniform(-25, 25, count)))


def inputs_and_pulls(x):
    """Inputs (n, 3), and pulls (n, 9, 3): the forces on all atoms are pulls @ ∂E/∂inputs."""
    apart = x[:, PAIRS[:, 1]] - x[:, PAIRS[:, 0]]
    length = np.linalg.norm(apart, axis=2)
    pulls = np.zeros((len(x), 3, 3, 3))  # atom, axis, pair
    for pair, (i, j) in enumerate(PAIRS):
        pulls[:, i, :, pair] = apart[:, pair] / length[:, pair, None] / SCALE
        pulls[:, j, :, pair] = -pulls[:, i, :, pair]
    return (length - DISTANCES) / SCALE, pulls.reshape(-1, 9, 3)


def train(x, with_forces):
    energy, force = reference(x)
    inputs, pulls = inputs_and_pulls(x)
    slopes = np.linalg.pinv(pulls) @ force.reshape(-1, 9, 1)  # nine forces, three slopes
    layers = [fp.Dense(32, "tanh"), fp.Dense(32, "tanh"), fp.Dense(1)]
    net = fp.Network(3, layers, dtype="float64", rng=0)
    net.fit(
        inputs,
        energy,
        derivatives=slopes.reshape(-1, 1, 3) if with_forces else None,
        optimizer=fp.LBFGS(maxcor=50, ftol=0, gtol=1e-9),
        epochs=3_000,
    )
    return net


def errors_of(net, x):
    """Of the energies / eV, and of the forces / (eV/Å)."""
    energy, force = reference(x)
    inputs, pulls = inputs_and_pulls(x)
    found = pulls @ net.jacobian(inputs).reshape(-1, 3, 1)
    return net.predict(inputs)[:, 0] - energy, (found - force.reshape(-1, 9, 1)).ravel()


@numba.njit(cache=True)
def energies_and_forces(layers, params, x, inputs, axes, energy, slopes, force, workspace):
    """energy (n, 1) and force (n, 3, 3) of molecules at x ← those of the network."""
    for n in range(len(x)):
        for pair in range(3):
            i, j = PAIRS[pair]
            square = 0.0
            for k in range(3):
                square += (x[n, j, k] - x[n, i, k]) ** 2
            inputs[n, pair] = (math.sqrt(square) - DISTANCES[pair]) / SCALE
    no_curvature = np.empty((0, 0))
    derivatives(layers, params, inputs, axes, energy, slopes, no_curvature, workspace)
    force[:] = 0
    for n in range(len(x)):
        for pair in range(3):
            i, j = PAIRS[pair]
            pull = slopes[3 * n + pair, 0] / SCALE / (DISTANCES[pair] + SCALE * inputs[n, pair])
            for k in range(3):
                force[n, i, k] += pull * (x[n, j, k] - x[n, i, k])
                force[n, j, k] -= pull * (x[n, j, k] - x[n, i, k])


@numba.njit(cache=True)
def kick(v, force, time_step):
    """v ← the velocities half a time step later."""
    for n in range(len(v)):
        for atom in range(3):
            for k in range(3):
                v[n, atom, k] += time_step / 2 * UNIT / MASSES[atom, 0] * force[n, atom, k]


@numba.njit(cache=True)
def run(layers, params, x, v, time_step, steps, every, workspace):
    """Velocity Verlet from x, v (n, 3, 3) on, both overwritten.

    Returns the potential energies (samples, n) and the velocities (samples, n, 3, 3) after each
    `every` steps.
    """
    energies, velocities = np.empty((steps // every, len(x))), np.empty((steps // every, *x.shape))
    inputs, energy = np.empty((len(x), 3)), np.empty((len(x), 1))
    slopes, force = np.empty((3 * len(x), 1)), np.empty_like(x)
    given = inputs, np.eye(3), energy, slopes, force, workspace
    energies_and_forces(layers, params, x, *given)
    for step in range(steps):
        kick(v, force, time_step)
        x += time_step * v
        energies_and_forces(layers, params, x, *given)
        kick(v, force, time_step)
        if (step + 1) % every == 0:
            energies[step // every] = energy[:, 0]
            velocities[step // every] = v
    return energies, velocities


def start(count, kelvin, rng):
    """Molecules at rest with velocities of this temperature, which do not fly nor turn."""
    x = molecules(np.full((count, 2), BOND), np.full(count, ANGLE))
    v = rng.standard_normal(x.shape) * np.sqrt(BOLTZMANN * kelvin * UNIT / MASSES)
    v -= (MASSES * v).sum(axis=1, keepdims=True) / MASSES.sum()
    arm = x - (MASSES * x).sum(axis=1, keepdims=True) / MASSES.sum()
    inertia = (MASSES * arm[0] ** 2).sum() * np.eye(3) - (MASSES * arm[0]).T @ arm[0]
    spin = np.cross(arm, MASSES * v).sum(axis=1) @ np.linalg.inv(inertia)
    return x, v - np.cross(spin[:, None], arm)


def kinetic(v):
    return (MASSES * v**2).sum(axis=(-2, -1)) / (2 * UNIT)


def rms(errors):
    return np.sqrt(np.mean(errors**2))


def run_reference(x, v, time_step, duration):
    """The velocities that the potential itself gives, in NumPy."""
    velocities, force = [], reference(x)[1]
    x, v, every = x.copy(), v.copy(), round(SAMPLING / time_step)
    for step in range(round(duration / time_step)):
        v += time_step / 2 * UNIT / MASSES * force
        x += time_step * v
        force = reference(x)[1]
        v += time_step / 2 * UNIT / MASSES * force
        if (step + 1) % every == 0:
            velocities.append(v.copy())
    return np.array(velocities)


def spectrum(velocities):
    """Wavenumbers / cm⁻¹, and the power of the velocities there, weighted with the masses."""
    length = 1_000  # samples of one piece; the power is the mean over all pieces
    pieces = velocities[: len(velocities) // length * length].reshape(
        -1, length, *velocities.shape[1:]
    )
    power = np.abs(np.fft.rfft(np.hanning(length)[:, None, None, None] * pieces, axis=1)) ** 2
    wavenumber = np.fft.rfftfreq(length, SAMPLING) / 2.99792458e-5  # c in cm/fs
    power = (MASSES * power).sum(axis=(0, 2, 3, 4))
    return wavenumber, power / power.max()


def simulate(net, x, v, time_step, duration):
    """The errors of the total energies (samples, n), and velocities, one sample every 2 fs."""
    steps, every = round(duration / time_step), round(SAMPLING / time_step)
    workspace = np.empty(derivatives_workspace_size(net.layers, len(x), 3))
    run(net.layers, net.params, x.copy(), v.copy(), time_step, 0, every, workspace)  # compiles
    began = time.perf_counter()
    potential, velocities = run(
        net.layers, net.params, x.copy(), v.copy(), time_step, steps, every, workspace
    )
    seconds = time.perf_counter() - began
    at_start = net.predict(inputs_and_pulls(x)[0])[:, 0] + kinetic(v)
    error = potential + kinetic(velocities) - at_start
    first, last = (
        error[part].mean() for part in (slice(len(error) // 4), slice(-len(error) // 4, None))
    )
    print(f"{steps:,} steps of {time_step} fs, {len(x)} molecules, in {seconds:.2f} s: ", end="")
    print(f"error of the energy {1e6 * rms(error):.1f} µeV, drift {1e6 * (last - first):.2f} µeV")
    return error, velocities


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a shorter run")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    samples, held_out = deformed(200, rng), deformed(2_000, rng)
    nets, errors = {}, {}
    for name, with_forces in (("energies alone", False), ("energies and forces", True)):
        nets[name] = train(samples, with_forces)
        of_energies, errors[name] = errors_of(nets[name], held_out)
        print(f"fitted to {name}: error of energies {1000 * rms(of_energies):.2f} meV, ", end="")
        print(f"of forces {1000 * rms(errors[name]):.1f} meV/Å")

    net, duration = nets["energies and forces"], 2_000 if options.fast else 8_000
    x, v = start(32, 600, rng)  # half of it becomes potential energy
    energy_errors, velocities = {}, {}
    for step in (0.4, 0.2):
        energy_errors[step], velocities["network"] = simulate(net, x, v, step, duration)
    velocities["potential"] = run_reference(x, v, 0.2, duration)
    for name, moving in velocities.items():
        wavenumber, power = spectrum(moving)
        bands = (np.where(band, power, 0) for band in (wavenumber < 2_000, wavenumber > 3_500))
        bend, stretch = (wavenumber @ band / band.sum() for band in bands)
        print(f"vibrations of the {name}: bend {bend:.1f} cm⁻¹, stretches {stretch:.1f} cm⁻¹")
    draw(options.output, errors, energy_errors, velocities)


def draw(path, errors, energy_errors, velocities):
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    bins = np.geomspace(0.01, 1000, 61)
    for colour, (name, error) in zip(("0.6", "C0"), errors.items(), strict=True):
        left.hist(1000 * np.abs(error), bins, color=colour, alpha=0.7, label=f"fitted to {name}")
    left.set(xlabel="error of a force, held out / (meV/Å)", ylabel="forces", xscale="log")
    left.set_ylim(0, 1.3 * left.get_ylim()[1])
    left.legend(frameon=False, loc="upper left")

    for colour, (step, error) in zip(("0.6", "C0"), energy_errors.items(), strict=True):
        picoseconds = SAMPLING / 1000 * np.arange(1, len(error) + 1)
        error = 1e6 * np.sqrt((error**2).mean(axis=1))
        middle.plot(picoseconds, error, color=colour, linewidth=0.8, label=f"steps of {step} fs")
    middle.set(xlabel="time / ps", ylabel="rms error of the total energy / µeV", yscale="log")
    middle.set(xlim=(0, picoseconds[-1]), ylim=(50, 10_000))
    middle.legend(frameon=False, loc="upper left")

    for (name, moving), style in zip(
        reversed(velocities.items()),
        ({"color": "0.7", "linewidth": 4}, {"color": "C3", "linewidth": 1}),
        strict=True,
    ):
        right.plot(*spectrum(moving), label=name, **style)
    right.set(xlabel="wavenumber / cm$^{-1}$", ylabel="power of the velocities", yscale="log")
    right.set(xlim=(1000, 4500), ylim=(1e-5, 30))
    right.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
