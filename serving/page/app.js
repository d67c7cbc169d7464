// The page at `/`: a form for every task, and a picture of every kind of answer.
// Whatever comes from a person or from the server becomes text nodes only, never markup.

const TASKS = JSON.parse(document.getElementById("tasks").textContent);
const KEY = "polystilts.key";
const RETRY_MS = 4000;

/* ---------------------------------------------------------------- small things */

/** An element with properties, attributes (`data-…`, `aria-…`, role, for) and children; strings become text. */
function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (/^(aria-|data-)|^(role|for|list|colspan|scope)$/.test(key)) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function svg(name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const $ = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");
const decimals = (number, places = 2) => number.toFixed(places).replace("-", "−");
const milliseconds = (ms) =>
  ms < 1000 ? `${ms < 10 ? decimals(ms, 1) : Math.round(ms)} ms` : `${decimals(ms / 1000, 1)} s`;

/** A language in its own words; a code that nobody knows stays a code. */
function native(code) {
  try {
    return code
      .split("-")
      .map((one) => new Intl.DisplayNames([one], { type: "language" }).of(one))
      .join(" → ");
  } catch {
    return code;
  }
}
function english(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(code);
  } catch {
    return code;
  }
}

/** The server counts code points, JavaScript counts UTF-16 units: this text is cut by code points. */
class Points {
  constructor(text) {
    this.text = text;
    this.units = [0];
    for (const point of text) this.units.push(this.units.at(-1) + point.length);
  }
  get length() {
    return this.units.length - 1;
  }
  slice(start, end = this.length) {
    return this.text.slice(this.units[Math.min(start, this.length)], this.units[Math.min(end, this.length)]);
  }
}

