"""The lottery of the page is that of `lthkit`: both run from the same first values and batches, in float64.

The script runs in node where that is installed, else in chromium.
"""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from lthbook import playground

from lthkit import data, masks, networks
from lthkit.streams import stream, streams
from lthkit.training import evaluate, fit

STATIC = Path(__file__).parents[2] / "book/_static"
SCRIPT = (STATIC / "lottery.js").read_text()
RATE, EPOCHS, SEEDS = 0.36, 10, range(10)
UNPACK = """const unpack = (text, type) => new type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const pack = (array) => { let text = ""; for (const byte of new Uint8Array(array.buffer))
  text += String.fromCharCode(byte); return btoa(text); };"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def js(request):
    """js(body, **given): what a function body returns that sees `lottery`, `given`, `pack` and `unpack`."""
    node = shutil.which("node")
    page = None if node else request.getfixturevalue("chromium").new_page()

    def run(body: str, **given):
        function = f"(given) => {{ {SCRIPT}; {UNPACK}; const algorithm = lottery(); {body} }}"
        if page:
            return page.evaluate(function, given)
        program = f'console.log(JSON.stringify(({function})(JSON.parse(require("fs").readFileSync(0)))))'
        return json.loads(subprocess.check_output([node, "-e", program], input=json.dumps(given).encode()))

    yield run
    if page:
        page.close()


def pack(array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def unpack(text: str, like: torch.Tensor, dtype=np.float64) -> torch.Tensor:
    """A weight [out, in] as lthkit has it, from rows of inputs as the script has them; a bias as it is."""
    values = torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype).copy())
    return values.view(like.shape[::-1]).mT if like.dim() == 2 else values.view(like.shape)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def text():
    """{part: images as the page gets them}."""
    return {line.split("_")[1].split()[0].lower(): line.split('"')[1] for line in playground.digits().splitlines()[1:]}


@pytest.fixture(scope="module")
def ours(digits):
    """One round of ten seeds, and the ticket's training after it: {"initial", "dense", "masks", "ticket"}."""
    network = networks.lenet_300_100(digits)
    initial = {name: value.double() for name, value in network.init(SEEDS).items()}
    dense = fit(network, initial, digits, seeds=SEEDS, epochs=EPOCHS).params
    scores = {name: dense[name].abs() for name in network.prunable}
    rates = {name: RATE * relative for name, relative in network.rates.items()}
    kept = masks.prune(scores, masks.ones(initial, network.prunable), rates, generators=streams(SEEDS, "ties", 1))
    ticket = fit(network, initial, digits, kept, seeds=SEEDS, epochs=EPOCHS, round=1).params
    return {"initial": initial, "dense": dense, "masks": kept, "ticket": ticket}


def replicate(params: dict, k: int) -> dict[str, torch.Tensor]:
    return {name: value[k] for name, value in params.items()}


def packed(params: dict[str, torch.Tensor]) -> dict[str, list[str]]:
    """{weights, biases}, a text a layer, as the script wants them."""
    rows = {"weights": [pack(value.mT) for value in params.values() if value.dim() == 2]}
    return rows | {"biases": [pack(value) for value in params.values() if value.dim() == 1]}


def orders(seed: int, number: int, epochs: int, images: int) -> list[str]:
    generator = stream(seed, "batches", number)
    return [pack(torch.randperm(images, generator=generator).int()) for _ in range(epochs)]


TRAIN = """
const packAll = ({ weights, biases }) => ({ weights: weights.map(pack), biases: biases.map(pack) });
const start = { weights: given.start.weights.map((w) => unpack(w, Float64Array)),
                biases: given.start.biases.map((b) => unpack(b, Float64Array)) };
const images = algorithm.decode(given.train);
function trained(masks, orders) {
  const training = algorithm.train(start, masks, images, orders.map((order) => unpack(order, Int32Array)));
  for (;;) { const step = training.next(); if (step.done) return step.value; }
}
"""


