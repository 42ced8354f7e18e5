"""How long a grid of arms takes, each arm trained in a call of its own or all arms of a round stacked into one call.

    python benchmarks/ablation.py [--rounds 11] [--threads 2]

Digits, LeNet-300-100, ten seeds, eight mask-1 actions, 36 % a round.  In each round both sides train the same weights
under the same masks, in turn, the first side changing from round to round.  Printed are the seconds of both sides, each
round's ratio, its median and range, and how far their validation losses differ: float32 sums depend on the stack.
"""

import argparse
import statistics
import time

import torch

from lthkit import actions, criteria, data, masks, networks, training
from lthkit.streams import streams

SEEDS = list(range(10))


def train(network, dataset, starts, kept, number: int, stacked: bool) -> tuple[list[training.Fit], float]:
    """The fit of each arm, or the one fit of all of them; and seconds."""
    began = time.perf_counter()
    settings = {"round": number, "epochs": 10}
    if stacked:
        start, mask = ({name: torch.cat([arm[name] for arm in part]) for name in part[0]} for part in (starts, kept))
        orders = SEEDS * len(starts)
        fits = [training.fit(network, start, dataset, mask, order_seeds=orders, **settings)]
    else:
        fits = [
            training.fit(network, start, dataset, mask, seeds=SEEDS, **settings)
            for start, mask in zip(starts, kept, strict=True)
        ]
    return fits, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="pruned rounds (default 11)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} threads, {len(actions.MASK_1)} arms of {len(SEEDS)} seeds")

    dataset = data.load("digits")
    network = networks.lenet_300_100(dataset)
    initial = network.init(SEEDS)
    rates = {name: 0.36 * relative for name, relative in network.rates.items()}
    dense = training.fit(network, initial, dataset, seeds=SEEDS).params
    finals = [dense] * len(actions.MASK_1)
    kept = [masks.ones(initial, network.prunable)] * len(finals)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(1, given.rounds + 1):
        starts = []
        for arm, act in enumerate(actions.MASK_1.values()):
            evidence = criteria.Evidence(network, initial, finals[arm], kept[arm], dataset, streams(SEEDS, "sample"))
            scores = criteria.large_final(evidence)
            kept[arm] = masks.prune(scores, kept[arm], rates, generators=streams(SEEDS, "ties", number))
            starts.append(act(network, initial, finals[arm], kept[arm], streams(SEEDS, "action", number)))
        losses = {}
        for stacked in (True, False) if number % 2 else (False, True):
            fits, took = train(network, dataset, starts, kept, number, stacked)
            seconds[stacked].append(took)
            losses[stacked] = torch.cat([each.history.val_loss for each in fits])
            if not stacked:
                finals = [each.params for each in fits]
        apart = (losses[True] - losses[False]).abs().max().item()
        print(
            f"round {number:2}: an arm a call {seconds[False][-1]:6.2f} s, stacked {seconds[True][-1]:6.2f} s, "
            f"stacked / an arm a call {seconds[True][-1] / seconds[False][-1]:.2f}, losses apart {apart:.0e}",
            flush=True,
        )
    ratios = [a / b for a, b in zip(seconds[True], seconds[False], strict=True)]
    print(
        f"stacked / an arm a call: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), the grid "
        f"{sum(seconds[True]):.1f} s / {sum(seconds[False]):.1f} s = {sum(seconds[True]) / sum(seconds[False]):.2f}"
    )


if __name__ == "__main__":
    main()
