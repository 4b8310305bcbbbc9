"""The course of a training: what is published on an estimator, and by whom."""

import ast
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from flatprop.sklearn import MLPRegressor, course

NAMES = {field.name for field in fields(course.Course)}
X = np.linspace(-1.0, 1.0, 60)[:, None]


def epochs(tol, *scores):
    """The course after epochs with these scores, and which of them were the best so far."""
    one = course.Course()
    one.begin(solved=False, early_stopping=True, validated=False)
    return one, [one.compare(score, tol) for score in scores]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_what_was_published_is_the_course(solver):
    given = {"X_val": X, "y_val": X[:, 0]}
    fitted = MLPRegressor(hidden_layer_sizes=3, solver=solver, random_state=0).fit(
        X, X[:, 0], **given
    )
    again = MLPRegressor()
    course.Course.of(fitted).publish(again)
    assert {*vars(again)} - {*vars(MLPRegressor())} == NAMES & {*vars(fitted)}
    assert all(getattr(again, name) is getattr(fitted, name) for name in NAMES & {*vars(fitted)})
    assert fitted.n_iter_ == len(fitted.loss_curve_) == len(fitted.validation_loss_curve_)
    assert hasattr(fitted, "_optimizer") == (solver == "adam")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_new_course_takes_the_attributes_of_the_last_one_away():
    fitted = MLPRegressor(random_state=0).fit(X, X[:, 0])
    course.Course().publish(fitted)
    assert NAMES - {*vars(fitted)} == {"loss_", "validation_loss_curve_", "_optimizer"}


def test_better_by_less_than_tol_is_the_best_but_no_improvement():
    one, best = epochs(0.1, 0.5, 0.55, math.nan, 0.4, 0.65)
    assert best == [True, True, False, False, True]
    assert one.best_validation_score_ == 0.65
    assert one._no_improvement_count == 0
    assert epochs(0.1, 0.5, 0.55, math.nan)[0]._no_improvement_count == 2


@pytest.mark.parametrize(
    "path", sorted(Path(course.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_nothing_else_sets_its_attributes(path):
    set_on = {
        ast.unparse(node.value)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in NAMES
        and isinstance(node.ctx, ast.Store | ast.Del)
    }
    assert set_on <= {"self" if path.name == "course.py" else "course", "task.course"}