/** A text in its own direction, kept apart from what stands beside it. */
const said = (text, properties = {}) => h("bdi", properties, text);

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard on a page that came over plain HTTP from another machine: the old way.
    const area = h("textarea", { value: text, class: "unseen" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

const copier = (text, what, look = "plain small") =>
  h(
    "button",
    { type: "button", class: look, "aria-label": `Copy ${what}`, onclick: (e) => copy(text(), e.currentTarget) },
    "Copy",
  );

/* ---------------------------------------------------------------- pictures of answers */

/** @param rows [{label, value 0..1, best, text?}] */
function bars(rows, wide = false) {
  return h(
    "ul",
    { class: wide ? "bars wide" : "bars" },
    rows.map((row) => {
      const fill = h("span", { class: "fill" });
      fill.style.width = `${Math.max(0, Math.min(1, row.value)) * 100}%`;
      return h(
        "li",
        { class: row.best ? "best" : "" },
        h("span", { dir: "auto" }, row.label),
        h("span", { class: "track", "aria-hidden": "true" }, fill),
        h("span", { class: "value" }, row.text ?? percent.format(row.value)),
      );
    }),
  );
}

function labels(result) {
  const rows = Object.entries(result.probabilities).map(([label, value]) => ({
    label,
    value,
    best: label === result.label,
  }));
  const sure = percent.format(result.probabilities[result.label]);
  return { said: `${result.label}, ${sure}`, parts: [h("p", { class: "verdict" }, capital(result.label)), bars(rows)] };
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function paraphrase(result) {
  // With two labels each has a plain meaning: the predicted one and the other.
  const entries = Object.entries(result.probabilities);
  const meaning = (label) =>
    entries.length === 2
      ? (label === result.label) === result.paraphrase
        ? "Same meaning"
        : "Different meaning"
      : label;
  const rows = entries.map(([label, value]) => ({ label: meaning(label), value, best: label === result.label }));
  const verdict = result.paraphrase ? "They say the same" : "They do not say the same";
  return {
    said: `${verdict}, ${percent.format(result.probabilities[result.label])}`,
    parts: [h("p", { class: "verdict" }, verdict), bars(rows)],
  };
}

const PARTS_OF_SPEECH = {
  ADJ: ["adjective", 2],
  ADP: ["adposition", 5],
  ADV: ["adverb", 2],
  AUX: ["auxiliary", 1],
  CCONJ: ["conjunction", 5],
  DET: ["determiner", 5],
  INTJ: ["interjection", 3],
  NOUN: ["noun", 0],
  NUM: ["number", 4],
  PART: ["particle", 5],
  PRON: ["pronoun", 3],
  PROPN: ["name", 0],
  PUNCT: ["punctuation", 5],
  SCONJ: ["conjunction", 5],
  SYM: ["symbol", 5],
  VERB: ["verb", 1],
  X: ["other", 5],
};
const ENTITIES = {
  PER: ["person", 0],
  LOC: ["place", 1],
  ORG: ["organisation", 2],
  DATE: ["date", 4],
  MISC: ["other", 3],
};

/** Meaning and colour of a tag; one that is not in the table keeps one colour of its own. */
function kind(table, tag) {
  const known = table[tag];
  if (known) return { meaning: known[0], colour: `k${known[1]}` };
  let sum = 0;
  for (const point of tag) sum += point.codePointAt(0);
  return { meaning: "", colour: `k${sum % 6}` };
}

function legend(table, tags) {
  const known = [...new Set(tags)].filter((tag) => kind(table, tag).meaning).sort();
  return (
    known.length > 0 &&
    h(
      "ul",
      { class: "legend", "aria-label": "Meaning of the tags" },
      known.map((tag) => h("li", {}, h("b", { class: kind(table, tag).colour }, tag), ` ${kind(table, tag).meaning}`)),
    )
  );
}

function tags(result) {
  const words = result.tokens.map((token) => {
    const { meaning, colour } = kind(PARTS_OF_SPEECH, token.tag);
    const unsure = token.probability < 0.5;
    return h(
      "li",
      {
        class: unsure ? "word unsure" : "word",
        title: `${meaning || token.tag}, ${percent.format(token.probability)}`,
      },
      h("span", { class: "text" }, token.text),
      h("span", { class: `tag ${colour}`, dir: "ltr" }, token.tag),
    );
  });
  const doubtful = result.tokens.some((token) => token.probability < 0.5);
  return {
    said: result.tokens.map((token) => `${token.text}: ${token.tag}`).join(", "),
    parts: [
      h("ol", { class: "words-line", dir: "auto", "aria-label": "Words and their tags" }, words),
      legend(
        PARTS_OF_SPEECH,
        result.tokens.map((token) => token.tag),
      ),
      doubtful && h("p", { class: "hint" }, "A dashed tag is less than 50 % sure."),
    ],
  };
}

/** A text with some of its ranges marked. @param ranges [{start, end, type}] in code points, in order */
function marked(text, ranges, properties) {
  const points = new Points(text);
  const parts = [];
  let at = 0;
  for (const { start, end, type } of ranges) {
    parts.push(points.slice(at, start));
    const { meaning, colour } = type ? kind(ENTITIES, type) : { meaning: "", colour: "k0" };
    parts.push(
      h(
        "mark",
        { class: colour, title: meaning },
        points.slice(start, end),
        type && h("span", { class: "kind" }, type),
      ),
    );
    at = end;
  }
  return h("p", { dir: "auto", ...properties }, parts, points.slice(at));
}

function entities(result, request) {
  // Of given tokens the server knows no offsets: they are counted out here, with a space between two.
  let text = request.text;
  let ranges = result.entities;
  if (request.tokens) {
    const starts = [];
    let at = 0;
    for (const token of request.tokens) {
      starts.push(at);
      at += new Points(token).length + 1;
    }
    text = request.tokens.join(" ");
    ranges = ranges.map((one) => {
      const last = one.last_token - 1;
      return { ...one, start: starts[one.first_token], end: starts[last] + new Points(request.tokens[last]).length };
    });
  }
  const found = ranges.map((one) =>
    h(
      "tr",
      {},
      h("td", {}, said(one.text)),
      h("td", {}, kind(ENTITIES, one.type).meaning || one.type),
      h("td", { class: "figure" }, percent.format(one.probability)),
    ),
  );
  const list = ranges.map((one) => `${one.text}: ${kind(ENTITIES, one.type).meaning || one.type}`).join(", ");
  return {
    said: list || "No entities found",
    parts: [
      marked(text, ranges, { class: "running" }),
      found.length
        ? h(
            "table",
            {},
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ["Found", "Kind", "Sure"].map((one) => h("th", { scope: "col" }, one)),
              ),
            ),
            h("tbody", {}, found),
          )
        : h("p", { class: "hint" }, "No person, organisation or place was found."),
      legend(
        ENTITIES,
        ranges.map((one) => one.type),
      ),
    ],
  };
}

function span(result, request) {
  const there = result.answer !== "";
  const scores = `Score ${decimals(result.score)}, against ${decimals(result.null_score)} for “no answer”`;
  return {
    said: there ? `Answer: ${result.answer}` : "No answer in this text",
    parts: [
      there
        ? h("p", { class: "verdict", dir: "auto" }, result.answer)
        : h("p", { class: "verdict" }, "No answer in this text"),
      marked(request.context, there ? [result] : [], {
        class: "quote",
        tabIndex: 0,
        role: "region",
        "aria-label": "The context, with the answer marked",
      }),
      h("p", { class: "hint" }, `${scores}.`),
    ],
    shown: (root) => {
      const box = root.querySelector(".quote");
      const place = box.querySelector("mark");
      if (place) box.scrollTop = place.offsetTop - box.offsetTop - box.clientHeight / 3;
    },
  };
}

function chosen(result, request) {
  const rows = request.choices.map((label, index) => ({
    label,
    value: result.probabilities[index],
    best: index === result.label,
  }));
  return {
    said: `${result.text}, ${percent.format(result.probabilities[result.label])}`,
    parts: [h("p", { class: "verdict", dir: "auto" }, result.text), bars(rows, true)],
  };
}

const cosine = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);

/** Each number of a vector as a stripe: two colours for above and below zero, stronger further away from it. */
function vectorPicture(vector) {
  const canvas = h("canvas", { width: vector.length, height: 1, role: "img" });
  const most = Math.max(...vector.map(Math.abs)) || 1;
  canvas.setAttribute(
    "aria-label",
    `${vector.length} numbers between ${decimals(Math.min(...vector))} and ${decimals(Math.max(...vector))}`,
  );
  const pen = canvas.getContext("2d");
  vector.forEach((value, index) => {
    const strength = Math.sqrt(Math.abs(value) / most);
    pen.fillStyle = value > 0 ? `rgb(24 140 132 / ${strength})` : `rgb(205 110 30 / ${strength})`;
    pen.fillRect(index, 0, 1, 1);
  });
  return canvas;
}

