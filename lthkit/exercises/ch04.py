"""Tasks of chapter 04, `weight_orig` and `weight_mask`."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from lthkit import torch_prune
from lthkit.exercises import ch02
from lthkit.exercises.compare import Fault, compare, options
from lthkit.exercises.task import Mistake, Task

GOALS = ("predict whether a pruned weight moves", "put a ticket on a module and rewind it")


def _filled(rng: np.random.Generator, net: nn.Module) -> nn.Module:
    """With parameters from `rng`, by torch's own law for linear layers."""
    with torch.no_grad():
        for layer in _linear(net):
            for p in layer.parameters():
                p.copy_(torch.from_numpy(rng.uniform(-1, 1, size=p.shape) / layer.in_features**0.5))
    return net


def _masks(rng: np.random.Generator, within: dict[str, Tensor]) -> dict[str, Tensor]:
    """About 60 % of the weights that are kept in `within`, at least one of each layer."""
    drawn = {}
    for name, mask in within.items():
        kept = torch.from_numpy(rng.random(mask.shape) < 0.6) & mask
        if not kept.any():
            kept.view(-1)[mask.flatten().nonzero()[0]] = True
        drawn[name] = kept
    return drawn


def _forward(net: nn.Module) -> None:
    with torch.no_grad():
        net(torch.ones(1, _linear(net)[0].in_features))


def _linear(net: nn.Module) -> list[nn.Linear]:
    return [layer for layer in net.modules() if isinstance(layer, nn.Linear)]


def _all(net: nn.Module) -> dict[str, Tensor]:
    return {name: torch.ones_like(p, dtype=torch.bool) for name, p in net.named_parameters() if p.dim() == 2}


def _stored(net: nn.Module) -> dict[str, Tensor]:
    return {name.removesuffix("_orig"): p.detach() for name, p in net.named_parameters()}


def _verify_masks(net: nn.Module, masks: dict[str, Tensor]) -> Fault | None:
    """Whether the net carries these masks, and multiplies by them in a forward pass."""
    for name, mask in masks.items():
        layer = net.get_submodule(name.removesuffix(".weight"))
        found = getattr(layer, "weight_mask", None)
        if found is None or not hasattr(layer, "weight_orig"):
            says = f"There is no mask on layer {name.removesuffix('.weight')}: prune.custom_from_mask puts one there."
            return Fault(says, mask, "no weight_mask")
        if fault := compare(mask, found != 0):
            return Fault(f"{name} has another mask than it should.", fault.expected, fault.got)
    return None


def _verify_used(net: nn.Module, masks: dict[str, Tensor]) -> Fault | None:
    """Whether a forward pass uses the stored values, masked."""
    _forward(net)
    for name, mask in masks.items():
        layer = net.get_submodule(name.removesuffix(".weight"))
        if compare(layer.weight_orig * mask, layer.weight):
            says = f"A forward pass does not multiply the mask into {name}: prune.custom_from_mask puts a hook there."
            return Fault(says, layer.weight_orig * mask, layer.weight)
    return None


OPTIMIZERS = ("SGD", "SGD + weight decay", "Adam, with history")

PREDICT = Task(
    id="4.0",
    kind="predict",
    title="three optimizers",
    goal=GOALS[0],
    difficulty="medium",
    minutes=3,
    hints=(
        "The gradient is 0 in every step. Which other terms does each optimizer's step have?",
        "Weight decay pulls on the value itself. A running average of past gradients is not 0 at once.",
    ),
    why="The first figure of section 5 shows what moves, and its cell prints your guess beside it.",
    next="The first figure of section 5 shows what moves.",
    verify=options(OPTIMIZERS, (True, False)),
    answer=dict.fromkeys(OPTIMIZERS, False),
    reveals=(
        "lead",
        "moves_sgd",
        "moves_decay",
        "moves_adam_history",
        "masked_sgd",
        "masked_decay",
        "masked_adam_history",
        "optimizer_moves_stored",
        "pruned_never_updated",
        "mask_spares_gradients",
    ),
)


def put_ticket(net, masks, first):
    for name, mask in masks.items():
        layer = net.get_submodule(name.removesuffix(".weight"))
        prune.custom_from_mask(layer, "weight", mask)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(first[name.removesuffix("_orig")])


