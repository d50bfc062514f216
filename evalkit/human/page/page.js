"use strict";
// Nothing here writes HTML: what models wrote becomes text nodes, whatever it looks like.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KEY = `evalkit:${data.export}:${data.rater}`;
const IDLE = 300; // seconds after which a rater has gone for coffee
let state = { at: 0, answers: {}, seconds: {}, plain: false, shortcuts: true, seen: false };
let active = 0;
let since = performance.now();
let kept = true;
let unsaved = false;

function el(tag, settings = {}, ...children) {
  const made = document.createElement(tag);
  made.append(...children); // before dir="auto", which reads all there is at every addition
  for (const [name, value] of Object.entries(settings)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  return made;
}

// Controls and direction marks are shown, not obeyed.
function visible(text) {
  return text
    .replace(/\r\n/g, "\n")
    .replace(/[\x00-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\x7f/g, "\u2421")
    .replace(/[\u202a-\u202e\u2066-\u2069]/g, (c) => `⟦U+${c.charCodeAt(0).toString(16).toUpperCase()}⟧`);
}

/* ---- Markdown, the part that models write; anything else stays as it is ---- */
const LONG = 20000; // characters of a line in which no marks are looked for: an endless one would take minutes
const DEEP = 8; // quotes within quotes; models in a loop write thousands

function inline(text) {
  const made = document.createDocumentFragment();
  if (text.length > LONG) return made.append(text), made;
  const mark = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|(?<![\w*])\*(?=[^\s*])([^*]*?[^\s*])\*(?![\w*])|\[([^\]\n]+)\]\(([^)\s]+)\)/;
  let rest = text;
  for (let found; (found = mark.exec(rest)); ) {
    made.append(rest.slice(0, found.index));
    if (found[1]) made.append(el("code", {}, found[2]));
    else if (found[3] !== undefined) made.append(el("strong", {}, inline(found[3])));
    else if (found[4] !== undefined) made.append(el("em", {}, inline(found[4])));
    else made.append(`${found[5]} (${found[6]})`); // a link is read, not followed
    rest = rest.slice(found.index + found[0].length);
  }
  made.append(rest);
  return made;
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

function blocks(text, depth = 0) {
  const lines = text.split("\n");
  const made = document.createDocumentFragment();
  for (let i = 0; i < lines.length; ) {
    const line = lines[i];
    const fence = /^\s{0,3}(```+|~~~+)/.exec(line);
    const head = /^(#{1,6})\s+(.*)$/.exec(line);
    const item = /^(\s*)([-*+]|\d{1,4}[.)])\s+(.*)$/;
    if (fence) {
      const code = [];
      for (i++; i < lines.length && !lines[i].trim().startsWith(fence[1]); i++) code.push(lines[i]);
      i++;
      made.append(el("pre", { tabIndex: 0 }, code.join("\n")));
    } else if (head) {
      made.append(el("h3", { dir: "auto" }, inline(head[2])));
      i++;
    } else if (/^\s{0,3}([-*_])(\s*\1){2,}\s*$/.test(line)) {
      made.append(el("hr"));
      i++;
    } else if (item.test(line)) {
      const ordered = /\d/.test(item.exec(line)[2]);
      const entries = document.createDocumentFragment();
      const start = ordered ? { start: parseInt(item.exec(line)[2], 10) } : {};
      for (let found; i < lines.length && (found = item.exec(lines[i])); i++) {
        const inset = found[1].length >= 5 ? "in2" : found[1].length >= 2 ? "in1" : "";
        entries.append(el("li", { className: inset }, inline(found[3])));
      }
      made.append(el(ordered ? "ol" : "ul", { dir: "auto", ...start }, entries));
    } else if (/^\s{0,3}>/.test(line) && depth < DEEP) {
      const quote = [];
      for (; i < lines.length && /^\s{0,3}>/.test(lines[i]); i++) quote.push(lines[i].replace(/^\s{0,3}>\s?/, ""));
      made.append(el("blockquote", { dir: "auto" }, blocks(quote.join("\n"), depth + 1)));
    } else if (line.includes("|") && line.length < LONG && (lines[i + 1] || "").length < LONG && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?\s*$/.test(lines[i + 1] || "")) {
      const table = el("table", { tabIndex: 0 });
      table.append(el("tr", {}, ...cells(line).map((cell) => el("th", { scope: "col", dir: "auto" }, inline(cell)))));
      for (i += 2; i < lines.length && lines[i].includes("|") && lines[i].length < LONG; i++)
        table.append(el("tr", {}, ...cells(lines[i]).map((cell) => el("td", { dir: "auto" }, inline(cell)))));
      made.append(table);
    } else if (!line.trim()) {
      i++;
    } else {
      const paragraph = document.createDocumentFragment();
      for (let first = true; i < lines.length && lines[i].trim(); i++, first = false) {
        if (!first && (/^\s{0,3}(```|~~~|>)/.test(lines[i]) || item.test(lines[i]) || /^#{1,6}\s/.test(lines[i]))) break;
        if (!first) paragraph.append(el("br"));
        paragraph.append(inline(lines[i]));
      }
      made.append(el("p", { dir: "auto" }, paragraph));
    }
  }
  return made;
}