function likeness(results, request) {
  const vectors = results.map((one) => one.embedding);
  const numbers = vectors.map((_, index) => index + 1);
  const pairs = [];
  for (let i = 0; i < vectors.length; i++)
    for (let j = i + 1; j < vectors.length; j++) pairs.push([i, j, cosine(vectors[i], vectors[j])]);
  const best = pairs.reduce((a, b) => (b[2] > a[2] ? b : a), pairs[0] ?? [0, 0, 1]);
  const cell = (i, j) => {
    const value = cosine(vectors[i], vectors[j]);
    const box = h("td", { class: i === j ? "self" : "" }, i === j ? "·" : decimals(value));
    box.style.setProperty("--share", i === j ? 0 : Math.max(0, value) ** 2 * 0.6);
    return box;
  };
  const verdict =
    pairs.length > 1
      ? `${best[0] + 1} and ${best[1] + 1} are closest: ${decimals(best[2])}`
      : `Cosine similarity ${decimals(best[2])}`;
  return {
    said: pairs.map(([i, j, value]) => `sentences ${i + 1} and ${j + 1}: ${decimals(value)}`).join(", "),
    parts: [
      pairs.length > 0 && h("p", { class: "verdict" }, verdict),
      pairs.length > 1 &&
        h(
          "table",
          { class: "likeness", "aria-label": "Cosine similarity of every two sentences" },
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("td", { class: "self" }),
              numbers.map((n) => h("th", { scope: "col" }, String(n))),
            ),
          ),
          h(
            "tbody",
            {},
            numbers.map((n, i) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, String(n)),
                numbers.map((_, j) => cell(i, j)),
              ),
            ),
          ),
        ),
      h(
        "div",
        { class: "vectors" },
        vectors.map((vector, index) =>
          h(
            "figure",
            { class: "vector" },
            h(
              "figcaption",
              {},
              h("span", { class: "number" }, String(index + 1)),
              h("span", { dir: "auto" }, request.items[index].text),
            ),
            vectorPicture(vector),
          ),
        ),
      ),
      h(
        "p",
        { class: "hint" },
        `Cosine similarity: 1 points the same way, 0 is unrelated. Each stripe is one of ${whole.format(vectors[0].length)} numbers, green above zero and orange below.`,
      ),
    ],
  };
}

function aligned(result, request) {
  const column = (sentences, side, name) =>
    h(
      "ol",
      { "aria-label": name },
      sentences.map((text, index) =>
        h(
          "li",
          {
            dir: "auto",
            class: result.pairs.some((pair) => pair[side] === index) ? "" : "alone",
            onmouseenter: () => light(side, index),
            onmouseleave: () => light(),
          },
          text,
        ),
      ),
    );
  const sources = column(request.source, "source", "Source");
  const targets = column(request.target, "target", "Target");
  const lines = svg("svg", { "aria-hidden": "true" });
  const wires = h("div", { class: "wires" });
  wires.append(lines);
  const most = Math.max(...result.pairs.map((pair) => pair.score), 1e-9);
  const paths = result.pairs.map((pair) => {
    const path = svg("path", { "stroke-width": 1.2 + 2.3 * Math.max(0, pair.score / most) });
    lines.append(path);
    return path;
  });
  const light = (side, index) => {
    result.pairs.forEach((pair, n) => {
      const lit = side !== undefined && pair[side] === index;
      paths[n].setAttribute("class", lit ? "lit" : side === undefined ? "" : "dim");
      sources.children[pair.source].classList.toggle("lit", lit);
      targets.children[pair.target].classList.toggle("lit", lit);
    });
  };
  const draw = () => {
    const box = wires.getBoundingClientRect();
    const middle = (element) => {
      const own = element.getBoundingClientRect();
      return own.top - box.top + own.height / 2;
    };
    result.pairs.forEach((pair, n) => {
      const [from, to, bend] = [
        middle(sources.children[pair.source]),
        middle(targets.children[pair.target]),
        box.width / 2,
      ];
      paths[n].setAttribute("d", `M0 ${from} C${bend} ${from} ${bend} ${to} ${box.width} ${to}`);
    });
  };
  const rows = result.pairs.map((pair) =>
    h(
      "tr",
      {},
      h("td", {}, said(request.source[pair.source])),
      h("td", {}, said(request.target[pair.target])),
      h("td", { class: "figure" }, decimals(pair.score)),
    ),
  );
  return {
    said:
      result.pairs.map((pair) => `${request.source[pair.source]} = ${request.target[pair.target]}`).join("; ") ||
      "No pairs found",
    parts: [
      h("div", { class: "aligned" }, sources, wires, targets),
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Source", "Target", "Margin"].map((one) => h("th", { scope: "col" }, one)),
          ),
        ),
        h("tbody", {}, rows),
      ),
      h(
        "p",
        { class: "hint" },
        "Margin: how much closer the two are than their neighbours are; above 1 they stand out.",
      ),
    ],
    shown: (root) => new ResizeObserver(draw).observe(root.querySelector(".aligned")),
  };
}

/* ---------------------------------------------------------------- tasks */

const text = (name, label, options = {}) => ({ name, label, kind: "text", ...options });
const words = [
  text("text", "Text"),
  { name: "split", label: "The words are already separated by spaces", kind: "check" },
];
const wordsRequest = (values) => (values.split ? { tokens: values.text.trim().split(/\s+/u) } : { text: values.text });
const wordsValues = (request) =>
  request.tokens ? { text: request.tokens.join(" "), split: true } : { text: request.text, split: false };
