"""Tasks of chapter 08, supermasks."""

import numpy as np
import torch

from lthkit.exercises.compare import Fault, compare, form, number, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("build a supermask", "state chance")


def _normal(rng: np.random.Generator, rows: int, columns: int) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=(rows, columns)).astype("float32"))


PREDICT = Task(
    id="8.0",
    kind="predict",
    title="an untrained network behind a mask",
    goal=GOALS[1],
    difficulty="easy",
    minutes=2,
    hints=(
        "A guess that ignores the image is right about once in ten.",
        "The trained network reaches about 97 %. The mask knows which of its weights ended large.",
    ),
    why="Section 5 shows your guess beside the accuracy of ten such networks.",
    next="Section 5 shows it beside what was measured.",
    verify=number(0, 100, "percent"),
    answer=50,
    reveals=(
        "lead",
        "gallery",
        "gallery_with",
        "mask_beats_no_mask",
        "large_final_initial",
        "large_final_signed_constant",
        "large_final_same_sign_initial",
        "large_final_same_sign_signed_constant",
        "most_large_final",
        "most_same_sign",
    ),
)


def same_sign_mask(initial, trained, keep):
    score = trained.abs().masked_fill(initial * trained < 0, -1)
    mask = torch.zeros_like(initial, dtype=torch.bool)
    mask.view(-1)[score.flatten().argsort(descending=True)[:keep]] = True
    return mask


