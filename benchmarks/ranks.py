"""One network over the ranks of MPI: what one rank does alone, and what all do together.

    mpiexec -n 2 python -m benchmarks.ranks [--only 784] [--rounds 9]

Every rank has so many rows for each step, and one thread. In each round rank 0 first trains alone,
on its own rows, while the others sleep; then all train together, on the rows of all. Shown are
medians: a step of one rank, a step of all, and the rows per second of all by those of one. Then
what MPI takes to add up a gradient: the median time of one Allreduce, and what the others waited
for the last rank before it.
"""

import argparse
import statistics
import time

import numpy as np

import flatprop as fp

from . import machine

CASES = {
    # units, rows of each rank and step
    "784-256-256-10 relu, 1024 rows": ((784, 256, 256, 10), 1024),
    "784-256-256-10 relu, 128 rows": ((784, 256, 256, 10), 128),
    "32-64-64-1 relu, 1024 rows": ((32, 64, 64, 1), 1024),
    "8-32-32-1 relu, 64 rows": ((8, 32, 32, 1), 64),
}
ROUNDS = 9
SECONDS = 0.3
"""How long one measurement takes."""
NUMBERS = 16, 1_000, 10_000, 100_000, 1_000_000
"""How many float32 numbers are added up."""
NAP = 1e-3
"""Seconds between two looks of a rank that lets the others have the processor."""


def quiet_barrier(comm):
    """Wait for all ranks without keeping the processor busy, as MPI's own barrier does."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(NAP)


class Case:
    """A network and the rows of this rank, for one step."""

    def __init__(self, units, rows, seed):
        rng = np.random.default_rng(seed)
        hidden = [fp.Dense(n, "relu") for n in units[1:-1]]
        classes = units[-1] > 1
        last = fp.Dense(units[-1], "softmax" if classes else "identity")
        loss = "cross_entropy" if classes else "mse"
        self.net = fp.Network(units[0], [*hidden, last], loss, rng=0)
        self.x = rng.normal(size=(rows, units[0])).astype(np.float32)
        self.y = rng.integers(0, units[-1], rows) if classes else rng.normal(size=rows)

    def seconds(self, comm, steps):
        """Of one step, by full batches of all ranks of `comm`."""
        began = time.perf_counter()
        self.net.fit(
            self.x,
            self.y,
            optimizer=fp.SGD(1e-3),
            epochs=steps,
            batch_size=None,
            threads=1,
            communicator=comm,
        )
        return (time.perf_counter() - began) / steps


def compared(comm, alone, case, rounds):
    """Seconds of a step of one rank and of all, in every round."""
    case.seconds(comm, 3)
    steps = comm.bcast(max(4, round(SECONDS / case.seconds(alone, 10))))
    found = []
    for _ in range(rounds):
        quiet_barrier(comm)
        one = case.seconds(alone, steps) if comm.rank == 0 else 0.0
        quiet_barrier(comm)
        comm.barrier()
        found.append((one, case.seconds(comm, steps)))
    return found


def sums(comm, mpi, count, times=200):
    """Median seconds of an Allreduce of so many numbers that were just written."""
    numbers, found = np.empty(count, np.float32), []
    for _ in range(times):
        numbers[:] = 1.0
        comm.barrier()
        began = time.perf_counter()
        comm.Allreduce(mpi.IN_PLACE, numbers)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main():
    from mpi4py import MPI

    parser = argparse.ArgumentParser(prog="mpiexec -n 2 python -m benchmarks.ranks")
    parser.add_argument("--only", default="", help="lines whose text contains this")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    comm = MPI.COMM_WORLD

    def say(line):
        if comm.rank == 0:
            print(line, flush=True)

    say(f"{machine.kind()}, {comm.size} ranks; {MPI.Get_library_version().splitlines()[0]}")
    say(f"{'':44}{'one, µs':>12}{'all, µs':>12}{'rows per second, all / one':>30}")
    for title, (units, rows) in CASES.items():
        if options.only not in title:
            continue
        case = Case(units, rows, comm.rank)
        found = compared(comm, MPI.COMM_SELF, case, options.rounds)
        if comm.rank == 0:
            one, both = (1e6 * statistics.median(times) for times in zip(*found, strict=True))
            gains = sorted(comm.size * a / b for a, b in found)
            gain = f"{statistics.median(gains):.2f} ({gains[0]:.2f} to {gains[-1]:.2f})"
            say(f"{title:44}{one:12.1f}{both:12.1f}{gain:>30}")
    for count in NUMBERS:
        title = f"Allreduce of {count} numbers"
        if options.only in title:
            seconds = sums(comm, MPI, count)
            say(f"{title:44}{'':12}{1e6 * seconds:12.1f}")


if __name__ == "__main__":
    main()
