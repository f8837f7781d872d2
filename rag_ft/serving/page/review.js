// One question record at a time: accept, edit, reject. The server keeps each verdict before it shows the next record.

import { wordMarker } from "./marking.js";
import { byId, fail, json, make, marked } from "./shared.js";

const NAME = "rag-ft-reviewer";
const KEYS = "rag-ft-review-keys";
const MOST_ZOOM = 16;
const MOST_ANSWER = 200;
const MOST_ANSWERS = 3;
const LABELS = { accept: "Accepted", edit: "Edited", "no answer": "Noted as unanswerable", reject: "Rejected", skip: "Skipped", undo: "Taken back" };

let about = null;
let state = null; // the server's last reply
let zoom = 1;
let busy = false;
let editing = false;
let opened = null; // the mark with which editing began; null where words were selected
let areas = []; // where each piece of the passages is shown: {element, text, start, documentId, evidence}
const given = []; // verdicts of this tab, latest last

const marker = wordMarker({
  changed: (mark) => { byId("marked").textContent = mark ? `Answer: “${mark.quote}”` : "Select the words that answer."; },
  selected: () => { if (!editing) edit(false); },
});

// The same keys as in the terminal, where it has them.
const actions = [
  { key: "a", label: "Accept", run: () => judge("accept"), needs: "record" },
  { key: "e", label: "Edit answer", run: () => edit(true), needs: "record" },
  { key: "w", label: "Edit wording", run: () => edit(true, true), needs: "record" },
  { key: "n", label: "No answer", run: () => judge("no answer"), needs: "record" },
  { key: "r", label: "Reject", run: () => judge("reject"), needs: "record" },
  { key: "s", label: "Skip", run: () => judge("skip"), needs: "record" },
  { key: "u", label: "Undo", run: undo, needs: "last" },
  { key: "m", label: "More text", run: more, needs: "text" },
];
for (const action of actions) {
  action.button = make("button", `${action.label} `, "choice");
  action.button.type = "button";
  action.button.setAttribute("aria-keyshortcuts", action.key);
  const key = make("kbd", action.key);
  key.setAttribute("aria-hidden", "true"); // said by aria-keyshortcuts
  action.button.append(key);
  action.button.addEventListener("click", () => start(action));
  byId("actions").append(action.button);
}

function possible(action) {
  if (busy || !state) return false;
  if (action.needs === "last") return !editing && (given.length > 0 || state.last !== null);
  if (action.needs === "text") return state.record !== null && zoom < MOST_ZOOM && areas.some((area) => area.more);
  if (!state.record || editing) return false;
  return !(state.record.problems.length && ["accept", "no answer"].includes(action.verdict));
}

function start(action) {
  if (possible(action)) action.run();
}

function showActions() {
  for (const action of actions) action.button.disabled = !possible(action);
  byId("actions").classList.toggle("editing", editing);
  byId("keep").disabled = busy;
}

const name = () => about.name || localStorage.getItem(NAME) || "";

async function ask(work) {
  if (busy) return false;
  busy = true;
  showActions();
  fail("");
  try {
    await work();
    return true;
  } catch (error) {
    fail(error.message);
    return false;
  } finally {
    busy = false;
    showActions();
  }
}

const read = (fields = {}) => json(`v1/review?${new URLSearchParams({ by: about.name ? "" : name(), ...fields })}`);

const send = (fields) => json("v1/review", {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ by: about.name ? "" : name(), ...fields }),
});

async function judge(verdict, changes = {}) {
  const { record } = state;
  await ask(async () => {
    try {
      const reply = await send({ id: record.question.id, record: record.record, before: record.verdict, verdict, ...changes });
      if (reply.last) given.push(reply.last);
      show(reply, `${LABELS[verdict]}.`);
    } catch (error) {
      if (error.status === 409) show(await read(), ""); // judged or changed meanwhile: what is to do now
      throw error;
    }
  });
}

async function undo() {
  const last = given.at(-1) || state.last;
  await ask(async () => {
    try {
      show(await send({ id: last.id, record: last.record, before: last.verdict, verdict: "undo" }), "Taken back.");
    } finally {
      given.pop(); // also where somebody has judged it since: then it is no longer ours to take back
    }
  });
}

async function more() {
  const mark = editing ? marker.place() : null;
  const words = byId("words").value;
  const wider = zoom * 2;
  const { record } = state;
  await ask(async () => {
    const reply = await read({ id: record.question.id, zoom: wider });
    const wasEditing = editing;
    show(reply, "More text is shown.", false);
    zoom = wider;
    if (!wasEditing) return;
    edit(false, false, mark && { ...mark, documentId: mark.area.documentId });
    byId("words").value = words;
  });
}