function shown(text, plain = state.plain) {
  const safe = visible(text);
  if (!safe.trim()) return el("p", { className: "empty" }, "(empty)");
  if (plain) return el("div", { className: "text plain", dir: "auto" }, safe);
  return el("div", { className: "text" }, blocks(safe));
}

/* ---- keeping what was answered ---- */
function keep() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
    kept = true;
  } catch (error) {
    if (kept || $("trouble").hidden) trouble("This browser does not keep your answers: press Save before you close the page.");
    kept = false;
  }
  $("saved").textContent = kept && Object.keys(state.answers).length ? "kept ✓" : "";
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function recall() {
  for (const line of data.lines) if (Object.keys(line.given).length) state.answers[line.item] = { ...line.given };
  try {
    const found = JSON.parse(localStorage.getItem(KEY) || "null");
    if (found && found.answers instanceof Object && found.seconds instanceof Object) state = { ...state, ...found };
  } catch (error) {
    trouble("What this browser had kept cannot be read. Load the file that you saved last, if there is one.");
  }
  state.at = Math.min(Math.max(0, Number(state.at) || 0), data.lines.length - 1);
}

function spend() {
  const now = performance.now();
  const item = data.lines[state.at].item;
  const spent = Math.min((now - since) / 1000, IDLE);
  state.seconds[item] = Math.round(((state.seconds[item] || 0) + spent) * 10) / 10;
  since = now;
}

/* ---- one item ---- */
const answersOf = (line) => state.answers[line.item] || {};
const openIn = (line) => data.questions.filter((one) => one.options.length && !(one.name in answersOf(line)));

function answer(number, value) {
  const line = data.lines[state.at];
  const question = data.questions[number];
  const mine = { ...answersOf(line) };
  if (value === null || value === "") delete mine[question.name];
  else mine[question.name] = value;
  if (Object.keys(mine).length) state.answers[line.item] = mine;
  else delete state.answers[line.item];
  unsaved = true;
  spend();
  keep();
  marks();
  count();
}

function draw(focus = true) {
  const line = data.lines[state.at];
  $("place").textContent = `Item ${state.at + 1} of ${data.lines.length}`;
  const turns = line.prompt.length > 1 ? line.prompt : [["", line.prompt[0][1]]];
  const prompt = el("div", { className: "box" });
  turns.forEach(([role, text], number) => {
    const name = role || "Prompt";
    if (role === "system" || number < turns.length - 3) {
      prompt.append(el("details", {}, el("summary", {}, role === "system" ? "Instructions to the model" : `Earlier: ${name}`), shown(text)));
    } else prompt.append(el("p", { className: "label" }, name), shown(text));
  });
  $("prompt").replaceChildren(prompt);
  const pair = line.answers.length === 2;
  const answers = line.answers.map((text, number) =>
    el("div", { className: `box answer${pair ? " side" : ""}`, role: "region", "aria-label": pair ? `Answer ${"AB"[number]}` : "Answer" },
      el("p", { className: "label" }, pair ? `Answer ${"AB"[number]}` : "Answer"), shown(text)));
  $("answers").className = pair ? "pair" : "";
  $("answers").replaceChildren(...answers);
  if (line.target !== null && line.target !== undefined)
    $("prompt").append(el("div", { className: "box target" }, el("p", { className: "label" }, "Expected"), shown(line.target)));
  $("questions").replaceChildren(...data.questions.map((question, number) => field(question, number, answersOf(line)[question.name])));
  const open = openIn(line)[0];
  active = open ? data.questions.indexOf(open) : 0;
  $("back").disabled = state.at === 0;
  $("next").firstChild.textContent = state.at === data.lines.length - 1 ? "Finish " : "Next ";
  marks();
  count();
  if (focus) {
    window.scrollTo(0, 0);
    $("place").focus({ preventScroll: true });
  }
}

