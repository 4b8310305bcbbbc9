"""What users of Keras, scikit-learn and PyTorch call things, and what this library calls them.

One table for each place where such a name may be tried. What is in none of them gets the nearest
of the names that there are.
"""

import difflib
import functools
import inspect
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


def _each(table: Mapping[str, str]) -> dict[str, str]:
    """An entry for each of the names that share an answer."""
    return {name: answer for names, answer in table.items() for name in names.split()}


OPTIMIZERS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "rprop": "Rprop",
}

_RATE = "optimizer=fp.{optimizer}({value})"
_HELD_BACK = "validation_data=(X_val, y_val), for which you hold some rows back"
_MADE_WITH = 'fp.Network(inputs, layers, loss="mse"): the loss belongs to the network'
_EPOCHS = "epochs={value}"
_VALIDATION = "validation_data=(X_val, y_val)"
_RNG = "rng={value}"
_CLIP = "clip_norm={value}"
_DECAY = "optimizer=fp.AdamW(0.001, weight_decay={value})"
_SCHEDULE = "optimizer=fp.{optimizer}(fp.schedules.Cosine(0.01))"
_BATCHES = "fit(batches), with the iterable of (X, y) in the place of X, and y left out"

FIT = _each(
    {
        "learning_rate lr learning_rate_init eta": _RATE,
        "lr_scheduler scheduler schedule": _SCHEDULE,
        "momentum": "optimizer=fp.SGD(0.01, momentum={value})",
        "weight_decay alpha l2 decay": _DECAY,
        "solver": "optimizer={value}",
        "verbose progress_bar show_progress": "progress=True",
        "validation_split validation_fraction": _HELD_BACK,
        "val_data validation_set eval_set val X_val y_val": _VALIDATION,
        "early_stopping early_stopping_rounds n_iter_no_change": "patience=10",
        "max_iter n_epochs num_epochs nb_epoch epoch": _EPOCHS,
        "max_epochs n_iter iterations steps": _EPOCHS,
        "batch batchsize bs minibatch_size mini_batch": "batch_size={value}",
        "loss loss_fn criterion loss_function": _MADE_WITH,
        "metrics": "callbacks=function, which is called with an fp.Epoch and may measure anything",
        "random_state seed random_seed generator": _RNG,
        "class_weight": "sample_weight, one weight per sample, as class_weight[y] has them",
        "sample_weights weights weight w": "sample_weight={value}",
        "clipnorm grad_clip max_norm max_grad_norm": _CLIP,
        "gradient_clip_val": _CLIP,
        "callback callback_list": "callbacks={value}",
        "checkpoint ckpt_path": 'callbacks=fp.Checkpoint("run.ckpt")',
        "warm_start initial_epoch": "nothing: fit goes on from net.params as they are",
        "dataloader train_loader train_dataloaders dataset": _BATCHES,
        "inputs x data train_data": "X",
        "outputs target targets Y labels": "y",
        "mask freeze frozen": "trainable=mask, a boolean mask over net.params",
    }
)

PARTIAL_FIT = _each(
    {
        "learning_rate lr eta": "trainer.learning_rate = {value}",
        "epochs n_epochs max_iter": "nothing: each call goes through the samples once",
        "sample_weights weights weight w": "sample_weight={value}",
        "batch batchsize bs minibatch_size mini_batch": "batch_size={value}",
        "inputs x data": "X",
        "target targets Y labels": "y",
    }
)

NETWORK = _each(
    {
        "optimizer solver": "fit(optimizer={value})",
        "learning_rate lr learning_rate_init": "fit(optimizer=fp.Adam({value}))",
        "epochs batch_size": "fit(epochs=100, batch_size=32)",
        "max_iter": "fit(epochs={value})",
        "metrics": "fit(callbacks=function)",
        "activation activations": 'fp.Dense(units, "tanh") for each layer',
        "hidden_layer_sizes hidden sizes units": 'layers=[fp.Dense(64, "relu"), fp.Dense(1)]',
        "input_dim input_shape in_features n_inputs": "inputs={value}",
        "outputs out_features n_outputs": "the units of the last layer, fp.Dense({value})",
        "random_state seed random_seed": _RNG,
        "criterion loss_fn loss_function": "loss={value}",
    }
)

