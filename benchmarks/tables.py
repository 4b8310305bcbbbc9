"""Twenty tables: flatprop's recipe beside scikit-learn's MLP and HistGradientBoosting.

    python -m benchmarks.tables FOLDER [--only NAME ...] [--splits 5] [--same-inputs]

Every table is split at random into 80 % of rows to train on and 20 % to measure on, so many
times; classes keep their shares. All have the same rows and the recipe's vectorizer before them.
The recipe is what `train` takes by itself. The others have scikit-learn's defaults, and all
regressions have standardized targets. The hat functions of the recipe are for its networks alone;
--same-inputs gives them to all three. A fourth column is HistGradientBoosting without the
vectorizer, with the table's own categories and missing values. With --results FILE what has been
measured is kept there, line by line, and not measured again.

The list was fixed before anything was measured. Six tables come with packages: iris, wine,
breast_cancer and diabetes with scikit-learn, anes96 and randhie with statsmodels. The others are
read from FOLDER, as NAME.csv:

| tables | file |
| --- | --- |
| penguins, titanic, tips, diamonds, mpg, taxis | NAME.csv of (1) |
| gapminder | csv/gapminder/gapminder.csv of (2) |
| credit_data, mlc_churn, hpc_data, ames, hotel_rates | csv/modeldata/NAME.csv of (2) |
| birds | csv/openintro/birds.csv of (2) |
| bechdel | csv/fivethirtyeight/bechdel.csv of (2) |

(1) is https://github.com/mwaskom/seaborn-data, which names its sources and states no licence. (2)
is https://github.com/vincentarelbundock/Rdatasets, whose code is GPL-3 and which holds its rows to
be free to redistribute, but knows no licence of them. So none is copied here.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import skrub
from scipy.stats import rankdata
from sklearn import datasets
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flatprop.tables.recipe import recipe


class Table(NamedTuple):
    """What is to be predicted, and the columns that would tell it."""

    target: str
    numbers: bool
    without: tuple[str, ...] = ()
    package: str = ""


TABLES = {
    "iris": Table("target", False, (), "sklearn"),
    "wine": Table("target", False, (), "sklearn"),
    "breast_cancer": Table("target", False, (), "sklearn"),
    "penguins": Table("species", False),
    "titanic": Table("survived", False, ("alive",)),
    "anes96": Table("vote", False, (), "statsmodels"),
    "credit_data": Table("Status", False),
    "mlc_churn": Table("churn", False),
    "hpc_data": Table("class", False),
    "birds": Table("time_of_day", False),
    "diabetes": Table("target", True, (), "sklearn"),
    "tips": Table("tip", True),
    "mpg": Table("mpg", True),
    "gapminder": Table("lifeExp", True),
    "bechdel": Table("intgross_2013", True, ("domgross", "intgross", "domgross_2013")),
    "ames": Table("Sale_Price", True),
    "taxis": Table("fare", True, ("total",)),
    "hotel_rates": Table("avg_price_per_room", True),
    "randhie": Table("mdvis", True, (), "statsmodels"),
    "diamonds": Table("price", True),
}
OURS, THEIRS, TREES, RAW = "flatprop", "MLP", "boosting", "boosting, raw"
MODELS = OURS, THEIRS, TREES, RAW
RANKED = MODELS[:3]
ALLOWED = 0.1
"""How far the worst of the three may be behind the next, as a share of best to worst."""


def read(name, folder):
    """The columns to predict from, and the target."""
    table = TABLES[name]
    if table.package == "sklearn":
        bunch = getattr(datasets, f"load_{name}")()
        frame = pl.DataFrame(bunch.data, schema=list(bunch.feature_names))
        frame = frame.with_columns(target=pl.Series(bunch.target))
    elif table.package == "statsmodels":
        import statsmodels.api

        loaded = getattr(statsmodels.api.datasets, name).load_pandas().data
        frame = pl.DataFrame({column: loaded[column].to_numpy() for column in loaded.columns})
    else:
        frame = pl.read_csv(
            Path(folder) / f"{name}.csv", null_values=["", "NA"], infer_schema_length=None
        )
    frame = frame.drop("rownames", *table.without, strict=False)
    frame = frame.filter(pl.col(table.target).is_not_null())
    y = frame[table.target].cast(pl.Float64 if table.numbers else pl.String).to_numpy()
    return frame.drop(table.target), y


def estimators(numbers, rows):
    """The vectorizer, and the estimators by their names; none is fitted."""
    vectorizer, ours = recipe("regression" if numbers else "classification", rows)
    # As skrub's tabular_pipeline has them: categories as such, which the trees split by sets.
    columns = skrub.TableVectorizer(low_cardinality=skrub.ToCategorical())
    if numbers:
        trees, network = HistGradientBoostingRegressor, MLPRegressor(random_state=0)
        network = TransformedTargetRegressor(network, transformer=StandardScaler())
    else:
        trees, network = HistGradientBoostingClassifier, MLPClassifier(random_state=0)
    raw = make_pipeline(columns, trees(categorical_features="from_dtype", random_state=0))
    return vectorizer, {OURS: ours, THEIRS: network, TREES: trees(random_state=0), RAW: raw}


def scores(model, X, y, numbers):
    """The larger the better: R², or accuracy; the smaller the better: RMSE, or log loss."""
    if numbers:
        predicted = model.predict(X)
        return r2_score(y, predicted), root_mean_squared_error(y, predicted)
    p = np.asarray(model.predict_proba(X), np.float64)
    p /= p.sum(axis=1, keepdims=True)  # float32's sums differ from 1
    return np.mean(model.classes_[p.argmax(axis=1)] == y), log_loss(y, p, labels=model.classes_)


def measure(name, folder, seed, same_inputs):
    """A dict for each model, of one split."""
    frame, y = read(name, folder)
    numbers = TABLES[name].numbers
    rows = np.arange(y.size)
    train, test = train_test_split(
        rows, test_size=0.2, random_state=seed, stratify=None if numbers else y
    )
    vectorizer, models = estimators(numbers, train.size)
    plain = clone(vectorizer)
    if not same_inputs:
        plain.set_params(encode__numeric="passthrough")
    began = time.perf_counter()
    ours = vectorized(vectorizer, frame, y, train, test)
    seconds_before = time.perf_counter() - began
    theirs = vectorized(plain, frame, y, train, test)
    data = {OURS: ours, RAW: (frame[train], frame[test])}
    for model, estimator in models.items():
        given, asked = data.get(model, theirs)
        began = time.perf_counter()
        estimator.fit(given, y[train])
        seconds = time.perf_counter() - began
        score, loss = map(float, scores(estimator, asked, y[test], numbers))
        yield {
            "table": name, "split": seed, "model": model, "score": score, "loss": loss,
            "seconds": seconds, "vectorized": seconds_before,
            "rows": y.size, "columns": frame.width, "inputs": given.shape[1],
        }  # fmt: skip


def vectorized(vectorizer, frame, y, train, test):
    fitted = np.asarray(vectorizer.fit_transform(frame[train], y[train]))
    return fitted, np.asarray(vectorizer.transform(frame[test]))


def warm_up():
    """Compile, or load, what the recipe needs."""
    rng = np.random.default_rng(0)
    for task, y in [("regression", rng.normal(size=64))] + [
        ("classification", np.arange(64) % classes) for classes in (2, 3)
    ]:
        recipe(task, 64, epochs=2)[1].fit(rng.normal(size=(64, 3)).astype(np.float32), y)


# ---- the table that is printed


def mean(found, name, model, what):
    """Over the splits."""
    return float(np.mean([r[what] for r in found if (r["table"], r["model"]) == (name, model)]))


def ranks(found, name, what):
    """Of the three; equal ones share the mean of their ranks."""
    values = [round(mean(found, name, model, what), 6) for model in RANKED]
    return rankdata(values if what == "loss" else [-value for value in values])


def behind(found, name):
    """How far flatprop is behind the next, as a share of best to worst; 0 if it is not worst."""
    ours, *others = (mean(found, name, model, "score") for model in RANKED)
    spread = max(ours, *others) - min(ours, *others)
    return (min(others) - ours) / spread if ours < min(others) else 0.0


def show(found):
    names = [name for name in TABLES if any(r["table"] == name for r in found)]
    print("| table | rows | columns |", *(f"{model} |" for model in MODELS), end=" ")
    print("rank |", *(f"{m}: loss |" for m in RANKED), *(f"{m}: seconds |" for m in RANKED))
    print("| --- |" + " --- |" * (len(MODELS) + 2 * len(RANKED) + 3))
    for name in names:
        first = next(r for r in found if r["table"] == name)
        best = max(round(mean(found, name, model, "score"), 4) for model in RANKED)
        cells = [name, f"{first['rows']:,}", str(first["columns"])]
        for model in MODELS:
            value = round(mean(found, name, model, "score"), 4)
            bold = "**" if model in RANKED and value == best else ""
            cells.append(f"{bold}{value:.4f}{bold}")
        cells.append(f"{ranks(found, name, 'score')[0]:g}")
        losses = [mean(found, name, model, "loss") for model in RANKED]
        cells += [f"{loss:,.0f}" if loss >= 1000 else f"{loss:.4g}" for loss in losses]
        cells += [f"{mean(found, name, model, 'seconds'):.2f}" for model in RANKED]
        print("| " + " | ".join(cells) + " |")
    for kind, chosen in (
        ("accuracy", [n for n in names if not TABLES[n].numbers]),
        ("R²", [n for n in names if TABLES[n].numbers]),
        ("both", names),
    ):
        if chosen:
            print(f"\nmean rank by {kind}, {len(chosen)} tables:", told(found, chosen, "score"))
            other = {"accuracy": "log loss", "R²": "RMSE", "both": "log loss and RMSE"}[kind]
            print(f"mean rank by {other}:", told(found, chosen, "loss"))
    worst = {name: behind(found, name) for name in names}
    worst = {name: share for name, share in worst.items() if share > ALLOWED}
    print(f"\nworst by more than {ALLOWED:.0%} of the spread:", worst or "none")


def told(found, names, what):
    each = np.mean([ranks(found, name, what) for name in names], axis=0)
    return ", ".join(f"{model} {rank:.2f}" for model, rank in zip(RANKED, each, strict=True))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--same-inputs", action="store_true")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of trainings that end with their last epoch
    found = []
    if options.results and options.results.exists():
        found = [json.loads(line) for line in options.results.read_text("utf-8").splitlines()]
    done = {(r["table"], r["split"]) for r in found}
    warm_up()
    for name in options.only:
        for seed in range(options.splits):
            if (name, seed) in done:
                continue
            new = list(measure(name, options.folder, seed, options.same_inputs))
            found += new
            if options.results:
                with options.results.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(r) + "\n" for r in new)
    show([r for r in found if r["table"] in options.only])


if __name__ == "__main__":
    main()
