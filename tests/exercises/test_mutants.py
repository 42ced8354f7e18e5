"""The mutation test on small tasks whose outcome can be seen by eye, and in a short form on all tasks of the course."""

import math
from collections import Counter

import kill_table
import numpy as np
import pytest
import torch
from mutants import CRASHING, EQUIVALENT, KILLED, SURVIVED, fuzzed, mutants, mutation_test, outcome

from lthkit.exercises.compare import Fault, compare
from lthkit.exercises.guard import alike
from lthkit.exercises.task import Task, tasks


def less(a, b):
    return a < b


def share(a, b):
    return 2 * a / b


def drops(a, b):
    return torch.sub(a.abs(), max(b, a))


def shifts(a, b):
    return a[1:], a[:b], a[0]


def signs(a, b):
    return -a if not a and b is None else True


def steps(a, b):
    """Not the docstring."""
    for i in range(b):
        a[i] += 0.5
    with torch.no_grad():
        return round(a)


@pytest.mark.parametrize(
    "function, expected",
    [
        (less, {("comparison", "a <= b"), ("comparison", "a >= b")}),
        (
            share,
            {("arithmetic", "2 * a * b"), ("arithmetic", "2 / a / b")}
            | {("constant", f"{n} * a / b") for n in (3, 1, 0)},
        ),
        (
            drops,
            {("dropped call", "a.abs()"), ("dropped call", "torch.sub(a, max(b, a))")}
            | {("dropped call", "torch.sub(a.abs(), b)"), ("swapped arguments", "torch.sub(max(b, a), a.abs())")}
            | {("swapped arguments", "torch.sub(a.abs(), max(a, b))"), ("other call", "torch.sub(a.abs(), min(b, a))")},
        ),
        (
            shifts,
            {("constant", f"(a[{n}:], a[:b], a[0])") for n in (2, 0)}
            | {("boundary", "(a[1 + 1:], a[:b], a[0])"), ("boundary", "(a[1:], a[1:b], a[0])")}
            | {("boundary", f"(a[1:], a[:b {sign} 1], a[0])") for sign in "+-"}
            | {("constant", f"(a[1:], a[:b], a[{n}])") for n in (1, -1)},
        ),
        (
            signs,
            {("dropped sign", "a if not a and b is None else True")}
            | {("dropped sign", "-a if a and b is None else True")}
            | {("and / or", "-a if not a or b is None else True")}
            | {("comparison", "-a if not a and b is not None else True")}
            | {("constant", "-a if not a and b is None else False")},
        ),
        (
            steps,
            {("dropped call", "for i in b:"), ("boundary", "for i in range(b + 1):"), ("dropped call", "return a")}
            | {("other call", "return int(a)"), ("arithmetic", "a[i] -= 0.5")}
            | {("constant", f"a[i] += {x}") for x in (1.5, 0.0, 1.0, -0.5)}
            | {("dropped statement", "pass"), ("dropped context", "if True:")},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_operator_changes_what_it_says(function, expected):
    found = mutants(function)
    assert {
        (m.operator, m.becomes if function is steps else m.becomes.removeprefix("return ")) for m in found
    } == expected
    assert len({m.source for m in found}) == len(found)


def test_a_mutant_knows_its_line_and_uses_the_names_of_its_module():
    (mutant,) = [m for m in mutants(shifts) if m.becomes == "return (a[1 + 1:], a[:b], a[0])"]
    assert mutant.number == shifts.__code__.co_firstlineno + 1
    assert mutant.line == "return (a[1:], a[:b], a[0])"
    assert mutant.function([1, 2, 3], 2) == ([3], [1, 2], 1)
    assert shifts([1, 2, 3], 2) == ([2, 3], [1, 2], 1)
    (mutant,) = [m for m in mutants(drops) if m.operator == "other call"]
    assert mutant.function(torch.tensor(-3.0), torch.tensor(1.0)) == torch.tensor(6.0)


# Tasks whose mutants end in each of the four ways


def total(values, times):
    result = 0
    for i in range(len(values)):
        result = result + abs(values[i] * times)
    return result


def drawn(rng):
    return [(rng.normal(size=n).tolist(), int(rng.integers(1, 5))) for n in (1, 2, 5)]


def verified(args, got):
    return compare(total(*args), got)


def lenient(args, got):
    return None if np.isfinite(got) and got >= 0 else Fault("not a sum of magnitudes", total(*args), got)


def small_task(verify, reference=total):
    return Task(id="9.1", kind="build", title="sum", goal="sum", difficulty="easy", minutes=1, hints=("a", "b"),
                why="why", next="next", verify=verify, reference=reference, trials=drawn)  # fmt: skip


def fates(verify, draw=None, count=30, reference=total):
    results = mutation_test(small_task(verify, reference), range(3), draw, count)
    return {(result.mutant.operator, result.mutant.becomes): result.fate for result in results}


def test_a_strict_check_kills_what_neither_crashes_nor_is_equivalent():
    found = fates(verified)
    assert found["dropped call", "result = result + values[i] * times"] == KILLED
    assert found["arithmetic", "result = result - abs(values[i] * times)"] == KILLED
    assert found["boundary", "for i in range(len(values) + 1):"] == CRASHING
    assert found["dropped call", "for i in range(values):"] == CRASHING
    assert SURVIVED not in found.values() and EQUIVALENT not in found.values()


def test_a_lenient_check_lets_mutants_survive():
    found = fates(lenient)
    assert found["arithmetic", "result = result + abs(values[i] / times)"] == SURVIVED
    assert found["constant", "result = 1"] == SURVIVED
    assert found["dropped call", "result = result + values[i] * times"] == SURVIVED  # not wrong with every seed
    assert found["arithmetic", "result = result - abs(values[i] * times)"] == KILLED


def test_equal_on_all_fuzzed_inputs_is_equivalent():
    def times_one(rng):
        return [(values, 1) for values, _ in drawn(rng)]

    found = fates(lenient, times_one)
    assert found["arithmetic", "result = result + abs(values[i] / times)"] == EQUIVALENT


def test_a_mutant_that_crashes_where_the_check_does_not_look_survives():
    def with_zero(rng):
        return [(values, 0) for values, _ in drawn(rng)]

    found = fates(lenient, with_zero)
    assert found["arithmetic", "result = result + abs(values[i] / times)"] == SURVIVED


def test_a_check_that_rejects_equal_outputs_at_times_is_not_hidden_by_equivalence():
    def moody(args, got):
        return Fault("no", 1, 2) if abs(args[0][0]) > 1 else None

    assert SURVIVED in fates(moody, lambda rng: [([0.0], 0)]).values()


def waits(values, times):
    while values:
        values = values[1:]
    return times


def test_a_mutant_that_never_ends_counts_as_crashing(monkeypatch):
    monkeypatch.setattr("mutants.LIMIT", 0.1)
    found = fates(lambda args, got: compare(args[1], got), reference=waits)
    assert found["dropped statement", "pass"] in (CRASHING, EQUIVALENT)
    assert found["constant", "values = values[0:]"] == CRASHING


def appends(values, times):
    values = list(values)
    values.append(times)
    return values


def test_a_change_of_the_arguments_is_a_difference():
    found = fates(lambda args, got: compare([*args[0], args[1]], got), reference=appends)
    assert found["dropped call", "values = values"] == KILLED
    got, given = outcome(appends, ([1.0], 2))
    assert got == [1.0, 2] and given == ([1.0], 2)


def test_outcomes_do_not_depend_on_the_random_state_outside():
    def draws(n):
        return torch.rand(n), np.random.rand(n)

    torch.manual_seed(1)
    first = outcome(draws, (2,))
    state = torch.get_rng_state()
    assert alike(outcome(draws, (2,)), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_fuzzed_inputs_are_as_many_as_asked_for_and_come_back_the_same():
    asked = small_task(verified)
    assert len(fuzzed(asked, None, 7)) == 7
    assert fuzzed(asked, None, 7) == fuzzed(asked, None, 7)
    assert fuzzed(asked, lambda rng: [(1,)], 3) == [(1,)] * 3


# The kill table


def row(killed, survived=(), faults=()):
    return kill_table.Row("9.1", Counter({KILLED: killed, SURVIVED: len(survived), CRASHING: 5, EQUIVALENT: 2}),
                          dict.fromkeys(survived, "line 3: correct"), 6, 2, list(faults))  # fmt: skip


KNOWN = kill_table.Survivor("9.1", "constant", "return 1", "return 2")
NEW = kill_table.Survivor("9.1", "comparison", "a < 'b'", "a <= 'b'")


def test_the_score_counts_neither_crashing_nor_equivalent_mutants():
    assert kill_table.score(row(19, [NEW]).fates) == 0.95
    assert kill_table.score(row(0).fates) is None
    lines = kill_table.table([row(19, [NEW]), row(20)]).splitlines()
    assert lines[1].split() == ["9.1", "27", "5", "2", "19", "95.0", "%", "6", "2"]
    assert lines[-1].split() == ["all", "54", "10", "4", "39", "97.5", "%", "12", "4"]


def test_what_ends_the_kill_table_in_an_error():
    assert kill_table.problems([row(19, [KNOWN])], {KNOWN: "why"}) == []
    (unexplained,) = kill_table.problems([row(19, [NEW])], {})
    assert "not explained, line 3" in unexplained and "becomes = " in unexplained
    (stale,) = kill_table.problems([row(19)], {KNOWN: "why"})
    assert "no survivor" in stale
    (low,) = kill_table.problems([row(18, [KNOWN])], {KNOWN: "why"})
    assert "94.7 % is below 95 %" in low
    assert kill_table.problems([row(19, faults=["fault"])], {}) == ["fault"]


def test_a_printed_entry_can_be_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_table, "EXPLANATIONS", tmp_path / "survivors.toml")
    assert kill_table.explanations() == {}
    text = "\n\n".join(p.split("\n", 1)[1] for p in kill_table.problems([row(99, [KNOWN, NEW])], {}))
    kill_table.EXPLANATIONS.write_text(text)
    assert kill_table.explanations() == {KNOWN: "", NEW: ""}


def test_a_listed_answer_is_told_apart_from_what_was_expected_of_it():
    assert kill_table._fault("1.1", math.floor, "no such hint", range(2)).startswith("1.1 floor, seed 0: crashed")
    assert kill_table._fault("1.1", lambda w, m, r: m.clone(), None, range(2)).startswith("1.1 <lambda>, seed 0: wrong")


@pytest.mark.parametrize("id", [id for id in tasks() if tasks()[id].reference])
def test_no_survivor_is_unexplained(id):
    """`make kill-table` in short: fewer fuzzed inputs and seeds."""
    found = kill_table.examine(id, range(2), range(0), 20)
    assert not [survivor for survivor in found.survivors if survivor not in kill_table.explanations()]
