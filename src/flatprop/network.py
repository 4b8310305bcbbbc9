"""The face: everything that can be done with a network, as its methods.

Each is a function over a `Model`, on the floor where its work is done.
"""

from collections.abc import Callable, Sequence
from os import PathLike

import numpy as np
from numpy.typing import DTypeLike

from flatprop.evaluation import along_inputs, derivatives, trace, values
from flatprop.export import c_file, files, onnx
from flatprop.formulas.loss import Loss
from flatprop.model import html
from flatprop.model.layer import Layer
from flatprop.model.model import Model
from flatprop.training.fit import fit
from flatprop.training.optimizer_words import optimizer_words
from flatprop.validation import other_names


class Network(Model, metaclass=other_names.Answering, answers=other_names.ATTRIBUTES):
    """A dense neural network whose parameters are one flat array.

    Parameters
    ----------
    inputs
        The number of input features.
    layers
        The layers in order, the last one giving the outputs: `Dense` layers and, between them,
        `LayerNorm`, `Dropout` and `Residual`.
    loss
        A name ("mse", "half_mse", "ssr", "cross_entropy", "binary_cross_entropy",
        "mae", "huber", "log_cosh", "quantile", "poisson", "gaussian_nll"), an object such as
        ``fp.losses.Huber(delta=2.0)``, or your own function: see `fp.losses.Own`, and
        `fp.losses.Row` for a function of all outputs.
    dtype
        "float32" or "float64", of the parameters and of all arithmetic.
    rng
        A seed or a `numpy.random.Generator` for the initial weights; `fit` draws
        the order of the samples from it too, unless it is given its own. None
        takes fresh entropy.

    Attributes
    ----------
    inputs : int
        The number of input features.
    outputs : int
        The units of the last layer.
    targets : int
        The columns of y; as many as there are outputs, unless the loss sees them as a whole.
    dtype : numpy.dtype
        Of the parameters and of all arithmetic.
    layers : structured array
        The network as the kernels see it, one record per layer; read-only. Addresses of
        functions of your own in it hold in this process only: send the network elsewhere.
    objectives : structured array
        The loss as the kernels see it, one record; read-only. The same holds for it.
    dense : tuple of Layer
        The layers as they were given; of a `Residual` the layers in it, with its begin and its
        end around them.
    rng : numpy.random.Generator
        Where random numbers come from; a seed can be assigned, too.

    Notes
    -----
    Weights start with the variance that suits the activation that follows them,
    biases at 0: He et al. 2015 (normal, 2 / inputs) for relu and its kin, Glorot
    & Bengio 2010 (uniform, 2 / (inputs + units)) for sigmoid, tanh and
    linear layers, LeCun et al. 1998 (normal, 1 / inputs) for selu.

    Raises
    ------
    TypeError, ValueError
        If a size, a name or a combination of loss and last layer is not possible.

    Examples
    --------
    >>> import flatprop as fp
    >>> net = fp.Network(2, [fp.Dense(8, "tanh"), fp.Dense(1)], loss="mse", rng=0)
    >>> net
    Network(2 -> 8 tanh -> 1 identity; mse, float32, 33 parameters)
    """

    @other_names.suggests(other_names.NETWORK, optimizer_words)
    def __init__(
        self,
        inputs: int,
        layers: Sequence[Layer],
        loss: "str | Loss | Callable[[float, float], tuple[float, float]]" = "mse",
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(inputs, layers, loss, dtype, rng)
        self.reset()

    predict = values.predict
    loss = values.loss
    loss_and_gradient = values.loss_and_gradient

    fit = fit

    vjp = derivatives.vjp
    jacobian = derivatives.jacobian
    per_sample_gradients = derivatives.per_sample_gradients
    hessian_vector_product = derivatives.hessian_vector_product
    gauss_newton_vector_product = derivatives.gauss_newton_vector_product
    derivatives = along_inputs.derivatives
    derivatives_vjp = along_inputs.derivatives_vjp
    hessian = along_inputs.hessian
    trace = trace.trace

    to_c = c_file.to_c
    to_onnx = onnx.to_onnx

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to one file, exactly; `fp.load` reads it.

        The file is in the safetensors format, with the description in its header.
        """
        files.save(self, path)

    def _repr_html_(self) -> str:
        return html.of_network(self)
