"""In which settings every lab runs again, and the pairs of lab and setting that make no sense."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """purpose: what it is for.  runs: the parameters of each run, by their names in the labs.

    longer: a factor of every number of epochs.  rates: take the learning rates that were chosen for SGD.
    """

    purpose: str
    runs: tuple[Mapping[str, object], ...]
    longer: int = 1
    rates: bool = False

    @property
    def about(self) -> set[str]:
        """The parameters without which a lab would run as in another setting."""
        return {name for run in self.runs for name in run} - {"subset"}


SETTINGS = {
    "live": Setting("the lab as it stands", ({},)),
    # As many of these as the lab's claims need.
    "fresh": Setting("seeds that no trial ever used: the verdicts", ({"seeds": range(10000, 10200)},)),
    "split": Setting(
        "four other splits, and so other test images",
        tuple({"split": n, "seeds": range(1995 + 5 * n, 2000 + 5 * n)} for n in (1, 2, 3, 4)),
    ),
    "sgd": Setting("SGD with momentum 0.9", ({"optimizer": "sgd", "seeds": range(3000, 3010)},), rates=True),
    "long": Setting("five times the epochs", ({"seeds": range(4000, 4010)},), longer=5),
    "fashion": Setting(
        "Fashion-MNIST, as many training images as digits has",
        ({"dataset": "fashion_mnist", "subset": 1197, "seeds": range(5000, 5010)},),
    ),
    "mnist": Setting(
        "MNIST, as many training images as digits has",
        ({"dataset": "mnist", "subset": 1197, "seeds": range(6000, 6010)},),
    ),
}

ROBUSTNESS = ("split", "sgd", "long", "fashion", "mnist")
START = "The start page shows one seed and judges no claim."
LAYER = "What a mask occupies and costs depends on the layer, not on how it was trained."
CODE = "Its claims are about what code does, whatever data and seed."
# (lab, setting): why the pair makes no sense
EXEMPT = {("00_ticket_in_ten_minutes", name): START for name in SETTINGS}
EXEMPT |= {(lab, name): CODE for lab in ("A1_traps_of_prune", "A2_from_the_classic_script") for name in SETTINGS}
EXEMPT |= {("01_masks", name): LAYER for name in ROBUSTNESS}