const lines = (value) =>
  value
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

/** What a task's form asks for, how that becomes a request and back, and how its answer is drawn. */
const VIEWS = {
  nli: { title: "Inference", fields: [text("premise", "Premise"), text("hypothesis", "Hypothesis")], show: labels },
  paraphrase: {
    title: "Paraphrase",
    fields: [text("sentence1", "First sentence"), text("sentence2", "Second sentence")],
    show: paraphrase,
  },
  pos: { title: "Word classes", fields: words, request: wordsRequest, values: wordsValues, show: tags },
  ner: { title: "Names", fields: words, request: wordsRequest, values: wordsValues, show: entities },
  qa: {
    title: "Questions",
    heading: "Find the answer in a text",
    fields: [text("question", "Question"), text("context", "Context", { tall: true })],
    show: span,
  },
  choice: {
    title: "Choice",
    fields: [
      text("premise", "Premise"),
      {
        name: "question",
        label: "Question",
        kind: "select",
        options: [
          ["cause", "What was the cause?"],
          ["effect", "What happened then?"],
          ["", "None: the premise is the question"],
        ],
      },
      { name: "choices", label: "Choices", one: "Choice", kind: "list", least: 2, most: 32 },
    ],
    show: chosen,
  },
  embed: {
    title: "Similarity",
    heading: "How alike are these sentences?",
    fields: [{ name: "items", label: "Sentences", one: "Sentence", kind: "list", least: 1, most: 8 }],
    request: (values) => ({ items: values.items.map((one) => ({ text: one })) }),
    // An example is one sentence; beside it stand the two examples that follow it.
    examples: (task, index) => [0, 1, 2].map((n) => task.examples[(index + n) % task.examples.length]),
    values: (request, task, index) => ({
      items: VIEWS.embed.examples(task, index).map((example) => example.request.text),
    }),
    show: likeness,
  },
  align: {
    title: "Alignment",
    fields: [
      text("source", "Source, one sentence a line", { tall: true }),
      text("target", "Target, one sentence a line", { tall: true }),
    ],
    request: (values) => ({ source: lines(values.source), target: lines(values.target) }),
    values: (request) => ({ source: request.source.join("\n"), target: request.target.join("\n") }),
    show: aligned,
  },
};

const shown = TASKS.filter((task) => VIEWS[task.name]);

/* ---------------------------------------------------------------- state */

const state = {
  task: null,
  models: null, // null until the server has said which there are
  forms: new Map(), // task name -> {values, example, model, answer}
  running: null,
  again: 0, // the timer of the next look for models
};

function form(task) {
  if (!state.forms.has(task.name)) {
    state.forms.set(task.name, { values: exampleValues(task, 0), example: 0, model: "", answer: null });
  }
  return state.forms.get(task.name);
}

function exampleValues(task, index) {
  const { request } = task.examples[index];
  const view = VIEWS[task.name];
  return view.values ? view.values(request, task, index) : structuredClone(request);
}

/** Codes of the languages of the example in the form; none of a text of one's own. */
function codes(task) {
  const { example } = form(task);
  if (example === null) return [];
  const examples = VIEWS[task.name].examples?.(task, example) ?? [task.examples[example]];
  return [...new Set(examples.flatMap(({ code }) => code.split("-")))];
}

function requestOf(task) {
  const own = form(task);
  const view = VIEWS[task.name];
  const request = view.request ? view.request(own.values) : { ...own.values };
  return own.model ? { ...request, model: own.model } : request;
}

const modelsOf = (task) => (state.models ?? []).filter((model) => model.endpoints.includes(task.path));
const missing = (task) => state.models !== null && modelsOf(task).length === 0;

/* ---------------------------------------------------------------- the server */

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

/** Asks the server. @returns {status, data, took, timing} or {problem}; never throws except when called off */
async function call(path, options = {}) {
  const began = performance.now();
  try {
    const response = await fetch(path, { cache: "no-store", ...options });
    const body = await response.text();
    const took = performance.now() - began;
    let data = null;
    try {
      data = JSON.parse(body);
    } catch {
      // A proxy's own page; the status says enough.
    }
    if (response.ok && data) return { data, took, timing: timing(response.headers.get("Server-Timing")) };
    const wait = Number.parseFloat(response.headers.get("Retry-After") ?? "");
    return { problem: { status: response.status, wait: Number.isFinite(wait) ? wait : null, ...(data?.error ?? {}) } };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { problem: { status: 0 } };
  }
}

/** `queue;dur=0.3, run;dur=12;desc="…"` -> [{name, ms}] */
function timing(header) {
  return (header ?? "").split(",").flatMap((entry) => {
    const name = entry.trim().split(";")[0];
    const ms = /;\s*dur=([\d.]+)/.exec(entry);
    return name && ms ? [{ name, ms: Number.parseFloat(ms[1]) }] : [];
  });
}