def _trained(rng: np.random.Generator) -> list[tuple]:
    """(net, masks, first): nets that have just been trained, each in its first round of pruning and in its second."""
    builds = (
        lambda: nn.Sequential(nn.Linear(2, 1)),
        lambda: nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1)),
        lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 3)),
    )
    drawn = []
    for build in builds:
        for number in (1, 2):
            net = _filled(rng, build())
            first, masks = {name: p.detach().clone() for name, p in net.named_parameters()}, _all(net)
            if number == 2:
                masks = _masks(rng, masks)
                torch_prune.apply(net, masks)
            with torch.no_grad():
                for p in net.parameters():
                    p.add_(torch.from_numpy(rng.uniform(0.1, 1, size=p.shape)))
            _forward(net)
            drawn.append((net, _masks(rng, masks), first))
    return drawn


def _verify_ticket(args: tuple, got: tuple) -> Fault | None:
    (_, masks, first), (net, _, saved) = args, got
    if fault := _verify_masks(net, masks):
        return fault
    now = _stored(net)
    if set(now) != set(first):
        return Fault("The net has other parameters than it should.", list(first), list(now))
    if any(compare(first[name], saved.get(name)) for name in first):
        return Fault("`first` has changed: copy from it, not into it.", first, saved)
    off = [name for name in first if compare(first[name], now[name])]
    if off:
        says = _why_off(args, net, now, off)
        return Fault(says, {name: first[name] for name in off}, {name: now[name] for name in off})
    parameters = dict(net.named_parameters())
    return ch02.verify_copied(now, saved) or ch02.verify_trainable(parameters) or _verify_used(net, masks)


def _why_off(args: tuple, net: nn.Module, now: dict[str, Tensor], off: list[str]) -> str:
    """The likely reason why the stored values named in `off` are not the first ones."""
    before, masks, first = args
    if all(name in masks and not compare(first[name] * masks[name], now[name]) for name in off):
        return "Every stored value goes back to its first value, the pruned ones too. The mask makes them 0."
    for name in set(off) & set(masks):
        weight = net.get_submodule(name.removesuffix(".weight")).weight.detach()
        if not (compare(first[name], weight) and compare(first[name] * masks[name], weight)):
            return (
                "The first values went into `weight`. The next forward overwrites it: the parameter is `weight_orig`."
            )
    if all(not compare(trained, now[name]) for name, trained in _stored(before).items()):
        return "The masks are right, but nothing is rewound: copy the first values into the parameters."
    if not set(off) & set(masks):
        return f"Not rewound: {', '.join(off)}. Biases have first values as well."
    return f"Not rewound: {', '.join(off)}. The parameter behind a pruned weight is `weight_orig`."


PUT_TICKET = Task(
    id="4.1",
    kind="build",
    title="put a ticket on a module and rewind it",
    goal=GOALS[1],
    difficulty="medium",
    minutes=10,
    hints=(
        "The masks first: net.get_submodule finds the layer, prune.custom_from_mask puts a mask on it.",
        "After that the parameters are called 0.weight_orig and 0.bias. Print net.named_parameters() to see them.",
        "Under torch.no_grad(), copy_ the first values into every parameter. Which name do they have in `first`?",
    ),
    why="The parameter behind a pruned weight is `weight_orig`, so that is where the first values go. What you "
    "write into `weight` is overwritten by the next forward. `copy_` keeps `first` as it is for the next round. "
    "`lthkit` does the same in `ticket.to_module()`.",
    next="What would happen in the second round if you wrote .data = … in place of copy_?",
    verify=_verify_ticket,
    reference=put_ticket,
    trials=_trained,
    in_place=True,
)


def control_faulty(net):
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()


def control_repaired(net):
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()  # the bias
            nn.init.kaiming_uniform_(layer.weight_orig, a=5**0.5)  # torch's own law for a linear layer


def _ready(net: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    """Pruned, with `weight` as a forward pass without gradients leaves it: such a module can be copied."""
    torch_prune.apply(net, masks)
    _forward(net)
    return net


def _tickets(rng: np.random.Generator) -> list[tuple]:
    """Pruned nets: small ones, and one that is large enough to tell how its weights are spread."""
    wide = int(rng.integers(50, 70))
    nets = [nn.Sequential(nn.Linear(2, 1)), nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)),
            nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(wide, 60), nn.Tanh()), nn.Linear(60, 4))]  # fmt: skip
    return [(_ready(_filled(rng, net), _masks(rng, _all(net))),) for net in nets]


