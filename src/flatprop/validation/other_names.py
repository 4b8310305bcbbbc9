"""The names that users of Keras, scikit-learn and PyTorch may try, and what to write here.

There is one table for each place where such a name may be tried.
"""

from collections.abc import Mapping

from flatprop.validation.answers import suggesting as suggesting
from flatprop.validation.answers import suggests as suggests
from flatprop.validation.attribute_answers import Answering as Answering


def _each(table: Mapping[str, str]) -> dict[str, str]:
    """One entry for each name; in `table` names with the same answer share an entry."""
    return {name: answer for names, answer in table.items() for name in names.split()}


_RATE = "{rate}"
_MADE_WITH = 'fp.Network(inputs, layers, loss="mse"): the loss belongs to the network'
_EPOCHS = "epochs={value}"
_VALIDATION = "validation_data=(X_val, y_val)"
_RNG = "rng={value}"
_CLIP = "clip_norm={value}"
_FACTORS = "learning_rate_factors=factors, an array over net.params"
_MOMENTUM = "{momentum}"
_DECAY = "{decay}"
_SCHEDULE = "{schedule}"
_BATCHES = "fit(batches): an iterable of (X, y) takes the place of X, and y is left out"

_METRICS = "metrics={{name: function}}, where function(y, prediction) returns a number"
_CLASS_WEIGHT = "sample_weight, one weight per sample, as class_weight[y] has them"

_THREADS = "n_jobs num_threads n_threads workers num_workers nthreads"

FIT = _each(
    {
        "learning_rate lr learning_rate_init eta": _RATE,
        "lr_scheduler scheduler schedule": _SCHEDULE,
        "momentum": _MOMENTUM,
        "weight_decay alpha l2 decay": _DECAY,
        "solver": "optimizer={value}",
        "verbose progress_bar show_progress": "progress=True",
        "validation_fraction val_split val_fraction test_size": "validation_split={value}",
        "val_data validation_set eval_set val X_val y_val": _VALIDATION,
        "early_stopping": "patience=10",
        "early_stopping_rounds n_iter_no_change": "patience={value}",
        "max_iter n_epochs num_epochs nb_epoch epoch": _EPOCHS,
        "max_epochs n_iter iterations steps": _EPOCHS,
        "batch batchsize bs minibatch_size mini_batch": "batch_size={value}",
        "loss loss_fn criterion loss_function": _MADE_WITH,
        "metric eval_metric scoring weighted_metrics": _METRICS,
        "random_state seed random_seed generator": _RNG,
        "class_weights": "class_weight={value}",
        "sample_weights weights weight w": "sample_weight={value}",
        "clipnorm grad_clip max_norm max_grad_norm gradient_clip_val": _CLIP,
        "use_ema averaging swa": "ema=0.999",
        "ema_momentum ema_decay": "ema={value}",
        "lr_mult lr_multipliers param_groups": _FACTORS,
        "callback callback_list": "callbacks={value}",
        "checkpoint ckpt_path": 'callbacks=fp.Checkpoint("run.ckpt")',
        "warm_start initial_epoch": "nothing: fit goes on from net.params as they are",
        "dataloader train_loader train_dataloaders dataset": _BATCHES,
        "inputs x data train_data": "X",
        "outputs target targets Y labels": "y",
        "mask freeze frozen": "trainable=mask, a boolean mask over net.params",
        _THREADS: "threads={value}",
    }
)

PARTIAL_FIT = _each(
    {
        "learning_rate lr eta": "trainer.learning_rate = {value}",
        "epochs n_epochs max_iter": "nothing: each call goes through the samples once",
        "sample_weights weights weight w": "sample_weight={value}",
        "class_weight": _CLASS_WEIGHT,
        "batch batchsize bs minibatch_size mini_batch": "batch_size={value}",
        "inputs x data": "X",
        "target targets Y labels": "y",
    }
)

NETWORK = _each(
    {
        "optimizer solver": "fit(optimizer={value})",
        "learning_rate lr learning_rate_init": "fit({rate})",
        "epochs batch_size": "fit(epochs=100, batch_size=32)",
        "max_iter": "fit(epochs={value})",
        "metrics": "fit(metrics={value})",
        "activation activations": 'fp.Dense(units, "tanh") for each layer',
        "hidden_layer_sizes hidden sizes units": 'layers=[fp.Dense(64, "relu"), fp.Dense(1)]',
        "input_dim input_shape in_features n_inputs": "inputs={value}",
        "outputs out_features n_outputs": "the units of the last layer, fp.Dense({value})",
        "random_state seed random_seed": _RNG,
        "criterion loss_fn loss_function": "loss={value}",
        "label_smoothing": "loss=fp.losses.CrossEntropy(label_smoothing={value})",
        "class_weight": "loss=fp.losses.CrossEntropy(class_weight={value})",
        "targets n_targets": "nothing: it follows from the loss, see net.targets",
    }
)

