"""What there is, for people: the list of tasks, and a report to paste into an issue."""

from collections.abc import Iterable

from lthkit.replications.records import age
from lthkit.replications.tasks import Task
from lthkit.report import Verdict


def listed(tasks: Iterable[Task]) -> str:
    """A line a task: lab, setting, how it stands, and the minutes that it takes."""
    lines = []
    for task in tasks:
        if task.exempt:
            state = f"exempt: {task.exempt}"
        else:
            seconds, record = task.seconds(), task.record()
            days = f", {age(record)} days old" if record else ""
            state = "to do" if record is None else "done" if task.up_to_date(record) else "stale"
            state += days + ("" if seconds is None else f", {seconds / 60:.1f} min")
        lines.append(f"{task.lab.name:32} {task.setting:8} {state}")
    return "\n".join(lines)


def reported(tasks: Iterable[Task]) -> str:
    """A block of Markdown with versions, processors and the numbers of all records.

    Raises ValueError where there is none.
    """
    records = [record for task in tasks if (record := task.record())]
    if not records:
        raise ValueError("no records to report: run lthkit replicate first")
    machines = [f"- {_machine(record)}" for record in records]
    lines = [
        "### Replications",
        "",
        *dict.fromkeys(machines),
        "",
        "| lab | setting | claim | found |",
        "|---|---|---|---|",
    ]
    for record in records:
        for key, found in record["verdicts"].items():
            verdict = Verdict.from_dict(found)
            numbers = f": {verdict.interval}, {verdict.n} seeds" if verdict.measured else ""
            lines.append(f"| {record['lab'][:2]} | {record['setting']} | {key} | {verdict.status}{numbers} |")
    return "\n".join(lines)


def _machine(record: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))
    commit = f" at {record['commit'][:12]}" if record["commit"] else ""
    return f"{versions}{commit}; {record['processor']}, {record['threads']} thread; {record['date'][:10]}"
