"""How often a benchmark repeats what it measures.

With BENCHMARKS_ONCE=1 everything runs, and is checked, but its figures mean nothing: CI looks for
benchmarks that fail.
"""

import os

ONCE = os.environ.get("BENCHMARKS_ONCE", "0") != "0"


def repetitions(number):
    """So many, or one."""
    return 1 if ONCE else number


def duration(seconds):
    """So long, or as short as can be."""
    return 0.0 if ONCE else seconds