MEASURE = _each(
    {
        "sample_weights weights weight w": "sample_weight={value}",
        "class_weight": _CLASS_WEIGHT,
        "inputs x data": "X",
        "outputs target targets Y labels y_true": "y",
        "batch_size": "leave it out: all samples are taken at once",
        "verbose progress": "leave it out: nothing is printed",
        _THREADS: "threads={value}",
    }
)

DENSE = _each(
    {
        "input_dim input_shape in_features": "fp.Network(inputs, layers)",
        "out_features n size width neurons": "units={value}",
        "kernel_regularizer": "l1={value} or l2={value}",
        "kernel_constraint": "max_norm={value}",
        "kernel_initializer": "net.weights[l] = W; each activation has a start of its own",
        "use_bias bias": "fit(trainable=mask), with False at the biases",
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
        "momentum": _MOMENTUM,
        "random_state seed": _RNG,
        "alpha l2": "penalty={value}",
        "clipnorm max_grad_norm": _CLIP,
        "epochs batch_size": "trainer.partial_fit(X, y, batch_size=32), once for each epoch",
        _THREADS: "threads={value}",
    }
)

RANGE_TEST = _each(
    {
        "learning_rate lr eta": "low and high: the range to test",
        "start_lr min_lr low_lr lr_min": "low={value}",
        "end_lr max_lr high_lr lr_max": "high={value}",
        "num_it num_iter num_training num_training_steps epochs": "steps={value}",
        "stop_div early_stop_threshold": "leave it out: the test ends once the loss is too high",
        "show_plot plot": "fp.plot.learning_rate_range(result)",
        "momentum": _MOMENTUM,
        "random_state seed random_seed generator": _RNG,
        "batch batchsize bs minibatch_size mini_batch": "batch_size={value}",
        "sample_weights weights weight w": "sample_weight={value}",
        _THREADS: "threads={value}",
    }
)

_NO_RATE = "leave it out: a solver has no learning rate"

SOLVERS = {
    "lbfgs": _each(
        {
            "lr learning_rate learning_rate_init": _NO_RATE,
            "max_iter maxiter iterations epochs n_iter": "fit(epochs={value})",
            "history_size m memory": "maxcor={value}",
            "tolerance_grad tol pgtol": "gtol={value}",
            "tolerance_change": "ftol={value}",
            "max_ls line_search_fn": "maxls=20, the most evaluations in one line search",
        }
    ),
    "levenberg_marquardt": _each(
        {
            "lr learning_rate learning_rate_init": _NO_RATE,
            "max_iter maxiter iterations epochs n_iter max_nfev": "fit(epochs={value})",
            "damping lambda_ lam mu0 damping_factor": "mu={value}",
            "max_fail": "fit(patience={value})",
            "gtol tol": "min_grad={value}",
        }
    ),
}
"""By the name of the solver."""

_ANY_LOSS = {
    "reduction": 'loss="ssr" for a sum of squares, or fp.losses.Own(function, reduction=...)',
    "weight weights sample_weight": "fit(sample_weight=weights)",
    "class_weight pos_weight": "fit(class_weight={value})",
    "from_logits": "leave it out: it follows from the activation of the last layer",
}
_LOSSES = {
    "huber": {"d threshold beta epsilon k": "delta={value}"},
    "quantile": {"quantile tau alpha level quantiles p": "q={value}"},
    "own": {"func fn f loss callable": "function={value}"},
    "row": {
        "func fn f loss callable": "function={value}",
        "n_targets outputs n_outputs target_count": "targets={value}",
    },
    "quantiles": {"q taus tau alphas levels probs alpha": "quantiles={value}"},
    "gaussian_nll": {
        "full": "leave it out: the constant ½ log 2π is part of the loss",
        "var variance eps": "leave it out: the network gives the logarithm of the variance",
    },
    "cross_entropy": {
        "smoothing eps epsilon": "label_smoothing={value}",
        "weight weights class_weights": "class_weight={value}",
        "ignore_index": "class_weight, with 0 for that class",
    },
}