async function loadModels() {
  clearTimeout(state.again);
  const { data, problem } = await call("v1/models", { headers: headers() });
  if (data) {
    state.models = data.data;
    const count = data.data.length;
    say("good", count === 0 ? "Running, without models" : `${count} ${count === 1 ? "model" : "models"} ready`);
    if (sessionStorage.getItem(KEY)) offerForgetting();
  } else if (problem.status === 401) {
    say("wait", "Needs an API key");
    askForKey();
  } else if (problem.status === 403) {
    say("wait", "This key may not see the models");
  } else {
    say(problem.status === 0 ? "wrong" : "wait", problem.status === 0 ? "Cannot be reached" : "Not ready yet");
    state.again = setTimeout(loadModels, RETRY_MS);
  }
  paintTabs();
  paintModelChoice();
  paintCurl();
  if (!form(state.task).answer) paintAnswer();
  paintModel();
}

function say(mood, words) {
  $("state").className = `state ${mood}`;
  $("state").querySelector(".words").textContent = words;
}

/* ---------------------------------------------------------------- API key */

function askForKey() {
  $("key").hidden = false;
}

function offerForgetting() {
  if ($("forget")) return;
  const forget = () => {
    sessionStorage.removeItem(KEY);
    $("forget").remove();
    loadModels();
  };
  $("state").append(h("button", { id: "forget", type: "button", class: "link", onclick: forget }, "forget the key"));
}

$("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key-value").value.trim());
  $("key-value").value = "";
  $("key").hidden = true;
  await loadModels();
  if ($("key").hidden) $("ask").focus();
  else $("key-value").focus();
});

/* ---------------------------------------------------------------- painting */

function paintTabs() {
  const tabs = $("tabs");
  if (!tabs.children.length) {
    tabs.append(
      ...shown.map((task) =>
        h(
          "button",
          {
            type: "button",
            class: "tab",
            role: "tab",
            id: `tab-${task.name}`,
            "aria-controls": "panel",
            onclick: () => open(task),
          },
          VIEWS[task.name].title,
        ),
      ),
    );
  }
  shown.forEach((task, index) => {
    const tab = tabs.children[index];
    const here = task === state.task;
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
    tab.classList.toggle("none", missing(task));
    if (missing(task)) tab.setAttribute("aria-description", "no model");
    else tab.removeAttribute("aria-description");
    tab.title = missing(task) ? "No model yet" : task.summary;
  });
}

$("tabs").addEventListener("keydown", (event) => {
  const at = shown.indexOf(state.task);
  const to = {
    ArrowRight: at + 1,
    ArrowLeft: at - 1,
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    Home: 0,
    End: shown.length - 1,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  open(shown[(to + shown.length) % shown.length]);
  $(`tab-${state.task.name}`).focus();
});

function open(task) {
  state.running?.abort();
  state.task = task;
  history.replaceState(null, "", `#${task.name}`);
  $("panel").setAttribute("aria-labelledby", `tab-${task.name}`);
  paintTabs();
  paintTask();
  paintAnswer();
  paintModel();
}

function paintTask() {
  const task = state.task;
  const own = form(task);
  const chips = task.examples.map((example, index) =>
    h(
      "button",
      {
        type: "button",
        class: "chip",
        lang: example.code.split("-")[0],
        title: example.language,
        "aria-pressed": String(own.example === index),
        "aria-label": `${example.language}: ${native(example.code)}`,
        onclick: () => choose(index),
      },
      native(example.code),
    ),
  );
  const controls = h(
    "form",
    {
      class: "ask",
      noValidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        ask();
      },
    },
    VIEWS[task.name].fields.map(field),
    h("div", { id: "model-choice" }),
    h(
      "div",
      { class: "actions" },
      h("button", { id: "ask", class: "primary", type: "submit" }, "Ask"),
      h("span", { class: "hint" }, "or ", h("kbd", {}, "Ctrl"), " ", h("kbd", {}, "Enter"), " in a field"),
    ),
  );
  controls.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    }
  });
  $("task").replaceChildren(
    h("h2", {}, VIEWS[task.name].heading ?? task.summary),
    h(
      "div",
      { class: "field" },
      h("h3", { id: "examples-title" }, "Examples"),
      h("div", { class: "chips", role: "group", "aria-labelledby": "examples-title" }, chips),
    ),
    controls,
  );
  $("command").replaceChildren(
    h(
      "div",
      { class: "head" },
      h("h3", {}, "The same with curl"),
      copier(() => curl(), "the curl command"),
    ),
    h("pre", { id: "curl", dir: "ltr", tabIndex: 0, role: "region", "aria-label": "curl command" }),
  );
  paintModelChoice();
  paintCurl();
}

/** What makes the model that a task lacks. */
function lacking(task) {
  return h(
    "div",
    { class: "lacking" },
    h("h2", {}, "No model for this task yet"),
    h("p", {}, "This trains one, measures it and delivers it to the server:"),
    h("pre", { dir: "ltr" }, task.made_by),
    h(
      "div",
      {},
      copier(() => task.made_by, "the command"),
    ),
  );
}

function paintModelChoice() {
  const place = $("model-choice");
  if (!place) return;
  const models = modelsOf(state.task);
  place.hidden = models.length < 2;
  if (place.hidden) return;
  const change = (event) => {
    form(state.task).model = event.target.value;
    paintCurl();
    paintModel();
  };
  const options = [
    h("option", { value: "" }, "the server's choice"),
    ...models.map((model) => h("option", { value: model.id }, model.id)),
  ];
  const select = h("select", { id: "field-model", onchange: change }, options);
  select.value = form(state.task).model;
  place.className = "field";
  place.replaceChildren(h("label", { for: "field-model" }, "Model"), select);
}

