"""Every page of the documentation runs, and shows what it says.

`docs/extensions/page_code.py` runs a page as the site does when it is built: all Python in
order, in a fresh namespace and an empty folder, with warnings as errors. A page or a block that
is added is run too; what is checked of its results beyond that is in `CHECKS`.
"""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "extensions"))

import page_code  # noqa: E402

OPTIONAL = {
    *("dask", "distributed", "ray"),
    *("IPython", "joblib", "matplotlib", "numba_scipy", "onnx", "onnxruntime", "optuna", "pandas"),
    *("polars", "scipy", "skops", "skrub", "sklearn", "tensorboardX", "torch"),
}
"""What a page may import and may be missing: a misspelt name is a failure."""

PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
CHECKS = {}


def name(page):
    return page.relative_to(ROOT).as_posix()


def checks(page):
    def register(function):
        CHECKS[page] = function
        return function

    return register


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page(page, tmp_path):
    blocks = page_code.blocks_of(page)
    compiles = any(block.language == "c" or '"cc"' in block.text for block in blocks)
    if compiles and shutil.which("cc") is None:
        pytest.skip("no C compiler")
    try:
        run = page_code.run(page, tmp_path)
    except ImportError as error:
        skip_without_extra(error)
        raise
    CHECKS.get(name(page), lambda run: None)(run)


def skip_without_extra(error):
    """Skip where a package is missing that an extra brings."""
    missing = (error.name or "").partition(".")[0]
    absent = isinstance(error, ModuleNotFoundError) and missing in OPTIONAL
    if "pip install 'flatprop[" in str(error) or absent:
        pytest.skip(f"the page needs more: {error}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_fence_is_of_a_kind_that_is_run(page):
    """Python, C and commands are; plain ones and the site's own directives are not code."""
    for block in page_code.blocks_of(page):
        assert block.language in page_code.LANGUAGES or block.language.startswith("{"), block
    # none is hidden in a list or a quotation, where it would be looked for in vain
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"```", text)) == 2 * len(page_code.blocks_of(page))


def test_a_page_that_is_wrong_fails(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "empty").mkdir()
    for block, message in (
        ("```python\n1 / 0\n```", "division"),
        ("```python\nimport warnings\nwarnings.warn('old')\n```", "old"),
        ("```console\n$ python -m flatprop explain neuron\nanother output\n```", "ended with 0"),
        ("```console\n$ python -m flatprop explain nothing\n```", "ended with"),
        ("```console\n$ uname\nLinux\n```", "cannot be checked"),
    ):
        page.write_text(f"# Title\n\n{block}\n", encoding="utf-8")
        with pytest.raises((Exception, Warning), match=message) as caught:
            page_code.run(page, tmp_path / "empty")
        assert "begins on line 4" in caught.value.__notes__[0]


# ---- what the pages show


@checks("README.md")
def check_readme(run):
    assert sum(block.language == "python" for block in run.blocks) >= 3
    assert "stopped by" in run.printed
    assert run.names["net"].predict([[0.5]])[0, 0] == pytest.approx(np.sin(0.5), abs=0.1)
    assert run.names["result"].fun < 0.02
    assert np.isfinite(run.names["state"]).all()


@checks("docs/guide/embed.md")
def check_embed(run):
    names = run.names
    assert names["C_SOURCE"] == (ROOT / "tests" / "c" / "example.c").read_text(encoding="utf-8")
    assert np.isfinite(names["state"]).all()
    assert names["loss"] < 0.01
    assert names["status"] == 0
    assert names["net"].loss(names["X"], names["y"]) < names["before"] / 2
    assert names["history"].loss[-1] < 1e-6
    assert (run.folder / "policy.c").exists()
    np.testing.assert_array_equal(names["again"].params, names["wavy"].params)