def furthest(found: dict[str, list[str]], expected: dict[str, torch.Tensor]) -> float:
    """The largest difference between two sets of parameters."""
    texts = {2: iter(found["weights"]), 1: iter(found["biases"])}
    return max((unpack(next(texts[v.dim()]), v) - v).abs().max().item() for v in expected.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_one_round_is_that_of_lthkit(js, ours, text, digits, seed):
    images = len(digits.train_y)
    body = f"""{TRAIN}
    const dense = trained(algorithm.ones(), given.orders[0]);
    const masks = algorithm.prune(dense.weights, algorithm.ones(), {RATE}, algorithm.stream(0, "ties", 1));
    const ticket = trained(masks, given.orders[1]);
    return {{ dense: packAll(dense), masks: masks.map(pack), ticket: packAll(ticket) }};"""
    start = packed(replicate(ours["initial"], seed))
    shuffled = [orders(seed, number, EPOCHS, images) for number in (0, 1)]
    found = js(body, start=start, train=text["train"], orders=shuffled)
    for (name, mask), got in zip(ours["masks"].items(), found["masks"], strict=True):
        assert torch.equal(unpack(got, mask[seed], np.uint8).bool(), mask[seed]), name
    for net in ("dense", "ticket"):
        assert furthest(found[net], replicate(ours[net], seed)) < 1e-6, net


def test_few_weights_in_compressed_rows_train_as_in_lthkit(js, ours, text, digits):
    network = networks.lenet_300_100(digits)
    start = {name: value[:1] for name, value in ours["initial"].items()}
    generator = torch.Generator().manual_seed(0)
    kept = {name: torch.rand(start[name].shape, generator=generator) < 0.1 for name in network.prunable}
    expected = fit(network, start, digits, kept, seeds=[0], epochs=2).params
    body = f"""{TRAIN}
    return packAll(trained(given.masks.map((mask) => unpack(mask, Uint8Array)), given.orders));"""
    given = {"start": packed(replicate(start, 0)), "masks": [pack(mask[0].mT.byte()) for mask in kept.values()]}
    found = js(body, **given, train=text["train"], orders=orders(0, 0, 2, len(digits.train_y)))
    assert furthest(found, replicate(expected, 0)) < 1e-6


def test_accuracy_is_that_of_lthkit(js, ours, text, digits):
    network = networks.lenet_300_100(digits)
    wide = digits.to(dtype=torch.float64)
    body = """
    const read = ({ weights, biases }) => ({ weights: weights.map((w) => unpack(w, Float64Array)),
                                             biases: biases.map((b) => unpack(b, Float64Array)) });
    const test = algorithm.decode(given.test);
    return given.nets.map((net) => algorithm.accuracy(read(net), algorithm.ones(), test));"""
    nets = [packed(replicate(ours["ticket"], seed)) for seed in range(3)]
    expected = evaluate(network, {n: v[:3] for n, v in ours["ticket"].items()}, wide.test_x, wide.test_y)[1]
    assert js(body, nets=nets, test=text["test"]) == expected.tolist()


def test_the_page_gets_the_digits_of_lthkit(js, text, digits):
    body = """const { images, labels } = algorithm.decode(given.text);
    return { images: pack(images), labels: [...labels] };"""
    for part in ("train", "test"):
        x, y = getattr(digits, f"{part}_x"), getattr(digits, f"{part}_y")
        found = js(body, text=text[part])
        images = np.frombuffer(base64.b64decode(found["images"]), np.float64)
        assert found["labels"] == y.tolist() and np.array_equal(images, x.flatten().double().numpy())


def test_a_prune_removes_exactly_as_many_as_lthkit_ties_included(js):
    body = """return given.sizes.map((size) => given.rates.map((rate) => {
      const before = new Uint8Array(size + 3).fill(1, 3), equal = new Float64Array(size + 3).fill(-0.5);
      const [after] = algorithm.prune([equal], [before], rate, algorithm.stream(0, "ties"));
      return after.some((keep, place) => keep > before[place]) ? "revived" : size - algorithm.countKept(after);
    }));"""
    sizes, rates = list(range(1, 80)), [0.0, 0.25, 0.36, 0.5, 1.0]

    def removed(size: int, rate: float) -> int:
        equal = {"w": torch.ones(1, size)}
        return int((~masks.prune(equal, masks.ones(equal, ["w"]), rate)["w"]).sum())

    expected = [[removed(size, rate) for rate in rates] for size in sizes]
    assert js(body, sizes=sizes, rates=rates) == expected


def test_ties_are_drawn_and_not_the_first_ones(js):
    body = """return [0, 1].map((seed) => [...algorithm.prune(
      [new Float64Array(40).fill(1)], [new Uint8Array(40).fill(1)], 0.5, algorithm.stream(seed, "ties"))[0]]);"""
    one, other = js(body)
    assert one != other and sum(one) == sum(other) == 20
    assert 0 < sum(one[:20]) < 20


def test_streams_are_apart_and_draw_what_they_should(js):
    body = """const names = [[0, "init"], [1, "init"], [0, "batches"], [0, "batches", 1]];
    const { weights, biases } = algorithm.init(algorithm.stream(0, "init"));
    const std = (all) => Math.sqrt(all.reduce((sum, w) => sum + w * w, 0) / all.length);
    return { first: names.map((name) => algorithm.stream(...name)()), std: weights.map(std),
             biases: biases.map((bias) => bias.every((b) => b === 0)),
             order: [...algorithm.permutation(1000, algorithm.stream(0, "batches"))] };"""
    found = js(body)
    assert len(set(found["first"])) == 4 and all(found["biases"])
    assert sorted(found["order"]) == list(range(1000)) and found["order"] != list(range(1000))
    glorot = [(2 / (a + b)) ** 0.5 for a, b in ((64, 300), (300, 100), (100, 10))]
    for std, expected, count in zip(found["std"], glorot, (19_200, 30_000, 1_000), strict=True):
        assert abs(std / expected - 1) < 4 / (2 * count) ** 0.5


def test_a_drawing_becomes_an_image_like_those_of_the_data(js, digits):
    body = """const seven = [[[20, 15], [75, 15], [60, 45], [40, 88]], [[30, 50], [65, 50]]];
    const moved = seven.map((stroke) => stroke.map(([x, y]) => [100 + 3 * x, 7 + 3 * y]));
    return [seven, moved, [], [[[5, 5]]]].map((strokes) => [...algorithm.block(strokes)]);"""
    seven, moved, *blank = js(body)
    ink = 16 * digits.train_x.sum((1, 2, 3))
    assert abs(16 * sum(seven) - ink.mean()) < ink.std() / 4
    assert max(seven) <= 1 and sum(seven[:8]) > 0 and sum(seven[-8:]) > 0  # as tall as the picture
    assert np.abs(np.subtract(seven, moved)).max() <= 1 / 16  # wherever it was drawn, and however large
    assert blank == [[0] * 64] * 2
