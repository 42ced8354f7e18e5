"""How much of each layer is left: what `print_nonzeros` of the widely copied script tells, for a whole run."""

import pandas as pd


def nonzeros(run) -> pd.DataFrame:
    """A row per (arm, round, seed, layer), and one for all layers together, called "overall".

    weights: how many the layer has.  kept: the share that the mask keeps.  nonzero: the share that is kept, or frozen
    at another value than 0.  pruned: how many the mask prunes.  compression: weights for each one that is nonzero, inf
    where none is.
    Masks are counted, not values: a kept weight that is 0 at the moment is not pruned, and biases never are.
    run: a `lottery.Run`, also one that was loaded from disk.
    """
    tables = []
    for arm in run.arms:
        for number in run.rounds(arm):
            found = run.round(arm, number)
            layers = {}  # weights, and [R] of those kept and of those nonzero
            for name, mask in found.masks.items():
                filled = mask if found.frozen is None or name not in found.frozen else mask | found.frozen[name].ne(0)
                layers[name] = (mask[0].numel(), mask.flatten(1).sum(1), filled.flatten(1).sum(1))
            layers["overall"] = tuple(map(sum, zip(*layers.values(), strict=True)))
            for layer, (weights, kept, filled) in layers.items():
                table = pd.DataFrame({"arm": arm, "round": number, "seed": run.seeds, "layer": layer})
                kept, filled = kept.cpu().numpy(), filled.cpu().numpy()
                tables.append(
                    table.assign(weights=weights, kept=kept / weights, nonzero=filled / weights, pruned=weights - kept)
                )
    found = pd.concat(tables, ignore_index=True)
    return found.assign(compression=1 / found["nonzero"])