@checks("docs/guide/uncertainty.md")
def check_uncertainty(run):
    names = run.names
    assert "within one sigma 6" in run.printed
    spread = np.array(re.search(r"\[(\S+) (\S+)\] where", run.printed).groups(), float)
    np.testing.assert_allclose(spread, [0.05, 0.293], rtol=0.15)
    shares = [np.mean(names["y"] < names[bound]) for bound in ("low", "median", "high")]
    np.testing.assert_allclose(shares, [0.05, 0.5, 0.95], atol=0.03)
    assert (names["deviation"] > 0).all()
    assert names["quantiles"].shape == (3, 3)
    deep, X, y = names["deep"], names["X"], names["y"]
    low, high = deep.predict(X[names["known"]], quantiles=[0.05, 0.95]).T
    inside = y[names["known"]]
    assert 0.85 < np.mean((low < inside) & (inside < high)) < 0.95
    assert names["search"].best_params_["n_estimators"] == 5
    assert names["search"].best_estimator_.log_likelihood(X, y) > 0.5
    assert "log-loss" in names["left"].get_title()
    ratio, away = names["doubt"] / names["noise"], np.abs(names["grid"])
    assert ratio[away < 0.2].mean() > 1 > 0.2 > ratio[(away > 0.5) & (away < 0.9)].mean()


@checks("docs/guide/which-loss.md")
def check_which_loss(run):
    names = run.names
    errors = [float(error) for error in re.findall(r"error (\S+)", run.printed)]
    assert errors[1] < 0.1 < 0.2 < errors[0]
    net, inputs, angles = (names[name] for name in ("net", "inputs", "angles"))
    assert net.loss(inputs, angles) < 0.02
    assert names["fp"].check_gradients(net, inputs[:50], angles[:50]) < 1e-6


@checks("docs/guide/train.md")
def check_train(run):
    names = run.names
    assert np.mean(names["answers"] == names["digits"][names["held_out"]]) > 0.96
    assert 1e-4 < names["found"].suggestion < 0.1


@checks("docs/guide/many.md")
def check_many(run):
    assert run.names["search"].best_score_ > 0.9


@checks("docs/guide/which-optimizer.md")
def check_which_optimizer(run):
    lines = re.findall(r"^(\w+)\((.*)\) +error (\S+),", run.printed, re.M)
    errors = {f"{name}({settings})": float(error) for name, settings, error in lines}
    assert len(errors) == 9
    assert 2 * errors["Adam(Cosine(0.01))"] < errors["Adam(0.01)"]
    assert errors["SGD(Cosine(0.1))"] < errors["SGD(0.1)"]
    last = {name: history.loss[-1] for name, history in run.names["histories"].items()}
    solvers = max(last.pop("LBFGS(ftol=0)"), last.pop("LevenbergMarquardt()"))
    assert solvers < min(last.values())
    assert run.names["fine"].loss[-1] < run.names["rough"].loss[-1]


@checks("docs/guide/network-size.md")
def check_network_size(run):
    line = r"^ +(\d+) units.* (\d+) rows: training (\S+), held out (\S+)"
    found = re.findall(line, run.printed, re.M)
    losses = {(int(units), int(rows)): (float(a), float(b)) for units, rows, a, b in found}
    for rows in (200, 2000):
        assert losses[32, rows][1] < losses[8, rows][1] < losses[2, rows][1]
        assert losses[64, rows][0] < 0.04
    assert losses[64, 200][1] > 2 * losses[64, 2000][1]


@checks("docs/guide/loss-is-nan.md")
def check_loss_is_nan(run):
    for words in ("DivergenceWarning: training diverged", "ResolutionWarning: column 0"):
        assert words in run.printed
    assert "0.1: from" in run.printed
    assert "stopped by diverged" in run.printed
    assert re.search(r"as it is: 9\d%.*\nscaled: 0%", run.printed)
    relu, identity = (
        float(re.search(rf"^{name} +(\S+)$", run.printed, re.M)[1])
        for name in ("relu", "identity")
    )
    assert identity < 0.1 < relu
    assert float(re.search(r"ten samples: (\S+)", run.printed)[1]) < 1e-3
    assert float(re.search(r"shuffled targets: (\S+)", run.printed)[1]) > 0.9


@checks("docs/guide/slopes.md")
def check_slopes(run):
    without, both = (float(error) for error in re.findall(r"of the force (\S+)", run.printed))
    assert both < 0.3 < 0.5 < without
    coarse, fine = (float(error) for error in re.findall(r"varies by (\S+)", run.printed))
    assert coarse / fine == pytest.approx(4, rel=0.2)


