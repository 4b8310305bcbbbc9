"""`class_weight`: a factor of the weights of samples, as in scikit-learn."""

from functools import partial

import numpy as np
import pytest

import flatprop as fp
from networks import DTYPES, bits, curves, in_batches
from networks import network as any_network

X, _, W = curves(90)
C = np.repeat([0, 1, 3], [60, 20, 10])[np.random.default_rng(0).permutation(90)]
B = (C == 3).astype(float)
FACTORS = np.array([0.5, 2.0, 7.0, 1.0])
MANY = np.column_stack([B, B])

classifier = partial(any_network, (3, 8, 4), ["tanh", "softmax"], "cross_entropy")
binary = partial(any_network, (3, 8, 1), ["tanh", "sigmoid"], "binary_cross_entropy")

KINDS = {
    "an array": FACTORS,
    "a list": FACTORS.tolist(),
    "a dict": {0: 0.5, 1: 2, 2: 7},
    "a dict of NumPy's numbers": {np.int64(0): np.float32(0.5), 1.0: 2, 2: 7, 3: 1},
}


@pytest.mark.parametrize("weight", [None, W], ids=["alone", "times sample_weight"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_factor_of_sample_weight(kind, weight):
    net, other = classifier(), classifier()
    history = net.fit(X, C, epochs=3, sample_weight=weight, class_weight=KINDS[kind])
    product = FACTORS[C] if weight is None else FACTORS[C] * weight
    expected = other.fit(X, C, epochs=3, sample_weight=product)
    assert bits(net, history) == bits(other, expected)


def test_a_series_goes_by_its_index():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([7.0, 0.5, 2.0], index=[2, 0, 1])
    net, other = classifier(), classifier()
    assert bits(net, net.fit(X, C, epochs=2, class_weight=series)) == bits(
        other, other.fit(X, C, epochs=2, class_weight=FACTORS)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_balanced_as_in_scikit_learn(optimizer, dtype):
    utils = pytest.importorskip("sklearn.utils")
    for make, y in ((classifier, C), (binary, B)):
        net, other = make(dtype=dtype), make(dtype=dtype)
        options = {"epochs": 3, "optimizer": optimizer}
        history = net.fit(X, y, class_weight="balanced", **options)
        weight = utils.compute_sample_weight("balanced", y)
        assert bits(net, history) == bits(other, other.fit(X, y, sample_weight=weight, **options))


def test_rows_with_one_1_are_classes():
    net, other = classifier(), classifier()
    history = net.fit(X, np.eye(4)[C], epochs=2, class_weight=FACTORS)
    expected = other.fit(X, np.eye(4)[C], epochs=2, sample_weight=FACTORS[C])
    assert bits(net, history) == bits(other, expected)


def test_validation_data_are_not_weighted():
    net = classifier()
    history = net.fit(X, C, epochs=1, class_weight=FACTORS, validation_data=(X, C))
    assert history.val_loss[-1] == net.loss(X, C)
    utils = pytest.importorskip("sklearn.utils")
    net, other = classifier(), classifier()
    options = {"epochs": 2, "rng": 3}
    history = net.fit(X, C, class_weight="balanced", validation_split=0.3, **options)
    held = np.isin(np.arange(90), history.validation_rows)
    weight = utils.compute_sample_weight("balanced", C[~held])  # of the training samples
    data = {"sample_weight": weight, "validation_data": (X[held], C[held])}
    assert bits(net, history) == bits(other, other.fit(X[~held], C[~held], **data, **options))


@pytest.mark.parametrize("class_weight", [FACTORS, "balanced"], ids=["factors", "balanced"])
def test_files_are_weighted_as_they_are_read(mapped, small_parts, class_weight):
    options = {"epochs": 2, "class_weight": class_weight, "sample_weight": W, "shuffle": False}
    net, other = classifier(), classifier()
    history = net.fit(mapped(X), C, **options)
    assert bits(net, history) == bits(other, other.fit(X, C, **options))


def test_batches_are_weighted_as_they_come():
    net, other = classifier(), classifier()
    history = net.fit(in_batches((X, C, W)), epochs=2, class_weight=FACTORS)
    expected = other.fit(in_batches((X, C, W * FACTORS[C])), epochs=2)
    assert bits(net, history) == bits(other, expected)
    with pytest.raises(ValueError, match='"balanced" needs all samples, but X gives batches'):
        net.fit(in_batches((X, C)), class_weight="balanced")
    with pytest.raises(ValueError, match="leave every sample without weight"):
        net.fit(in_batches((X, C)), class_weight={0: 0, 1: 0, 3: 0})


REFUSED = {
    "another loss": (partial(any_network, (3, 1)), B, "balanced", "this network has mse: give"),
    "another word": (classifier, C, "balance", "must be \"balanced\", a dict .* got 'balance'"),
    "a number": (classifier, C, 3.0, 'must be "balanced", a dict .* got 3.0'),
    "no such class": (classifier, C, {4: 1}, "for 4, but the classes are the numbers 0 to 3"),
    "a class below 0": (classifier, C, {-1: 1}, "for -1, but the classes"),
    "half a class": (classifier, C, {0.5: 1}, "for 0.5, but the classes"),
    "a class of NaN": (classifier, C, {np.nan: 1}, "for nan, but the classes"),
    "a name": (classifier, C, {"cat": 1}, r"for 'cat'.*flatprop\.sklearn\.MLPClassifier"),
    "the third of two": (binary, B, {2: 1}, "for 2, but the classes are the numbers 0 to 1"),
    "a negative weight": (classifier, C, {1: -2}, r"class_weight\[1\] must be .*not negative"),
    "a weight of NaN": (classifier, C, {1: np.nan}, r"class_weight\[1\] must be finite"),
    "no weight": (classifier, C, {1: None}, r"class_weight\[1\] must be a number, got None"),
    "negative in an array": (classifier, C, [1, 1, 1, -1], r"class_weight\[3\] is -1.0; weights"),
    "NaN in an array": (classifier, C, [1, np.nan, 1, 1], r"class_weight\[1\] is nan"),
    "too few": (classifier, C, [1, 2], r"each of the 4 classes, but its shape is \(2,\)"),
    "all zero": (classifier, C, [0, 0, 0, 0], "every class_weight is zero"),
    "zero where there is one": (classifier, C, [0, 0, 1, 0], "every sample without weight"),
    "probabilities": (classifier, np.full((90, 4), 0.25), FACTORS, "a probability in y is 0.25"),
    "a fraction": (binary, B / 2, [1, 2], "a probability in y is 0.5"),
    "several answers": (
        partial(any_network, (3, 2), ["sigmoid"], "binary_cross_entropy"),
        MANY,
        [1, 2],
        "one class per sample, but y has 2 columns",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    make, y, class_weight, message = REFUSED[case]
    net = make()
    before = net.params.tobytes(), net.rng.bit_generator.state
    with pytest.raises((TypeError, ValueError), match=message):
        net.fit(X, y, class_weight=class_weight)
    assert (net.params.tobytes(), net.rng.bit_generator.state) == before


def test_a_class_without_weight_teaches_nothing():
    """Its samples may as well have any inputs."""
    other = X.copy()
    other[C == 1] = 0
    nets = classifier(), classifier()
    for net, x in zip(nets, (X, other), strict=True):
        net.fit(x, C, epochs=2, class_weight={1: 0.0}, optimizer=fp.SGD(0.1), batch_size=None)
    np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=1e-12)
