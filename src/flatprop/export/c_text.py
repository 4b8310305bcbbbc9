"""The text of a network in C, around what `layer_formats` writes of the layers."""

from importlib.metadata import version

import numpy as np

from flatprop.export.c_functions import FileFunctions
from flatprop.export.c_names import c_comment
from flatprop.export.layer_formats import formats_of
from flatprop.kernels.network.records import FORK
from flatprop.model.layers import chain
from flatprop.model.model import Model
from flatprop.numbers.c_source import c_type


def source(network: Model, name: str) -> str:
    """All of the file but its self-test."""
    functions = FileFunctions(name, network.dtype)
    formats = [formats_of(layer) for layer in network.dense]
    for l, of_layer in enumerate(formats):
        of_layer.add_c_functions(network, l, functions)
    constants = (of_layer.c_constants(network, l, name) for l, of_layer in enumerate(formats))
    parts = [
        _head(network, name, _HEADERS if functions.elementary else _HEADERS[:1]),
        _declarations(network, name),
        _extensions(name),
        *filter(None, constants),
        *functions.texts(),
        _network(network, name),
    ]
    return "\n".join(parts)


_HEADERS = ("math", "float", "stdint", "string")
"""The headers of C; what follows the first is for elementary functions."""


def _head(network: Model, name: str, headers: tuple[str, ...]) -> str:
    buffers = [*_buffers(network), *_kept(network).values()]
    stack = sum(buffers) * network.dtype.itemsize
    taken = " + ".join(map(str, buffers)) or "no"
    included = "\n".join(f"#include <{header}.h>" for header in headers)
    upper = name.upper()
    return f"""\
/* A neural network, written by flatprop {version("flatprop")}.
 *
 *     {_layers(network)}
 *     {network.params.size} parameters, {network.dtype.name}
 *
 * {name}(x, out) computes one row: x holds {upper}_INPUTS numbers, out gets
 * {upper}_OUTPUTS. {name}_batch computes rows that lie one after the other.
 * x and out must not overlap. Inputs are taken as the network was trained on them;
 * one that is NaN gives outputs that are NaN.
 *
 * Compile with    cc -std=c99 -O2 -c, or as C++17; link with -lm.
 *                 -D{upper}_PLAIN leaves out what GCC and clang know beyond C99,
 *                 -D{upper}_LIBM takes the functions of <math.h> for the polynomials here.
 * Needs           <math.h>; nothing is allocated.
 * Threads         any number at once: there are no variables but on the stack.
 * Stack           {stack} bytes for {taken} numbers between the layers, and the calls.
 * Constants       {network.params.nbytes} bytes, exact in hexadecimal.
 */
{included}
"""


def _extensions(name: str) -> str:
    """What GCC and clang are told beyond C99."""
    upper = name.upper()
    return f"""\
/* GCC and clang are told more than C99 can say, so that -O2 suffices: to inline all that a row
   calls, to compute several numbers at once and to fuse a multiplication with an addition; and
   for x86-64 to compile the row a second time, for processors with AVX2. */
#if defined(__GNUC__) && defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__) \\
    && !defined({upper}_PLAIN)
#define {upper}_ROW __attribute__((flatten))
#if defined(__x86_64__) && !defined(_WIN32) && !(defined(__AVX2__) && defined(__FMA__))
#define {upper}_AVX2 __attribute__((flatten, target("avx2,fma")))
#endif
#ifndef __clang__ /* which vectorises at -O2 */
#define {upper}_OPTIONS
#pragma GCC push_options
#pragma GCC optimize("O3", "fp-contract=fast", "no-trapping-math")
#endif
#else
#define {upper}_ROW
#endif
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


def header(network: Model, name: str) -> str:
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


def _layers(network: Model) -> str:
    return f"{network.inputs} inputs -> {c_comment(chain(network.dense))}"


def _buffers(network: Model) -> list[int]:
    """The sizes of the two buffers that the hidden layers write to in turn."""
    hidden = [layer.units for layer in network.dense[:-1] if not formats_of(layer).passes]
    return [max(part) for part in (hidden[::2], hidden[1::2]) if part]


def _kept(network: Model) -> dict[str, int]:
    """The buffers of the inputs of residual blocks, and their sizes."""
    begins = np.flatnonzero(network.layers["kind"] == FORK)
    return {f"kept{l + 1}": network.dense[l].units for l in begins}


def _network(network: Model, name: str) -> str:
    kind = c_type(network.dtype)
    sizes = dict(zip("uv", _buffers(network), strict=False)) | _kept(network)
    buffers = [f"{buffer}[{size}]" for buffer, size in sizes.items()]
    lines = [f"    {kind} {', '.join(buffers)};\n"] if buffers else []
    source, last, written = "x", len(network.dense) - 1, 0
    for l, layer in enumerate(network.dense):
        target = "out" if l == last else "uv"[written % 2]
        lines += formats_of(layer).c_statements(network, l, name, source, target)
        if not formats_of(layer).passes:
            source, written = target, written + 1
    body = "\n".join(lines)
    upper = name.upper()
    return f"""\
{upper}_ROW static void {name}_row(const {kind} *x, {kind} *out)
{{
{body}
}}

#ifdef {upper}_AVX2
{upper}_AVX2 static void {name}_row_avx2(const {kind} *x, {kind} *out)
{{
    {name}_row(x, out);
}}
#endif

void {name}(const {kind} *x, {kind} *out)
{{
#ifdef {upper}_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {{
        {name}_row_avx2(x, out);
        return;
    }}
#endif
    {name}_row(x, out);
}}

void {name}_batch(size_t rows, const {kind} *x, {kind} *out)
{{
    for (size_t i = 0; i < rows; i++)
        {name}(x + i * {upper}_INPUTS, out + i * {upper}_OUTPUTS);
}}

#ifdef {upper}_OPTIONS
#pragma GCC pop_options
#endif
"""