function listed(element, texts) {
  element.replaceChildren(...texts.map((text) => make("li", text)));
  element.hidden = texts.length === 0;
}

function show(reply, status, focus = true) {
  state = reply;
  zoom = 1;
  stopEditing();
  const { counts, record } = reply;
  const judged = counts.accepted + counts.edited + counts.no_answer + counts.rejected;
  byId("about").textContent = about.name ? `${reply.file} · you review as ${about.name}` : reply.file;
  byId("name-box").querySelector("summary").textContent = `Reviewer: ${reply.name || "no name"}`;
  byId("progress").max = Math.max(1, counts.records);
  byId("progress").value = judged;
  byId("progress-text").textContent = reply.progress;
  byId("status").textContent = status;
  listed(byId("notes"), reply.notes);
  listed(byId("agreement-list"), reply.agreement.map((other) => `${other.name || "no name"}: ${other.line}`));
  byId("agreement").hidden = !reply.agreement.length;
  byId("record").hidden = record === null;
  byId("done").hidden = record !== null;
  if (record === null) {
    const by = reply.name ? ` --by ${reply.name}` : "";
    byId("done-title").textContent = counts.records ? "Every record is judged." : "There is no record that you may see.";
    byId("command").textContent = `rag-ft data reviewed ${reply.file}${by} -o reviewed.jsonl`;
    areas = [];
    marker.end();
  } else {
    showRecord(record);
  }
  showActions();
  if (focus) {
    byId(record ? "title" : "done-title").focus({ preventScroll: true });
    // On a narrow screen the passage would begin below it.
    byId(record ? "record" : "done").scrollIntoView({ block: matchMedia("(max-width: 52rem)").matches ? "start" : "nearest" });
  }
}

function showRecord({ question, verdict, problems, excerpts }) {
  const facts = [question.id];
  if (question.origin && question.origin !== "human") facts.push(question.origin);
  if (question.made_from) facts.push(`from ${question.made_from}`);
  facts.push(...question.tags);
  if (verdict) facts.push(`judged before: ${verdict}`);
  byId("facts").replaceChildren(...facts.map((text) => make("span", text)));
  listed(byId("before"), (question.history || []).map((turn) => `before: ${turn}`));
  byId("title").textContent = question.question;
  byId("answer").textContent = answerOf(question);
  byId("answer").classList.toggle("none", !question.answerable);
  listed(byId("problems"), problems);
  areas = [];
  const figures = excerpts.map((excerpt) => {
    const figure = make("figure");
    figure.append(make("figcaption", excerpt.heading));
    excerpt.pieces.forEach((piece, i) => {
      const element = make("blockquote");
      element.tabIndex = 0;
      element.setAttribute("role", "region");
      element.setAttribute("aria-label", `Passage of ${excerpt.document_id}: select words to edit the answer`);
      const length = [...piece.text].length;
      const end = piece.start + length;
      areas.push({
        element, text: piece.text, start: piece.start, end, documentId: excerpt.document_id,
        evidence: excerpt.evidence, more: piece.start > 0 || end < excerpt.length,
      });
      if (piece.start > 0) figure.append(make("p", "…", "quiet"));
      figure.append(element);
      if (i === excerpt.pieces.length - 1 && end < excerpt.length) figure.append(make("p", "…", "quiet"));
    });
    return figure;
  });
  if (!question.evidence.length) figures.push(make("p", "It names no evidence, so there is no passage to show.", "quiet"));
  byId("passages").replaceChildren(...figures);
  showEvidence();
  marker.begin(areas);
}

function answerOf(question) {
  if (!question.answerable) return "No answer";
  const answers = question.answers.slice(0, MOST_ANSWERS).map((answer) => {
    const letters = [...answer];
    return letters.length > MOST_ANSWER ? `${letters.slice(0, MOST_ANSWER).join("")}…` : answer;
  });
  const rest = question.answers.length - MOST_ANSWERS;
  if (rest > 0) answers.push(`and ${rest} more`);
  return `${{ true: "Yes: ", false: "No: " }[question.yes] ?? ""}${answers.join(" | ")}`;
}

function showEvidence() {
  for (const { element, text, start, end, evidence } of areas) {
    const within = (offset) => Math.min(Math.max(offset, start), end) - start;
    element.replaceChildren(marked(text, evidence.map(([from, to]) => ({ start: within(from), end: within(to), tag: "mark" }))));
  }
  const [first] = areas.filter(({ element }) => element.querySelector("mark"));
  if (first) first.element.scrollTop = first.element.querySelector("mark").offsetTop - first.element.offsetTop - 60;
}