def loss_names(name: str) -> dict[str, str]:
    """The table for the constructor of a loss: entries for all losses, and for this one."""
    of_name = _each(_LOSSES.get(name, {}))
    return _each(_ANY_LOSS) | of_name


_NLL = 'loss="gaussian_nll"'
_SQUARES = 'loss="mse"'
_CLASSES = 'loss="cross_entropy"'
_SMOOTHED = "loss=fp.losses.CrossEntropy(label_smoothing=0.1)"
_QUANTILES = "loss=fp.losses.Quantiles((0.05, 0.5, 0.95)), or fp.losses.Quantile(q=0.5) for one"

LOSS = _each(
    {
        "nll gaussian GaussianNLLLoss gaussian_nll_loss normal mve": _NLL,
        "pinball pinball_loss quantiles QuantileLoss quantile_loss": _QUANTILES,
        "MSELoss mean_squared_error squared_error l2": _SQUARES,
        "L1Loss mean_absolute_error absolute_error l1": 'loss="mae"',
        "CrossEntropyLoss NLLLoss categorical_crossentropy log_loss": _CLASSES,
        "sparse_categorical_crossentropy": _CLASSES,
        "BCELoss BCEWithLogitsLoss binary_crossentropy bce": 'loss="binary_cross_entropy"',
        "label_smoothing": _SMOOTHED,
        "weighted_cross_entropy": "loss=fp.losses.CrossEntropy(class_weight=weights)",
    }
)
"""Names of losses elsewhere."""

SCHEDULE = _each(
    {
        "lr initial_learning_rate initial_lr max_lr base_lr rate": "learning_rate={value}",
        "optimizer": "fit(optimizer=fp.SGD(schedule)): the optimizer is given the schedule",
        "steps decay_steps total_steps t_max T_0": "T_max={value}, in epochs",
        "alpha min_learning_rate eta": "eta_min={value}",
        "decay_rate decay": "gamma={value}",
        "warmup_epochs warmup_steps warmup": "fp.schedules.WarmUp(learning_rate, epochs)",
        "last_epoch verbose": "leave it out: each fit begins at epoch 0",
        "mode": "leave it out: the loss always has to fall",
    }
)

CHECKPOINT = _each(
    {
        "filepath file filename dirpath directory path_or_buf name": "path={value}",
        "save_freq period every_n_epochs every_n frequency": "every={value}",
        "save_best_only save_top_k monitor mode": "fit(patience=10), which keeps the best epoch",
        "save_weights_only": "leave it out: net.save(path) writes the network alone",
        "verbose": "leave it out: nothing is printed",
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
        "predict_proba decision_function": "net.predict(X), probabilities after a softmax",
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
        "lr_find find_lr lr_finder range_test": "fp.learning_rate_range(net, X, y)",
        "hess hvp": "net.hessian_vector_product(X, y, v)",
    }
)

TRAINER_ATTRIBUTES = _each(
    {
        "fit train train_step train_on_batch": "trainer.partial_fit(X, y), one call per part",
        "step update backward zero_grad": "trainer.partial_fit(X, y): it does the updates",
        "predict": "trainer.network.predict(X)",
        "net model": "trainer.network",
        "lr": "trainer.learning_rate",
        "params": "trainer.network.params",
        "save": "trainer.network.save(path)",
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
        "metric scores": "history.metrics",
    }
)

MODULE = _each(
    {
        "Sequential MLP Model NeuralNetwork Net nn": "fp.Network",
        "Linear Layer Activation layers": 'fp.Dense(units, "tanh")',
        "optim optimizers": "fp.SGD, fp.Adam and the others, by themselves",
        "MLPClassifier MLPRegressor": "flatprop.sklearn.MLPClassifier and MLPRegressor",
        "MSELoss": 'fp.Network(..., loss="mse")',
        "GaussianNLLLoss": 'fp.Network(..., loss="gaussian_nll")',
        "CrossEntropyLoss": 'fp.Network(..., loss="cross_entropy")',
        "EarlyStopping early_stopping": "fit(patience=10)",
        "ModelCheckpoint": "fp.Checkpoint",
        "load_model read from_file": "fp.load",
        "callbacks": "fp.Checkpoint, or any function of an fp.Epoch",
        "train": "net.fit",
        "lr_find LRFinder lr_finder LearningRateFinder": "fp.learning_rate_range(net, X, y)",
    }
)
