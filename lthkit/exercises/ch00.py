"""Tasks of chapter 00, a ticket in ten minutes."""

from lthkit.exercises.compare import number, options
from lthkit.exercises.task import Task

GOALS = ("prune and rewind a network by hand", "say why one seed proves nothing")


PREDICT = Task(
    id="0.0",
    kind="predict",
    title="the ticket's lead",
    goal=GOALS[0],
    difficulty="easy",
    minutes=2,
    hints=(
        "If the mask is all that counts, both networks end up equally good, and the lead is near 0.",
        "If the first values count too, the ticket leads. Ten classes guessed at random give 10 %, so 90 is the most.",
    ),
    why="The next cell prints your guess beside the lead of seed 0.",
    next="The next cell prints it beside the lead of seed 0.",
    verify=number(-100, 100, "points"),
    answer=2,
    reveals=("figure", "accuracy_ticket", "accuracy_control", "lead", "lead_again"),
)


FOLLOWS = {"A": "follows", "B": "does not follow", "C": "does not follow", "D": "follows", "E": "does not follow"}
_SAYS = {
    "A": "One image is worth 0.25 points. How many images are 8 points?",
    "B": "Another seed draws other weights and other batches, and this study did not run it.",
    "C": "One number has no spread. How far apart do your own leads lie?",
    "D": "The study has shown you such a seed.",
    "E": "A report of one run does not say how many others were thrown away.",
}

INTERPRET = Task(
    id="0.1",
    kind="interpret",
    title="what one lead says",
    goal=GOALS[1],
    difficulty="easy",
    minutes=3,
    hints=(
        "Ask of each statement: is it about the one run of the report, or about runs that it does not show?",
        "Two statements follow. One counts test images, the other needs no more than one seed.",
    ),
    why="The seed decides the first weights, the fresh weights and the order of the batches. None of these is what you "
    "set out to compare, and yet the lead moves with them. So one lead is one draw. It says what happened once (A), "
    "and that such a thing can happen (D). It says nothing about the next draw (B), about their mean (C), or about "
    "draws that were made and not reported (E).",
    next="Lab 2 repeats this with ten seeds and puts an interval around the mean lead.",
    verify=options(tuple(FOLLOWS), ("follows", "does not follow"), FOLLOWS, _SAYS),
    answer=FOLLOWS,
)


TASKS = (PREDICT, INTERPRET)