// Edit the record. `place`: what to mark; by default the evidence, unless words are selected already.
function edit(fresh, wording = false, place = null) {
  const { question } = state.record;
  const chosen = marker.place() !== null; // words were selected before
  editing = true;
  byId("edit").hidden = false;
  byId("words").value = question.question;
  byId("words").maxLength = about.max_question_chars;
  byId("yes-field").hidden = question.yes === null;
  byId("yes").value = String(question.yes);
  byId("steps").replaceChildren(...marker.buttons);
  const inside = (area, start) => area.start <= start && start < area.end;
  if (place) {
    const area = areas.find((area) => area.documentId === place.documentId && inside(area, place.start));
    if (area) marker.open(area, place.start, Math.min(place.end, area.end));
  } else if (fresh && !marker.place()) {
    const [area, start, end] = areas.flatMap((area) =>
      area.evidence.filter(([start]) => inside(area, start)).map(([start, end]) => [area, start, end]))[0] || [];
    if (area && question.answerable) marker.open(area, start, Math.min(end, area.end));
    else byId("marked").textContent = areas.length ? "Select the words that answer." : "";
  }
  if (!place) opened = chosen ? null : marker.place();
  byId("status").textContent = "Select the words that answer, or move the marks with the buttons.";
  showActions();
  if (wording) byId("words").focus();
  else toMark();
}

// Scroll to the mark, above what is shown at the bottom, and let the keyboard scroll its passage.
function toMark() {
  const mark = byId("passages").querySelector("mark");
  mark?.closest("blockquote").focus({ preventScroll: true });
  mark?.scrollIntoView({ block: "start" });
}

function stopEditing() {
  editing = false;
  byId("edit").hidden = true;
}

function cancel() {
  if (!editing) return;
  stopEditing();
  marker.begin(areas);
  showEvidence();
  byId("status").textContent = "Left as it was.";
  showActions();
  byId("title").focus();
}

function keep() {
  if (!editing || busy) return;
  const { question, problems } = state.record;
  const changes = {};
  const words = byId("words").value.trim();
  if (!words) {
    byId("words").focus();
    byId("status").textContent = "The question is empty: write its words, or reject the record.";
    return;
  }
  if (words !== question.question) changes.question = words;
  const mark = marker.place();
  if (mark && !(opened && opened.start === mark.start && opened.end === mark.end && opened.area.documentId === mark.area.documentId)) {
    changes.evidence = { document_id: mark.area.documentId, start: mark.start, end: mark.end, quote: mark.quote };
  }
  if (question.yes !== null && byId("yes").value !== String(question.yes)) changes.yes = byId("yes").value === "true";
  if (Object.keys(changes).length) judge("edit", changes);
  else if (problems.length) byId("status").textContent = "Mark the words that answer, or reject the record.";
  else judge("accept");
}

async function begin() {
  about = await json("v1/about");
  byId("token-form").hidden = true;
  byId("name-box").hidden = Boolean(about.name);
  byId("name").value = name();
  given.length = 0;
  show(await read(), "", false);
}

for (const action of actions) action.verdict = { a: "accept", n: "no answer" }[action.key];
byId("edit").addEventListener("submit", (event) => { event.preventDefault(); keep(); });
byId("cancel").addEventListener("click", cancel);
byId("words").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    keep();
  }
});
byId("name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const before = name();
  localStorage.setItem(NAME, byId("name").value.trim());
  ask(async () => {
    try {
      const reply = await read();
      given.length = 0;
      byId("name-box").open = false;
      show(reply, reply.name ? `You review as ${reply.name}.` : "You review without a name.");
    } catch (error) {
      localStorage.setItem(NAME, before);
      throw error;
    }
  });
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value.trim());
  fail("");
  begin().catch((error) => fail(error.message));
});
byId("keys").checked = localStorage.getItem(KEYS) !== "off";
byId("keys").addEventListener("change", () => localStorage.setItem(KEYS, byId("keys").checked ? "on" : "off"));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
  if (event.key === "Escape" && editing) return cancel();
  if (!byId("keys").checked || event.target.closest("textarea, select, input:not([type=checkbox])")) return;
  if (editing && event.key === "Enter" && !event.target.closest("a, button")) {
    event.preventDefault();
    return keep();
  }
  const action = actions.find((candidate) => candidate.key === event.key.toLowerCase());
  if (!action || !possible(action)) return;
  event.preventDefault();
  action.run();
});
begin().catch((error) => fail(error.message));
