"""A network as one file of C99, for firmware and simulation codes.

The activations come from `formulas.activations` by way of `numbers.c_source`;
what stands around them is written here.
"""

import re
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.export.c_names import checked_name
from flatprop.export.writing import write_together
from flatprop.model.layers import Dense
from flatprop.model.model import Model
from flatprop.numbers.c_source import (
    CNumber,
    c_type,
    constant_array,
    function_name,
    statements,
)
from flatprop.validation import checks


def to_c(
    network: Model,
    path: str | PathLike[str],
    name: str | None = None,
    test: ArrayLike | None = None,
    header: bool = False,
) -> None:
    """Write the network as one file of C99 that needs nothing but <math.h>.

    The file defines, for float64 networks with `double` in place of `float`::

        void <name>(const float *x, float *out);
        void <name>_batch(size_t rows, const float *x, float *out);

    which compute what `predict` does, up to rounding. It allocates nothing, has no
    variables but on the stack, and is C++17 too.

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
    name = checked_name(name, path)
    beside = _header_beside(path) if header else None
    checks.finite("params", network.params)
    parts = [
        _head(network, name),
        _declarations(network, name),
        *_parameters(network, name),
        *_functions(network, name),
        _network(network, name),
    ]
    if test is not None:
        from flatprop.export.c_self_test import program

        parts.append(program(network, name, test))
    source = "\n".join(parts).encode("ascii")
    contents = {path: source}
    if beside is not None:
        contents[beside] = _header(network, name).encode("ascii")
    write_together(contents)


# ---- the parts of the file


def _head(network: Model, name: str) -> str:
    buffers = _buffers(network)
    stack = sum(buffers) * network.dtype.itemsize
    taken = " + ".join(map(str, buffers)) or "no"
    return f"""\
/* A neural network, written by flatprop {version("flatprop")}.
 *
 *     {_layers(network)}
 *     {network.params.size} parameters, {network.dtype.name}
 *
 * {name}(x, out) computes one row: x holds {name.upper()}_INPUTS numbers, out gets
 * {name.upper()}_OUTPUTS. {name}_batch computes rows that lie one after the other.
 * x and out must not overlap. Inputs are taken as the network was trained on them;
 * one that is NaN gives outputs that are NaN.
 *
 * Compile with    cc -std=c99 -O2 -c, or as C++17; link with -lm.
 * Needs           <math.h>; nothing is allocated.
 * Threads         any number at once: there are no variables but on the stack.
 * Stack           {stack} bytes for {taken} numbers between the layers, and the calls.
 * Constants       {network.params.nbytes} bytes, exact in hexadecimal.
 */
#include <math.h>
"""


def _declarations(network: Model, name: str) -> str:
    """The declarations. Header and file both have them, so that each works by itself."""
    kind, upper = c_type(network.dtype), name.upper()
    return f"""\
#ifndef FLATPROP_{upper}_H
#define FLATPROP_{upper}_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* How many numbers one row has: of x, and of out. */
enum {{ {upper}_INPUTS = {network.inputs}, {upper}_OUTPUTS = {network.outputs} }};

/* One row: out gets the outputs for x. They must not overlap. */
void {name}(const {kind} *x, {kind} *out);

/* So many rows, one after the other, in x and in out. */
void {name}_batch(size_t rows, const {kind} *x, {kind} *out);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _header(network: Model, name: str) -> str:
    return f"""\
/* Declarations of a neural network, written by flatprop {version("flatprop")}.
 *
 *     {_layers(network)}
 *     {network.params.size} parameters, {network.dtype.name}
 *
 * Inputs are taken as the network was trained on them; one that is NaN gives outputs that
 * are NaN. Nothing is allocated, and any number of threads may call at once.
 */
{_declarations(network, name)}"""


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


def _layers(network: Model) -> str:
    layers = (f"{layer.units} {_comment(layer.name)}" for layer in network.dense)
    return f"{network.inputs} inputs -> {' -> '.join(layers)}"


def _comment(text: str) -> str:
    """A function's name for a comment: in ASCII, and without anything that would end it."""
    return re.sub(r"[^\w<>.-]", "_", text.encode("ascii", "backslashreplace").decode())


def _parameters(network: Model, name: str) -> list[str]:
    parts = []
    for number, (W, b) in enumerate(zip(network.weights, network.biases, strict=True), start=1):
        inputs, units = W.shape
        parts.append(
            f"/* layer {number}: W by inputs, {inputs} rows of {units}, then b */\n"
            + constant_array(f"{name}_W{number}", W)
            + constant_array(f"{name}_b{number}", b[None, :])
        )
    return parts


