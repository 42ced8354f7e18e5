"""Exercises with instant checks: `check("1.2", f)`, `hint("1.2")`, `solution("1.2")`, `progress()`, `mine("1.2")`."""

from lthkit.exercises.desk import check, hint, mine, progress, solution

__all__ = ["check", "hint", "mine", "progress", "solution"]