DENSE = _each(
    {
        "input_dim input_shape in_features": "fp.Network(inputs, layers)",
        "out_features n size width neurons": "units={value}",
        "kernel_initializer": "net.weights[l] = W; each activation has a start of its own",
        "use_bias bias": "fit(trainable=mask), with the biases out of it",
    }
)

OPTIMIZER = _each(
    {
        "lr learning_rate_init rate step_size": "learning_rate={value}",
        "epsilon eps_": "eps={value}",
        "beta_1 beta1 beta_2 beta2 b1 b2": "betas=(0.9, 0.999)",
        "clipnorm clipvalue max_grad_norm": "fit(clip_norm={value})",
        "rho": "alpha={value}",
        "l2 decay": "weight_decay={value}",
        "params": "nothing: fit(optimizer=...) knows the parameters",
    }
)

TRAINER = _each(
    {
        "learning_rate lr learning_rate_init eta": _RATE,
        "momentum": "optimizer=fp.SGD(0.01, momentum={value})",
        "random_state seed": _RNG,
        "alpha l2": "penalty={value}",
        "clipnorm max_grad_norm": _CLIP,
        "epochs batch_size": "trainer.partial_fit(X, y, batch_size=32), once for each epoch",
    }
)

_PARAMETERS = "net.params, one flat array, or its views net.weights and net.biases"
_LOSS = "net.loss(X, y), or net.predict(X) beside y"
_STREAM = "fp.Trainer(net).partial_fit(X, y)"
_GRADIENT = "loss, gradient = net.loss_and_gradient(X, y)"
_HISTORY = "history = net.fit(X, y), with history.loss and history.epochs"

ATTRIBUTES = _each(
    {
        "score": _LOSS + "; the estimators of flatprop.sklearn have a score",
        "evaluate test validate compute_loss": _LOSS,
        "forward call apply predict_on_batch": "net.predict(X)",
        "predict_proba decision_function": "net.predict(X), probabilities if the last layer's are",
        "predict_classes": "net.predict(X).argmax(axis=1)",
        "parameters named_parameters state_dict get_weights": _PARAMETERS,
        "trainable_variables trainable_weights variables": _PARAMETERS,
        "load_state_dict set_weights": "net.params = array, net.weights[l] = W, or fp.interchange",
        "coefs_ coef_ kernel": "net.weights",
        "intercepts_ intercept_ bias": "net.biases",
        "loss_curve_ loss_ n_iter_ history": _HISTORY,
        "compile": "nothing to call: the loss is given to fp.Network, the optimizer to fit",
        "train learn": "net.fit(X, y)",
        "eval": "nothing to call: net.predict(X) changes nothing",
        "train_on_batch partial_fit train_step": _STREAM,
        "backward backprop grad gradient gradients": _GRADIENT,
        "zero_grad step": "nothing to call: net.fit and fp.Trainer do the updates",
        "to cuda half double float cpu": 'fp.Network(..., dtype="float64"), on the processor',
        "add": "fp.Network(inputs, [layer, layer, ...]), with all layers at once",
        "count_params num_parameters n_params size": "net.params.size",
        "save_weights dump export": "net.save(path)",
        "load load_weights from_file": "fp.load(path)",
        "in_features input_shape input_dim n_features_in_": "net.inputs",
        "out_features output_shape n_outputs_": "net.outputs",
        "optimizer solver": "net.fit(X, y, optimizer=...)",
        "reset_parameters initialize init_weights": "net.reset()",
        "clone": "net.copy()",
        "get_params set_params": "net.params; the estimators of flatprop.sklearn have both",
        "n_layers_ hidden_layers modules children": "net.dense",
        "criterion loss_fn": "net.loss_function",
        "hess hvp": "net.hessian_vector_product(X, y, v)",
    }
)

HISTORY = _each(
    {
        "history": "history.loss and history.val_loss, an array each",
        "epoch n_iter_ n_iter": "history.epochs",
        "losses loss_curve_ train_loss training_loss": "history.loss",
        "val_losses validation_loss validation_loss_curve_": "history.val_loss",
        "lr lrs learning_rates": "history.learning_rate",
        "stop_reason reason status": "history.stopped_by",
        "best_loss best_iteration": "history.best_epoch",
    }
)

