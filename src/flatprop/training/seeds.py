"""The seed of a training: one draw from its generator, from which all other draws follow."""

import numpy as np


def drawn(source: np.random.Generator) -> int:
    """A seed of 64 bits; the generator moves on."""
    bits = source.bit_generator
    if type(bits) is np.random.PCG64:  # the same number, in a fifth of the time
        return int(bits.random_raw())
    return int(source.integers(0, 2**64, dtype=np.uint64))


def next_drawn(source: np.random.Generator) -> int:
    """The seed that `drawn` will give next; the generator stays where it is."""
    bits = source.bit_generator
    before = bits.state
    try:
        return drawn(source)
    finally:
        bits.state = before


def of_split(seed: int) -> np.random.Generator:
    """What draws the samples that `validation_split` holds back."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))


def of_rank(seed: int, rank: int) -> int:
    """The seed of the order of one process's rows, where several train one network."""
    if rank == 0:
        return seed
    sequence = np.random.SeedSequence(seed, spawn_key=(2, rank))
    return int(sequence.generate_state(1, np.uint64)[0])


def of_bootstrap(seed: int, member: int) -> np.random.Generator:
    """What draws the rows of a member of an ensemble, whose members may have one seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, member)))
