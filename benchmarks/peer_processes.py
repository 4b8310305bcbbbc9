"""Each peer in a process of its own, with the threads that it takes by itself.

`benchmarks.peers --default-threads` starts one worker for each peer of a workload and tells them
in turn how many steps to take; the others wait meanwhile, and their pools sleep:

    python -m benchmarks.peer_processes CASE PEER OPTIMIZER DTYPE
"""

import contextlib
import json
import math
import subprocess
import sys

from .peer_networks import NumPy, ScikitLearn, installed, trainers
from .training import CASES, problem

MORE_CASES = {
    "64-100-10 relu, 200 rows, classes": ((64, 100, 10), "relu", 200, 200),
    "100-512-512-1 relu, 512 rows": ((100, 512, 512, 1), "relu", 512, 4),
    "32-64-64-1 relu, 10000 rows": ((32, 64, 64, 1), "relu", 10_000, 10),
}
ALL_CASES = CASES | MORE_CASES


class ScikitLearnSteps(ScikitLearn):
    """An epoch of one batch is a step; only Adam, only classes."""

    def __init__(self, net, x, y, optimizer):
        super().__init__(net, x, y, batch_size=len(x))


def peers_of(case, optimizer):
    """The classes of the peers that can train this, by name."""
    kinds = {kind.name: kind for kind in trainers() if kind is not NumPy}
    if optimizer == "adam" and case.endswith("classes") and installed("sklearn"):
        kinds[ScikitLearn.name] = ScikitLearnSteps
    return kinds


# ---- the worker


def work(case, name, optimizer, dtype):
    """Answer every number of steps on stdin with the seconds and the last loss."""
    units, activation, rows, _ = ALL_CASES[case]
    net, x, y = problem(units, activation, rows, case.endswith("classes"), dtype)
    peer = peers_of(case, optimizer)[name](net, x, y, optimizer)
    for line in sys.stdin:
        print(json.dumps(peer(int(line))), flush=True)


class Worker:
    """A peer in its process, called with a number of steps."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "benchmarks.peer_processes", *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __call__(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- the tables


def tables(options):
    for dtype in options.dtype:
        for optimizer in options.optimizer:
            for case in ALL_CASES:
                if options.only in case:
                    table(case, optimizer, dtype, options)


def table(case, optimizer, dtype, options):
    from .peers import alternate, report

    with contextlib.ExitStack() as stack:
        workers = {}
        for name in peers_of(case, optimizer):
            workers[name] = Worker(case, name, optimizer, dtype)
            stack.callback(workers[name].close)
        losses = {name: worker(5)[1] for name, worker in workers.items()}
        for name, loss in losses.items():
            # scikit-learn adds Adam's epsilon elsewhere
            rough = dtype == "float32" or name == ScikitLearn.name
            tolerance = 5e-3 if rough else 1e-9
            if not math.isclose(loss, losses["flatprop"], rel_tol=tolerance, abs_tol=1e-6):
                raise AssertionError(f"{case}: {name} reached the loss {loss}, others {losses}")
        runs = {
            name: (lambda steps, worker=worker: worker(steps)[0])
            for name, worker in workers.items()
        }
        title = f"{case}; {optimizer}, {dtype}, default threads, each in its own process"
        report(title, alternate(runs, options.rounds, options.seconds), 1e-6, "µs/step")


if __name__ == "__main__":
    work(*sys.argv[1:])