MODULE = _each(
    {
        "Sequential MLP Model NeuralNetwork Net nn": "fp.Network",
        "Linear Layer Activation layers": 'fp.Dense(units, "tanh")',
        "optim optimizers": "fp.SGD, fp.Adam and the others, by themselves",
        "MLPClassifier MLPRegressor": "flatprop.sklearn.MLPClassifier and MLPRegressor",
        "MSELoss": 'fp.Network(..., loss="mse")',
        "CrossEntropyLoss": 'fp.Network(..., loss="cross_entropy")',
        "EarlyStopping early_stopping": "fit(patience=10)",
        "ModelCheckpoint": "fp.Checkpoint",
        "load_model read from_file": "fp.load",
        "callbacks": "fp.Checkpoint, or any function of an fp.Epoch",
        "train": "net.fit",
    }
)


def suggests(table: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: a keyword that a function does not know gets an answer from `table`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        code = inspect.unwrap(function).__code__
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        known = frozenset(named)

        @functools.wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> R:
            if not options.keys() <= known:
                name = getattr(function, "__name__", "")
                if name == "__init__":
                    name = type(arguments[0]).__name__
                raise TypeError(_about_keyword(name, options, named[1:], table))
            return function(*arguments, **options)

        return call

    return decorate


def suggesting(table: Mapping[str, str]) -> Callable[[type[C]], type[C]]:
    """The same decorator for a class, of whose constructor it speaks."""

    def decorate(cls: type[C]) -> type[C]:
        cls.__init__ = suggests(table)(cls.__init__)  # type: ignore[method-assign]
        return cls

    return decorate


_NO_ANSWERS: Mapping[str, str] = MappingProxyType({})


class Answer:
    """In the place of an attribute that there is not; says what to write in its place."""

    def __init__(self, name: str, answer: str) -> None:
        self._name = name
        self._answer = answer

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}. Here it is: "
            f"{self._answer}",
            name=self._name,
            obj=owner if instance is None else instance,
        )


class Answering(ABCMeta):
    """The type of a class that answers to names it does not have, and does not list them.

    A `__getattr__` would do the same, but then every attribute that there is takes longer. It is
    an `ABCMeta`, so that a subclass may be abstract.
    """

    def __new__(
        cls, name: str, bases: Any, namespace: Any, answers: Mapping[str, str] = _NO_ANSWERS
    ) -> Any:
        foreign = {other: Answer(other, answers[other]) for other in answers.keys() - namespace}
        namespace.update(foreign)
        if foreign:
            namespace["__dir__"] = functools.partialmethod(_names_without, frozenset(foreign))
        return super().__new__(cls, name, bases, namespace)

    def __init__(cls, name: str, bases: Any, namespace: Any, **options: Any) -> None:
        super().__init__(name, bases, namespace)

    def __dir__(cls) -> Iterable[str]:
        listed = super().__dir__()
        return [name for name in listed if not isinstance(_found(cls, name), Answer)]


def _names_without(instance: object, answers: frozenset[str]) -> set[str]:
    """What an object lists itself."""
    return (set(object.__dir__(instance)) - answers) | vars(instance).keys()


def _found(cls: type, name: str) -> object:
    return next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), None)


def no_member(module: str, name: str, members: Iterable[str]) -> AttributeError:
    """The error for something that a module has not."""
    message = f"module {module!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += _hint(name, MODULE, members)
    return AttributeError(message)


def _about_keyword(
    function: str, options: Mapping[str, Any], known: Iterable[str], table: Mapping[str, str]
) -> str:
    known = tuple(known)
    name = next(name for name in options if name not in known)
    chosen = options.get("optimizer", "adam")
    optimizer = (
        OPTIMIZERS.get(chosen, "Adam") if isinstance(chosen, str) else type(chosen).__name__
    )
    value = repr(options[name])
    if len(value) > 40:
        value = "..."
    answers = {key: text.format(value=value, optimizer=optimizer) for key, text in table.items()}
    return f"{function}() got an unexpected keyword argument {name!r}{_hint(name, answers, known)}"


def _hint(name: str, table: Mapping[str, str], known: Iterable[str]) -> str:
    if name in table:
        return f". Here it is: {table[name]}"
    lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if near:
        return f". Did you mean {lower[near[0]]!r}?"
    near = difflib.get_close_matches(name.lower(), table, n=1, cutoff=0.8)
    return f". Here it is: {table[near[0]]}" if near else ""
