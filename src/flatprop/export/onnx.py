"""Networks as ONNX models: one Gemm per layer, then the operators of its activation.

An activation is the operator that ONNX has for it, where onnxruntime computes that in the
network's dtype; otherwise it comes from its formula, by way of `onnx_number`.
"""

from collections.abc import Callable
from importlib.metadata import version
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from flatprop.export.onnx_number import OnnxNumber, Tape
from flatprop.export.writing import write_in_one_step
from flatprop.formulas.activations import SELU_ALPHA, SELU_SCALE
from flatprop.model.layers import Dense
from flatprop.model.model import Model, checked_model
from flatprop.numbers import elementary
from flatprop.validation import checks
from flatprop.validation.arrays import Array

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

OPSET = 11
"""Of 2019: the first in which numbers of float64 can be compared with Equal."""
MOST_BYTES = 2**31 - 2**20
"""Of the parameters: a protocol buffer holds less than 2 GiB."""

Written = Callable[[OnnxNumber], OnnxNumber]

OPERATORS: dict[str, Written] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: z.apply("Sigmoid"),
    "tanh": lambda z: z.apply("Tanh"),
    "relu": lambda z: z.apply("Relu"),
    # not z Sigmoid(z): onnxruntime's float32 is off by 5e-8, which z = -17 multiplies
    "silu": lambda z: z / (elementary.exp(-z) + 1.0),
    "exp": lambda z: z.apply("Exp"),
    "softmax": lambda z: z.apply("Softmax", axis=1),
}
"""The operators of activations that onnxruntime computes in both dtypes."""

FLOAT32_OPERATORS: dict[str, Written] = {
    **OPERATORS,
    "leaky_relu": lambda z: z.apply("LeakyRelu", alpha=0.01),
    "elu": lambda z: z.apply("Elu", alpha=1.0),
    "selu": lambda z: z.apply("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    # these two as PyTorch writes them, which optimisers of graphs look for
    "gelu": lambda z: z * (elementary.erf(z / 2.0**0.5) + 1.0) * 0.5,
    "mish": lambda z: z * z.apply("Softplus").apply("Tanh"),
    "softplus": lambda z: z.apply("Softplus"),
    "softsign": lambda z: z.apply("Softsign"),
}


def to_onnx(network: Model, path: str | PathLike[str] | None = None) -> "ModelProto":
    """The network as an ONNX model, which computes what `predict` does.

    It takes "X", (batch, inputs), and gives "y", (batch, outputs), both of the network's dtype,
    for any number of rows. W and b of layer l are its initializers "Wl" and "bl", counted from
    1. Its metadata say which loss the network was trained on.

    Parameters
    ----------
    network
        The network; ``net.to_onnx(path)`` is short for ``to_onnx(net, path)``.
    path
        Where to write the model too; an existing file is replaced in one step.

    Returns
    -------
    onnx.ModelProto
        Of opset 11, which onnxruntime and others have known since 2019.

    Raises
    ------
    ImportError
        If onnx is missing: ``pip install 'flatprop[onnx]'``.
    ValueError
        If a parameter is NaN or infinite, your own activation has a loop or calls a function that
        has no formula, such as `math.floor`, or the parameters take 2 GiB or more. Nothing is
        written then.
    OSError
        If the file cannot be written.

    Notes
    -----
    The outputs of onnxruntime agree with those of `predict` up to some rounding errors of the
    terms that the layers add up. Its Sigmoid is 0 below z = -18 (float64: -37), where `predict`
    still gives e^z.
    """
    try:
        from onnx import helper
    except ImportError:
        raise ImportError("to_onnx needs onnx: pip install 'flatprop[onnx]'") from None
    checked_model("to_onnx", network)
    checks.finite("params", network.params)
    if network.params.nbytes > MOST_BYTES:
        raise ValueError(
            f"the parameters take {network.params.nbytes:,} bytes, but one ONNX file holds less "
            "than 2 GiB"
        )
    graph = _Graph(network.dtype)
    a = "X"
    layers = zip(network.dense, network.weights, network.biases, strict=True)
    for number, (layer, W, b) in enumerate(layers, start=1):
        a = graph.add_layer(number, layer, W, b, a, last=number == len(network.dense))
    kind = helper.np_dtype_to_tensor_dtype(network.dtype)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "flatprop",
            [helper.make_tensor_value_info("X", kind, ["batch", network.inputs])],
            [helper.make_tensor_value_info("y", kind, ["batch", network.outputs])],
            graph.initializers,
        ),
        opset_imports=opset,
        ir_version=helper.find_min_ir_version_for(opset),
        producer_name="flatprop",
        producer_version=version("flatprop"),
        doc_string=repr(network),
    )
    helper.set_model_props(model, _metadata(network))
    if path is not None:
        write_in_one_step(path, model.SerializeToString())
    return model


def _metadata(network: Model) -> dict[str, str]:
    loss = network.loss_function
    metadata = {
        "flatprop_version": version("flatprop"),
        "loss": loss.name,
        "loss_reduction": loss.reduction,
        "activations": ", ".join(layer.name for layer in network.dense),
    }
    if loss.parameter:
        metadata["loss_parameter"] = repr(loss.parameter)
    return metadata


class _Graph:
    """Nodes and initializers, as layers are added."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._constants: dict[bytes, str] = {}

    def add_layer(self, number: int, layer: Dense, W: Array, b: Array, x: str, last: bool) -> str:
        """The nodes of one layer that takes the value `x`; the name of what it gives."""
        from onnx import helper, numpy_helper

        parameters = f"W{number}", f"b{number}"
        for name, array in zip(parameters, (W, b), strict=True):
            self.initializers.append(numpy_helper.from_array(array, name))
        z, a = f"z{number}", "y" if last else f"a{number}"
        tape = Tape(self.dtype)
        operators = tape.operators(_activation(layer, number - 1, tape))
        if not operators:
            z = a  # the identity
        self.nodes.append(helper.make_node("Gemm", [x, *parameters], [z], f"dense{number}"))
        names = {tape.z: z}
        prefix = f"own{number}" if callable(layer.activation) else f"{layer.name}{number}"
        for step in operators:
            if step.constant is not None:
                names[step] = self._constant(step.constant)
                continue
            node = f"{prefix}_{step.operator}_{len(self.nodes)}"
            names[step] = a if step is operators[-1] else node
            inputs = [names[operand] for operand in step.operands]
            self.nodes.append(
                helper.make_node(step.operator, inputs, [names[step]], node, **step.attributes)
            )
        return a

    def _constant(self, value: Any) -> str:
        """The name of an initializer that holds one number."""
        from onnx import numpy_helper

        if value.tobytes() not in self._constants:
            name = self._constants[value.tobytes()] = f"constant_{len(self._constants) + 1}"
            self.initializers.append(numpy_helper.from_array(np.array(value), name))
        return self._constants[value.tobytes()]


def _activation(layer: Dense, place: int, tape: Tape) -> OnnxNumber:
    """The activation of `tape.z`."""
    from flatprop.export.formula_text import written

    z, operators = tape.z, FLOAT32_OPERATORS if tape.dtype == np.float32 else OPERATORS
    if layer.activation in operators:
        return operators[layer.activation](z)
    a: OnnxNumber = written("to_onnx", layer, place, z)
    # a constant activation still has the shape of z
    return a if tape.depends_on_z(a) else z.equals(z).apply("Where", a, a)
