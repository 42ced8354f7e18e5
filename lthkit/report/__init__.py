"""From replicates to a verdict: `compare` looks, `decide` decides on fresh seeds, `fact` states, `nonzeros` counts."""

from lthkit.report.compare import KINDS, again, compare, every, fact, interval, paired, smallest_step, summary
from lthkit.report.decide import FAMILY, LEVEL, decide, holm, power, seeds_needed
from lthkit.report.nonzeros import nonzeros
from lthkit.report.verdict import LIVE, Verdict

__all__ = [
    "FAMILY", "KINDS", "LEVEL", "LIVE", "Verdict", "again", "compare", "decide", "every", "fact", "holm", "interval",
    "nonzeros", "paired", "power", "seeds_needed", "smallest_step", "summary",
]  # fmt: skip
