"""scikit-learn's own tests of its MLP, from the installed wheel, run on flatprop's estimators."""

import inspect
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

import sklearn.neural_network

OWN = Path(sklearn.neural_network.__file__).parent / "tests" / "test_mlp.py"
IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor"

LEFT_OUT = {
    "test_gradient": (
        "checks the private _loss_grad_lbfgs by differences; evaluation/test_gradients.py does "
        "that for flatprop's gradient, sklearn/test_as_theirs.py for the penalty"
    ),
}

if not OWN.exists():
    pytest.skip(f"this scikit-learn comes without {OWN.name}", allow_module_level=True)

# Not an error, as everywhere else in these tests: scikit-learn lets most of them pass.
pytestmark = pytest.mark.filterwarnings("ignore")

source = OWN.read_text()
assert source.count(IMPORT) == 1
theirs = {"__name__": "flatprop_test_mlp", "__file__": str(OWN)}
ours = source.replace(IMPORT, IMPORT.replace("sklearn.neural_network", "flatprop.sklearn"))
exec(compile(ours, str(OWN), "exec"), theirs)
globals().update(
    {
        name: test
        for name, test in theirs.items()
        if name.startswith("test_") and name not in LEFT_OUT
    }
)


@pytest.fixture
def global_random_seed():
    return 42


@pytest.mark.parametrize("name", LEFT_OUT)
def test_that_what_is_left_out_reaches_into_private_members(name):
    assert "mlp._loss_grad_lbfgs" in inspect.getsource(theirs[name])
