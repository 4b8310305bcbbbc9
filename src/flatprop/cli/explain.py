"""`explain`: the worked examples of backpropagation."""


def explain(example: str) -> int:
    """Print one of the examples.

    Parameters
    ----------
    example
        "neuron" or "dosage".

    Returns
    -------
    int
        The exit code.
    """
    from flatprop.cli import dosage, neuron

    lines = {"neuron": neuron.lines, "dosage": dosage.lines}[example]()
    print("\n".join(lines))
    return 0
