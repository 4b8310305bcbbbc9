"""The network: its description, its one flat parameter vector, and views into it."""

import math
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from flatprop.evaluation import calls
from flatprop.formulas.losses import Loss
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.records import Model
from flatprop.kernels.network.workspace import backward_workspace_size, workspace_size
from flatprop.model.layers import (
    Dense,
    Summary,
    checked_dtype,
    checked_layers,
    checked_loss,
    layer_records,
    objective_record,
    summary,
)
from flatprop.samples import in_parts
from flatprop.training.optimizer_words import optimizer_words
from flatprop.validation import checks, other_names
from flatprop.validation.arrays import Array, Views, aligned_copy, aligned_empty, flat, read_only

if TYPE_CHECKING:
    from onnx import ModelProto

    from flatprop.evaluation.trace import Trace
    from flatprop.formulas.optimizers import Optimizer
    from flatprop.solvers import Solver
    from flatprop.training.callbacks import Callback
    from flatprop.training.history import History

_DESCRIPTION = frozenset(
    ("inputs", "dense", "dtype", "outputs", "loss_function", "layers", "objectives", "_model")
)
_MADE_ANEW = ("_model", "outputs", "_weights", "_biases", "_shown", "_row_workspace")
"""Views, records, which may hold addresses of this process, and what follows from the rest."""

FEW_NUMBERS = 2**16
"""Arrays of no more numbers are not looked at whether they are part of a file."""


