"""Answers to the tasks of chapter 00 as readers write them: wrong ones with the hint each must meet, and right ones."""

import numpy as np


def follows(letters):
    """These statements follow, the others do not."""
    return {letter: "follows" if letter in letters else "does not follow" for letter in "ABCDE"}


WRONG = {
    "0.0": [("ten", "one number"), (400, "from -100 to 100"), ((2, 3), "one number"), (True, "one number")],
    "0.1": [(follows("D"), "A: One image"), (follows("ABD"), "B: Another seed"), (follows("ACD"), "C: One number"),
            (follows("A"), "D: The study"), (follows("ADE"), "E: A report"),
            (follows("AD") | {"B": "no"}, "B: answer 'follows'"), ("AD", "a dict with the keys")],
}  # fmt: skip
RIGHT = {
    "0.0": [0, -1.5, 30, np.float32(2.5), np.int64(3)],
    "0.1": [follows("AD"), {k: v.upper() for k, v in follows("AD").items()}],
}
