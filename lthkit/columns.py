"""What a column of a table means: how its numbers are shown, and which way is better.

`report` and `plots` ask here, by the column's name.  A lab's own columns stand here too; any other is shown as it is.
To add one: `COLUMNS["batches"] = Column("batches", " batches", digits=0, better="earlier", worse="later",
less_is_better=True)`.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Column:
    """How a column is shown and judged.

    label: of a figure's axis, with the unit.
    unit: what follows a number in a sentence, its space included.
    scale: a number is multiplied by it before it is shown, as 100 for shares.
    digits: after the point, in a sentence.
    better, worse: what a better arm is, and a worse one, in words that "than" can follow.
    """

    label: str
    unit: str = ""
    scale: float = 1
    digits: int = 3
    better: str = "higher"
    worse: str = "lower"
    less_is_better: bool = False


_SHARE = Column("share, %", " points", 100, 1)
_ACCURACY = replace(_SHARE, better="more accurate", worse="less accurate")
_LOSS = Column("loss", better="lower", worse="higher", less_is_better=True)
_ITERATION = Column("iterations", " iterations", digits=0, better="earlier", worse="later", less_is_better=True)

COLUMNS: dict[str, Column] = {
    # of a run: `lottery.Run.table`
    "kept": replace(_SHARE, label="weights kept, %"),
    "nonzero": replace(_SHARE, label="weights that are not 0, %"),
    "accuracy_at_start": replace(_ACCURACY, label="test accuracy before training, %"),
    "test_accuracy": replace(_ACCURACY, label="test accuracy, %"),
    "test_accuracy_early_stop": replace(_ACCURACY, label="test accuracy at the early stop, %"),
    "val_accuracy": replace(_ACCURACY, label="validation accuracy, %"),
    "early_stop_iteration": replace(_ITERATION, label="iteration of the lowest validation loss"),
    "seconds": Column("seconds", " seconds", better="faster", worse="slower", less_is_better=True),
    # of a history: `training.History.table`
    "iteration": _ITERATION,
    "train_loss": replace(_LOSS, label="training loss"),
    "val_loss": replace(_LOSS, label="validation loss"),
    # of supermasks: the tables of `supermask`
    "val_accuracy_thresholded": replace(_ACCURACY, label="validation accuracy with p > 0.5, %"),
    "test_accuracy_thresholded": replace(_ACCURACY, label="test accuracy with p > 0.5, %"),
    "kept_overall": replace(_SHARE, label="weights kept, %"),
    "kept_mean": replace(_SHARE, label="mean probability, %"),
    "kept_sampled": replace(_SHARE, label="weights kept by a drawn mask, %"),
    "kept_thresholded": replace(_SHARE, label="weights with p > 0.5, %"),
    # of what is left: `report.nonzeros`
    "weights": Column("weights", " weights", digits=0),
    "pruned": Column("weights pruned", " weights", digits=0),
    "compression": Column("weights for each one that is not 0", digits=1),
    # of labs
    "share": _SHARE,
    "relative_time": Column(
        "time, of the dense layer's", digits=2, better="faster", worse="slower", less_is_better=True
    ),
    "lead": replace(_SHARE, label="lead in test accuracy, points", better="larger", worse="smaller"),
    "instability": replace(_SHARE, label="instability, points", better="lower", worse="higher", less_is_better=True),
    "cosine": Column("cosine of masking and training"),
    "reached": replace(_SHARE, label="outputs that a signal reaches, %"),
}


def of(column: str) -> Column:
    """What `column` means; one that is not in `COLUMNS` has no unit and no scale, and more of it is better."""
    return COLUMNS.get(column, Column(column))
