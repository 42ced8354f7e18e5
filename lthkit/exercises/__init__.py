"""Exercises with instant checks: `check("1.2", f)`, `hint("1.2")`, `solution("1.2")`, `progress()`, `mine("1.2")`.

Labs show a guess beside the measurement: `guess("2.0", 15.3)`.
"""

from lthkit.exercises.desk import check, guess, hint, mine, progress, solution

__all__ = ["check", "guess", "hint", "mine", "progress", "solution"]