def _functions(network: Model, name: str) -> list[str]:
    """The functions that the layers call."""
    kind = c_type(network.dtype)
    parts = [
        f"""\
/* z = x W + b */
static void {name}_dense(const {kind} *W, const {kind} *b, size_t inputs, size_t units,
    const {kind} *x, {kind} *z)
{{
    for (size_t j = 0; j < units; j++)
        z[j] = b[j];
    for (size_t i = 0; i < inputs; i++) {{
        const {kind} xi = x[i];
        for (size_t j = 0; j < units; j++)
            z[j] += xi * W[j];
        W += units;
    }}
}}
"""
    ]
    written = {"identity"}
    for number, (layer, suffix) in enumerate(zip(network.dense, _suffixes(network), strict=True)):
        if suffix in written:
            continue
        written.add(suffix)
        if suffix == "softmax":
            parts.append(_softmax(f"{name}_softmax", network.dtype))
        else:
            text = _elementwise(layer, number, network.dtype)
            whose = (
                f"/* the user's {_comment(layer.name)} */\n" if callable(layer.activation) else ""
            )
            parts.append(f"{whose}static {kind} {name}_{suffix}({kind} z)\n{{\n{text}\n}}\n")
    return parts


def _suffixes(network: Model) -> list[str]:
    """The name of each layer's activation; "own1", "own2" where it is the user's."""
    own: dict[Any, str] = {}
    return [
        own.setdefault(layer.activation, f"own{len(own) + 1}")
        if callable(layer.activation)
        else layer.activation
        for layer in network.dense
    ]


def _elementwise(layer: Dense, number: int, dtype: np.dtype[Any]) -> str:
    """The body of an activation, from its formula."""
    from flatprop.export.formula_text import written

    a = written("to_c", layer, number, CNumber(dtype, "z"))
    return "\n".join(f"    {statement}" for statement in statements(a))


def _softmax(function: str, dtype: np.dtype[Any]) -> str:
    kind = c_type(dtype)
    return f"""\
/* e^z / sum of e^z; shifted by the largest z, so that nothing overflows */
static void {function}({kind} *z, size_t units)
{{
    {kind} largest = z[0], total = 0;
    for (size_t j = 1; j < units; j++)
        if (z[j] > largest)
            largest = z[j];
    for (size_t j = 0; j < units; j++) {{
        z[j] = {function_name("exp", dtype)}(z[j] - largest);
        total += z[j];
    }}
    for (size_t j = 0; j < units; j++)
        z[j] /= total;
}}
"""


def _buffers(network: Model) -> list[int]:
    """The sizes of the two buffers that the hidden layers write to in turn."""
    hidden = [layer.units for layer in network.dense[:-1]]
    return [max(part) for part in (hidden[::2], hidden[1::2]) if part]


def _network(network: Model, name: str) -> str:
    kind = c_type(network.dtype)
    buffers = [f"{letter}[{size}]" for letter, size in zip("uv", _buffers(network), strict=False)]
    lines = [f"    {kind} {', '.join(buffers)};\n"] if buffers else []
    source = "x"
    suffixes = _suffixes(network)
    for number, (layer, suffix) in enumerate(zip(network.dense, suffixes, strict=True), start=1):
        last = number == len(network.dense)
        z = "out" if last else "uv"[(number - 1) % 2]
        sizes = ", ".join(map(str, network.weights[number - 1].shape))
        lines.append(
            f"    {name}_dense({name}_W{number}, {name}_b{number}, {sizes}, {source}, {z});"
        )
        function = f"{name}_{suffix}"
        if suffix == "softmax":
            lines.append(f"    {function}({z}, {layer.units});")
        elif suffix != "identity":
            lines.append(f"    for (size_t j = 0; j < {layer.units}; j++)")
            lines.append(f"        {z}[j] = {function}({z}[j]);")
        source = z
    body = "\n".join(lines)
    upper = name.upper()
    return f"""\
void {name}(const {kind} *x, {kind} *out)
{{
{body}
}}

void {name}_batch(size_t rows, const {kind} *x, {kind} *out)
{{
    for (size_t i = 0; i < rows; i++)
        {name}(x + i * {upper}_INPUTS, out + i * {upper}_OUTPUTS);
}}
"""
