"""Figures: what they draw is what the tables say, and nothing global changes."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lthkit import plots
from lthkit.training import History

ARMS = {"rewind": 0.0, "reinit": -0.1, "continue": 0.02}
KEPT = [1.0, 0.5, 0.1, 0.009]


@pytest.fixture(autouse=True)
def closed():
    before = dict(plt.rcParams)
    yield
    plt.close("all")
    assert dict(plt.rcParams) == before


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    rows = [
        (arm, seed, number, kept, 0.9 + change * number / 3 + rng.normal(0, 0.01))
        for arm, change in ARMS.items()
        for number, kept in enumerate(KEPT)
        for seed in range(5)
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "round", "kept", "test_accuracy"]).sample(frac=1, random_state=1)


def ends(values):
    return stats.ttest_1samp(values, 0).confidence_interval(0.95)


def lines(fig):
    return {line.get_label(): line for line in fig.axes[0].get_lines()}


def test_against_kept_draws_means_and_intervals(table):
    fig = plots.against_kept(table, "Tickets win")
    ax = fig.axes[0]
    assert ax.get_title(loc="left") == "Tickets win"
    assert "weights kept, %" in ax.get_xlabel() and ax.get_ylabel() == "test accuracy, %"
    left, right = ax.get_xlim()
    assert left > right and ax.get_xscale() == "log"  # dense on the left
    assert set(lines(fig)) == set(ARMS)
    for arm, line in lines(fig).items():
        values = 100 * table[table.arm == arm].groupby("kept").test_accuracy.mean()
        drawn = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert drawn == pytest.approx({100 * kept: mean for kept, mean in values.items()})
    bands = [band.get_paths()[0].vertices for band in ax.collections]
    assert len(bands) == 3
    first = next(iter(lines(fig)))
    worst = table[(table.arm == first) & (table.kept == 0.009)].test_accuracy
    band = bands[0][np.isclose(bands[0][:, 0], 0.9)][:, 1]
    assert (band.min(), band.max()) == pytest.approx([100 * end for end in ends(worst)])


def test_every_tick_is_a_plain_number_within_the_figure(table):
    fig = plots.against_kept(table, "title")
    fig.canvas.draw()
    shown = [label.get_text() for label in fig.axes[0].get_xticklabels()]
    assert "100" in shown and "0.9" not in shown and "1" in shown and "0.5" not in shown


def test_arms_are_drawn_in_the_order_asked_for(table):
    fig = plots.against_kept(table, "title", arms=["reinit", "rewind"])
    assert [text.get_text() for text in fig.axes[0].get_legend().get_texts()] == ["reinit", "rewind"]
    assert [line.get_color() for line in fig.axes[0].get_lines()] == list(plots.COLOURS[:2])
    with pytest.raises(ValueError, match=r"\['late'\].*\['continue', 'reinit', 'rewind'\]"):
        plots.against_kept(table, "title", arms=["rewind", "late"])


def test_a_figure_can_be_drawn_into_axes_that_exist(table):
    fig, axes = plots.subplots(1, 2, size=(9, 3))
    assert plots.against_kept(table, "left", ax=axes[0]) is fig
    assert axes[0].get_title(loc="left") == "left" and not axes[1].lines
    assert tuple(fig.get_size_inches()) == (9, 3) and len(plt.get_fignums()) == 1


def test_arms_differ_without_colour_too(table):
    seen = {(line.get_marker(), str(line.get_linestyle())) for line in lines(plots.against_kept(table, "t")).values()}
    assert len(seen) == len(ARMS)
    assert len(plots.COLOURS) == len(plots.MARKERS) == len(plots.DASHES) == len(set(plots.COLOURS))


def test_intervals_show_every_seed_the_mean_and_the_interval(table):
    last = table[table["round"] == 3]
    fig = plots.intervals(last, "test_accuracy", "A finding", "accuracy, %", scale=100)
    ax = fig.axes[0]
    assert ax.get_title(loc="left") == "A finding" and ax.get_xlabel() == "accuracy, %"
    order = list(dict.fromkeys(last.arm))
    assert [label.get_text() for label in ax.get_yticklabels()] == order
    for row, arm in enumerate(order):
        values = 100 * last[last.arm == arm].test_accuracy
        dots = [line for line in ax.get_lines() if np.allclose(line.get_ydata(), row + 0.18)]
        assert len(dots) == 1 and sorted(dots[0].get_xdata()) == pytest.approx(sorted(values))
        container = ax.containers[row]
        assert container[0].get_xdata()[0] == pytest.approx(values.mean())
        segment = container[2][0].get_segments()[0]
        assert sorted(segment[:, 0]) == pytest.approx(list(ends(values)))


@pytest.fixture
def history():
    generator = torch.Generator().manual_seed(0)
    iterations = torch.arange(0, 210, 10)
    columns = [torch.rand(4, len(iterations), generator=generator, dtype=torch.float64) for _ in range(4)]
    columns[0][:, 0] = torch.nan  # no batch before the first check
    return History((0, 1, 2, 3), iterations, *columns).table().assign(arm="rewind")


@pytest.mark.parametrize("column", ["val_loss", "val_accuracy", "test_accuracy", "train_loss"])
def test_curves_draw_any_column_of_a_history(history, column):
    fig = plots.curves(history, column, "A curve", "unit", scale=100)
    ax = fig.axes[0]
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == ("A curve", "iterations", "unit")
    (line,) = ax.get_lines()
    means = 100 * history.groupby("iteration")[column].mean()
    for iteration, mean in means.dropna().items():
        drawn = np.asarray(line.get_ydata())[np.asarray(line.get_xdata()) == iteration]
        assert drawn == pytest.approx(mean)


def test_curves_of_several_arms_have_a_legend(history):
    both = pd.concat([history, history.assign(arm="reinit")])
    fig = plots.curves(both, "val_loss", "t", "loss")
    assert [text.get_text() for text in fig.axes[0].get_legend().get_texts()] == ["rewind", "reinit"]


# --- what `columns` says where a call does not ---


def test_labels_and_scales_come_from_the_column(table, history):
    last = table[table["round"] == 3].assign(early_stop_iteration=lambda t: 1000 * t.test_accuracy)
    ax = plots.intervals(last, "test_accuracy", "t").axes[0]
    assert ax.get_xlabel() == "test accuracy, %"
    assert ax.containers[0][0].get_xdata()[0] == pytest.approx(100 * last[last.arm == ax_arm(ax)].test_accuracy.mean())
    ax = plots.intervals(last, "early_stop_iteration", "t").axes[0]
    assert ax.get_xlabel() == "iteration of the lowest validation loss"
    assert ax.containers[0][0].get_xdata()[0] == pytest.approx(1000 * last[last.arm == ax_arm(ax)].test_accuracy.mean())
    for column, label, scale in [("val_loss", "validation loss", 1), ("val_accuracy", "validation accuracy, %", 100)]:
        ax = plots.curves(history, column, "t").axes[0]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("iterations", label)
        means = history.groupby("iteration")[column].mean()
        assert ax.get_lines()[0].get_ydata() == pytest.approx(scale * means.to_numpy())


def ax_arm(ax):
    """The arm in the first row of `intervals`."""
    return ax.get_yticklabels()[0].get_text()


@pytest.mark.parametrize(
    "column, label, scale",
    [
        ("accuracy_at_start", "test accuracy before training, %", 100),
        ("early_stop_iteration", "iteration of the lowest validation loss", 1),
        ("cosine", "cosine of masking and training", 1),
        ("anything", "anything", 1),  # a column that is not listed is drawn as it is
    ],
)
def test_against_kept_draws_any_column(table, column, label, scale):
    ax = plots.against_kept(table.rename(columns={"test_accuracy": column}), "t", column, arms=["rewind"]).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("weights kept, %", label)
    means = table[table.arm == "rewind"].groupby("kept").test_accuracy.mean()
    assert ax.get_lines()[0].get_ydata() == pytest.approx(scale * means.to_numpy())


def test_a_label_or_scale_of_the_call_comes_first(table, history):
    last = table[table["round"] == 3]
    ax = plots.intervals(last, "test_accuracy", "t", "share right", scale=1).axes[0]
    assert ax.get_xlabel() == "share right"
    assert ax.containers[0][0].get_xdata()[0] == pytest.approx(last[last.arm == ax_arm(ax)].test_accuracy.mean())
    assert plots.intervals(last, "test_accuracy", "t", "").axes[0].get_xlabel() == ""
    assert plots.against_kept(table, "t", ylabel="").axes[0].get_ylabel() == ""
    ax = plots.curves(history, "val_loss", "t", "", scale=0).axes[0]
    assert ax.get_ylabel() == "" and not ax.get_lines()[0].get_ydata().any()


def test_leads_are_drawn_in_points_against_the_length_of_training():
    rows = [(pair, n, seed, lead + 0.01 * seed) for pair, lead in {"a over b": 0.2, "c over d": -0.05}.items()
            for n, lead in ((10, lead), (200, lead / 10)) for seed in (-1, 0, 1)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["pair", "epochs", "seed", "lead"])
    ax = plots.leads(table, "The lead shrinks").axes[0]
    assert ax.get_xscale() == "log" and [text.get_text() for text in ax.get_legend().get_texts()] == [
        "a over b",
        "c over d",
    ]
    drawn = {line.get_label(): line.get_xydata() for line in ax.lines}
    np.testing.assert_allclose(drawn["a over b"], [[10, 20], [200, 2]])
    np.testing.assert_allclose(drawn["c over d"], [[10, -5], [200, -0.5]])
    half = 100 * stats.t.ppf(0.975, 2) * 0.01 / 3**0.5
    assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(20 + half)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10", "200"] and ax.get_title(
        loc="left"
    ) == "The lead shrinks"
