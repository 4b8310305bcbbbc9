"""A network that is to tell whether a dosage works learns its last bias, b₃."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from flatprop import Epoch

LEARNING_RATE = 0.1
TOLERANCE = 1e-12
DIAGRAM = """\
                 · w₁ + b₁                · w₃
              ┌────────────▶ softplus ────────────┐
    dosage ───┤                                   ├─── sum + b₃ ──▶ ŷ
              └────────────▶ softplus ────────────┘
                 · w₂ + b₂                · w₄
"""


def lines() -> list[str]:
    """The example as text; the inputs are given here, all else is computed."""
    import flatprop as fp

    dosage = np.array([[0.0], [0.5], [1.0]])
    y = np.array([[0.0], [1.0], [0.0]])
    w1, b1, w2, b2, w3, w4 = 3.34, -1.43, -3.53, 0.57, -1.22, -2.30

    net = fp.Network(1, [fp.Dense(2, "softplus"), fp.Dense(1)], loss="ssr", dtype="float64")
    net.weights[0] = [[w1, w2]]
    net.biases[0] = [b1, b2]
    net.weights[1] = [[w3], [w4]]
    net.biases[1] = [0.0]
    b3 = net.biases[1]
    only_b3 = np.arange(net.params.size) == net.params.size - 1

    trace = net.trace(dosage, y)
    predicted = trace.layers[-1].a
    slopes = trace.layers[-1].dL_da  # -2 (y - ŷ), and ∂ŷ/∂b₃ = 1
    gradient = trace.layers[-1].dL_db.item()

    # What each step sees, before it is made: the same as fit computes within.
    course = [(b3.item(), trace.loss, gradient)]

    def note(epoch: "Epoch") -> None:
        ssr, slope = net.loss_and_gradient(dosage, y)
        course.append((b3.item(), ssr, float(slope[-1])))

    history = net.fit(
        dosage,
        y,
        optimizer=fp.SGD(LEARNING_RATE),
        epochs=1000,
        batch_size=None,
        trainable=only_b3,
        tol=TOLERANCE,
        callbacks=note,
    )
    first = course[1][0]
    rate = LEARNING_RATE
    return [
        "Backpropagation, main ideas: is the dosage effective?",
        "=====================================================",
        "",
        DIAGRAM,
        f"    first hidden node    w₁ = {w1:5.2f}   b₁ = {b1:5.2f}      w₃ = {w3:5.2f}",
        f"    second hidden node   w₂ = {w2:5.2f}   b₂ = {b2:5.2f}      w₄ = {w4:5.2f}",
        f"    last bias            b₃ = {course[0][0]:5.2f}, the one parameter that is to be "
        "learnt",
        "",
        "    observations         dosage (low, medium, high)   "
        + "".join(f"{value:6.1f}" for value in dosage[:, 0]),
        "                         effectiveness (observed y)   "
        + "".join(f"{value:6.1f}" for value in y[:, 0]),
        "",
        "    loss: the sum of squared residuals, SSR = Σ (y - ŷ)²",
        *_heading("1. One backpropagation, every quantity: print(net.trace(dosage, y))"),
        "    layer 1:  W = [w₁ w₂], b = [b₁ b₂];   layer 2:  W has w₃ above w₄, b = [b₃]",
        "",
        *(f"    {line}".rstrip() for line in str(trace).split("\n")),
        *_heading("2. The chain rule for b₃"),
        "    ∂SSR/∂b₃ = Σ ∂SSR/∂ŷ · ∂ŷ/∂b₃ = Σ -2 (y - ŷ) · 1",
        "",
        *_observations(dosage, y, predicted, slopes),
        f"    {'sum':>8}{'':>32}{gradient:16.6f}   about {gradient:.1f}",
        *_heading("3. Gradient descent: one step against the gradient"),
        f"    b₃ ← b₃ - α · ∂SSR/∂b₃, with the learning rate α = {rate:g}",
        f"    b₃ ← {course[0][0]:g} - {rate:g} · ({gradient:.6f}) = {first:.6f}   "
        f"about {first:.2f}",
        *_heading("4. Iterative optimization: repeat until the loss no longer changes"),
        *_iterations(course),
        "",
        f"    {history.stopped_by} after {history.epochs} iterations: b₃ = {b3.item():.6f}, "
        "where the gradient is 0.",
        f"    SSR is as small as b₃ alone can make it: {course[-1][1]:.6f}. All other parameters",
        "    are as they were: only b₃ was trainable.",
        *_heading("The same in Python:"),
        "    import flatprop as fp",
        "    import numpy as np",
        '    layers = [fp.Dense(2, "softplus"), fp.Dense(1)]',
        '    net = fp.Network(1, layers, "ssr", "float64")',
        f"    net.params = [{w1}, {w2}, {b1}, {b2}, {w3}, {w4}, 0]",
        "    dosage, y = [[0], [0.5], [1]], [[0], [1], [0]]",
        "    print(net.trace(dosage, y))",
        f"    net.fit(dosage, y, optimizer=fp.SGD({rate:g}), batch_size=None, tol={TOLERANCE:g},",
        "            trainable=np.arange(7) == 6)",
        "    print(net.biases[1])",
    ]


def _heading(text: str) -> list[str]:
    return ["", "", text, ""]


def _observations(*columns: np.ndarray) -> Iterable[str]:
    yield f"    {'dosage':>8}{'y':>8}{'ŷ':>12}{'y - ŷ':>12}{'-2 (y - ŷ) · 1':>16}"
    for dosage, y, predicted, slope in zip(*(column[:, 0] for column in columns), strict=True):
        yield f"    {dosage:8.1f}{y:8.1f}{predicted:12.6f}{y - predicted:12.6f}{slope:16.6f}"


def _iterations(course: list[tuple[float, float, float]]) -> Iterable[str]:
    """b₃, SSR and gradient as each step finds them, and the step."""
    yield f"    {'iteration':>9}{'b₃':>12}{'SSR':>14}{'gradient':>14}{'step -α · gradient':>22}"
    for number, (b3, ssr, gradient) in enumerate(course):
        last = number == len(course) - 1
        step = "none: converged" if last else f"{-LEARNING_RATE * gradient:.6f}"
        # Adding 0 to the rounded number turns -0.000000 into 0.000000.
        slope = round(gradient, 6) + 0.0
        yield f"    {number:>9}{b3:12.6f}{ssr:14.6f}{slope:14.6f}{step:>22}"
