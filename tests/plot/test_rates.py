"""The picture of a learning-rate range test."""

import numpy as np
import pytest

import flatprop as fp
from figures import line, plt

pytestmark = pytest.mark.usefixtures("nothing_left")

RATES = np.geomspace(1e-6, 1, 7)
LOSSES = np.array([2.0, 2.1, 1.9, 1.0, 0.5, 0.6, 3.0])
SMOOTHED = np.array([2.0, 2.0, 1.8, 1.1, 0.7, 0.8, 2.5])


def test_losses_by_rate():
    found = fp.LearningRateRange(RATES, LOSSES, SMOOTHED, RATES[3], "diverged")
    _, ax = plt.subplots()
    assert fp.plot.learning_rate_range(found, ax) is ax
    np.testing.assert_array_equal(line(ax, "mini-batches").get_xydata().T, [RATES, LOSSES])
    np.testing.assert_array_equal(line(ax, "smoothed").get_xydata().T, [RATES, SMOOTHED])
    np.testing.assert_array_equal(line(ax, "suggestion: 0.001").get_xydata(), [[RATES[3], 1.1]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "loss")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")


@pytest.mark.parametrize("size", [0, 1, 7])
def test_without_a_suggestion(size):
    arrays = (RATES[:size], LOSSES[:size], 10 ** np.arange(size))
    ax = fp.plot.learning_rate_range(fp.LearningRateRange(*arrays, None, "completed"))
    assert [one.get_label() for one in ax.lines] == ["mini-batches", "smoothed"]
    assert ax.get_yscale() == ("log" if size == 7 else "linear")
    ax.figure.canvas.draw()


def test_refused():
    with pytest.raises(TypeError, match=r"found must be what fp.learning_rate_range returned"):
        fp.plot.learning_rate_range(fp.History())
