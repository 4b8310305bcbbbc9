"""The formula of a layer's activation, for the files that are written from it."""

from typing import Any

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.model.layers import Dense
from flatprop.numbers.numbers import Number
from flatprop.numbers.translated import CustomFormula, custom_formula

_WHAT_IS_TRANSLATED = (
    "it may have no loop, and call abs, min and max and of math exp, expm1, log, log1p, sqrt, "
    "pow, copysign, erf, sin, cos, tan, atan, sinh, cosh and tanh"
)


def formula_of(writer: str, layer: Dense, place: int) -> CustomFormula:
    """z → (a, da/dz) of the activation of ``layers[place]``, for numbers of any kind.

    Raises ValueError where the user's own function has no such formula; the message begins with
    `writer`, the function that was called.
    """
    if not callable(layer.activation):
        return ACTIVATIONS[layer.activation].formula  # type: ignore[return-value]
    formula, obstacle = custom_formula(layer.activation, 1)
    if obstacle:
        raise ValueError(
            f"{writer} cannot write the activation {layer.name} of layers[{place}]: "
            f"{obstacle}; {_WHAT_IS_TRANSLATED}"
        )
    return formula


def written(writer: str, layer: Dense, place: int, z: Number) -> Any:
    """a(z) of the activation of ``layers[place]``, in the kind of numbers that z is.

    Raises ValueError, as `formula_of` does, where numbers of this kind cannot express it.
    """
    formula = formula_of(writer, layer, place)
    try:
        return formula(z)[0]
    except (AttributeError, TypeError, KeyError) as error:
        raise ValueError(
            f'{writer} cannot write "{layer.name}": its formula uses what only the machine\'s own '
            f"numbers have ({error})"
        ) from error
