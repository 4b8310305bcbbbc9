"""Networks as ONNX models: what stands around the layers, which `layer_formats` writes."""

from importlib.metadata import version
from os import PathLike
from typing import TYPE_CHECKING

from flatprop.export.writing import write_in_one_step
from flatprop.model.model import Model, checked_model
from flatprop.validation import checks

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 11
"""Of 2019: the first in which numbers of float64 can be compared with Equal."""
MOST_BYTES = 2**31 - 2**20
"""Of the parameters: a protocol buffer holds less than 2 GiB."""


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
    from flatprop.export.layer_formats import formats_of  # import flatprop stays light
    from flatprop.export.onnx_number import Graph

    graph, values, last = Graph(network.dtype), ["X"], len(network.dense) - 1
    for l, layer in enumerate(network.dense):
        a = "y" if l == last else f"a{l + 1}"
        values.append(formats_of(layer).add_to_graph(graph, network, l, values, a))
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
