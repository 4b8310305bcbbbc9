"""A network as one file of C99, for firmware and simulation codes.

The text comes from `c_text`, the layers' part of it from `dense_formats`.
"""

from os import PathLike
from pathlib import Path

from numpy.typing import ArrayLike

from flatprop.export.writing import write_together
from flatprop.model.model import Model
from flatprop.validation import checks


def to_c(
    network: Model,
    path: str | PathLike[str],
    name: str | None = None,
    test: ArrayLike | None = None,
    header: bool = False,
) -> None:
    """Write the network as one file of C99 that needs nothing but <math.h> and C's own headers.

    The file defines, for float64 networks with `double` in place of `float`::

        void <name>(const float *x, float *out);
        void <name>_batch(size_t rows, const float *x, float *out);

    which compute what `predict` does, up to rounding. It allocates nothing, has no
    variables but on the stack, and is C++17 too. ``gcc -O2`` makes it as fast as the jitted
    kernel: on x86-64, GCC and clang compile it for AVX2, too, and a call takes what the
    processor has. ``-D<NAME>_PLAIN`` leaves it at C99, and ``-D<NAME>_LIBM`` at the functions
    of <math.h>.

    Parameters
    ----------
    path
        Where to write; an existing file is replaced in one step.
    name
        The name of the function; None takes that of the file: `net` for "net.c".
    test
        Rows of inputs as for `predict`. With them the file, compiled with
        ``-D<NAME>_TEST``, is a program that returns 0 if the machine it runs on
        computes the same outputs, up to rounding. How far each output may be off is
        written beside it: it follows from the sizes of the terms that are added up,
        Σ|a W| + |b|, and from the slopes of the layers behind.
    header
        Whether to write a header with the declarations for C and C++ too, in the same
        place and under the same name with the suffix ".h". The file repeats the
        declarations and does not need the header.

    Raises
    ------
    TypeError, ValueError
        If the name cannot be that of a C function, or is taken by C, C++ or their
        libraries; if `path` ends in ".h" and a header is to be written beside it; if a
        parameter is NaN or infinite; if your own activation has a loop or calls a
        function that has no formula, such as `math.floor`; or if `test` does not fit.
    OSError
        If a file cannot be written.
    """
    from flatprop.export import c_text  # import flatprop stays light
    from flatprop.export.c_names import checked_name

    name = checked_name(name, path)
    beside = _header_beside(path) if header else None
    checks.finite("params", network.params)
    source = c_text.source(network, name)
    if test is not None:
        from flatprop.export.c_self_test import program

        source = f"{source}\n{program(network, name, test)}"
    contents = {path: source.encode("ascii")}
    if beside is not None:
        contents[beside] = c_text.header(network, name).encode("ascii")
    write_together(contents)


def _header_beside(path: str | PathLike[str]) -> Path:
    """Where the header goes; an error if it cannot."""
    target = Path(path).resolve()  # of a link, the file behind it
    if target.suffix.lower() == ".h":
        raise ValueError(
            f"{str(path)!r} ends as a header does, which is to be written beside it; "
            f"pass a path such as {str(Path(path).with_suffix('.c'))!r}"
        )
    beside = Path(path).absolute().with_suffix(".h").resolve()
    if beside.is_dir():
        raise IsADirectoryError(f"{beside}: there is a folder where the header is to be")
    return beside