def _trained_layers(rng: np.random.Generator) -> list[tuple]:
    """Weights before and after training, many signs flipped; some trained to exactly 0, sometimes all of those kept."""
    drawn = []
    for rows, columns, zeros in [
        (2, 3, 0),
        (2, 3, 2),
        (2, 4, 0),
        (3, 3, 0),
        (4, 5, 6),
        (5, 6, 0),
        (6, 7, 0),
        (7, 7, 0),
        (6, 7, 12),
    ]:
        initial = _normal(rng, rows, columns)
        trained = initial * torch.from_numpy(rng.choice([-2.0, 0.1, 3.0], size=(rows, columns)).astype("float32"))
        trained.view(-1)[torch.from_numpy(rng.permutation(rows * columns)[:zeros])] = 0
        same = int((initial * trained >= 0).sum())
        drawn.append((initial, trained, same if zeros else int(rng.integers(1 + same // 4, max(2, same)))))
    initial = _normal(rng, 1, 4).abs() * torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    return [
        (initial, torch.tensor([[0.5, 3.0, 1.0, 2.0]]), 2),
        (torch.ones(2, 3), torch.full((2, 3), 0.5), 2),
        (torch.ones(1, 2), torch.tensor([[0.5, 2.0]]), 0),
        *drawn,
    ]  # by size the second and the fourth, by sign not


def _verify_mask(args: tuple, got: object) -> Fault | None:
    initial, trained, keep = args
    expected = same_sign_mask(initial, trained, keep)
    if fault := form(expected, got):
        return fault
    got = torch.as_tensor(got)
    if (got & (initial * trained < 0)).any():
        if got.all() or trained[got].abs().min() >= trained[~got].abs().max():
            return Fault("The sign is not looked at: a weight is kept that training flipped.", expected, got)
        if not (got & (initial * trained >= 0)).any():
            return Fault("It is the other way round: flipped weights are kept, the others left out.", expected, got)
        return Fault("A weight is kept that training flipped.", expected, got)
    if int(got.sum()) != keep:
        why = " Leave out the flipped ones before you count." if int(got.sum()) < keep else ""
        return Fault(f"{int(got.sum())} weights are kept, not {keep}.{why}", expected, got)
    left = ~got & (initial * trained >= 0)
    if keep and left.any() and trained[got].abs().min() < trained[left].abs().max():
        return Fault("A weight was left out while one that ended smaller is kept.", expected, got)
    return None


def _by_initial(initial, trained, keep):
    return same_sign_mask(initial, initial, keep)


def _smallest(initial, trained, keep):
    return same_sign_mask(initial, trained.sign() / (trained.abs() + 1e-9), keep)


SAME_SIGN_MASK = Task(
    id="8.1",
    kind="build",
    title="a mask that minds the sign",
    goal=GOALS[0],
    difficulty="medium",
    minutes=10,
    hints=(
        "The product initial * trained is negative exactly where training flipped the sign.",
        "Give those weights a score below all others, and the rest |trained|.",
        "Sort the flat scores from high to low, and set the first `keep` positions to True.",
    ),
    why="A flipped weight must come after *every* other, so its score lies below 0, the smallest magnitude there is. "
    "With a score of 0 it would tie with weights that training set to 0. The order among the rest is that of "
    "large_final.",
    next="How many weights of the first layer flipped? Compare initial and final in section 5.",
    verify=_verify_mask,
    reference=same_sign_mask,
    trials=_trained_layers,
    mistakes=(
        Mistake("You rank by the first value. The criterion ranks by the size after training.", _by_initial),
        Mistake("You keep the smallest. The largest after training stay.", _smallest),
    ),
)


def freeze_faulty(initial, trained, mask):
    alpha = trained.std(correction=0)
    return alpha * trained.sign() * mask


def freeze_repaired(initial, trained, mask):
    alpha = initial.std(correction=0)
    return alpha * initial.sign() * mask


def _masked_layers(rng: np.random.Generator) -> list[tuple]:
    drawn = []
    for rows, columns in [(1, 3), (2, 3), (3, 4), (5, 8)]:
        initial = _normal(rng, rows, columns)
        trained = initial + 2 * _normal(rng, rows, columns)
        drawn.append((initial, trained, torch.from_numpy(rng.permutation(rows * columns) % 3 > 0).view(rows, columns)))
    return drawn


def _verify_frozen(args: tuple, got: object) -> Fault | None:
    return compare(freeze_repaired(*args), got)


def _trained_values(initial, trained, mask):
    return trained * mask


def _trained_sign(initial, trained, mask):
    return initial.std(correction=0) * trained.sign() * mask


def _trained_size(initial, trained, mask):
    return trained.std(correction=0) * initial.sign() * mask


def _initial_values(initial, trained, mask):
    return initial * mask


def _of_kept(initial, trained, mask):
    return initial[mask].std(correction=0) * initial.sign() * mask


def _unbiased(initial, trained, mask):
    return initial.std() * initial.sign() * mask


def _unmasked(initial, trained, mask):
    return initial.std(correction=0) * initial.sign()


def _kaiming(initial, trained, mask):
    return (2 / initial.shape[1]) ** 0.5 * initial.sign() * mask


FREEZE = Task(
    id="8.2",
    kind="find the bug",
    title="the constant that leaks",
    goal=GOALS[0],
    difficulty="easy",
    minutes=6,
    hints=(
        "A supermask may take from training the mask, and nothing else. Which lines read `trained`?",
        "Both the size and the sign must come from the first values, of all weights of the layer.",
    ),
    why="With trained signs the network is no longer untrained: the sign is most of what training decided. The size "
    "leaks less, but it leaks. Both come from `initial`, pruned weights included, so that the constant does not "
    "depend on the mask.",
    next="The mask of section 5 drops the flipped weights, so there trained signs leak nothing. Keep all weights "
    "instead: mask = torch.ones_like(wi, dtype=torch.bool). What do freeze_faulty and your repair reach?",
    verify=_verify_frozen,
    reference=freeze_repaired,
    trials=_masked_layers,
    faulty=freeze_faulty,
    mistakes=(
        Mistake("The signs and the size still come from the trained weights.", freeze_faulty),
        Mistake("These are the trained weights under a mask: nothing is untrained here.", _trained_values),
        Mistake("The size is right, but the signs still come from the trained weights.", _trained_sign),
        Mistake("The signs are right, but the size still comes from the trained weights.", _trained_size),
        Mistake(
            "These are the first values themselves. A signed constant has one size in the whole layer.",
            _initial_values,
        ),
        Mistake("The size comes from all first values of the layer, not from the kept ones alone.", _of_kept),
        Mistake("The standard deviation divides by n here: std(correction=0).", _unbiased),
        Mistake("Pruned weights must be 0: multiply by the mask.", _unmasked),
        Mistake(
            "This is the constant of another paper. Here it is the spread of the layer's own first values.",
            _kaiming,
        ),
    ),
)


def chance(labels):
    return np.bincount(labels).max() / len(labels)


def _label_lists(rng: np.random.Generator) -> list[tuple]:
    lists = [np.repeat(rng.integers(0, 9), 2)]
    lists += [rng.choice(rng.choice(10, size=k, replace=False), size=n) for k, n in [(2, 3), (2, 5), (4, 9), (9, 40)]]
    return [(torch.from_numpy(labels),) for labels in lists]


def _verify_chance(args: tuple, got: object) -> Fault | None:
    return compare(chance(*args), got)


def _one_in_classes(labels):
    return 1 / len(labels.unique())


def _one_in_ten(labels):
    return 0.1


def _in_percent(labels):
    return 100 * chance(labels)


def _in_proportion(labels):
    return ((labels.bincount() / len(labels)) ** 2).sum().item()


def _the_class(labels):
    return labels.mode().values.item()


CHANCE = Task(
    id="8.3",
    kind="build",
    title="the accuracy of a blind guess",
    goal=GOALS[1],
    difficulty="easy",
    minutes=5,
    hints=(
        "Somebody who never sees the image, but knows all labels, always says the same digit. Which one?",
        "np.bincount(labels) counts each class. Divide the largest count by the number of labels.",
    ),
    why="The best answer that ignores the image is the most frequent class. Only where all classes are equally "
    "frequent is that one in the number of classes. A mask that makes a network say one digit always gets this far.",
    next="What is chance in a test set with 95 % of one class?",
    verify=_verify_chance,
    reference=chance,
    trials=_label_lists,
    mistakes=(
        Mistake("One in the number of classes holds only where all are equally frequent.", _one_in_classes),
        Mistake("One in ten holds for ten equally frequent classes: count the labels you are given.", _one_in_ten),
        Mistake("Return a share between 0 and 1, not percent.", _in_percent),
        Mistake(
            "Guessing in proportion to the classes is worse than always saying the most frequent one.",
            _in_proportion,
        ),
        Mistake("This is the most frequent class. Asked for is how often it is right.", _the_class),
    ),
)


_DECIDED = {"A": "initial draw", "B": "initial draw", "C": "training", "D": "validation"}
_DECIDED_WHY = {
    "A": "It is the standard deviation of the layer's first values. No trained value enters.",
    "B": "A signed constant takes the sign of the first value.",
    "C": "The criterion ranks weights by their size after training: the mask knows the training labels.",
    "D": "Several shares are tried, and the validation images pick one.",
}

INTERPRET = Task(
    id="8.4",
    kind="interpret",
    title="what was trained here?",
    goal=GOALS[0],
    difficulty="medium",
    minutes=5,
    hints=(
        "Go through by_criterion in your mind: draw, train, score, prune, put the mask on the first values.",
        "Only one of the four saw the labels of the training images.",
    ),
    why="The weights (A, B) are those of the initial draw. The mask (C) comes from a network that was trained. "
    "The share (D) is picked on the validation images. So the network *was* trained, and its trained values were "
    "then thrown away.",
    next="Lab 9 learns C without training a single weight. Is that no training?",
    verify=options("ABCD", ("training", "initial draw", "validation"), _DECIDED, _DECIDED_WHY),
    answer=_DECIDED,
)


TASKS = (PREDICT, SAME_SIGN_MASK, FREEZE, CHANCE, INTERPRET)
