"""`Verdict`: a claim and how it fared, and the words for it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from lthkit import columns

LIVE = {"holds": "agrees", "contradicted": "disagrees", "undecided": "too close to call"}


@dataclass(frozen=True)
class Verdict:
    """A claim and how it fared.

    kind: "better" or "equivalent" (measured), "exact" (what code does) or "observed" (seen in each seed that ran).
    status: of a live look "agrees", "disagrees" or "too close to call"; of a decision, an exact or an observed claim
        "holds", "contradicted" or "undecided".
    difference, low, high: mean paired difference and its interval at `confidence`, in the column's own unit; of a claim
        about several pairs those of the weakest.
    effect: the smallest difference beyond the margin that matters.
    differences: {pair: {seed: difference}}, what the claim rests on.
    step: the smallest difference between two values of the column, to which they are rounded.
    p, needed: of a decision: Holm's adjusted p; where it is undecided, how many seeds would find `effect` (fewer than
        n where the seeds were enough and the difference is smaller than that).
    """

    kind: str
    status: str
    claim: str
    scope: str = ""
    source: str = ""
    column: str = ""
    better: str = ""
    than: str = ""
    margin: float = 0.0
    effect: float | None = None
    n: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    differences: Mapping[str, Mapping[int | str, float]] = field(default_factory=dict)
    p: float | None = None
    needed: int | None = None
    step: float = 0.0

    @property
    def measured(self) -> bool:
        return self.kind in ("better", "equivalent")

    @property
    def interval(self) -> str | None:
        """As in "+12.3 points (+7.1 to +17.5)"; None for a claim that is not measured."""
        if not self.measured:
            return None
        shown, values = columns.of(self.column), (self.difference, self.low, self.high)
        shorts = (f"{shown.scale * value:+.{shown.digits}f}" for value in values)
        difference, low, high = (text.replace("-", "−").replace("inf", "∞") for text in shorts)
        return f"{difference}{shown.unit} ({low} to {high})"

    @property
    def sentence(self) -> str:
        """One sentence that says what was found, made from the numbers alone."""
        if not self.measured:
            return f"{self.claim[0].upper()}{self.claim[1:]}: {'true' if self.status == 'holds' else 'false'}."
        pairs = len(self.differences)
        weakest = f" in the weakest of {pairs} pairs" if pairs > 1 else ""
        return f"{self.title}: {self.interval}{weakest}, {self.n} seeds."

    @property
    def title(self) -> str:
        """The finding as a figure's title, so that figure and verdict cannot contradict each other."""
        return f"{self.finding[0].upper()}{self.finding[1:]}"

    @property
    def finding(self) -> str:
        """The comparison in words."""
        shown = columns.of(self.column)
        margin = shown.scale * self.margin
        # One image of 400 is 0.25 points: no digit of a margin is lost.
        margin = max(f"{margin:.{shown.digits}f}", f"{margin:.6g}", key=len) + shown.unit
        if self.kind == "equivalent":
            holds = f"{self.better} and {self.than} agree within {margin}"
            contradicted = f"{self.better} and {self.than} do not agree within {margin}"
        elif self.margin:
            holds = f"{self.better} is {shown.better} than {self.than} by more than {margin}"
            contradicted = f"{self.better} is not {shown.better} than {self.than} by more than {margin}"
        else:
            holds = f"{self.better} is {shown.better} than {self.than}"
            contradicted = f"{self.better} is {shown.worse} than {self.than}"
        if len(self.differences) > 1:
            contradicted = f"it is not so that {holds}"
        if self.status in ("undecided", LIVE["undecided"]):
            return f"whether {holds} is {self.status}"
        return holds if self.status in ("holds", LIVE["holds"]) else contradicted

    def to_dict(self) -> dict:
        """All fields and the derived texts, as plain JSON values: seeds are texts, as all keys of JSON."""
        fields = asdict(self) | {"interval": self.interval, "sentence": self.sentence}
        return json.loads(json.dumps(fields, default=lambda scalar: scalar.item()))

    @classmethod
    def from_dict(cls, found: Mapping) -> "Verdict":
        """What `to_dict` gave, also by way of JSON."""
        return cls(**{name: value for name, value in found.items() if name not in ("interval", "sentence")})

    def __str__(self) -> str:
        lines = [f"{self.status.upper()}: {self.claim or self.finding}"]
        if self.measured:
            lines += [f"  {self.sentence}", f"  interval at {100 * self.confidence:.6g} %"]
            lines += [f"  adjusted p {self.p:.2g}"] if self.p is not None else []
        if self.scope:
            lines.append(f"  scope: {self.scope}")
        return "\n".join(lines)

    __repr__ = __str__