// The key of each option: of a rating its own number, else its place.
function keysOf(question) {
  const values = question.options.map(([value]) => value);
  if (question.kind === "rating" && values.every((value) => /^(\d|10)$/.test(value)))
    return values.map((value) => (value !== "10" ? value : values.includes("0") ? "" : "0"));
  return values.map((_, place) => "1234567890"[place] || "");
}

function field(question, number, given) {
  const id = `q${number}`;
  const box = el("fieldset", { id, className: "" });
  const ask = el("p", { className: "ask", id: `${id}-ask`, dir: "auto" }, visible(question.ask));
  box.setAttribute("aria-labelledby", `${id}-ask`);
  box.append(ask);
  if (question.kind === "text") {
    const area = el("textarea", { rows: 2, value: given || "", dir: "auto" });
    area.setAttribute("aria-labelledby", `${id}-ask`);
    area.addEventListener("input", () => answer(number, area.value));
    area.addEventListener("focus", () => mark(number));
    box.append(area);
    return box;
  }
  box.setAttribute("role", "radiogroup");
  const options = el("div", { className: "options" });
  question.options.forEach(([value, meaning], place) => {
    const input = el("input", { type: "radio", name: id, value, checked: given === value });
    input.addEventListener("change", () => { mark(number); answer(number, value); });
    const key = keysOf(question)[place];
    const words = el("span");
    if (value !== key) words.append(el("span", { className: "value", dir: "auto" }, visible(value)), " ");
    if (meaning && meaning !== value) words.append(el("span", { className: "meaning", dir: "auto" }, visible(meaning)));
    const cap = el("kbd", { className: value === key ? "is-value" : "" }, key);
    if (value !== key) cap.setAttribute("aria-hidden", "true");
    options.append(el("label", { className: "option" }, input, cap, words));
  });
  box.append(options);
  const clear = el("button", { type: "button", className: "clear" }, "Clear");
  clear.setAttribute("aria-label", `Clear the answer to: ${question.ask}`);
  clear.addEventListener("click", () => {
    box.querySelectorAll("input").forEach((input) => (input.checked = false));
    answer(number, null);
  });
  box.append(clear);
  box.addEventListener("pointerdown", () => mark(number));
  return box;
}

function mark(number) {
  active = number;
  marks();
}

function marks() {
  const mine = answersOf(data.lines[state.at]);
  data.questions.forEach((question, number) => {
    const box = $(`q${number}`);
    if (!box) return;
    box.classList.toggle("active", number === active && data.questions.length > 1);
    box.classList.toggle("answered", question.name in mine);
    const clear = box.querySelector(".clear");
    if (clear) clear.hidden = !(question.name in mine);
  });
}

function count() {
  const done = data.lines.filter((line) => answersOf(line) && !openIn(line).length).length;
  $("bar").max = data.lines.length;
  $("bar").value = done;
  $("count").textContent = `${done} of ${data.lines.length} done`;
  $("open").disabled = done === data.lines.length;
  return done;
}

function go(place) {
  if (place === data.lines.length) return save();
  if (place < 0 || place > data.lines.length) return;
  spend();
  state.at = place;
  keep();
  draw();
}

function goOpen() {
  const order = [...data.lines.keys()];
  const turned = [...order.slice(state.at + 1), ...order.slice(0, state.at + 1)];
  const next = turned.find((place) => openIn(data.lines[place]).length);
  if (next !== undefined) go(next);
}

/* ---- out and in ---- */
function labels() {
  spend();
  const rows = data.lines.filter((line) => Object.keys(answersOf(line)).length)
    .map((line) => ({ item: line.item, answers: answersOf(line), seconds: state.seconds[line.item] ?? null }));
  return JSON.stringify({ evalkit: "labels", format: 1, export: data.export, rater: data.rater, labels: rows }, null, 1);
}

function save() {
  const done = count();
  const left = data.lines.length - done;
  $("state").textContent = left ? `${done} of ${data.lines.length} items are done; ${left} ${left === 1 ? "is" : "are"} open. You can save now and go on later.` : `All ${done} items are done. Download the file and give it back. Thank you!`;
  $("copied").textContent = "";
  $("json").hidden = true;
  $("save").showModal();
}

