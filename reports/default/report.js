/* The sample browser and the reading of training curves. What models wrote enters the page as text nodes only. */
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { candidates, controls, curves, flips } = data;
  const { texts, tasks } = data.samples;
  const PAGE = 200; // entries of the list drawn at once
  const MANY = 6; // more candidates than this are not shown side by side unasked

  /* ---- drawing ---- */

  function el(tag, properties, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return node;
  }

  /* Characters that are invisible or turn the reading direction keep their place in the text but show their code.
     Joiners (U+200C, U+200D) are spelling in many scripts and in emoji, so they stay as they are. */
  const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g;

  function readable(text) {
    const parts = document.createDocumentFragment();
    let from = 0;
    for (const match of text.matchAll(HIDDEN)) {
      parts.append(text.slice(from, match.index));
      const code = "U+" + match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      parts.append(el("span", { class: "code", "data-code": code }, match[0]));
      from = match.index + match[0].length;
    }
    parts.append(text.slice(from));
    return parts;
  }

  const plain = (number) => (typeof texts[number] === "string" ? texts[number] : texts[number].text);

  function block(number) {
    const text = plain(number);
    const cut = typeof texts[number] === "string" ? 0 : texts[number].cut;
    const shown = text === "" ? el("span", { class: "fine" }, "(empty)") : readable(text);
    const left = `${cut.toLocaleString("en")} more characters are in the run folder`;
    return [
      el("pre", { class: "text", dir: "auto", tabindex: text.length > 800 ? "0" : null }, shown),
      cut ? el("p", { class: "fine warn" }, left) : null,
    ];
  }

  const figure = (value) =>
    value === null || !Number.isFinite(value) ? "–" : String(Number(value.toFixed(4))).replace("-", "−");

  /* ---- what changed ---- */

  const changed = new Map(
    flips.map((flip) => [
      JSON.stringify([flip.task, flip.metric, flip.candidate]),
      { control: flip.control, gained: new Set(flip.gained), lost: new Set(flip.lost) },
    ]),
  );

  function change(task, metric, candidate, index) {
    const sets = changed.get(JSON.stringify([task.task, metric, candidate]));
    return !sets ? null : sets.gained.has(index) ? "gained" : sets.lost.has(index) ? "lost" : null;
  }

  const SIGN = { gained: "▲", lost: "▼" };
  const wellFormed = (id) => (id.toWellFormed ? id.toWellFormed() : id);
  const address = (task, sample) =>
    `#/${encodeURIComponent(wellFormed(task.task))}/${encodeURIComponent(wellFormed(sample.id))}`;

  /* ---- one sample ---- */

  function prompt(turns) {
    return turns.map(([role, number]) =>
      el("div", { class: "turn" }, role ? el("p", { class: "role" }, role) : null, block(number)),
    );
  }

  function folded(label, turns) {
    const length = turns.reduce((sum, [, number]) => sum + plain(number).length, 0);
    return el("details", { open: length <= 600 }, el("summary", {}, label), prompt(turns));
  }

  function scores(task, answer) {
    const rows = task.metrics.filter((metric) => metric.name in answer.scores).map((metric) => {
      const value = answer.scores[metric.name];
      const unscored = value !== null && typeof value === "object";
      const cell = unscored
        ? el("td", { class: "warn" }, "unscored: ", readable(plain(value.unscored)))
        : el("td", {}, figure(value), answer.classes && answer.classes[metric.name] ? ` (${answer.classes[metric.name]})` : "");
      return el("tr", {}, el("th", { scope: "row" }, metric.name, metric.trust ? el("em", {}, ` ${metric.trust}`) : null), cell);
    });
    return rows.length ? el("table", { class: "scores" }, el("tbody", {}, rows)) : null;
  }

  function choices(answer) {
    if (!answer.choices) return null;
    const best = Math.max(...answer.choices.map(([, logprob]) => logprob));
    const rows = [...answer.choices].sort((a, b) => b[1] - a[1]).map(([number, logprob]) =>
      el("tr", {},
        el("th", { scope: "row", dir: "auto" }, logprob === best ? "▸ " : "", readable(plain(number))),
        el("td", {}, figure(logprob))),
    );
    const table = el("table", {}, el("tbody", {}, rows));
    const label = `${rows.length} choices by log-probability`;
    return el("details", { open: rows.length <= 4 }, el("summary", {}, label), table);
  }

  function took(answer) {
    const facts = [];
    if (answer.output_tokens) facts.push(`${answer.output_tokens} token${answer.output_tokens === 1 ? "" : "s"}`);
    if (answer.seconds) facts.push(`${figure(answer.seconds)} s`);
    const ended = { length: "cut at the length limit", error: "no answer" }[answer.finish];
    return el("p", { class: "label" }, ended ? el("span", { class: "warn" }, ended, facts.length ? " · " : "") : null,
      facts.join(" · "));
  }

  function card(task, metric, sample, index, place, common) {
    const name = candidates[place];
    const answer = sample.answers[place];
    const flip = change(task, metric, name, index);
    const badge = flip ? el("span", { class: `mark ${flip}` }, `${SIGN[flip]} ${flip}`) : null;
    const tag = controls.includes(name) ? el("span", { class: "tag" }, "control") : badge;
    const head = el("h4", {}, el("span", {}, name), tag);
    if (!answer) {
      return el("article", { class: "card", "data-candidate": name }, head, el("p", { class: "fine" }, "no answer recorded"));
    }
    const several = answer.output.length > 1;
    const outputs = answer.output.map((number, i) =>
      el("div", { class: "output" }, several ? el("p", { class: "label" }, `answer ${i + 1}`) : null, block(number)),
    );
    const own = JSON.stringify(answer.input) !== common && answer.input.length
      ? el("details", {}, el("summary", {}, "This candidate's own prompt"), prompt(answer.input))
      : null;
    const read = answer.extracted
      ? el("div", {}, el("p", { class: "label" }, "read as"), answer.extracted.map(block))
      : null;
    const wrong = answer.error ? el("div", { class: "warn" }, answer.error.map(block)) : null;
    return el("article", { class: `card ${flip || ""}`, "data-candidate": name },
      head, outputs, wrong, read, choices(answer), own, took(answer), scores(task, answer));
  }

  /* ---- the browser ---- */

  const host = document.getElementById("browser");
  const state = { task: 0, metric: "", candidate: "", outcome: "all", query: "", sample: -1, drawn: PAGE };
  let matching = [];

  function chosen(label, options, value, set) {
    const box = el("select", { onchange: () => set(box.value) },
      options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)));
    return el("label", {}, label, box);
  }

  const compared = () => candidates.map((_, place) => place).filter((place) => !controls.includes(candidates[place]));

  function watched() {
    const all = candidates.map((_, place) => place);
    return state.candidate === "" ? all : all.filter((place) => candidates[place] === state.candidate);
  }

  function visible() {
    if (state.candidate === "") return candidates.map((_, place) => place);
    return candidates.map((_, place) => place)
      .filter((place) => candidates[place] === state.candidate || controls.includes(candidates[place]));
  }

  const cache = new Map();

  function searchable(sample) {
    if (!cache.has(sample)) {
      const numbers = [...sample.target];
      for (const answer of sample.answers) {
        if (answer) numbers.push(...answer.output, ...answer.input.slice(-1).map(([, number]) => number));
      }
      cache.set(sample, [sample.id, ...numbers.map(plain)].join("\n").toLowerCase());
    }
    return cache.get(sample);
  }

  function fits(task, sample, index) {
    if (state.query && !searchable(sample).includes(state.query.toLowerCase())) return false;
    if (state.outcome === "all") return true;
    return watched().some((place) => {
      const answer = sample.answers[place];
      const flip = change(task, state.metric, candidates[place], index);
      if (state.outcome === "changed") return flip !== null;
      if (state.outcome === "gained" || state.outcome === "lost") return flip === state.outcome;
      if (!answer) return false;
      if (state.outcome === "cut") return answer.finish === "length" || answer.finish === "error";
      const score = answer.scores[state.metric];
      return score !== null && typeof score === "object";
    });
  }

  function drawFilters() {
    const task = tasks[state.task];
    const update = (key) => (value) => { state[key] = value; refresh(); };
    const search = el("input", {
      type: "search", placeholder: "id, question, target, answer", value: state.query,
      oninput: (event) => { state.query = event.target.value; refresh(); },
    });
    filters.replaceChildren(
      chosen("Task", tasks.map((item, i) => [String(i), item.task]), String(state.task), (value) => open(Number(value), 0)),
      chosen("Metric", task.metrics.map((metric) => [metric.name, metric.name]), state.metric, update("metric")),
      chosen("Candidate", [["", "all side by side"], ...compared().map((place) => [candidates[place], candidates[place]])],
        state.candidate, update("candidate")),
      chosen("Show", [["all", "all samples"], ["changed", "changed against the control"], ["gained", "▲ gained"],
        ["lost", "▼ lost"], ["unscored", "unscored"], ["cut", "cut off or failed"]], state.outcome, update("outcome")),
      el("label", { class: "search" }, "Search", search),
    );
  }

  function entry(task, index) {
    const sample = task.samples[index];
    const count = { gained: 0, lost: 0 };
    for (const place of watched()) {
      const flip = change(task, state.metric, candidates[place], index);
      if (flip) count[flip] += 1;
    }
    const flip = el("span", { class: "flip" },
      count.gained ? el("span", { class: "up" }, `▲${count.gained} `) : null,
      count.lost ? el("span", { class: "down" }, `▼${count.lost}`) : null);
    const current = index === state.sample ? "true" : null;
    return el("li", {}, el("a", { href: address(task, sample), "aria-current": current }, el("span", {}, sample.id), flip));
  }

  function drawList() {
    const task = tasks[state.task];
    const here = matching.indexOf(state.sample);
    if (here >= state.drawn) state.drawn = here + PAGE;
    const rest = matching.length - state.drawn;
    const more = rest > 0
      ? el("button", { type: "button", onclick: () => { state.drawn += PAGE; drawList(); } },
        `Show ${Math.min(rest, PAGE)} more`)
      : null;
    list.replaceChildren(
      el("p", { class: "fine counted", role: "status" }, `${matching.length} of ${task.samples.length} samples`),
      el("ol", {}, matching.slice(0, state.drawn).map((index) => entry(task, index))),
      ...(more ? [more] : []),
    );
    const current = list.querySelector("[aria-current]");
    if (current) list.scrollTop += current.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 2;
  }

  function drawDetail() {
    const task = tasks[state.task];
    const sample = task.samples[state.sample];
    if (!sample) {
      detail.replaceChildren(el("p", { class: "empty" }, "No sample fits these filters."));
      return;
    }
    const first = sample.answers.find((answer) => answer) || { input: [] };
    const common = JSON.stringify(first.input);
    const target = sample.target.length
      ? el("div", {}, el("p", { class: "label" }, sample.target.length > 1 ? "accepted answers" : "target"),
        sample.target.map(block))
      : null;
    const here = matching.indexOf(state.sample);
    const step = (by, text, key) => el("button", {
      type: "button", disabled: here + by < 0 || here + by >= matching.length, onclick: () => move(by),
    }, text, " ", el("kbd", {}, key));
    detail.replaceChildren(
      el("div", { class: "bar-top" },
        el("h3", { id: "sample-title" }, sample.id),
        el("div", {}, step(-1, "Previous", "k"), step(1, "Next", "j"))),
      el("div", { class: "context" }, target, first.input.length ? folded("Prompt", first.input) : null),
      el("div", { class: "cards" },
        visible().map((place) => card(task, state.metric, sample, state.sample, place, common))),
    );
  }

  function refresh() {
    const task = tasks[state.task];
    matching = task.samples.map((_, index) => index).filter((index) => fits(task, task.samples[index], index));
    if (!matching.includes(state.sample)) state.sample = matching.length ? matching[0] : -1;
    state.drawn = PAGE;
    drawList();
    drawDetail();
  }

  function open(task, sample) {
    if (task !== state.task || !state.metric) {
      state.task = task;
      state.metric = tasks[task].metrics.length ? tasks[task].metrics[0].name : "";
      state.sample = sample;
      drawFilters();
      refresh();
    } else {
      state.sample = sample;
      drawList();
      drawDetail();
    }
  }

  function move(by) {
    const next = matching[matching.indexOf(state.sample) + by];
    if (next === undefined) return;
    const task = tasks[state.task];
    location.replace(address(task, task.samples[next]));
  }

  /* ---- addresses: #/TASK/SAMPLE_ID ---- */

  function decoded(part) {
    try { return decodeURIComponent(part); } catch { return part; }
  }

  function route(event) {
    const match = /^#\/([^/]*)\/([\s\S]*)$/.exec(location.hash);
    if (!match) return;
    const [name, id] = [decoded(match[1]), decoded(match[2])];
    const task = tasks.findIndex((item) => wellFormed(item.task) === name);
    const sample = task < 0 ? -1 : tasks[task].samples.findIndex((item) => wellFormed(item.id) === id);
    if (sample < 0) {
      const where = task < 0 ? `There is no task "${name}" in this run.`
        : `Sample "${id}" of ${name} is not in this page; every answer is in the run folder under samples/CANDIDATE/${name}.jsonl.`;
      detail.replaceChildren(el("p", { class: "empty", role: "alert" }, where));
      section.scrollIntoView();
      return;
    }
    const filtered = task !== state.task || !matching.includes(sample);
    if (filtered && (state.query || state.outcome !== "all")) {
      Object.assign(state, { query: "", outcome: "all" });
      state.metric = "";
    }
    open(task, sample);
    const top = section.getBoundingClientRect().top;
    if (!event || top > innerHeight * 0.6 || section.getBoundingClientRect().bottom < 80) section.scrollIntoView();
  }

  const section = document.getElementById("samples");
  const filters = el("div", { class: "filters" });
  const list = el("nav", { class: "list", "aria-label": "Samples" });
  const detail = el("div", { class: "detail", "aria-live": "polite" });

  if (tasks.some((task) => task.samples.length)) {
    host.append(filters, el("div", { class: "split" }, list, detail));
    host.hidden = false;
    if (candidates.length > MANY && compared().length) state.candidate = candidates[compared()[0]];
    open(tasks.findIndex((task) => task.samples.length), 0);
    route();
    addEventListener("hashchange", route);
    addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea, [contenteditable]");
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "j") move(1);
      if (event.key === "k") move(-1);
    });
  }

  /* ---- reading the training curves ---- */

  function nearest(points, step) {
    return points.reduce((best, point) => (!best || Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best), null);
  }

  for (const panel of document.querySelectorAll("[data-curve]")) {
    const curve = curves[Number(panel.dataset.curve)];
    const canvas = panel.querySelector(".canvas");
    const cross = panel.querySelector(".cross");
    const output = panel.querySelector("output");
    const steps = (curve.train.length ? curve.train : curve.validation).map(([step]) => step);
    let at = steps.length - 1;

    const read = (index) => {
      at = Math.min(steps.length - 1, Math.max(0, index));
      const step = steps[at];
      const share = `${(100 * step) / curve.last}%`;
      cross.setAttribute("x1", share);
      cross.setAttribute("x2", share);
      cross.setAttribute("visibility", "visible");
      const train = nearest(curve.train, step);
      const validation = nearest(curve.validation, step);
      output.value = `step ${step}` + (train ? ` · training ${figure(train[1])}` : "")
        + (validation ? ` · validation ${figure(validation[1])}${validation[0] === step ? "" : ` at step ${validation[0]}`}` : "");
    };
    const clear = () => { cross.setAttribute("visibility", "hidden"); output.value = ""; };

    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const step = ((event.clientX - box.left) / box.width) * curve.last;
      const close = steps.reduce((best, value, i) => (Math.abs(value - step) < Math.abs(steps[best] - step) ? i : best), 0);
      read(close);
    });
    canvas.addEventListener("pointerleave", clear);
    canvas.addEventListener("focus", () => read(at));
    canvas.addEventListener("blur", clear);
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      read(at + by);
    });
  }
})();