/** One field of the form; what is typed goes straight into the state. */
function field(spec) {
  const own = form(state.task);
  const id = `field-${spec.name}`;
  const lang = own.example === null ? "" : state.task.examples[own.example].code.split("-")[0];
  const edited = (value) => {
    own.values[spec.name] = value;
    if (own.example !== null) {
      own.example = null;
      for (const chip of $("task").querySelectorAll(".chip")) chip.setAttribute("aria-pressed", "false");
    }
    paintCurl();
  };
  if (spec.kind === "text") {
    const area = h("textarea", {
      id,
      rows: spec.tall ? 4 : 1,
      className: spec.tall ? "tall" : "",
      dir: "auto",
      lang,
      value: own.values[spec.name],
      spellcheck: false,
    });
    area.addEventListener("input", () => {
      unmark(area);
      edited(area.value);
    });
    return h("div", { class: "field" }, h("label", { for: id }, spec.label), area);
  }
  if (spec.kind === "check") {
    const box = h("input", {
      type: "checkbox",
      id,
      checked: own.values[spec.name],
      onchange: (event) => edited(event.target.checked),
    });
    return h("div", { class: "check" }, box, h("label", { for: id }, spec.label));
  }
  if (spec.kind === "select") {
    const select = h(
      "select",
      { id, onchange: (event) => edited(event.target.value) },
      spec.options.map(([value, label]) => h("option", { value }, label)),
    );
    select.value = own.values[spec.name];
    return h("div", { class: "field" }, h("label", { for: id }, spec.label), select);
  }
  const group = h("fieldset", { class: "field" });
  const paint = (focus) => {
    const values = own.values[spec.name];
    const rows = values.map((value, index) => {
      const name = `${spec.one} ${index + 1}`;
      const area = h("textarea", {
        id: `${id}-${index}`,
        rows: 1,
        dir: "auto",
        value,
        spellcheck: false,
        "aria-label": name,
      });
      area.addEventListener("input", () => {
        unmark(area);
        edited(values.with(index, area.value));
        values[index] = area.value;
      });
      const drop = () => {
        edited(values.toSpliced(index, 1));
        paint(Math.max(0, index - 1));
      };
      return h(
        "li",
        { class: "item" },
        h(
          "div",
          { class: "row" },
          area,
          values.length > spec.least &&
            h(
              "button",
              {
                type: "button",
                class: "icon",
                "aria-label": `Remove ${name.toLowerCase()}`,
                title: "Remove",
                onclick: drop,
              },
              "×",
            ),
        ),
      );
    });
    const add = () => {
      edited([...values, ""]);
      paint(values.length);
    };
    group.replaceChildren(
      h("legend", {}, spec.label),
      h("ol", { class: "items" }, rows),
      values.length < spec.most
        ? h(
            "div",
            {},
            h("button", { type: "button", class: "plain small", onclick: add }, `Add a ${spec.one.toLowerCase()}`),
          )
        : "",
    );
    if (focus !== undefined) $(`${id}-${focus}`).focus();
  };
  paint();
  return group;
}

function choose(index) {
  const own = form(state.task);
  own.values = exampleValues(state.task, index);
  own.example = index;
  paintTask();
  $("task").querySelectorAll(".chip")[index].focus({ preventScroll: true });
  if (!missing(state.task)) ask();
}

/** The request as a line of shell; the key stays a variable. */
function curl() {
  const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;
  const address = new URL(state.task.path.slice(1), document.baseURI.split("#")[0]).href;
  const key = sessionStorage.getItem(KEY) ? ' \\\n  -H "Authorization: Bearer $API_KEY"' : "";
  return `curl ${quoted(address)} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d ${quoted(JSON.stringify(requestOf(state.task)))}`;
}

function paintCurl() {
  $("curl").textContent = curl();
}

/* ---------------------------------------------------------------- asking */

/** The first field without text, as the server would name it. */
function empty(task) {
  const { values } = form(task);
  for (const spec of VIEWS[task.name].fields) {
    if (spec.kind === "text" && !values[spec.name].trim()) return spec.name;
    if (spec.kind === "list") {
      const index = values[spec.name].findIndex((one) => !one.trim());
      if (index >= 0) return `${spec.name}.${index}`;
    }
  }
  return null;
}

async function ask() {
  const task = state.task;
  const own = form(task);
  state.running?.abort();
  const running = new AbortController();
  state.running = running;
  const blank = empty(task);
  if (blank !== null) {
    own.answer = { problem: { status: 422, code: "empty", message: "Write something here first.", param: blank } };
    paintAnswer(true);
    return;
  }
  const request = requestOf(task);
  const asked = codes(task);
  $("answer").setAttribute("aria-busy", "true");
  try {
    const options = { method: "POST", body: JSON.stringify(request), signal: running.signal };
    const found = await call(task.path.slice(1), {
      ...options,
      headers: headers({ "Content-Type": "application/json" }),
    });
    own.answer = { ...found, request, codes: asked };
  } catch {
    return; // called off: another request or another task has the page
  }
  // One bad sentence of several: it is shown at its field.
  const bad = own.answer.data?.results?.findIndex((result) => result.error) ?? -1;
  if (bad >= 0) {
    const { error } = own.answer.data.results[bad];
    own.answer = { problem: { status: 422, ...error, field: error.param, param: `items.${bad}` }, request };
  }
  const digest = own.answer.data?.model.digest;
  if (digest && !state.models?.some((model) => model.digest === digest)) loadModels(); // a new model since
  if (own.answer.problem?.status === 401) {
    askForKey();
    $("key-value").focus();
  }
  if (state.task === task) {
    paintAnswer(true);
    paintModel();
  }
}

