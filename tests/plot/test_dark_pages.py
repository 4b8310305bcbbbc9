"""Every picture can be read in a dark style, which may be that of the axes alone."""

import numpy as np
import pytest

import flatprop as fp
from figures import dosage, matplotlib, plt

pytestmark = pytest.mark.usefixtures("nothing_left")

STEPS = np.linspace(0.1, 1, 12)


class Classifier:
    """Of two columns; as sure as the first of them is large."""

    classes_ = np.array([0, 1])

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-np.asarray(X)[:, 0]))
        return np.stack([1 - p, p], axis=1)

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


class Regressor:
    """The first column, and how uncertain that is."""

    def predict(self, X, return_std=False):
        mean = np.asarray(X)[:, 0]
        return (mean, np.ones(len(mean))) if return_std else mean


def training(**more):
    rates = {"learning_rate": STEPS, "metrics": {"r2": 1 - STEPS}}
    return fp.History(STEPS[::-1], STEPS[::-1] + 0.1, **rates | more)


X = np.random.default_rng(0).normal(size=(40, 2))
KIND = (X[:, 0] > 0).astype(int)
NET, DOSES, EFFECTIVE = dosage()
PICTURES = {
    "reliability": lambda figure: fp.plot.reliability(Classifier(), X, KIND, figure),
    "coverage": lambda figure: fp.plot.coverage(Regressor(), X, X[:, 1], figure),
    "fit": lambda figure: fp.plot.fit(Regressor(), X, X[:, 1], figure),
    "fit of one input": lambda figure: fp.plot.fit(NET, DOSES, EFFECTIVE, figure),
    "histograms": lambda figure: fp.plot.histograms(NET, gradient=NET.params, figure=figure),
    "decision_regions": lambda ax: fp.plot.decision_regions(Classifier(), X, KIND, ax),
    "history": lambda ax: fp.plot.history(training(), ax=ax),
    "histories": lambda ax: fp.plot.history(dict.fromkeys(range(10), training()), ax),
    "learning_rate_range": lambda ax: fp.plot.learning_rate_range(
        fp.LearningRateRange(STEPS, STEPS, STEPS, STEPS[3], "completed"), ax
    ),
    "network": lambda ax: fp.plot.network(NET, ax=ax, output_names=["effective"]),
    "network traced": lambda ax: fp.plot.network(NET, NET.trace(DOSES, EFFECTIVE), ax),
}


def luminance(rgb):
    """Relative luminance, as the Web Content Accessibility Guidelines define it."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def on_black(colours):
    """The contrast to black of the most visible of these colours, which may be transparent."""
    rgba = matplotlib.colors.to_rgba_array(colours).reshape(-1, 4)
    return max((luminance(rgba[:, :3] * rgba[:, 3:]) + 0.05) / 0.05, default=1.0)


def parts(figure):
    """(artist, contrast) of texts, lines, markers and bars; and the backgrounds."""
    from matplotlib.collections import PathCollection
    from matplotlib.legend import Legend
    from matplotlib.patches import Patch

    figure.canvas.draw()
    axes = figure.findobj(matplotlib.axes.Axes)
    frames = [legend.legendPatch for legend in figure.findobj(Legend) if legend.get_frame_on()]
    papers = [figure.patch, *(ax.patch for ax in axes if ax.axison), *frames]
    hidden = [part for ax in axes if not ax.axison for part in (ax.patch, *ax.spines.values())]
    found = []
    for artist in figure.findobj():
        if not artist.get_visible() or artist in papers or artist in hidden:
            continue
        if isinstance(artist, matplotlib.text.Text) and artist.get_text():
            found.append((artist, on_black([artist.get_color()])))
        if isinstance(artist, matplotlib.lines.Line2D):
            colour = matplotlib.colors.to_rgba(artist.get_color(), artist.get_alpha())
            if artist.get_color() != "none":  # an entry of a legend that has no line
                found.append((artist, on_black([colour])))
        if isinstance(artist, Patch | PathCollection):
            colours = np.vstack([artist.get_facecolor(), artist.get_edgecolor()])
            found.append((artist, on_black(colours)))
    return found, papers


@pytest.mark.parametrize("given", [False, True], ids=["style", "given"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_can_be_read_on_black(name, given):
    if name == "reliability":
        pytest.importorskip("sklearn")
    draw = PICTURES[name]
    with plt.style.context("dark_background"):
        figure = plt.figure() if given else None
        if not given:
            draw(None)
            figure = plt.gcf()
        elif "ax" in draw.__code__.co_varnames:
            ax = figure.add_subplot()
    if given:
        draw(ax if "ax" in draw.__code__.co_varnames else figure)
    found, papers = parts(figure)
    assert len(found) > 8
    assert [(artist, contrast) for artist, contrast in found if contrast < 3] == []
    assert [luminance(paper.get_facecolor()[:3]) for paper in papers] == [0] * len(papers)


def test_transparent_paper_is_as_dark_as_its_text_is_light():
    clear = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none")
    with plt.style.context(["dark_background", clear]):
        figure, ax = plt.subplots()
    fp.plot.history(training(), ax)
    found, papers = parts(figure)
    assert [paper.get_facecolor()[3] for paper in papers[:-1]] == [0] * 4
    assert all(contrast >= 3 for _, contrast in found)


@pytest.mark.parametrize("paper", ["black", "white", "none"])
def test_the_paper_of_a_figure_decides_where_it_has_some(paper):
    below = plt.figure(facecolor=paper).subfigures()
    with plt.style.context("default" if paper == "black" else "dark_background"):
        top, _ = fp.plot.fit(NET, DOSES, EFFECTIVE, below)
    ink = "black" if paper == "white" else "white"
    assert top.yaxis.label.get_color() == ink
    assert top.lines[0].get_color() == ("#0072B2" if ink == "black" else "#56B4E9")