def _verify_control(args: tuple, got: tuple) -> Fault | None:
    (ticket,), (net,) = args, got
    masks = torch_prune.read(ticket)
    if fault := _verify_masks(net, masks):
        return Fault(f"A control has the ticket's masks. {fault.mistake}", fault.expected, fault.got)
    if fault := _verify_used(net, masks):
        return fault
    old, new = _stored(ticket), _stored(net)
    weights = torch.cat([new[name][mask] for name, mask in masks.items()])
    before = torch.cat([old[name][mask] for name, mask in masks.items()])
    fresh = 100 * (weights != before).double().mean()
    biases = 100 * torch.cat([new[name] != old[name] for name in old if name not in masks]).double().mean()
    found = f"{fresh:.0f} % of the kept weights are new, {biases:.0f} % of the biases"
    wanted = "all kept weights and all biases are new"
    if not fresh:
        says = "No kept weight is new: this is the ticket itself. The next forward overwrites what goes into `weight`."
        return Fault(says, wanted, found)
    if fresh < 99 or biases < 99:
        return Fault(f"Fresh values everywhere: {found}.", wanted, found)
    if torch.equal(weights.abs().sort().values, before.abs().sort().values):
        return Fault("These are the old values in other places or with other signs: draw new ones.", wanted, weights)
    for layer in _linear(net):
        bound = layer.in_features**-0.5
        kept = layer.weight_orig.detach()[layer.weight_mask != 0]
        if fault := _verify_law("weights", kept, bound) or _verify_law("biases", layer.bias.detach(), bound):
            return fault
    return None


def _verify_law(what: str, drawn: Tensor, bound: float) -> Fault | None:
    """Whether this may be a uniform draw from -bound to bound.  Of fewer than 40 values only the bound is asked."""
    count, largest, width = len(drawn), drawn.abs().max() / bound, drawn.std(correction=0) / bound
    expected = f"{what} from {-bound:.3g} to {bound:.3g}, standard deviation {bound / 3**0.5:.3g}"
    got = f"{what} from {drawn.min():.3g} to {drawn.max():.3g}, standard deviation {width * bound:.3g}"
    if largest > 1.0001:
        return Fault(f"Torch's own law draws smaller {what} here.", expected, got)
    if count >= 40 and (largest < 1 - 20 / count or abs(width * 3**0.5 - 1) > 3 / count**0.5):
        return Fault(f"Torch's own law spreads the {what} in another way.", expected, got)
    return None


CONTROL = Task(
    id="4.2",
    kind="find the bug",
    title="the control that redraws nothing",
    goal=GOALS[1],
    difficulty="medium",
    minutes=8,
    hints=(
        "Print weight_orig of a pruned layer before and after the call. Then print the bias.",
        "In a pruned layer `weight` is a product. Which tensor is computed anew, and which one is the parameter?",
        "Torch's own law for the weights of a linear layer is nn.init.kaiming_uniform_(…, a=5**0.5).",
    ),
    why="`reset_parameters` writes into `weight`. In a pruned layer that is the product, which the next forward "
    'computes anew from `weight_orig`. The faulty control is the ticket itself with new biases. It would "show" '
    "that initial weights do not matter.",
    next="A ticket and its control agree to the last digit in every seed. What do you look at first?",
    verify=_verify_control,
    reference=control_repaired,
    trials=_tickets,
    faulty=control_faulty,
    in_place=True,
    draws=True,
)


def near_zero_faulty(weight, gradient):
    return gradient.masked_fill(weight < 1e-6, 0)


def near_zero_repaired(weight, gradient):
    return gradient.masked_fill(weight.abs() < 1e-6, 0)


def _gradients(rng: np.random.Generator) -> list[tuple]:
    """Weights of either sign, nearly zero, zero, small but not nearly zero, and exactly on the border."""
    drawn = []
    for size in ([-0.5, 0.5], [-4e-7, 0.4], [4e-7, -0.4], [0.0, -1e-4, 1e-4], [1e-6, -1e-6]):
        border = 1e-6 in size
        weight = np.array([size]) * (1 if border else rng.uniform(0.5, 2))
        drawn.append(weight if border else weight.astype("float32"))
    rows, columns = rng.integers(3, 7, size=2)
    scale = rng.choice([0.0, 1e-7, 1e-5, 0.1], size=(rows, columns))
    drawn.append((rng.normal(size=(rows, columns)) * scale).astype("float32"))
    return [(torch.from_numpy(w), torch.from_numpy(rng.normal(size=w.shape).astype(w.dtype))) for w in drawn]


