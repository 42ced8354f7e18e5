// The lottery of `lthkit` for LeNet-300-100 on the digits, in plain JavaScript: draw, train, prune, evaluate.
//
// One function holds all of it, so that its own source can start a worker: a page from a disk may not load a second
// file there.  Nothing in it knows of pages.  Numbers are float64, as tests/browser/test_lottery.py compares them with
// lthkit's.  A layer's weights lie in rows, one an input: weight (i, j) from input i to unit j stands at i · units + j.
function lottery() {
  "use strict";
  const SIZES = [64, 300, 100, 10];
  const RELATIVE_RATES = [1, 1, 0.5]; // the output layer is pruned at half the rate (Frankle & Carbin 2019)
  const BATCH = 60, LR = 1.2e-3, BETA_1 = 0.9, BETA_2 = 0.999, EPS = 1e-8;
  const PIXELS = SIZES[0], CLASSES = SIZES[3], GREYS = 16;

  // Randomness: a stream of its own for each (seed, purpose, round), so that arms can share their draws.
  function stream(seed, purpose, round = 0) {
    let state = 2166136261; // FNV-1a of the name
    for (const letter of `${seed}/${purpose}/${round}`) state = Math.imul(state ^ letter.charCodeAt(0), 16777619);
    return () => { // mulberry32: uniform in [0, 1)
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  function normal(random) { // Box and Muller
    return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  }

  function permutation(count, random) { // Fisher and Yates
    const order = Int32Array.from({ length: count }, (_, place) => place);
    for (let last = count - 1; last > 0; last--) {
      const other = Math.floor(random() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  // Glorot-normal weights, biases 0: {weights, biases}, a Float64Array a layer.
  function init(random) {
    const weights = [], biases = [];
    for (let layer = 0; layer < 3; layer++) {
      const [inputs, units] = SIZES.slice(layer);
      const std = Math.sqrt(2 / (inputs + units));
      weights.push(Float64Array.from({ length: inputs * units }, () => std * normal(random)));
      biases.push(new Float64Array(units));
    }
    return { weights, biases };
  }

  // Masks hold 1 for a kept weight and 0 for a pruned one.
  function ones() {
    return [0, 1, 2].map((layer) => new Uint8Array(SIZES[layer] * SIZES[layer + 1]).fill(1));
  }

  function countKept(mask) {
    return mask.reduce((sum, keep) => sum + keep, 0);
  }

  function share(masks) {
    const total = masks.reduce((sum, mask) => sum + mask.length, 0);
    return masks.reduce((sum, mask) => sum + countKept(mask), 0) / total;
  }

  function roundHalfEven(value) {
    const low = Math.floor(value), rest = value - low;
    return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
  }

  // Remove from each layer that share of the alive weights, the smallest magnitudes first.  Exactly so many go: among
  // equal ones `random` draws.  Nothing revives.
  function prune(weights, masks, rate, random) {
    return masks.map((mask, layer) => {
      const values = weights[layer].map(Math.abs);
      const alive = values.filter((_, place) => mask[place]).sort();
      const removed = roundHalfEven(rate * RELATIVE_RATES[layer] * alive.length);
      if (removed === 0) return mask.slice();
      const threshold = alive[removed - 1];
      const kept = mask.map((keep, place) => (keep && values[place] > threshold ? 1 : 0));
      const tied = [...mask.keys()].filter((place) => mask[place] && values[place] === threshold);
      const spared = alive.length - removed - countKept(kept);
      if (spared) for (const drawn of permutation(tied.length, random).subarray(0, spared)) kept[tied[drawn]] = 1;
      return kept;
    });
  }

  // The kept weights of each layer in compressed rows: those of input i stand at starts[i] … starts[i + 1] − 1, each
  // with the unit that it leads to.  Pruned weights are not there at all: they cost no time.  Where none is pruned, no
  // unit needs looking up.
  function compress({ weights, biases }, masks) {
    return masks.map((mask, layer) => {
      const [inputs, units] = SIZES.slice(layer);
      const starts = new Int32Array(inputs + 1), columns = new Int32Array(countKept(mask));
      const values = new Float64Array(columns.length);
      for (let i = 0, at = 0; i < inputs; i++) {
        for (let j = 0; j < units; j++) {
          if (!mask[i * units + j]) continue;
          columns[at] = j;
          values[at++] = weights[layer][i * units + j];
        }
        starts[i + 1] = at;
      }
      const full = columns.length === mask.length;
      return { inputs, units, full, starts, columns, values, bias: biases[layer].slice() };
    });
  }

  function expand(layers) {
    const weights = layers.map(({ inputs, units, starts, columns, values }) => {
      const all = new Float64Array(inputs * units);
      for (let i = 0; i < inputs; i++) {
        for (let at = starts[i]; at < starts[i + 1]; at++) all[i * units + columns[at]] = values[at];
      }
      return all;
    });
    return { weights, biases: layers.map(({ bias }) => bias) };
  }

  // What a layer puts out for `count` images, before ReLU.  Inputs that are 0 add nothing and are skipped.
  function forward(layer, input, output, count) {
    const { inputs, units, full, starts, columns, values, bias } = layer;
    for (let image = 0; image < count; image++) {
      const to = image * units;
      output.set(bias, to);
      for (let i = 0; i < inputs; i++) {
        const x = input[image * inputs + i], start = starts[i], end = starts[i + 1];
        if (x === 0) continue;
        if (full) for (let j = 0; j < units; j++) output[to + j] += x * values[start + j];
        else for (let at = start; at < end; at++) output[to + columns[at]] += x * values[at];
      }
    }
  }

  function relu(output, length) {
    for (let at = 0; at < length; at++) if (output[at] < 0) output[at] = 0;
  }

  // Adds up the gradients of a layer, from `delta`, that of its outputs.  Writes that of its inputs into `back`: an
  // input that is 0 has come through ReLU, or is a blank pixel, and gets none.
  function backward(layer, grads, input, delta, back, count) {
    const { inputs, units, full, starts, columns, values } = layer;
    const ofValues = grads.values, ofBias = grads.bias;
    for (let image = 0; image < count; image++) {
      const from = image * units;
      for (let j = 0; j < units; j++) ofBias[j] += delta[from + j];
      for (let i = 0; i < inputs; i++) {
        const x = input[image * inputs + i], start = starts[i], end = x === 0 ? start : starts[i + 1];
        let sum = 0;
        for (let at = start; at < end; at++) {
          const d = delta[from + (full ? at - start : columns[at])];
          ofValues[at] += x * d;
          sum += values[at] * d;
        }
        back[image * inputs + i] = sum;
      }
    }
  }

  function softmax(logits, count) { // in place, a row an image
    for (let from = 0; from < count * CLASSES; from += CLASSES) {
      const row = logits.subarray(from, from + CLASSES);
      const highest = Math.max(...row);
      let sum = 0;
      for (let j = 0; j < CLASSES; j++) sum += row[j] = Math.exp(row[j] - highest);
      for (let j = 0; j < CLASSES; j++) row[j] /= sum;
    }
  }

  function buffers(count) {
    return SIZES.map((size) => new Float64Array(size * count));
  }

  // One step of Adam: `values` move, `grads` are cleared for the next batch.
  function adam(values, { grads, first, second }, step) {
    const rate = LR / (1 - BETA_1 ** step), root = Math.sqrt(1 - BETA_2 ** step);
    for (let at = 0; at < values.length; at++) {
      const g = grads[at];
      const m = (first[at] += (1 - BETA_1) * (g - first[at]));
      const v = (second[at] = BETA_2 * second[at] + (1 - BETA_2) * g * g);
      values[at] -= (rate * m) / (Math.sqrt(v) / root + EPS);
      grads[at] = 0;
    }
  }

  // Train from `start` under masks and return what has been learned; `start` is not changed.  A generator that pauses
  // after each step, so that whoever runs it can stop.
  // images: Float64Array, 64 values in [0, 1] each.  orders: one permutation of the images an epoch.
  function* train(start, masks, { images, labels }, orders) {
    const layers = compress(start, masks);
    const memory = layers.map(({ values, bias }) => [values, bias].map(({ length }) => ({
      grads: new Float64Array(length), first: new Float64Array(length), second: new Float64Array(length),
    })));
    const outputs = buffers(BATCH), deltas = buffers(BATCH);
    let step = 0;
    for (const order of orders) {
      for (let from = 0; from < order.length; from += BATCH) {
        const batch = order.subarray(from, from + BATCH), count = batch.length;
        batch.forEach((image, row) => {
          outputs[0].set(images.subarray(image * PIXELS, (image + 1) * PIXELS), row * PIXELS);
        });
        layers.forEach((layer, depth) => {
          forward(layer, outputs[depth], outputs[depth + 1], count);
          if (depth < 2) relu(outputs[depth + 1], count * layer.units);
        });
        softmax(outputs[3], count);
        for (let row = 0; row < count; row++) { // of the mean cross-entropy by the logits
          for (let j = 0; j < CLASSES; j++) {
            const target = labels[batch[row]] === j ? 1 : 0;
            deltas[3][row * CLASSES + j] = (outputs[3][row * CLASSES + j] - target) / count;
          }
        }
        step++;
        for (let depth = 2; depth >= 0; depth--) {
          const [ofValues, ofBias] = memory[depth], layer = layers[depth];
          const grads = { values: ofValues.grads, bias: ofBias.grads };
          backward(layer, grads, outputs[depth], deltas[depth + 1], deltas[depth], count);
          adam(layer.values, ofValues, step);
          adam(layer.bias, ofBias, step);
        }
        yield step;
      }
    }
    return expand(layers);
  }

  // The probabilities of ten classes for each image, [images · 10].
  function read(params, masks, images) {
    const count = images.length / PIXELS, outputs = buffers(count);
    outputs[0] = images;
    compress(params, masks).forEach((layer, depth) => {
      forward(layer, outputs[depth], outputs[depth + 1], count);
      if (depth < 2) relu(outputs[depth + 1], count * layer.units);
    });
    softmax(outputs[3], count);
    return outputs[3];
  }

  function accuracy(params, masks, { images, labels }) {
    const found = read(params, masks, images);
    let right = 0;
    for (let image = 0; image < labels.length; image++) {
      const row = found.subarray(image * CLASSES, (image + 1) * CLASSES);
      if (row.indexOf(Math.max(...row)) === labels[image]) right++;
    }
    return right / labels.length;
  }

  // Images as the page gets them: of each its label, then a letter a pixel, from a for 0 to q for 16.
  function decode(text) {
    const count = text.length / (1 + PIXELS), labels = new Uint8Array(count);
    const images = new Float64Array(count * PIXELS);
    for (let image = 0; image < count; image++) {
      const from = image * (1 + PIXELS);
      labels[image] = Number(text[from]);
      for (let pixel = 0; pixel < PIXELS; pixel++) {
        images[image * PIXELS + pixel] = (text.charCodeAt(from + 1 + pixel) - 97) / GREYS;
      }
    }
    return { images, labels };
  }

  // A drawing as an image of this data set.  There a digit is a bitmap of 32 by 32, as tall as that and some 20 wide,
  // with about 313 pixels on, whatever the pen; each of the 64 pixels counts those in a block of 4 by 4.
  // strokes: lists of points [x, y] in any unit.  A single point, or none, gives a blank image.
  function block(strokes) {
    const SIDE = 32, ON = 313, TALL = 27, WIDE = 16;
    const points = strokes.flat(), image = new Float64Array(PIXELS);
    const [left, top] = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const [right, bottom] = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
    const width = right - left, height = Math.max(bottom - top, width / 2);
    if (!(height > 0)) return image;
    const scale = [Math.min(TALL / height, WIDE / (width || 1e-9)), TALL / height];
    const place = ([x, y]) => [
      SIDE / 2 + scale[0] * (x - (left + right) / 2), SIDE / 2 + scale[1] * (y - (top + bottom) / 2),
    ];
    const distance = new Float64Array(SIDE * SIDE).fill(Infinity);
    for (const stroke of strokes) {
      stroke.map(place).forEach(([x, y], at, placed) => {
        const [fromX, fromY] = placed[Math.max(0, at - 1)], dx = x - fromX, dy = y - fromY;
        const length = dx * dx + dy * dy;
        for (let cell = 0; cell < distance.length; cell++) { // to the piece of line between two points
          const px = (cell % SIDE) + 0.5 - fromX, py = Math.floor(cell / SIDE) + 0.5 - fromY;
          const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
          distance[cell] = Math.min(distance[cell], (px - along * dx) ** 2 + (py - along * dy) ** 2);
        }
      });
    }
    const reach = distance.slice().sort()[ON - 1]; // the pixels nearest to the pen's way
    distance.forEach((far, cell) => {
      if (far <= reach) image[Math.floor(cell / SIDE / 4) * 8 + Math.floor((cell % SIDE) / 4)] += 1 / GREYS;
    });
    return image;
  }
  return { BATCH, stream, permutation, init, ones, countKept, share, prune, train, read, accuracy, decode, block };
}

if (typeof module !== "undefined") module.exports = lottery;