@checks("docs/guide/equations.md")
def check_equations(run):
    names = run.names
    assert (
        np.abs(
            names["net"].predict(np.linspace(0, 10, 100)[:, None])[:, 0] - names["motion"]
        ).max()
        < 0.1
    )
    # from another integrator; a period of hares and lynxes is about 6.6
    np.testing.assert_allclose(names["animals"].predict([[6.0]]), [[1.203, 0.309]], atol=0.05)
    places = names["elsewhere"]
    truth = names["exact"](*places.T)
    error = names["flow"].predict(places)[:, 0] - truth
    assert np.linalg.norm(error) < 0.03 * np.linalg.norm(truth)
    assert names["course"][-1] == pytest.approx(names["viscosity"], rel=0.1)


@checks("docs/tutorials/backpropagation.md")
def check_backpropagation(run):
    names = run.names
    trace = names["trace"]
    assert names["z"] == pytest.approx(0.35, abs=1e-12)
    assert names["a"] == pytest.approx(0.586618, abs=1e-6)
    assert trace.loss == pytest.approx(0.085443, abs=1e-6)
    assert trace.layers[0].dL_dW.item() == pytest.approx(-0.050122, abs=1e-6)
    assert trace.layers[0].dL_db.item() == pytest.approx(-0.100244, abs=1e-6)
    assert (names["W"], names["b"]) == pytest.approx((0.305012, 0.210024), abs=1e-6)
    for number in ("0.085443", "-0.413382", "-0.100244", "-0.050122", "0.0841923"):
        assert number in run.printed


@checks("docs/tutorials/gradient_descent.md")
def check_gradient_descent(run):
    names = run.names
    assert names["terms"].sum() == pytest.approx(-15.655108, abs=1e-6)
    assert round(names["terms"].sum(), 1) == -15.7
    assert names["gradient"][-1] == pytest.approx(names["terms"].sum(), abs=1e-12)
    steps = np.array(names["steps"])
    assert steps[1, 0] == pytest.approx(-0.1 * names["terms"].sum(), abs=1e-12)
    assert round(-0.1 * round(names["terms"].sum(), 1), 2) == 1.57
    assert len(steps) == 20
    assert steps[-1] == pytest.approx([2.609185, 6.28e-5], abs=1e-6)
    assert names["distance"][1:] / names["distance"][:-1] == pytest.approx(0.4, abs=1e-4)
    assert names["history"].loss[-1] < 1e-20
    assert np.abs(names["net"].predict(names["dosage"])[:, 0] - names["effective"]).max() < 1e-10


@checks("docs/tutorials/training_loop.md")
def check_training_loop(run):
    names = run.names
    for difference in ("from_fit", "from_its_losses", "from_momentum"):
        assert names[difference] < 1e-12, difference
    assert names["error"] < 1e-6


@checks("docs/reference/layers.md")
def check_activations(run):
    from flatprop.formulas.activations import ACTIVATIONS

    table = re.findall(
        r'^\| `"(\w+)"` \|.*\| (\w+) \|$', page_text("docs/reference/layers.md"), re.M
    )
    assert [name for name, _ in table] == list(ACTIVATIONS)
    for activation, start in table:
        assert ACTIVATIONS[activation].initialisation == start.lower()
    assert run.names["names"] == list(ACTIVATIONS)[:-1]


@checks("docs/reference/losses.md")
def check_losses(run):
    import flatprop as fp
    from flatprop.formulas.losses import LOSSES_BY_NAME

    table = re.findall(r'^\| `"(\w+)"` \| `(.*)` \|$', page_text("docs/reference/losses.md"), re.M)
    assert {loss: eval(made, {"fp": fp}) for loss, made in table} == {
        loss: made() for loss, made in LOSSES_BY_NAME.items()
    }


def page_text(page):
    return (ROOT / page).read_text(encoding="utf-8")


# ---- what the README promises beside its code


def test_the_worked_example_is_what_the_command_prints(capsys):
    from flatprop.cli import main

    assert main(["explain", "neuron"]) == 0
    printed = capsys.readouterr().out.splitlines()
    shown = re.search(r"```\n(1\. Forward.*?)```", page_text("README.md"), re.DOTALL)
    assert shown is not None
    assert set(shown[1].splitlines()) <= set(printed)


def test_the_two_commands():
    text = page_text("README.md")
    assert "\npython -m pip install . && python -m flatprop train digits\n" in text
    assert "\npython -m pip install '.[test]' && python -m pytest\n" in text
