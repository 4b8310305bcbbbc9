"""Networks of every kind of layer, and any network once more as a function in PyTorch."""

import numpy as np

import flatprop as fp

LAYERS = {
    "norm": [fp.Dense(7, "relu"), fp.LayerNorm(), fp.Dense(2)],
    "norm first": [fp.LayerNorm(), fp.Dense(7, "tanh"), fp.LayerNorm(), fp.Dense(2)],
    "residual": [
        fp.Dense(6, "tanh"),
        fp.Residual([fp.Dense(9, "relu"), fp.Dense(6)]),
        fp.Dense(2),
    ],
    "behind relu": [fp.Dense(6, "relu"), fp.Residual([fp.Dense(6, "gelu")]), fp.Dense(2)],
    "residual first": [fp.Residual([fp.Dense(5, "silu")]), fp.Dense(2, "sigmoid")],
    "before softmax": [
        fp.Residual([fp.LayerNorm(), fp.Dense(5, "gelu")]),
        fp.LayerNorm(),
        fp.Dense(2, "softmax"),
    ],
    "nested": [
        fp.Dense(4, "softplus"),
        fp.Residual([fp.LayerNorm(), fp.Residual([fp.Dense(4, "tanh")]), fp.Dense(4, "relu")]),
        fp.Residual([fp.Dense(3, "relu"), fp.Dropout(0.4), fp.Dense(4)]),
        fp.LayerNorm(),
        fp.Dense(2),
    ],
    "dropout": [fp.Dropout(0.2), fp.Dense(8, "tanh"), fp.Dropout(0.5), fp.Dense(2)],
}


def network(layers, dtype="float64", inputs=5, loss="mse", seed=0):
    net = fp.Network(inputs, layers, loss, dtype, rng=seed)
    rng = np.random.default_rng(seed + 1)
    net.params += rng.normal(size=net.params.size) * 0.2
    return net


def samples(rows=37, inputs=5, outputs=2, dtype="float64"):
    rng = np.random.default_rng(3)
    X, y = rng.normal(1, 2, (rows, inputs)), rng.normal(size=(rows, outputs))
    return X.astype(dtype), y.astype(dtype)


def without_dropout(layers):
    """The same layers without those of dropout, which have no parameters."""
    kept = [layer for layer in layers if not isinstance(layer, fp.Dropout)]
    return [
        fp.Residual(without_dropout(layer.layers)) if isinstance(layer, fp.Residual) else layer
        for layer in kept
    ]


def torch_function(net):
    """(params, x) -> the outputs, for tensors; x is one row or several. Dropout is off.

    Layer normalisation is written out: the derivatives of PyTorch's own are wrong from the third
    order on, and under vmap from the second.
    """
    import torch

    functional = torch.nn.functional
    others = {
        "identity": lambda z: z,
        "softmax": lambda z: torch.softmax(z, -1),
        "leaky_relu": lambda z: functional.leaky_relu(z, 0.01),
        "exp": torch.exp,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
    }

    def of_layer(layer, record, params, x, begun):
        start, inputs, units = (int(record[name]) for name in ("W_start", "inputs", "units"))
        match layer:
            case fp.Dense():
                part = params[start : start + (inputs + 1) * units].reshape(-1, units)
                name = layer.name
                activation = others[name] if name in others else getattr(functional, name)
                return activation(x @ part[:-1] + part[-1])
            case fp.LayerNorm():
                scale, shift = params[start : start + 2 * units].reshape(2, units)
                away = x - x.mean(-1, keepdim=True)
                variance = (away**2).mean(-1, keepdim=True)
                return away / torch.sqrt(variance + 1e-5) * scale + shift
            case fp.ResidualBegin():
                begun.append(x)
            case fp.ResidualEnd():
                return begun.pop() + x
        return x

    def function(params, x):
        begun = []
        for layer, record in zip(net.dense, net.layers, strict=True):
            x = of_layer(layer, record, params, x, begun)
        return x

    return function
