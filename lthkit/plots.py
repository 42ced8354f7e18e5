"""The figures of the course, in one colour and type style.

Where a call gives no label or scale of its own, `columns` says how a column is shown.
"""

from collections.abc import Iterable, Sequence

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


@plt.rc_context(STYLE)
def against_kept(
    table: pd.DataFrame, title: str, column: str = "test_accuracy", by: str = "arm",
    arms: Sequence[str] | None = None, ylabel: str | None = None, ax: Axes | None = None,
) -> Figure:  # fmt: skip
    """A line for each arm: mean over the seeds of `column` against the share of weights kept.

    The band is the 95 % interval of the mean.  title: the finding.  arms: which, in this order.
    """
    arms = list(dict.fromkeys(table[by])) if arms is None else list(arms)
    if missing := [arm for arm in arms if arm not in set(table[by])]:
        raise ValueError(f"no rows with {by} in {missing}: there are {sorted(table[by].unique())}")
    points = summary(table[table[by].isin(arms)], column, by=(by, "round"))
    points["kept"] *= 100
    ax = _lines(points, by, arms, "kept", column, title, ylabel, ax=ax)
    kept_axis(ax, points.kept.min())
    return ax.figure


def kept_axis(ax: Axes, lowest: float) -> None:
    """A logarithmic axis of the share kept in percent, dense on the left as in the papers."""
    _log_axis(ax, [tick for tick in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if tick >= lowest * 0.99])
    ax.set(xlim=(110, lowest * 0.9), xlabel=of("kept").label)


def intervals(
    table: pd.DataFrame, column: str, title: str, xlabel: str | None = None, by: str = "arm",
    scale: float | None = None,
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
        ax.set_yticks(range(len(points)), points[by])
        ax.grid(axis="y", visible=False)
        ax.set(ylim=(len(points) - 0.5, -0.5), xlabel=of(column).label if xlabel is None else xlabel, title=title)
    return fig


@plt.rc_context(STYLE)
def curves(
    history: pd.DataFrame, column: str, title: str, ylabel: str | None = None, by: str = "arm",
    scale: float | None = None,
) -> Figure:  # fmt: skip
    """A line for each arm over the iterations: mean over the seeds with its 95 % interval.

    history: `History.table()` of one or several arms, with a column `by`.
    """
    # Of the training loss the first check knows nothing yet.
    history = history[history.groupby([by, "iteration"])[column].transform("count") > 0]
    points = summary(history, column, by=(by, "iteration"))
    ax = _lines(points, by, dict.fromkeys(points[by]), "iteration", column, title, ylabel, scale)
    ax.set(xlabel=of("iteration").label)
    return ax.figure


@plt.rc_context(STYLE)
def leads(table: pd.DataFrame, title: str, ax: Axes | None = None) -> Figure:
    """A line for each pair of arms: its mean lead against the epochs of training.  The band is the 95 % interval.

    table: a row per (pair, epochs, seed), with the column `lead`.
    """
    points = summary(table, "lead", by=("pair", "epochs"))
    ax = _lines(points, "pair", dict.fromkeys(points.pair), "epochs", "lead", title, ax=ax)
    ax.axhline(0, color="black", linewidth=1)
    _log_axis(ax, sorted(points.epochs.unique()))
    ax.set(xlabel="epochs of training")
    return ax.figure


def _lines(
    points: pd.DataFrame, by: str, names: Iterable[str], x: str, column: str, title: str, ylabel: str | None = None,
    scale: float | None = None, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """A line for each name, with a band: mean, low and high of `summary` over x; into axes of their own, or `ax`."""
    scale = of(column).scale if scale is None else scale
    ax = plt.subplots()[1] if ax is None else ax
    for i, name in enumerate(names):
        line, colour = points[points[by] == name].sort_values(x), COLOURS[i % 7]
        style = {"color": colour, "marker": MARKERS[i % 7], "linestyle": DASHES[i % 7]}
        ax.plot(line[x], scale * line["mean"], label=name, markevery=max(1, len(line) // 10), **style)
        ax.fill_between(line[x], scale * line.low, scale * line.high, color=colour, alpha=0.15, linewidth=0)
    ax.set(ylabel=of(column).label if ylabel is None else ylabel, title=title)
    ax.legend()
    return ax


def _log_axis(ax: Axes, ticks: Sequence[float]) -> None:
    """A logarithmic x-axis with these ticks alone, as plain numbers."""
    ax.set(xscale="log")
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
