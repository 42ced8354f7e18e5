"""Figures from recorded replications, where a lab's own seeds and data are not enough."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lthkit import plots, report

from . import records

LEADS = {"fresh": "digits", "fashion": "Fashion-MNIST", "mnist": "MNIST"}


def leads(root: Path) -> Figure:
    """How the leads of lab A3 fall with the length of training, a panel a data set."""
    tables = {name: records.table(root, "A3_how_long_a_lead_lasts", name, "leads") for name in LEADS}
    tables = {name: pd.DataFrame(table) for name, table in tables.items() if table}
    if not tables:
        raise ValueError("no record of lab A3: run `lthkit replicate --lab A3`")
    size = (7.2, 1 + 2.6 * len(tables))
    figure, axes = plots.subplots(len(tables), 1, size=size, sharex=True, sharey=True, squeeze=False)
    for ax, (name, table) in zip(axes[:, 0], tables.items(), strict=True):
        points = report.summary(table[table.pair == table.pair.iloc[0]], "lead", by="epochs").set_index("epochs")[
            "mean"
        ]
        first, last = (f"{100 * points.loc[end]:.1f}".replace("-", "−") for end in (points.index[0], points.index[-1]))
        title = f"{LEADS[name]}: {first} points, then {last}"
        plots.leads(table, title, ax)
        ax.label_outer()
        if ax is not axes[0, 0]:
            ax.get_legend().remove()
    return figure


CHARTS = {"leads": leads}
