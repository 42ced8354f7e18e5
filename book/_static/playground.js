// The playground: a page trains a network, prunes it, and hears what it says of a drawing.
// The algorithm stands in lottery.js, the digits in digits.js, which the extension writes.
"use strict";

const PLAYGROUND = {
  rounds: 8, rate: 0.36, // 3 % of the weights are kept after the last round
  slice: 50, // milliseconds of work between two looks at what the page asks for
  guesses: { // by how many points the ticket leads then, from … to
    "better": [-Infinity, -1],
    "as well, within a point": [-1, 1],
    "1 to 5 points worse": [1, 5],
    "over 5 points worse": [5, Infinity],
  },
};

// What the worker does.  No file of its own, as a page from a disk may not load one: it is made from the text of this
// function, and gets the algorithm likewise.  The page sends {asks, …}, the worker {says, …}.
function playgroundWorker({ rounds, rate, slice }, algorithm) {
  const nets = []; // of each round {masks, ticket, control}, trained
  let train, test, seed, epochs, first; // `first`: the values that every ticket is rewound to
  let job = null, timer = 0, hidden = false, steps = 0, planned = 0;

  const answers = {
    load(digits) {
      train = algorithm.decode(digits.train);
      test = algorithm.decode(digits.test);
    },
    search(settings) {
      ({ seed, epochs } = settings);
      nets.length = 0;
      first = algorithm.init(algorithm.stream(seed, "init"));
      start(search(), rounds + 1);
    },
    control() {
      start(control(), rounds);
    },
    stop() {
      job = null;
      postMessage({ says: "finished" });
    },
    hide(now) {
      hidden = now;
      turn();
    },
    read({ image, round }) { // what each network makes of a drawing
      const { masks, ticket, control } = nets[round], found = {};
      const asked = { dense: [nets[0].ticket, nets[0].masks], ticket: round && [ticket, masks] };
      for (const [arm, net] of Object.entries({ ...asked, control: control && [control, masks] })) {
        if (!net) continue;
        const shares = algorithm.read(...net, image), sure = Math.max(...shares);
        found[arm] = { digit: shares.indexOf(sure), sure };
      }
      postMessage({ says: "read", found });
    },
  };
  onmessage = ({ data: { asks, ...given } }) => answers[asks](...Object.values(given));

  function start(generator, trainings) {
    [job, steps, planned] = [generator, 0, trainings * epochs * Math.ceil(train.labels.length / algorithm.BATCH)];
    turn();
  }

  function turn() {
    clearTimeout(timer);
    if (job === null || hidden) return;
    const until = performance.now() + slice;
    while (performance.now() < until) {
      if (job.next().done) return answers.stop();
    }
    postMessage({ says: "progress", share: steps / planned });
    timer = setTimeout(turn);
  }

  function* search() {
    for (let round = 0; round <= rounds; round++) {
      nets[round] = { masks: round ? pruned(nets[round - 1], round) : algorithm.ones() };
      yield* fit("ticket", first, round);
    }
  }

  function pruned({ ticket, masks }, round) {
    return algorithm.prune(ticket.weights, masks, rate, algorithm.stream(seed, "ties", round));
  }

  function* control() { // the fewest weights first, as the guess is about them
    for (let round = rounds; round > 0; round--) {
      yield* fit("control", algorithm.init(algorithm.stream(seed, "action", round)), round);
    }
  }

  // Train one arm in one round.  Both arms of a round see the same batches in the same order.
  function* fit(arm, values, round) {
    const { masks } = nets[round], random = algorithm.stream(seed, "batches", round);
    const orders = Array.from({ length: epochs }, () => algorithm.permutation(train.labels.length, random));
    const training = algorithm.train(values, masks, train, orders);
    for (let spent = 0; ; steps++) {
      const began = performance.now(), step = training.next();
      spent += performance.now() - began;
      if (step.done) {
        nets[round][arm] = step.value;
        const accuracy = algorithm.accuracy(step.value, masks, test);
        const result = { share: algorithm.share(masks), mask: masks[0], [arm]: { accuracy, spent } };
        return postMessage({ says: "trained", arm, round, result });
      }
      yield;
    }
  }
}

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`; // kept in one line
const rowOf = (cells) => `<td>${cells.join("</td><td>")}</td>`;

// Paint a canvas in the colour of the page's text.  opacity: of each pixel, 0 to 1.
function playgroundPaint(canvas, opacity) {
  const context = canvas.getContext("2d"), picture = context.createImageData(canvas.width, canvas.height);
  const colour = getComputedStyle(canvas).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  for (let pixel = 0; pixel < opacity.length; pixel++) {
    for (let part = 0; part < 3; part++) picture.data[4 * pixel + part] = colour[part];
    picture.data[4 * pixel + 3] = 255 * opacity[pixel];
  }
  context.putImageData(picture, 0, 0);
}

// Test accuracy against the share kept, as SVG; `at` is the round that is looked at.
function playgroundChart(results, at) {
  const dots = { ticket: [], control: [] };
  for (const { share, ticket, control } of results) {
    dots.ticket.push([share, ticket.accuracy]);
    if (control) dots.control.push([share, control.accuracy]);
  }
  if (dots.control.length) dots.control.unshift(dots.ticket[0]); // both begin as the dense network
  const accuracies = [...dots.ticket, ...dots.control].map(([, accuracy]) => accuracy);
  const floor = Math.min(0.7, Math.floor(10 * Math.min(...accuracies)) / 10);
  const x = (share) => 48 + 280 * Math.log(share) / Math.log(0.03);
  const y = (accuracy) => 184 - 160 * (accuracy - floor) / (1 - floor);
  const text = (left, top, said, anchor, kind = "") =>
    `<text x="${left}" y="${top}" text-anchor="${anchor}" class="${kind}">${said}</text>`;
  const track = (arm, mark) => {
    const places = dots[arm].map(([share, accuracy]) => [x(share), y(accuracy)].map((at) => at.toFixed(1)));
    return `<g class="lth-${arm}"><path d="M${places.join("L")}"/>${places.map(mark).join("")}</g>`;
  };
  const circle = ([left, top]) => `<circle cx="${left}" cy="${top}" r="4"/>`;
  const square = ([left, top]) => `<rect x="${left - 4}" y="${top - 4}" width="8" height="8"/>`;
  let shapes = text(48, 14, "test accuracy, %", "start") + text(188, 228, "weights kept, %", "middle");
  for (let tenth = Math.round(10 * floor); tenth <= 10; tenth++) {
    const height = y(tenth / 10).toFixed(1);
    shapes += `<path d="M48 ${height}H328"/>${text(42, Number(height) + 5, 10 * tenth, "end")}`;
  }
  for (const share of [1, 0.3, 0.1, 0.03]) shapes += text(x(share).toFixed(1), 204, 100 * share, "middle");
  shapes += `<path class="lth-here" d="M${x(results[at].share).toFixed(1)} 24V184"/>`;
  shapes += track("ticket", circle) + text(58, 160, "● ticket", "start", "lth-ticket");
  if (dots.control.length) shapes += track("control", square) + text(58, 178, "■ control", "start", "lth-control");
  const says = "Test accuracy against the share of weights kept. The table below has the numbers.";
  return `<svg viewBox="0 0 340 236" role="img" aria-label="${says}">${shapes}</svg>`;
}

// Make a canvas a sheet of paper, for a pointer or for keys.  Calls drawn(strokes) after each stroke; returns a
// function that clears the sheet, and one that inks it again.
function playgroundPaper(canvas, drawn) {
  const STEP = 8, WIDTH = 14, MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const side = canvas.width, context = canvas.getContext("2d");
  let strokes = [], pen = [side / 2, side / 2], down = false, byKeys = false;

  function ink() {
    context.clearRect(0, 0, side, side);
    context.strokeStyle = context.fillStyle = getComputedStyle(canvas).color;
    Object.assign(context, { lineWidth: WIDTH, lineCap: "round", lineJoin: "round" });
    for (const stroke of strokes) {
      context.beginPath();
      for (const point of [stroke[0], ...stroke]) context.lineTo(...point);
      context.stroke();
    }
    if (!byKeys || document.activeElement !== canvas) return;
    context.strokeStyle = context.fillStyle = getComputedStyle(canvas).outlineColor; // the pen: full when it is down
    context.lineWidth = 3;
    context.beginPath();
    context.arc(...pen, WIDTH / 2 + 2, 0, 2 * Math.PI);
    context.stroke();
    if (down) context.fill();
  }

  function clear() {
    [strokes, down] = [[], false];
    ink();
  }

  const place = ({ offsetX, offsetY }) => [offsetX, offsetY].map((at) => at * side / canvas.clientWidth);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [down, byKeys] = [false, false];
    strokes.push([place(event)]);
    ink();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    strokes[strokes.length - 1].push(place(event));
    ink();
  });
  canvas.addEventListener("pointerup", () => drawn(strokes));
  canvas.addEventListener("keydown", (event) => {
    byKeys = true;
    if (event.key === " ") {
      down = !down;
      if (down) strokes.push([pen]);
    } else if (event.key in MOVES) {
      const moved = pen.map((at, axis) => at + STEP * MOVES[event.key][axis]);
      if (moved.every((at) => at > 0 && at < side)) pen = moved;
      if (down) {
        strokes[strokes.length - 1].push(pen);
        drawn(strokes);
      }
    } else return;
    event.preventDefault();
    ink();
  });
  canvas.addEventListener("focus", ink);
  canvas.addEventListener("blur", ink);
  return { clear, ink };
}

const PLAYGROUND_HTML = `
  <div class="lth-row">
    <label>Seed <input type="number" name="seed" min="0" max="9999" value="0" required></label>
    <label class="lth-wide">Epochs of each training: <strong>10</strong>
      <input type="range" name="epochs" min="1" max="60" value="10"></label>
  </div>
  <fieldset>
    <legend>Your guess: with 3 % of the weights kept, how does the control do against the ticket?</legend>
    ${Object.keys(PLAYGROUND.guesses).map((text) =>
      `<label><input type="radio" name="guess" value="${text}"> ${text}</label>`).join(" ")}
  </fieldset>
  <div class="lth-row">
    <button type="button" name="search">Train, prune, rewind</button>
    <button type="button" name="control" disabled>Re-init, train again</button>
    <button type="button" name="stop" disabled>Stop</button>
    <progress value="0" aria-label="How far the training is"></progress>
  </div>
  <p class="lth-status" role="status">The first button trains all weights. Then, eight times, it prunes, rewinds, and
    trains again.</p>
  <div class="lth-result">
    <label>Share of weights kept: <strong>100.0&nbsp;%</strong>
      <input type="range" name="round" min="0" max="${PLAYGROUND.rounds}" value="0" disabled></label>
    <p class="lth-told" aria-live="polite">Nothing is trained yet.</p>
    <div class="lth-row">
      <figure><canvas class="lth-mask" width="180" height="135" role="img"></canvas>
        <figcaption>Mask of the first layer: a patch for each of its 300 units, a dot for each weight.</figcaption>
      </figure>
      <figure><canvas class="lth-pixels" width="8" height="8" role="img"></canvas>
        <figcaption>Its inputs: the pixels that keep most weights stand out most.</figcaption>
      </figure>
    </div>
    <div class="lth-chart"></div>
    <details hidden><summary>The numbers</summary><table class="lth-numbers"><thead><tr>
      <th scope="col">kept</th><th scope="col">ticket</th><th scope="col">control</th>
      <th scope="col">ticket’s training</th></tr></thead><tbody></tbody></table></details>
    <table class="lth-leads" hidden><caption>Your leads with 3 % kept, the latest first</caption><thead><tr>
      <th scope="col">seed</th><th scope="col">epochs</th><th scope="col">ticket</th><th scope="col">control</th>
      <th scope="col">lead, points</th></tr></thead><tbody></tbody></table>
  </div>
  <div class="lth-row">
    <div>
      <canvas class="lth-paper" width="192" height="192" tabindex="0" role="application"
        aria-label="Paper for a digit" aria-describedby="lth-paper-help"></canvas>
      <div class="lth-row"><button type="button" name="clear">Clear</button>
        <button type="button" name="example">A test image</button></div>
    </div>
    <div class="lth-wide">
      <p id="lth-paper-help">Draw a digit and read what the networks say. By keys: arrows move the pen, space lowers
        and lifts it.</p>
      <canvas class="lth-block" width="8" height="8" role="img" aria-label="The 8 by 8 pixels that they see"></canvas>
      <p class="lth-heard" aria-live="polite"></p>
    </div>
  </div>`;

function playground(root) {
  root.innerHTML = PLAYGROUND_HTML;
  const find = (selector) => root.querySelector(selector);
  const { seed, epochs, search, control, stop, round, clear, example } = Object.fromEntries(
    [...root.querySelectorAll("[name]")].map((element) => [element.name, element]));
  const algorithm = lottery(), test = algorithm.decode(DIGITS_TEST);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const results = []; // of each round {share, mask, ticket: {accuracy, spent}, control: the same}
  let running = "", guessed = "", image = null, truth = "", examples = 0;

  const source = `(${playgroundWorker})(${JSON.stringify(PLAYGROUND)}, (${lottery})())`;
  const worker = new Worker(URL.createObjectURL(new Blob([source])));
  worker.onmessage = ({ data }) => heard[data.says](data);
  worker.onerror = ({ message }) => say(`The training has failed: ${message}`);
  worker.postMessage({ asks: "load", digits: { train: DIGITS_TRAIN, test: DIGITS_TEST } });
  const hide = () => worker.postMessage({ asks: "hide", hidden: document.hidden });
  document.addEventListener("visibilitychange", hide);
  hide();

  function say(text) {
    find(".lth-status").textContent = text;
  }

  const heard = { // by what the worker says
    progress({ share }) {
      if (!calm.matches) find("progress").value = share;
    },
    trained({ arm, round: number, result }) {
      results[number] = { ...results[number], ...result };
      round.disabled = false;
      const last = number === PLAYGROUND.rounds;
      if (last || (arm === "ticket" && !calm.matches)) round.value = number;
      if (last && arm === "control") compare();
      if (last || !calm.matches) show();
    },
    finished() {
      const last = results[PLAYGROUND.rounds];
      if (running === "search" && last) {
        const [dense, ticket] = [results[0], last].map((result) => percent(result.ticket.accuracy));
        say(`All weights read ${dense} of 400 test images. The ticket with ${percent(last.share)} of them reads ` +
          `${ticket}. Now the control: re-init.`);
      }
      run("");
      show();
    },
    read({ found }) {
      if (!image) return; // the paper was cleared meanwhile
      const names = { dense: "Dense network", ticket: "Ticket", control: "Control" };
      const lines = Object.entries(found).map(([arm, { digit, sure }]) =>
        `${names[arm]}: <strong>${digit}</strong>, ${percent(sure, 0)} sure`);
      find(".lth-heard").innerHTML = [truth, ...lines].filter(Boolean).join("<br>");
    },
  };

  function run(job) { // "search", "control" or, at rest, ""
    running = job;
    for (const element of [search, seed, epochs]) element.disabled = Boolean(job);
    control.disabled = Boolean(job) || results.length <= PLAYGROUND.rounds;
    stop.disabled = !job;
    find("progress").value = 0;
    find(".lth-result").setAttribute("aria-busy", Boolean(job)); // a screen reader waits for the end
  }

  function compare() { // the guess, beside what was measured
    const { ticket, control } = results[PLAYGROUND.rounds];
    const lead = Math.round(1e4 * (ticket.accuracy - control.accuracy)) / 100, size = Math.abs(lead).toFixed(1);
    const [from, to] = PLAYGROUND.guesses[guessed];
    const found = lead === 0 ? "exactly as well" : `${size} points ${lead > 0 ? "worse" : "better"}`;
    say(`The control does ${found}; your guess was “${guessed}”${from <= lead && lead <= to ? ", and right" : ""}. ` +
      "Does it stay so with another seed, or with more epochs?");
    const cells = [seed.value, epochs.value, percent(ticket.accuracy), percent(control.accuracy)];
    const signed = `${lead > 0 ? "+" : lead < 0 ? "−" : ""}${size}`;
    find(".lth-leads").hidden = false;
    find(".lth-leads tbody").insertAdjacentHTML("afterbegin", `<tr>${rowOf([...cells, signed])}</tr>`);
  }

  function show() { // the round that the slider points at, or the last one so far
    const at = round.value = Math.max(0, Math.min(round.value, results.length - 1));
    paintMask();
    if (!results[at]) return;
    const { share, ticket, control } = results[at];
    round.previousElementSibling.textContent = percent(share);
    round.setAttribute("aria-valuetext", `${percent(share)} kept`);
    const time = ({ ticket: { spent } }) => `${Math.round(spent).toLocaleString("en")} ms`;
    const faster = (results[0].ticket.spent / ticket.spent).toFixed(1);
    find(".lth-told").textContent = at
      ? `The ticket reads ${percent(ticket.accuracy)}${control ? `, the control ${percent(control.accuracy)}` : ""}. ` +
        `Its training took ${time(results[at])}, that of all weights ${time(results[0])}: ${faster} times as fast.`
      : `All weights read ${percent(ticket.accuracy)} of 400 test images. Their training took ${time(results[0])}.`;
    find(".lth-chart").innerHTML = playgroundChart(results, at);
    find("details").hidden = false;
    find(".lth-numbers tbody").innerHTML = results.map((result) => {
      const cells = [percent(result.ticket.accuracy), result.control ? percent(result.control.accuracy) : "–"];
      return `<tr><th scope="row">${percent(result.share)}</th>${rowOf([...cells, time(result)])}</tr>`;
    }).join("");
    read();
  }

  function paintMask() {
    const ACROSS = 20, PITCH = 9, UNITS = 300, canvas = find(".lth-mask"), pixels = find(".lth-pixels");
    const { mask } = results[Number(round.value)] || { mask: algorithm.ones()[0] };
    const opacity = new Float64Array(canvas.width * canvas.height), counts = new Float64Array(64);
    mask.forEach((keep, weight) => {
      const pixel = Math.floor(weight / UNITS), unit = weight % UNITS;
      const left = (unit % ACROSS) * PITCH + (pixel % 8);
      const top = Math.floor(unit / ACROSS) * PITCH + Math.floor(pixel / 8);
      opacity[top * canvas.width + left] = keep ? 1 : 0.1;
      counts[pixel] += keep;
    });
    playgroundPaint(canvas, opacity);
    playgroundPaint(pixels, counts.map((count) => count / Math.max(1, ...counts)));
    const kept = algorithm.countKept(mask).toLocaleString("en");
    canvas.setAttribute("aria-label", `${kept} of ${mask.length.toLocaleString("en")} weights are kept`);
    pixels.setAttribute("aria-label", `Pixels keep ${Math.min(...counts)} to ${Math.max(...counts)} weights`);
  }

  function read() { // ask all networks about what is drawn
    playgroundPaint(find(".lth-block"), image || new Float64Array(64));
    if (image && results[0]) worker.postMessage({ asks: "read", question: { image, round: Number(round.value) } });
    else find(".lth-heard").textContent = image ? "Train a network first." : "";
  }

  function forget() { // what other settings gave
    results.length = round.value = 0;
    round.disabled = true;
    round.previousElementSibling.textContent = percent(1);
    find("details").hidden = true;
    find(".lth-told").textContent = "Nothing is trained yet.";
    find(".lth-chart").replaceChildren();
    run("");
    say("New settings: train again.");
    paintMask();
    read();
  }

  seed.addEventListener("change", forget);
  epochs.addEventListener("change", forget);
  epochs.addEventListener("input", () => { epochs.previousElementSibling.textContent = epochs.value; });
  round.addEventListener("input", show);
  search.addEventListener("click", () => {
    if (!seed.reportValidity()) return;
    forget();
    run("search");
    say("Training all weights, then eight rounds: prune, rewind, train.");
    worker.postMessage({ asks: "search", settings: { seed: Number(seed.value), epochs: Number(epochs.value) } });
  });
  control.addEventListener("click", () => {
    const chosen = find("[name=guess]:checked");
    if (!chosen) {
      say("First your guess: choose one of the four.");
      find("[name=guess]").focus();
      return;
    }
    guessed = chosen.value;
    run("control");
    say("Training fresh values under each mask of the ticket.");
    worker.postMessage({ asks: "control" });
  });
  stop.addEventListener("click", () => {
    running = "";
    worker.postMessage({ asks: "stop" });
    say("Stopped.");
  });

  const paper = playgroundPaper(find(".lth-paper"), (strokes) => {
    [image, truth] = [algorithm.block(strokes), ""];
    read();
  });
  clear.addEventListener("click", () => {
    image = null;
    paper.clear();
    read();
  });
  example.addEventListener("click", () => {
    paper.clear();
    [image, truth] = [test.images.slice(64 * examples, 64 * (examples + 1)), `It is a ${test.labels[examples]}.`];
    examples = (examples + 1) % test.labels.length;
    read();
  });

  const repaint = () => { // in the colours of light or dark
    paintMask();
    read();
    paper.ink();
  };
  new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  repaint();
}

for (const root of document.querySelectorAll(".lth-playground")) playground(root);