function download() {
  const address = URL.createObjectURL(new Blob([labels()], { type: "application/json" }));
  el("a", { href: address, download: `${data.study}-${data.rater}-labels.json`.replace(/[^\w.-]+/g, "_") }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  unsaved = false;
  $("copied").textContent = "The file was handed to the browser.";
}

function copy() {
  const area = $("json");
  area.value = labels();
  area.hidden = false;
  area.focus();
  area.select();
  const done = document.execCommand && document.execCommand("copy");
  $("copied").textContent = done ? "Copied." : "Copy the text below.";
  unsaved = unsaved && !done;
}

async function load(file) {
  try {
    const found = JSON.parse(await file.text());
    if (found.evalkit !== "labels" || found.export !== data.export || found.rater !== data.rater)
      throw new Error(`it is of ${found.rater || "another page"} ${found.export || ""}, and this page of ${data.rater} ${data.export}`);
    for (const row of found.labels) {
      state.answers[row.item] = { ...row.answers };
      state.seconds[row.item] = Math.max(row.seconds || 0, state.seconds[row.item] || 0);
    }
    keep();
    draw(false);
    const many = found.labels.length;
    $("state").textContent = many === 1 ? "1 item was loaded." : `${many} items were loaded.`;
  } catch (error) {
    $("state").textContent = `The file was not loaded: ${error.message}.`;
  }
}

/* ---- keys ---- */
function keys(event) {
  const inText = event.target.tagName === "TEXTAREA";
  if (document.querySelector("dialog[open]") || event.altKey || event.metaKey) return;
  if (event.key === "Enter" && (!inText || event.ctrlKey)) {
    if (["BUTTON", "SUMMARY", "A"].includes(event.target.tagName)) return;
    event.preventDefault();
    return go(state.at + (event.shiftKey ? -1 : 1));
  }
  if (event.key === "Escape" && inText) return event.target.blur();
  if (inText || event.ctrlKey || !state.shortcuts) return;
  const radio = event.target.type === "radio";
  if (/^\d$/.test(event.key)) choose(event.key);
  else if (event.key === "ArrowRight" && !radio) go(Math.min(state.at + 1, data.lines.length - 1));
  else if (event.key === "ArrowLeft" && !radio) go(state.at - 1);
  else if (event.key === "ArrowDown" && !radio && data.questions.length > 1) move(1);
  else if (event.key === "ArrowUp" && !radio && data.questions.length > 1) move(-1);
  else if (event.key === "o") goOpen();
  else if (event.key === "m") plain();
  else if (event.key === "s") save();
  else if (event.key === "?") $("help").showModal();
  else if (event.key === "t" && document.querySelector("textarea:not([readonly])")) document.querySelector("#questions textarea")?.focus();
  else return;
  event.preventDefault();
}

function move(step) {
  mark((active + step + data.questions.length) % data.questions.length);
  $(`q${active}`).scrollIntoView({ block: "nearest" });
}

function choose(key) {
  const question = data.questions[active];
  const place = keysOf(question).indexOf(key);
  if (place < 0) return;
  $(`q${active}`).querySelectorAll("input")[place].checked = true;
  answer(active, question.options[place][0]);
  const open = openIn(data.lines[state.at])[0];
  if (open) {
    mark(data.questions.indexOf(open));
    $(`q${active}`).scrollIntoView({ block: "nearest" });
  }
}

function plain() {
  state.plain = !state.plain;
  $("plain").setAttribute("aria-pressed", String(state.plain));
  keep();
  draw(false);
}

/* ---- start ---- */
recall();
$("study").textContent = data.study;
$("who").textContent = data.rater;
if (data.instructions) $("instructions").append(shown(data.instructions, false));
$("plain").setAttribute("aria-pressed", String(state.plain));
$("shortcuts").checked = state.shortcuts;
$("shortcuts").addEventListener("change", () => { state.shortcuts = $("shortcuts").checked; keep(); });
$("help-open").addEventListener("click", () => $("help").showModal());
$("save-open").addEventListener("click", save);
$("plain").addEventListener("click", plain);
$("back").addEventListener("click", () => go(state.at - 1));
$("next").addEventListener("click", () => go(state.at + 1));
$("open").addEventListener("click", goOpen);
$("download").addEventListener("click", download);
$("copy").addEventListener("click", copy);
$("load").addEventListener("change", async () => {
  if ($("load").files[0]) await load($("load").files[0]);
  $("load").value = ""; // so that the same file can be chosen again
});
$("questions").addEventListener("submit", (event) => event.preventDefault());
document.querySelectorAll("[data-close]").forEach((button) => button.addEventListener("click", () => button.closest("dialog").close()));
document.addEventListener("keydown", keys);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    spend();
    keep();
  }
  since = performance.now(); // time on other pages does not count
});
window.addEventListener("beforeunload", (event) => {
  if (!kept && unsaved) event.preventDefault();
});
keep();
draw(false);
if (!state.seen) {
  state.seen = true;
  keep();
  $("help").showModal();
}
