"""How good the checks are: which mutants of the references they kill, and what 200 seeds say of each listed answer.

`make kill-table` ends in an error when the score over all tasks is below 95 %, when a survivor is not explained in
survivors.toml or an explanation there fits no survivor, when a listed wrong answer does not meet its own hint, or when
a correct variant is rejected.
"""

import os
import sys
import tomllib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from mutants import CRASHING, EQUIVALENT, KILLED, SURVIVED, listed, mutation_test

from lthkit.exercises.judge import DONE, WRONG, judge
from lthkit.exercises.task import task, tasks

SCORE = 0.95
MUTANT_SEEDS, ANSWER_SEEDS, FUZZED = range(5), range(200), 1000
EXPLANATIONS = Path(__file__).with_name("survivors.toml")
HEADS = ("task", "mutants", "crashing", "equivalent", "killed", "score", "wrong answers", "correct variants")


@dataclass(frozen=True)
class Survivor:
    """The key of an explanation.  line, becomes: as `ast.unparse` writes them."""

    task: str
    operator: str
    line: str
    becomes: str


@dataclass(frozen=True)
class Row:
    """What was found about one task.

    fates: how many mutants came to which end.  survivors: each with its line's number and how the check failed it.
    wrong, right: how many answers are listed.  faults: what the check says of them and should not.
    """

    id: str
    fates: Counter
    survivors: dict[Survivor, str]
    wrong: int
    right: int
    faults: list[str]


def examine(id: str, mutant_seeds=MUTANT_SEEDS, answer_seeds=ANSWER_SEEDS, count: int = FUZZED) -> Row:
    """Mutation test and listed answers of one task; other seeds and counts only where less will do."""
    asked = task(id)
    draw = listed("FUZZ").get(id)
    results = mutation_test(asked, mutant_seeds, draw, count) if asked.reference else []
    survivors = {
        Survivor(id, m.operator, m.line, m.becomes): f"line {m.number}: {result.why}"
        for result in results if result.fate == SURVIVED for m in [result.mutant]
    }  # fmt: skip
    wrong, right = listed("WRONG").get(id, []), listed("RIGHT").get(id, [])
    faults = [fault for answer, hint in wrong if (fault := _fault(id, answer, hint, answer_seeds))]
    faults += [fault for answer in right if (fault := _fault(id, answer, None, answer_seeds))]
    return Row(id, Counter(result.fate for result in results), survivors, len(wrong), len(right), faults)


def _fault(id: str, answer: object, hint: str | None, seeds: range) -> str:
    """The first seed with which a wrong answer does not meet its hint, or with which a right one (no hint) fails."""
    for seed in seeds:
        judgement = judge(task(id), answer, seed)
        good = judgement.status in DONE if hint is None else judgement.status == WRONG and hint in judgement.mistake
        if not good:
            name = getattr(answer, "__name__", repr(answer))
            expected = "correct" if hint is None else f"wrong, {hint!r}"
            return f"{id} {name}, seed {seed}: {judgement.status}, {judgement.message!r}; expected {expected}"
    return ""


def explanations() -> dict[Survivor, str]:
    """Why each known survivor lives, from survivors.toml."""
    if not EXPLANATIONS.exists():
        return {}
    entries = tomllib.loads(EXPLANATIONS.read_text())["survivor"]
    return {Survivor(**{key: text for key, text in entry.items() if key != "why"}): entry["why"] for entry in entries}


def score(fates: Counter) -> float | None:
    """The share of the mutants that neither crash nor are equivalent which the check kills."""
    counted = fates[KILLED] + fates[SURVIVED]
    return fates[KILLED] / counted if counted else None


def table(rows: list[Row]) -> str:
    total = Row("all", sum((row.fates for row in rows), Counter()), {}, sum(row.wrong for row in rows),
                sum(row.right for row in rows), [])  # fmt: skip
    lines = [HEADS]
    for row in [*rows, total]:
        share = score(row.fates)
        counts = [row.fates.total(), *(row.fates[fate] for fate in (CRASHING, EQUIVALENT, KILLED))]
        lines.append((row.id, *counts, "–" if share is None else f"{100 * share:.1f} %", row.wrong, row.right))
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(HEADS))]
    return "\n".join("  ".join(str(cell).rjust(width) for cell, width in zip(line, widths)) for line in lines)


def problems(rows: list[Row], explained: dict[Survivor, str]) -> list[str]:
    """Every reason not to trust the checks."""
    survivors = {survivor: how for row in rows for survivor, how in row.survivors.items()}
    found = [f"not explained, {how}\n{_entry(new)}" for new, how in survivors.items() if new not in explained]
    found += [f"explained, but no survivor\n{_entry(known)}" for known in explained if known not in survivors]
    found += [fault for row in rows for fault in row.faults]
    share = score(sum((row.fates for row in rows), Counter()))
    if share is not None and share < SCORE:
        found.append(f"the score of {100 * share:.1f} % is below {100 * SCORE:.0f} %")
    return found


def _entry(survivor: Survivor) -> str:
    """An entry of survivors.toml that lacks its reason."""
    lines = [f"{key} = {_quoted(text)}" for key, text in asdict(survivor).items()]
    return "\n".join(["  [[survivor]]", *(f"  {line}" for line in lines), '  why = ""'])


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else f'"""{text}"""'


def main() -> int:
    os.environ["OMP_NUM_THREADS"] = "1"  # the tensors are small, and a process works on each core
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(examine, tasks()))
    explained = explanations()
    print(table(rows))
    print(f"\nA mutant: {FUZZED} inputs, {len(MUTANT_SEEDS)} checks. A listed answer: {len(ANSWER_SEEDS)} checks.")
    for survivor, how in (pair for row in rows for pair in row.survivors.items()):
        if survivor in explained:
            print(f"\n{survivor.task} {how}, {survivor.operator}\n  {survivor.line}\n  {survivor.becomes}")
            print(f"  {explained[survivor]}")
    if found := problems(rows, explained):
        print("\n\n" + "\n\n".join(found), file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