def _verify_near_zero(args: tuple, got: object) -> Fault | None:
    return compare(near_zero_repaired(*args), got)


def _exact_zero(weight, gradient):
    return gradient.masked_fill(weight == 0, 0)


def _other_side(weight, gradient):
    return gradient.masked_fill(weight.abs() >= 1e-6, 0)


def _positive_side(weight, gradient):
    return gradient.masked_fill(weight >= 1e-6, 0)


def _above_border(weight, gradient):
    return gradient.masked_fill(weight > -1e-6, 0)


def _below_border(weight, gradient):
    return gradient.masked_fill(weight <= -1e-6, 0)


def _small_gradients(weight, gradient):
    return gradient.masked_fill(gradient.abs() < 1e-6, 0)


def _weights_returned(weight, gradient):
    return weight.masked_fill(weight.abs() < 1e-6, 0)


def _squared(weight, gradient):
    return gradient.masked_fill(weight.square() < 1e-6, 0)


def _border_too(weight, gradient):
    return gradient.masked_fill(weight.abs() <= 1e-6, 0)


_BORDER = "`weight > -1e-6` holds for every positive weight, however large. The rule is about size: abs()."
_SILENT = "You silence the weights that should learn: 0 belongs where the weight is nearly zero."

NEAR_ZERO = Task(
    id="4.3",
    kind="find the bug",
    title="the rule that silences half of the weights",
    goal=GOALS[0],
    difficulty="easy",
    minutes=5,
    hints=(
        "Feed it two weights, 0.5 and −0.5. Whose gradient survives?",
        "A negative weight is less than 0.000001, however large it is. The rule is about size.",
    ),
    why="Without `abs` the condition holds for every negative weight, so none of them is trained. With `abs` the "
    "rule is a gradient mask at zeros. Even then it does not hold a zero in place: an optimizer with a memory "
    "moves it without a gradient.",
    next="The rule takes part in section 5, in your version. Does it hold the zeros under Adam with history?",
    verify=_verify_near_zero,
    reference=near_zero_repaired,
    trials=_gradients,
    faulty=near_zero_faulty,
    mistakes=(
        Mistake("Negative weights of any size still lose their gradient: is an abs() missing?", near_zero_faulty),
        Mistake("A weight of exactly 0.000001 keeps its gradient: the condition is `<`.", _border_too),
        Mistake("Nearly zero is not zero: weights below 0.000001 in size count as well.", _exact_zero),
        Mistake(_BORDER, _above_border),
        Mistake(_BORDER, _below_border),
        Mistake(_SILENT, _other_side),
        Mistake(_SILENT, _positive_side),
        Mistake("The rule looks at the weight, not at the gradient.", _small_gradients),
        Mistake("You return the weights. The rule changes the gradient.", _weights_returned),
        Mistake("A square moves the border: 0.0001 squared is below 0.000001 as well.", _squared),
    ),
)


CAUSES = {
    "layer.weight_orig.data = saved[name]": "C",
    "prune.remove(layer, 'weight')": "A",
    "nn.init.xavier_normal_(layer.weight)": "B",
}
_LOGS = {
    "layer.weight_orig.data = saved[name]": "Training now changes `saved` too. Which log gets worse with each round?",
    "prune.remove(layer, 'weight')": "The zeros stay, but nothing holds them. In which log do they start to move?",
    "nn.init.xavier_normal_(layer.weight)": "The next forward overwrites what it drew. Which log shows that?",
}

INTERPRET = Task(
    id="4.4",
    kind="interpret",
    title="three training logs",
    goal=GOALS[1],
    difficulty="medium",
    minutes=7,
    hints=(
        "One line loses the mask, one writes where nothing stays, and one makes two tensors one.",
        "Which of them works in the first round and fails from the second on?",
    ),
    why="A: `remove` leaves zeros without a mask, and the first step moves them all. B: the new values went into "
    "the product `weight`, so the control *is* the ticket. C: the first rewind made the parameter and the saved "
    "tensor one and the same. Later rounds train the saved copy too.",
    next="Which of the three would a test with a single round of pruning have found?",
    verify=options(
        tuple(CAUSES),
        ("A", "B", "C"),
        CAUSES,
        _LOGS,
    ),
    answer=CAUSES,
)


TASKS = (PREDICT, PUT_TICKET, CONTROL, NEAR_ZERO, INTERPRET)