function paintAnswer(fresh = false) {
  const place = $("answer");
  const { answer } = form(state.task);
  place.setAttribute("aria-busy", "false");
  $("panel").classList.toggle("none", missing(state.task));
  for (const area of $("task").querySelectorAll("[aria-invalid]")) unmark(area);
  if (!answer) {
    const words = "The answer appears here. Choose an example, or write something and ask.";
    place.replaceChildren(missing(state.task) ? lacking(state.task) : h("p", { class: "empty" }, words));
    return;
  }
  if (answer.problem) {
    paintProblem(answer.problem, fresh);
    return;
  }
  const view = VIEWS[state.task.name];
  const picture = view.show(answer.data.result ?? answer.data.results, answer.request);
  place.replaceChildren(...[...picture.parts, unmeasured(answer), times(answer)].filter(Boolean));
  picture.shown?.(place);
  if (fresh) {
    $("said").textContent = picture.said;
    reveal(place);
  }
}

/** A word of caution where the model was never measured in an example's language; all of them know English. */
function unmeasured({ codes, data }) {
  const known = state.models?.find((model) => model.digest === data.model.digest)?.languages;
  const strange = known ? codes.filter((code) => code !== "en" && !known.includes(code)) : [];
  const names = new Intl.ListFormat("en").format(strange.map(english));
  return strange.length > 0 && h("p", { class: "caution" }, `This model was not measured in ${names}: do not rely on it.`);
}

/** On a small window the answer is below the form: it is brought into view. */
function reveal(place) {
  if (place.getBoundingClientRect().top > innerHeight - 120) place.scrollIntoView({ block: "start" });
}

function times({ took, timing: stages, data }) {
  const server = stages.filter((stage) => stage.name !== "total");
  const all = server.reduce((sum, stage) => sum + stage.ms, 0);
  const strip = server.map((stage, index) => {
    const part = h("span", { class: `k${index % 6}` });
    part.style.width = `${(100 * stage.ms) / Math.max(took, all)}%`;
    return part;
  });
  return h(
    "div",
    { class: "foot" },
    server.length > 0 && h("div", { class: "stages", "aria-hidden": "true" }, strip),
    h(
      "p",
      {},
      h("b", { class: "round" }, `${milliseconds(took)} round trip`),
      ` to ${data.model.name} version ${data.model.version}`,
    ),
    server.length > 0 &&
      h(
        "p",
        { class: "times" },
        server.map((stage, index) =>
          h("span", {}, h("i", { class: `k${index % 6}` }), `${stage.name} ${milliseconds(stage.ms)}`),
        ),
      ),
  );
}

/* ---------------------------------------------------------------- problems */

const PROBLEMS = {
  0: ["The server cannot be reached", "Is it still running, and is the network up?", true],
  401: ["This server asks for a key", "Enter it above, and ask again."],
  403: ["This key may not do that", ""],
  404: ["No model answers this yet", ""],
  408: ["The request took too long to arrive", "", true],
  413: ["That is too long", ""],
  422: ["Something is not right yet", ""],
  429: ["The server has its hands full", "It turned this request away so as not to keep others waiting.", true],
  500: ["The server made a mistake", "It is not your request's fault. If it happens again, report the id below.", true],
  503: ["The server is not ready", "It is starting or stopping; a moment later it should answer.", true],
  504: ["That took too long", "The server gave up before the answer was there.", true],
};

function paintProblem(problem, fresh) {
  if (problem.code === "no_model" && missing(state.task)) {
    $("answer").replaceChildren(lacking(state.task));
    if (fresh) {
      $("said").textContent = "No model for this task yet";
      reveal($("answer"));
    }
    return;
  }
  const fallback = problem.status >= 500 ? PROBLEMS[500] : PROBLEMS[422];
  const [title, advice, again] = PROBLEMS[problem.status] ?? fallback;
  const wait =
    problem.wait === null || problem.wait === undefined
      ? ""
      : `It asks for ${problem.wait} ${problem.wait === 1 ? "second" : "seconds"} of patience.`;
  const sizes =
    typeof problem.limit === "number" && typeof problem.given === "number"
      ? `${whole.format(problem.given)} given, ${whole.format(problem.limit)} allowed`
      : "";
  const small = [problem.code !== "empty" && problem.code, sizes, problem.request_id && `request ${problem.request_id}`]
    .filter(Boolean)
    .join(" · ");
  const area = marking(problem);
  $("answer").replaceChildren(
    h(
      "div",
      {
        class: problem.status === 0 || problem.status === 429 || problem.status === 503 ? "oops kind" : "oops",
        role: fresh ? "alert" : null,
      },
      h("h2", {}, title),
      problem.message && h("p", { dir: "auto" }, worded(problem)),
      advice && h("p", {}, advice),
      wait && h("p", {}, wait),
      again && h("div", {}, h("button", { type: "button", class: "plain", id: "again", onclick: ask }, "Try again")),
      small && h("p", { class: "small mono" }, small),
    ),
  );
  if (!fresh) return;
  if (area) area.focus();
  else reveal($("answer"));
}

