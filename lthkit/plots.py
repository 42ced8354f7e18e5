"""The figures of the course, in one colour and type style.

Where a call gives no label or scale of its own, `columns` says how a column is shown.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lthkit.columns import of
from lthkit.report import summary

# Okabe & Ito's palette: distinct for colour-blind readers; markers and dashes tell arms apart in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
STYLE = {
    "figure.figsize": (7.2, 4.2), "figure.dpi": 100, "figure.constrained_layout.use": True,
    "figure.facecolor": "white", "savefig.facecolor": "white",
    "font.family": "DejaVu Sans", "font.size": 11,
    "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#dddddd",
    "legend.frameon": False, "lines.linewidth": 1.8, "lines.markersize": 5,
}  # fmt: skip


def subplots(rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None, **options):
    """`plt.subplots` in the style of the course, without touching matplotlib's global settings."""
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=size, **options)


def against_kept(
    table: pd.DataFrame, title: str, column: str = "test_accuracy", by: str = "arm",
    arms: Sequence[str] | None = None, labels: dict[str, str] | None = None, ylabel: str | None = None,
    ax: Axes | None = None,
) -> Figure:  # fmt: skip
    """A line for each arm: mean over the seeds of `column` against the share of weights kept.

    The band is the 95 % interval of the mean.  title: the finding.  arms: which, in this order; labels: their names.
    """
    arms = list(dict.fromkeys(table[by])) if arms is None else list(arms)
    if missing := [arm for arm in arms if arm not in set(table[by])]:
        raise ValueError(f"no rows with {by} in {missing}: there are {sorted(table[by].unique())}")
    with plt.rc_context(STYLE):
        fig, ax = plt.subplots() if ax is None else (ax.figure, ax)
        points = summary(table[table[by].isin(arms)], column, by=(by, "round"))
        for i, arm in enumerate(arms):
            line = points[points[by] == arm].sort_values("kept")
            _line(ax, 100 * line.kept, line, of(column).scale, i, (labels or {}).get(arm, arm))
        kept_axis(ax, 100 * points.kept.min())
        ax.set(ylabel=of(column).label if ylabel is None else ylabel, title=title)
        ax.legend()
    return fig


def kept_axis(ax: Axes, lowest: float) -> None:
    """A logarithmic axis of the share kept in percent, dense on the left as in the papers."""
    ticks = [tick for tick in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if tick >= lowest * 0.99]
    ax.set(xscale="log", xlim=(110, lowest * 0.9), xlabel=of("kept").label)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def intervals(
    table: pd.DataFrame, column: str, title: str, xlabel: str | None = None, by: str = "arm",
    scale: float | None = None, labels: dict[str, str] | None = None,
) -> Figure:  # fmt: skip
    """A row for each arm: every seed as a dot, the mean and its 95 % interval above them."""
    scale = of(column).scale if scale is None else scale
    points = summary(table, column, by=(by,))
    with plt.rc_context(STYLE):
        fig, ax = plt.subplots(figsize=(7.2, 0.7 * len(points) + 1.4))
        for i, point in enumerate(points.to_dict("records")):
            values, colour = scale * table.loc[table[by] == point[by], column], COLOURS[i % 7]
            ax.plot(values, [i + 0.18] * len(values), MARKERS[0], color=colour, alpha=0.35, markersize=4)
            mean, low, high = (scale * point[key] for key in ("mean", "low", "high"))
            ax.errorbar(mean, i, xerr=[[mean - low], [high - mean]], fmt=MARKERS[i % 7], color=colour, capsize=4)
        ax.set_yticks(range(len(points)), [(labels or {}).get(name, name) for name in points[by]])
        ax.grid(axis="y", visible=False)
        ax.set(ylim=(len(points) - 0.5, -0.5), xlabel=of(column).label if xlabel is None else xlabel, title=title)
    return fig


def curves(
    history: pd.DataFrame, column: str, title: str, ylabel: str | None = None, by: str = "arm",
    scale: float | None = None, labels: dict[str, str] | None = None,
) -> Figure:  # fmt: skip
    """A line for each arm over the iterations: mean over the seeds with its 95 % interval.

    history: `History.table()` of one or several arms, with a column `by`.
    """
    scale = of(column).scale if scale is None else scale
    # Of the training loss the first check knows nothing yet.
    history = history[history.groupby([by, "iteration"])[column].transform("count") > 0]
    points = summary(history, column, by=(by, "iteration"))
    with plt.rc_context(STYLE):
        fig, ax = plt.subplots()
        for i, arm in enumerate(dict.fromkeys(points[by])):
            line = points[points[by] == arm]
            _line(ax, line.iteration, line, scale, i, (labels or {}).get(arm, arm), max(1, len(line) // 10))
        ylabel = of(column).label if ylabel is None else ylabel
        ax.set(xlabel=of("iteration").label, ylabel=ylabel, title=title)
        ax.legend()
    return fig


def leads(table: pd.DataFrame, title: str, ax: Axes | None = None) -> Figure:
    """A line for each pair of arms: its mean lead against the epochs of training.  The band is the 95 % interval.

    table: a row per (pair, epochs, seed), with the column `lead`.
    """
    points = summary(table, "lead", by=("pair", "epochs"))
    with plt.rc_context(STYLE):
        fig, ax = plt.subplots() if ax is None else (ax.figure, ax)
        for i, pair in enumerate(dict.fromkeys(points.pair)):
            line = points[points.pair == pair].sort_values("epochs")
            _line(ax, line.epochs, line, of("lead").scale, i, pair)
        ticks = sorted(points.epochs.unique())
        ax.axhline(0, color="black", linewidth=1)
        ax.set(xscale="log", xlabel="epochs of training", ylabel=of("lead").label, title=title)
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.legend()
    return fig


def _line(ax: Axes, x, line: pd.DataFrame, scale: float, i: int, label: str, markevery: int = 1) -> None:
    """The i-th line of a figure: mean, low and high of `summary`, over x."""
    style = {"color": COLOURS[i % 7], "marker": MARKERS[i % 7], "linestyle": DASHES[i % 7], "markevery": markevery}
    ax.plot(x, scale * line["mean"], label=label, **style)
    ax.fill_between(x, scale * line.low, scale * line.high, color=COLOURS[i % 7], alpha=0.15, linewidth=0)