class Network(metaclass=other_names.Answering, answers=other_names.ATTRIBUTES):
    """A dense neural network whose parameters are one flat array.

    Parameters
    ----------
    inputs
        The number of input features.
    layers
        The layers in order, the last one giving the outputs.
    loss
        A name ("mse", "half_mse", "ssr", "cross_entropy", "binary_cross_entropy",
        "mae", "huber", "log_cosh", "quantile", "poisson"), an object such as
        ``fp.losses.Huber(delta=2.0)``, or your own function: see `fp.losses.Own`.
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
    dtype : numpy.dtype
        Of the parameters and of all arithmetic.
    layers : structured array
        The network as the kernels see it, one record per layer; read-only. Addresses of
        functions of your own in it hold in this process only: send the network elsewhere.
    objectives : structured array
        The loss as the kernels see it, one record; read-only. The same holds for it.
    dense : tuple of Dense
        The layers as they were given.
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
        layers: Sequence[Dense],
        loss: "str | Loss | Callable[[float, float], tuple[float, float]]" = "mse",
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self._set_up(inputs, layers, loss, dtype, rng)
        self.reset()

    inputs: int
    dense: tuple[Dense, ...]
    dtype: np.dtype[Any]
    outputs: int
    loss_function: Loss
    _model: Model
    """As kernels take it; of this package only, for their dtypes and sizes must not change."""

    def _set_up(
        self, inputs: Any, layers: Any, loss: Any, dtype: Any, rng: Any, params: Any = None
    ) -> None:
        """Check the description, and take these parameters; None takes memory for some."""
        self.inputs = checks.count("inputs", inputs)
        self.dense = checked_layers(layers)
        self.outputs = self.dense[-1].units
        self.loss_function = checked_loss(loss, self.dense[-1])
        self.dtype = checked_dtype(dtype)
        self.rng = rng
        records, size = layer_records(self.inputs, self.dense, self.dtype)
        objective = objective_record(self.loss_function, self.outputs, self.dtype)
        # What `predict` of one row would spend a seventh of its time on.
        self._row_workspace = workspace_size(records, 1)
        if params is None:
            params = aligned_empty(size, self.dtype)
        elif params.shape != (size,) or params.dtype != self.dtype:
            raise ValueError(
                f"the network needs {size} parameters of {self.dtype}, but it was given "
                f"{params.shape} of {params.dtype}"
            )
        self._shown: Array = params.view()
        self._weights = Views(
            "weights",
            [
                params[r["W_start"] : r["b_start"]].reshape(r["inputs"], r["units"])
                for r in records
            ],
        )
        self._biases = Views(
            "biases", [params[r["b_start"] : r["b_start"] + r["units"]] for r in records]
        )
        self._model = Model(records, objective, params)

    @classmethod
    def with_params(
        cls, inputs: int, layers: Any, loss: Any, dtype: Any, rng: Any, params: Array
    ) -> "Network":
        """A network that has these parameters and draws none; `params` is taken as it is."""
        network = cls.__new__(cls)
        network._set_up(inputs, layers, loss, dtype, rng, params)
        return network

    # ---- what describes it

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_description(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_description(name)
        object.__delattr__(self, name)

    def _refuse_description(self, name: str) -> None:
        # Kernels go by it. Properties would take longer to read; so would all attributes of an
        # object whose `__dict__` was asked for.
        if name in _DESCRIPTION and hasattr(self, "_model"):
            raise AttributeError(
                f"{name} describes the network and cannot be changed; make a new fp.Network"
            )

    @property
    def layers(self) -> Array:
        """The network as the kernels see it, one record per layer; read-only."""
        view: Array = self._model.layers.view()  # of which shape and dtype can be assigned
        return view

    @property
    def objectives(self) -> Array:
        """The loss as the kernels see it, one record; read-only."""
        view: Array = self._model.objectives.view()
        return view

    @property
    def rng(self) -> np.random.Generator:
        """Where random numbers come from; assigning takes a seed or a generator."""
        return self._rng

    @rng.setter
    def rng(self, value: int | np.random.Generator | None) -> None:
        self._rng = checks.generator(value)

    # ---- parameters

    def reset(self, rng: int | np.random.Generator | None = None) -> "Network":
        """Draw new initial weights and set the biases to 0.

        Parameters
        ----------
        rng
            A seed or a generator; None goes on with the network's own.

        Returns
        -------
        Network
            The network itself.
        """
        self.require_writable()
        source = self.rng if rng is None else checks.generator(rng)
        for layer, W, b in zip(self.dense, self.weights, self.biases, strict=True):
            fan_in, fan_out = W.shape
            match layer.initialisation:
                case "he":
                    W[:] = source.normal(0, math.sqrt(2 / fan_in), W.shape)
                case "lecun":
                    W[:] = source.normal(0, math.sqrt(1 / fan_in), W.shape)
                case _:
                    limit = math.sqrt(6 / (fan_in + fan_out))
                    W[:] = source.uniform(-limit, limit, W.shape)
            b[:] = 0
        return self

    @property
    def params(self) -> Array:
        """Every parameter, flat: per layer W (inputs × units, row-major), then b.

        Writing into it changes the network at once; assigning copies into it. Where its flag
        `writeable` is cleared, training is refused.
        """
        shown, params = self._shown, self._model.params
        # It is a view, so that no assignment to its shape or dtype reaches the kernels.
        if (
            shown.shape != params.shape
            or shown.dtype != params.dtype
            or shown.strides != (params.strides)
        ):
            shown = self._shown = params.view()
        return shown

    @params.setter
    def params(self, value: ArrayLike) -> None:
        array = checks.numbers("params", value, self.dtype)
        if array.shape != self.params.shape:
            raise ValueError(
                f"params must have shape {self.params.shape}, but it has {array.shape}"
            )
        self.params[:] = array

    @property
    def weights(self) -> Views:
        """Per layer W, (inputs, units): views of `params`; assigning one copies into it."""
        return self._weights

    @property
    def biases(self) -> Views:
        """Per layer b, (units,): views of `params`; assigning one copies into it."""
        return self._biases

    def require_writable(self) -> None:
        """Raise if `params`, or a view of a part of them, says that it must not be changed."""
        checks.writable("net.params", self.params)
        for views in (self._weights, self._biases):
            views.require_writable("net.")

    # ---- what it computes

    def predict(self, X: ArrayLike) -> Array:
        """The outputs after the last activation.

        Parameters
        ----------
        X
            (n, inputs); (n,) where there is one input. Whatever NumPy makes an array of
            numbers of; a frame of pandas, polars or pyarrow, of which columns go by their
            position and not by their names; a sparse matrix of SciPy's. A
            memory-mapped file of more than 32 MB, or a sparse matrix that would be as large,
            is read a part at a time and may be larger than memory.

        Returns
        -------
        ndarray
            (n, outputs), of the network's dtype.

        Raises
        ------
        TypeError, ValueError
            If X does not fit the network, is empty, or holds NaN or infinity.
        """
        if (type(X) is not np.ndarray or X.size > FEW_NUMBERS) and in_parts.is_large(
            X, self.dtype
        ):
            return in_parts.predict(self, X)
        # The kernel looks for NaN and infinity while it has the rows at hand.
        x = checks.inputs(X, self.inputs, self.dtype, look_for_nan=False)
        rows = x.shape[0]
        out = np.empty((rows, self.outputs), self.dtype)
        layers, _, params = self._model
        if rows == 1:
            block, size = 1, self._row_workspace
        else:
            block = min(rows, self.block_rows)
            size = workspace_size(layers, block)
        workspace = np.empty(size, self.dtype)
        given = read_only(x)
        if rows == block:
            finite = entry_points.predict(layers, params, given, out, block, workspace)
        else:
            finite = True
            for part in calls.parts(self, rows, block, calls.PREDICT):
                finite &= entry_points.predict(
                    layers, params, given[part], out[part], block, workspace
                )
        if not finite:
            checks.finite("X", x)
        return out

    @other_names.suggests(other_names.MEASURE)
    def loss(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The loss.

        Parameters
        ----------
        X
            (n, inputs); see `predict`.
        y
            (n, outputs), or (n,) where there is one output. For "cross_entropy"
            class indices (n,) or a row of probabilities per sample. May be what X may be.
        sample_weight
            (n,): a mean becomes Σ wᵢ ℓᵢ / Σ wᵢ, a sum Σ wᵢ ℓᵢ.

        Returns
        -------
        float
            The loss as `loss_function` defines it.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit the network or each other.
        """
        data = self.samples(X, y, sample_weight)
        return self.loss_of(data, self.block(data))

    @other_names.suggests(other_names.MEASURE)
    def loss_and_gradient(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, Array]:
        """The loss and its gradient with respect to the parameters.

        Parameters
        ----------
        X, y, sample_weight
            As for `loss`.

        Returns
        -------
        loss : float
            The loss.
        gradient : ndarray
            Laid out as `params`, of the same dtype.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        data = self.data(X, y, sample_weight)
        gradient = aligned_empty(self._model.params.size, self.dtype)
        scale = self.scale(data)
        total = calls.loss_and_gradient(self, data, scale, gradient, self.block(data))
        return total * scale, gradient

    # ---- derivatives

    def vjp(self, X: ArrayLike, dL_dy: ArrayLike) -> tuple[Array, Array]:
        """Takes a gradient with respect to the outputs back to inputs and parameters.

        The vector-Jacobian products (∂ŷ/∂x)ᵀ ∂L/∂ŷ of each row and Σ (∂ŷ/∂params)ᵀ ∂L/∂ŷ
        over the rows: backpropagation of a loss L that the caller computed from
        `predict`.

        Parameters
        ----------
        X
            (n, inputs).
        dL_dy
            (n, outputs); (n,) where there is one output.

        Returns
        -------
        dL_dx : ndarray
            (n, inputs).
        gradient : ndarray
            Laid out as `params`.

        Raises
        ------
        TypeError, ValueError
            If either does not fit the network or the other.
        """
        from flatprop.evaluation.derivatives import vjp

        return vjp(self, X, dL_dy)

    def jacobian(self, X: ArrayLike, wrt: str = "inputs") -> Array:
        """The Jacobian of the outputs, for every row.

        Parameters
        ----------
        X
            (n, inputs).
        wrt
            "inputs" or "params".

        Returns
        -------
        ndarray
            (n, outputs, inputs): ∂ŷₖ/∂xⱼ; or (n, outputs, parameters), laid out as
            `params` along the last axis.

        Raises
        ------
        TypeError, ValueError
            If X does not fit the network or `wrt` is neither.
        """
        from flatprop.evaluation.derivatives import jacobian

        return jacobian(self, X, wrt)

    def per_sample_gradients(self, X: ArrayLike, y: ArrayLike) -> Array:
        """The gradient of each sample's own loss, as if it were the only one.

        Parameters
        ----------
        X, y
            As for `loss`.

        Returns
        -------
        ndarray
            (n, parameters). Their mean is the gradient of the loss, their sum where
            the loss is a sum.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        from flatprop.evaluation.derivatives import per_sample_gradients

        return per_sample_gradients(self, X, y)

    def hessian_vector_product(
        self,
        X: ArrayLike,
        y: ArrayLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Array:
        """The Hessian of the loss with respect to `params`, times a vector.

        Exactly, for the price of a few gradients (Pearlmutter 1994); the matrix is never
        formed. The second derivative of an own activation that has a loop is taken by
        differences.

        Parameters
        ----------
        X, y, sample_weight
            As for `loss`.
        v
            (parameters,), laid out as `params`.

        Returns
        -------
        ndarray
            (parameters,).

        Raises
        ------
        TypeError, ValueError
            As for `loss`, and if v is not as long as `params`.
        """
        from flatprop.evaluation.derivatives import curvature_product

        kernel = entry_points.hessian_vector_product
        return curvature_product(self, X, y, v, sample_weight, kernel)

    def gauss_newton_vector_product(
        self,
        X: ArrayLike,
        y: ArrayLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Array:
        """The Gauss-Newton matrix Jᵀ H J of the loss, times a vector.

        J is the Jacobian of the outputs with respect to `params` and H the Hessian of
        the loss with respect to the outputs; of the logits, where the loss is computed
        from these. Unlike the Hessian it has no negative eigenvalue where the loss is
        convex in the outputs (Schraudolph 2002).

        Parameters
        ----------
        X, y, v, sample_weight
            As for `hessian_vector_product`.

        Returns
        -------
        ndarray
            (parameters,).

        Raises
        ------
        TypeError, ValueError
            As for `hessian_vector_product`.
        """
        from flatprop.evaluation.derivatives import curvature_product

        kernel = entry_points.gauss_newton_vector_product
        return curvature_product(self, X, y, v, sample_weight, kernel)

    @other_names.suggests(other_names.FIT, optimizer_words)
    def fit(
        self,
        X: "ArrayLike | Iterable[Any] | Callable[[], Iterable[Any]]",
        y: ArrayLike | None = None,
        *,
        optimizer: "str | Optimizer | Solver" = "adam",
        epochs: int = 100,
        batch_size: int | None = checks.DEFAULT_BATCH_SIZE,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[Any, ...] | None = None,
        trainable: ArrayLike | None = None,
        tol: float | None = None,
        patience: int | None = None,
        clip_norm: float | None = None,
        callbacks: "Sequence[Callback] | Callback" = (),
        progress: bool = False,
        rng: int | np.random.Generator | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> "History":
        """Train in place.

        Parameters
        ----------
        X, y, sample_weight
            As for `loss`. Columns go by their position, also those of a frame. Weights are
            normalised in each mini-batch; one without any weight is passed over. Or, with y left
            out, X gives the batches: an iterable of (X, y) or (X, y, sample_weight), each of
            them one update, or a function that returns such an iterable for each epoch.
        optimizer
            A name ("sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop": with
            PyTorch's defaults) or an object such as ``fp.SGD(0.1)``. Its
            learning rate is a number or a schedule. Or a solver, "lbfgs" or
            "levenberg_marquardt", ``fp.LBFGS(...)`` or ``fp.LevenbergMarquardt(...)``.
        epochs
            How often to go through the data; with a solver, its iterations.
        batch_size
            Samples per update, the last ones fewer; None for all of them, one
            update per epoch. A solver takes all of them, and no number below
            theirs; where X gives the batches there is nothing to choose either. All of them
            at once are taken into memory, whatever X is.
        shuffle
            Whether mini-batches are drawn in a new order every epoch. Where X gives the
            batches their order is its own.
        validation_data
            (X, y) or (X, y, sample_weight), measured after every epoch.
        trainable
            A boolean mask over `params`; the others stay as they are.
        tol
            Stop as "converged" once the training loss changes by no more than
            this from one epoch to the next.
        patience
            Stop after so many epochs without a new lowest loss (of the
            validation data if given, else of the training), and leave the
            parameters of the best epoch, however the training ended. With the
            full batch and no validation data these are the ones before that epoch's
            update, of which its loss is the loss.
        clip_norm
            The largest norm of the gradient of a batch; longer ones are scaled
            to it. Not with a solver.
        callbacks
            Called after every epoch with an `Epoch`; one that returns True stops
            the training.
        progress
            Whether to show a progress bar.
        rng
            A seed or a generator for the order of the samples; None goes on with
            the network's own. The same one gives bit-identical parameters.
        resume
            A file that `fp.Checkpoint` wrote, from which to go on: called as the
            interrupted training was, the result is the same bit for bit, if X gives the same
            batches where it gives them. A training that `tol`, `patience` or a callback had
            ended is not trained on: the result is the one that it had. Not with a solver.

        Returns
        -------
        History
            Losses by epoch, and which rule ended the training.

        Raises
        ------
        TypeError, ValueError
            If anything given does not fit; the network is then unchanged. What is read
            during the training is checked then, and an error leaves what was learnt so far.
        ImportError
            If "lbfgs" is asked for without SciPy.

        Warns
        -----
        DivergenceWarning
            If the loss became NaN or infinite. The parameters are then the last that
            are known to be finite.
        ResolutionWarning
            If the rows of a column of X can hardly be told apart in the network's dtype.

        Notes
        -----
        Ctrl-C stops within a fraction of a second and returns the history so far.

        Samples that are read a part at a time (see `predict`) are shuffled in two steps: a
        part of 32 MB is put together from 16 runs of rows at random places of the file, and
        its rows are shuffled. Without shuffling the result is bit for bit that of arrays.
        """
        from flatprop.training import fit

        return fit(
            self,
            X,
            y,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            validation_data=validation_data,
            trainable=trainable,
            tol=tol,
            patience=patience,
            clip_norm=clip_norm,
            callbacks=callbacks,
            progress=progress,
            rng=rng,
            resume=resume,
        )

    def trace(self, X: ArrayLike, y: ArrayLike) -> "Trace":
        """Every quantity of one backpropagation, for a reader; see `Trace`."""
        from flatprop.evaluation.trace import trace

        return trace(self, X, y)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to one file, exactly; `fp.load` reads it.

        The file is in the safetensors format, with the description in its header.
        """
        from flatprop.export.files import save

        save(self, path)

    def to_c(
        self,
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
            Where to; an existing file is replaced in one step.
        name
            Of the function; None takes the file's, "net.c" giving `net`.
        test
            Rows of inputs as for `predict`. With them the file, compiled with
            ``-D<NAME>_TEST``, is a program that returns 0 if the machine it runs
            on computes the same outputs, up to a bound of what rounding explains:
            it is written beside each output, and follows from the sizes of the terms
            that are added up, Σ|a W| + |b|, and the slopes of the layers behind.
        header
            Whether to write a header too, in the same place and under the same name
            with the suffix ".h": the declarations, for C and C++. The file repeats them,
            and does not need it.

        Raises
        ------
        TypeError, ValueError
            If the name cannot be that of a C function, or is one that C, C++ or their
            libraries take, if a header is asked for beside a ".h", a parameter is NaN or
            infinite, an activation of your own has a loop or calls what there is no
            formula of, as `math.floor`, or `test` does not fit.
        OSError
            If a file cannot be written.
        """
        from flatprop.export.c_file import to_c

        to_c(self, path, name, test, header)

    def to_onnx(self, path: str | PathLike[str] | None = None) -> "ModelProto":
        """The network as an ONNX model, written to a file if given one.

        It takes "X", (batch, inputs), and gives "y", (batch, outputs), for any number of rows.
        `fp.interchange.to_onnx` says more.

        Parameters
        ----------
        path
            Where to; an existing file is replaced in one step. None writes nothing.

        Returns
        -------
        onnx.ModelProto
            The model.

        Raises
        ------
        ImportError
            If onnx is missing: ``pip install 'flatprop[onnx]'``.
        ValueError
            If a parameter is NaN or infinite, an activation of your own has a loop or calls
            what there is no formula of, as `math.floor`, or the parameters take 2 GiB or more.
        OSError
            If the file cannot be written.
        """
        from flatprop.interchange import to_onnx

        return to_onnx(self, path)

    # ---- data as the kernels take them

    def data(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> entry_points.Data:
        """Samples and targets, checked, contiguous and of the network's dtype."""
        x = checks.inputs(X, self.inputs, self.dtype)
        rows = x.shape[0]
        target = checks.targets(y, rows, self.outputs, self.loss_function.domain, self.dtype)
        weight = checks.sample_weights(sample_weight, rows, self.dtype)
        return entry_points.Data(flat(x), flat(target), flat(weight), rows)

    def samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "entry_points.Data | in_parts.Parts":
        """As `data`; or as parts, where X or y is too large to be in memory."""
        if in_parts.is_large(X, self.dtype) or in_parts.is_large(y, self.dtype):
            return in_parts.Parts(self, X, y, sample_weight)
        return self.data(X, y, sample_weight)

    def block(
        self, data: "entry_points.Data | in_parts.Parts", batch_size: int | None = None
    ) -> entry_points.Block:
        """Scratch for going through `data`, or batches of it, block by block.

        Its workspace is what this takes beside data and parameters; beyond `block_rows`
        it does not grow with the data.
        """
        rows = data.rows if batch_size is None else batch_size
        rows = -(-rows // -(-rows // self.block_rows))  # all blocks about equally long
        predictions = 2 * rows * self.outputs
        size = backward_workspace_size(self._model.layers, rows) + predictions
        weight = np.ones(rows * self.outputs, self.dtype)
        return entry_points.Block(rows, weight, aligned_empty(size, self.dtype))

    def loss_of(
        self, data: "entry_points.Data | in_parts.Parts", block: entry_points.Block
    ) -> float:
        """The loss over what `samples` made."""
        step = 16 * block.rows  # the sums of so many rows are what is added up
        total = 0.0
        for part in (data,) if isinstance(data, entry_points.Data) else data.parts(step):
            for start in range(0, part.rows, step):
                rows = min(step, part.rows - start)
                total += calls.sum_of_losses(self, part, start, rows, block)
        return total * self.scale(data)

    def scale(self, data: "entry_points.Data | in_parts.Parts") -> float:
        """What Σ w ℓ over these samples is multiplied by."""
        weight = float(data.weight.sum(dtype=np.float64)) if data.weight.size else data.rows
        return self.loss_function.scale(self.outputs, weight)

    @property
    def block_rows(self) -> int:
        """Rows that go through the network together at most.

        Few enough that what lies between forward and backward pass stays in the cache,
        and that one block takes no longer than Ctrl-C may; many enough that a matrix
        of weights, read once per block, is used often.
        """
        row_bytes = 2 * sum(layer.units for layer in self.dense) * self.dtype.itemsize
        in_cache = min(max(96 * 1024 // row_bytes, 264), 4096)
        in_time = max(2**31 // int(self._model.params.size), 32)
        return min(in_cache, in_time)

    # ---- as a Python object

    def copy(self) -> "Network":
        """An independent network with the same parameters and random state."""
        from copy import deepcopy

        return deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"params": self._model.params}
        for name in _MADE_ANEW:
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Version 0.1 wrote some names with an underscore, and two more.
        rest = {k: v for k, v in state.items() if k not in ("_outputs", "_row_workspace")}
        inputs, dense, loss, dtype, rng, params = (
            rest.pop(name) if name in rest else rest.pop(f"_{name}")
            for name in ("inputs", "dense", "loss_function", "dtype", "rng", "params")
        )
        for name, value in rest.items():
            setattr(self, name, value)
        # Checked as if it were new. A copy of the parameters: what was unpickled may be mapped
        # read-only from a file, or belong to another.
        self._set_up(inputs, dense, loss, dtype, rng, aligned_copy(np.asarray(params)))

    def __repr__(self) -> str:
        layers = " -> ".join(f"{layer.units} {layer.name}" for layer in self.dense)
        return (
            f"Network({self.inputs} -> {layers}; {self.loss_function.name}, {self.dtype.name}, "
            f"{self.params.size:,} parameter{'s' * (self.params.size != 1)})"
        )

    def _repr_html_(self) -> str:
        from flatprop.export import html

        return html.of_network(self)

    def summary(self) -> Summary:
        """A table of the layers, for printing."""
        return summary(self.dense, self.layers, self.loss_function, self.dtype)