/** The field that a problem names, and what a person calls it: `choices.1` is "Choice 2". */
function place({ param }) {
  if (!param) return {};
  // `choices.1` and `items.0.text` have a field each; `source.3` is a line of one.
  const [name, index] = param.split(".");
  const one = $(`field-${name}-${index}`);
  const area = one ?? $(`field-${name}`) ?? $(`field-${name}-0`);
  if (!area) return {};
  const label = area.getAttribute("aria-label") ?? area.labels[0].textContent.split(",")[0];
  return { area, label: one || index === undefined ? label : `${label} ${Number(index) + 1}` };
}

/** The server's words, with the field called as the page calls it. */
function worded(problem) {
  const { param, field = param, message = "" } = problem;
  const { label } = place(problem);
  if (label && message.startsWith(field)) return label + message.slice(field.length);
  return param ? message : capital(message);
}

/** Marks the field that a problem names, with the message below it. @returns the field, or undefined */
function marking(problem) {
  const { area } = place(problem);
  if (!area) return undefined;
  const id = `${area.id}-problem`;
  area.setAttribute("aria-invalid", "true");
  area.setAttribute("aria-describedby", id);
  (area.closest(".row") ?? area).after(h("p", { class: "problem", id, dir: "auto" }, worded(problem)));
  return area;
}

function unmark(area) {
  $(`${area.id}-problem`)?.remove();
  area.removeAttribute("aria-invalid");
  area.removeAttribute("aria-describedby");
}

/* ---------------------------------------------------------------- the model's card */

const DEMONSTRATION =
  "A demonstration, trained on a made-up world of few words: what it says of other texts means nothing.";

function paintModel() {
  const place = $("model");
  const task = state.task;
  const answered = form(task).answer?.data?.model.digest;
  const models = modelsOf(task);
  const wanted = form(task).model;
  const model =
    (wanted && models.find((one) => one.id === wanted)) || models.find((one) => one.digest === answered) || models[0];
  if (!model) {
    const words = state.models === null ? "The model's card appears here." : "No model yet.";
    place.replaceChildren(h("h3", {}, "Model"), h("p", { class: "hint" }, words));
    return;
  }
  const rows = [
    ["Target", model.target],
    [
      "Digest",
      h("span", { class: "mono", title: model.digest }, model.digest.slice(0, 12)),
      copier(() => model.digest, "the digest", "link"),
    ],
    ["Precision", [model.precision, model.exported_with?.quantisation?.activations].filter(Boolean).join(", ")],
    model.labels?.length ? ["Labels", model.labels.join(", ")] : null,
    ["Self-test", `differs by ${decimals(model.self_test.difference, 4)}, allowed ${model.self_test.tolerance}`],
  ].filter(Boolean);
  place.replaceChildren(
    h("h3", {}, "Model"),
    h("p", { class: "name" }, `${model.name} `, h("span", { class: "hint" }, `version ${model.version}`)),
    steps(model.lineage).some((step) => step.source === "micro") ? h("p", { class: "caution" }, DEMONSTRATION) : "",
    h(
      "dl",
      {},
      rows.flatMap(([name, ...value]) => [h("dt", {}, name), h("dd", {}, value)]),
    ),
    ...languages(model),
    ...lineage(model.lineage),
  );
}

/** Languages with their scores where the server knows them, else their names. */
function languages(model) {
  const scores = Object.entries(model.scores ?? {}).filter(([, value]) => typeof value === "number");
  if (scores.length) {
    const most = Math.max(...scores.map(([, value]) => value)) > 1 ? 100 : 1;
    const rows = scores
      .sort((a, b) => b[1] - a[1])
      .map(([code, value]) => ({
        label: english(code),
        value: value / most,
        text: decimals(value, most === 1 ? 3 : 1),
      }));
    return [h("h3", {}, "Score by language"), bars(rows)];
  }
  if (!model.languages?.length) return [];
  return [
    h("h3", {}, "Measured in"),
    h(
      "p",
      { class: "langs" },
      model.languages
        .map((code) => h("span", { title: code }, english(code)))
        .sort((a, b) => a.textContent.localeCompare(b.textContent)),
    ),
  ];
}

function steps(last) {
  const found = [];
  for (let step = last; step && typeof step === "object"; step = step.parent) found.unshift(step);
  return found;
}

/** Where the weights come from: the encoder first, the delivered model last. */
function lineage(last) {
  const known = steps(last).filter((step) => step.phase || step.name || step.base);
  if (!known.length) return [];
  const items = known.map((step) => {
    const facts = [
      step.updates && `${whole.format(step.updates)} updates`,
      step.seed !== undefined && `seed ${step.seed}`,
    ]
      .filter(Boolean)
      .join(", ");
    return h(
      "li",
      {},
      h(
        "span",
        { class: "step" },
        h("span", {}, [step.phase, step.name ?? step.base].filter(Boolean).join(" ")),
        facts && h("small", {}, facts),
      ),
    );
  });
  return [h("h3", {}, "Lineage"), h("ol", { class: "chain" }, items)];
}

/* ---------------------------------------------------------------- start */

const named = () => shown.find((task) => `#${task.name}` === location.hash);
window.addEventListener("hashchange", () => {
  const task = named();
  if (task && task !== state.task) open(task);
});
open(named() ?? shown[0]);
loadModels();
