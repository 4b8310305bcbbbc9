"""One neuron, one observation, one step of gradient descent: every number in order."""

from collections.abc import Iterable

LEARNING_RATE = 0.1


def lines() -> list[str]:
    """The example as text; the inputs are given here, all else is computed."""
    import flatprop as fp

    x, y = 0.5, 1.0
    net = fp.Network(1, [fp.Dense(1, "sigmoid")], loss="half_mse", dtype="float64")
    net.params = [0.3, 0.2]
    trace = net.trace([[x]], [[y]])
    layer = trace.layers[0]
    assert layer.da_dz is not None
    W, b = net.params.copy()
    z, a = layer.z.item(), layer.a.item()
    dL_da, da_dz, dL_dz = layer.dL_da.item(), layer.da_dz.item(), layer.dL_dz.item()
    dL_dW, dL_db = layer.dL_dW.item(), layer.dL_db.item()

    net.fit([[x]], [[y]], optimizer=fp.SGD(LEARNING_RATE), epochs=1, batch_size=None)
    new_W, new_b = net.params
    after = net.loss([[x]], [[y]])
    rate = LEARNING_RATE
    return [
        "Backpropagation and optimization: one neuron, one step",
        "======================================================",
        "",
        "        W, b",
        "    x ────────▶ z = W · x + b ────────▶ a = σ(z) ────────▶ L = ½ (y - a)²",
        "",
        f"    input x = {x:g}, weight W = {W:g}, bias b = {b:g}, target label y = {y:g}",
        "",
        "",
        *_step(
            "1. Forward propagation: the predicted output",
            [
                ("neuron input", "z", "W · x + b", f"{W:g} · {x:g} + {b:g}", z),
                ("sigmoid", "a", "1/(1 + exp(-z))", f"1/(1 + exp(-{z:g}))", a),
            ],
        ),
        *_step(
            "2. Loss: the error between prediction and target",
            [("error", "L", "½ (y - a)²", f"½ ({y:g} - {a:.6f})²", trace.loss)],
        ),
        *_step(
            "3. Backpropagation: the chain rule, from the loss back to the parameters",
            [
                ("output", "∂L/∂a", "a - y", f"{a:.6f} - {y:g}", dL_da),
                ("sigmoid", "∂a/∂z", "a (1 - a)", f"{a:.6f} · {1 - a:.6f}", da_dz),
                ("neuron input", "∂L/∂z", "∂L/∂a · ∂a/∂z", f"{dL_da:.6f} · {da_dz:.6f}", dL_dz),
                ("weight", "∂L/∂W", "x · ∂L/∂z", f"{x:g} · ({dL_dz:.6f})", dL_dW),
                ("bias", "∂L/∂b", "∂L/∂z", "", dL_db),
            ],
        ),
        *_step(
            f"4. Gradient descent: against the gradient, with the learning rate α = {rate:g}",
            [
                ("weight", "W", "W - α · ∂L/∂W", f"{W:g} - {rate:g} · ({dL_dW:.6f})", new_W),
                ("bias", "b", "b - α · ∂L/∂b", f"{b:g} - {rate:g} · ({dL_db:.6f})", new_b),
            ],
            "←",
        ),
        "5. Has it helped?",
        "",
        f"    the loss went {'down' if after < trace.loss else 'up'}:  "
        f"{trace.loss:.6f} → {after:.6f}",
        "",
        "",
        "The same in Python:",
        "",
        "    import flatprop as fp",
        '    net = fp.Network(1, [fp.Dense(1, "sigmoid")], "half_mse", "float64")',
        f"    net.params = [{W:g}, {b:g}]",
        f"    print(net.trace([[{x:g}]], [[{y:g}]]))",
        f"    net.fit([[{x:g}]], [[{y:g}]], optimizer=fp.SGD({rate:g}), epochs=1)",
    ]


def _step(
    title: str, rows: Iterable[tuple[str, str, str, str, float]], sign: str = "="
) -> list[str]:
    """What it is, formula, the numbers put in, and the result."""
    text = [title, ""]
    for name, symbol, formula, numbers, value in rows:
        put_in = f"= {numbers}" if numbers else ""
        text.append(
            f"    {name:<12} {symbol:<5} {sign} {formula:<15} {put_in:<25} = {value:>9.6f}"
        )
    return [*text, "", ""]
