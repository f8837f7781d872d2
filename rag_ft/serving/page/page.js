// Asks the server and shows its replies. Text from a document or the model goes only into text nodes.

import { feedbackOn } from "./feedback.js";
import { byId, call, counted, fail, json, make, marked } from "./shared.js";

const history = [];
let conversation = []; // questions of the present subject, oldest first: what the next one follows up
let about = null;
let documents = [];
let documentsShown = 0;
const PAGE = 50;
const TURNS = 20; // earlier questions sent with a follow-up; the server searches the last few of them
const SHEETS = 2; // pages shown of a quote that goes over more
const PAGE_WIDTH = 1400; // of a page's image, in pixels
const AROUND = 4000; // characters of a document shown on either side of a quote

function spansOf(citation, offset, length) {
  const within = (value) => Math.min(Math.max(value - offset, 0), length);
  const spans = [{ start: within(citation.start), end: within(citation.end), tag: "span", className: "quote" }];
  if (citation.answer_start !== null) {
    spans.push({ start: within(citation.answer_start), end: within(citation.answer_end), tag: "mark" });
  }
  return spans;
}

const percent = (value) => `${Math.round(value * 100)}%`;
const placeOf = (span) => {
  if (span.location) return `, ${span.location}`;
  if (span.page) return `, page ${span.page}`;
  return span.line ? `, line ${span.line}` : "";
};
const sourceOf = (span) => `${span.title || span.document_id}${placeOf(span)}`;
const pathOf = (documentId) => documentId.split("/").map(encodeURIComponent).join("/");

function showDocumentButton(label, documentId, citation) {
  const button = make("button", label, "plain");
  button.type = "button";
  button.addEventListener("click", () => openDocument(documentId, citation).catch((error) => fail(error.message)));
  return button;
}

// Open a tab at once, in the click, or the browser blocks it as a pop-up; its address comes later.
async function openInTab(link, fragment = "") {
  const tab = window.open("about:blank", "_blank");
  try {
    const { path } = await json(link);
    tab.opener = null;
    tab.location.replace(path + fragment);
  } catch (error) {
    tab?.close();
    fail(error.message);
  }
}

const originalOf = (documentId) => documents.find((entry) => entry.id === documentId)?.original;

// Links from a quote to its source: the web page, and the original file where the server keeps it.
function sourceLinks(citation) {
  const links = [];
  if (/^https?:/i.test(citation.link || "")) {
    const link = make("a", "open the web page");
    link.href = citation.link;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    links.push(" · ", link);
  }
  if (originalOf(citation.document_id)) {
    const button = make("button", "open the original", "plain");
    button.type = "button";
    const fragment = citation.page ? `#page=${citation.page}` : "";
    button.addEventListener("click", () => openInTab(`v1/links/${pathOf(citation.document_id)}`, fragment));
    links.push(" · ", button);
  }
  return links;
}

// The pages that a quote stands on as images, with the quote boxed; none where the server keeps no original.
function sheetsOf(citation) {
  if (originalOf(citation.document_id) !== "pages") return [];
  return citation.page_sizes.slice(0, SHEETS).map((size) => sheetOf(citation, size));
}

function sheetOf(citation, size) {
  const sheet = make("div", undefined, "sheet");
  const frame = make("div", undefined, "frame");
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", `Page ${size.page} of ${citation.title || citation.document_id}`);
  const paper = make("div", undefined, "paper");
  paper.style.aspectRatio = `${size.width} / ${size.height}`;
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Image of page ${size.page}, with the quote boxed`);
  paper.append(canvas);
  for (const [boxes, className] of [[citation.boxes, "box"], [citation.answer_boxes, "box answer-box"]]) {
    for (const box of boxes.filter((box) => box.page === size.page)) {
      const over = make("div", undefined, className);
      over.style.left = `${(box.x0 / size.width) * 100}%`;
      over.style.top = `${(box.y0 / size.height) * 100}%`;
      over.style.width = `${((box.x1 - box.x0) / size.width) * 100}%`;
      over.style.height = `${((box.y1 - box.y0) / size.height) * 100}%`;
      paper.append(over);
    }
  }
  frame.append(paper);
  const whole = make("button", "show the whole page", "plain");
  whole.type = "button";
  whole.addEventListener("click", () => {
    const open = frame.classList.toggle("whole");
    whole.textContent = open ? "show only the quote" : "show the whole page";
    if (!open) toQuote(frame);
  });
  const bar = make("div", `Page ${size.page} · `, "quiet");
  bar.append(whole);
  sheet.append(bar, frame);
  const link = `v1/pages/${pathOf(citation.document_id)}?page=${size.page}&width=${PAGE_WIDTH}`;
  drawPage(canvas, link).catch((error) => {
    sheet.replaceChildren(make("p", `The page is not shown: ${error.message}`, "quiet"));
  });
  return sheet;
}

async function drawPage(canvas, link) {
  const image = await createImageBitmap(await (await call(link)).blob());
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").drawImage(image, 0, 0);
  image.close();
}

// Scroll a frame to the answer, or to the beginning of the quote.
function toQuote(frame) {
  const box = frame.querySelector(".answer-box") || frame.querySelector(".box");
  if (!box) return;
  frame.scrollTop = box.offsetTop - frame.clientHeight / 2;
  const right = box.offsetLeft + box.offsetWidth;
  frame.scrollLeft = right <= frame.clientWidth ? 0 : Math.min(box.offsetLeft - 16, right - frame.clientWidth + 16);
}

function showAnswer(answer, focus) {
  const abstained = answer.answer === null;
  const unsure = answer.declined;
  // What is shown with its quotes: the answer, or the nearest that was not sure enough.
  const shown = unsure ?? answer;
  byId("answer-title").textContent = answer.question;
  const text = byId("answer-text");
  text.textContent = shown.answer === null
    ? answer.complete ? "The documents do not answer this." : "The answer could not be completed."
    : { true: "Yes: ", false: "No: " }[shown.yes] ?? "";
  if (shown.answer !== null) text.append(shown.answer);
  text.classList.toggle("none", abstained);
  text.classList.toggle("part", shown.kind === "part");
  const facts = byId("answer-facts");
  facts.replaceChildren();
  if (unsure) {
    facts.append(make("span", `not sure enough to answer: ${percent(unsure.confidence)} likely to be right`, "bad"));
  } else if (abstained) {
    facts.append(make("span", `no answer · confidence ${percent(answer.confidence)}`));
  } else {
    facts.append(make("span", `confidence ${percent(answer.confidence)}`));
    const supported = answer.citations.length > 0 && answer.citations.every((citation) => citation.verdict === "supported");
    facts.append(make("span", supported ? "supported by the quote" : "not supported by the cited passage", supported ? "good" : "bad"));
  }
  facts.append(make("span", `${(answer.usage.retrieve_seconds + answer.usage.read_seconds).toFixed(1)} s`));
  if (answer.history.length) {
    const left = answer.history_left_out ? ` (${counted(answer.history_left_out, "earlier question")} not searched)` : "";
    facts.append(make("span", `searched with: ${answer.history.join(" / ")}${left}`, "searched"));
  }
  for (const sentence of answer.incomplete ?? []) facts.append(make("span", `Incomplete: ${sentence}`, "bad"));
  if (abstained && !unsure) facts.append(make("span", "Tick “Always answer” to see the best quote, right or wrong.", "hint"));
  const quotes = byId("quotes");
  quotes.replaceChildren();
  const citedIds = new Set();
  for (const citation of shown.citations) {
    const cited = answer.passages.find((retrieved) => retrieved.passage.id === citation.passage_id);
    // A list may go on after its passage: then the quote has all of it.
    const holds = cited && citation.end <= cited.passage.start + [...cited.passage.text].length;
    const passage = holds ? cited.passage : { text: citation.quote, start: citation.start };
    citedIds.add(citation.passage_id);
    const figure = make("figure");
    const quote = make("blockquote");
    quote.append(marked(passage.text, spansOf(citation, passage.start, [...passage.text].length)));
    const caption = make("figcaption", `${sourceOf(citation)} · `);
    caption.append(showDocumentButton("show in the document", citation.document_id, citation));
    caption.append(...sourceLinks(citation));
    figure.append(quote, caption, ...sheetsOf(citation));
    quotes.append(figure);
  }
  const others = answer.passages.filter((retrieved) => !citedIds.has(retrieved.passage.id));
  const details = byId("others");
  details.hidden = others.length === 0;
  details.open = abstained && !unsure;
  details.querySelector("summary").textContent =
    `${counted(others.length, shown.answer === null ? "passage" : "other passage")} read`;
  const list = details.querySelector("ol");
  list.replaceChildren();
  for (const retrieved of others) {
    const item = make("li");
    item.append(make("div", retrieved.passage.text));
    const facts = make("div", `${sourceOf(retrieved.passage)} · score ${retrieved.score.toFixed(3)}${retrieved.read ? "" : " · not read: it did not fit"} · `, "quiet");
    const whole = { start: retrieved.passage.start, end: retrieved.passage.end, answer_start: null };
    facts.append(showDocumentButton("show in the document", retrieved.passage.document_id, whole));
    item.append(facts);
    list.append(item);
  }
  const feedback = byId("feedback");
  feedback.replaceChildren(...(about.feedback && answer.complete ? feedbackOn(answer, sourceOf) : []));
  feedback.hidden = feedback.childElementCount === 0;
  byId("answer").hidden = false;
  quotes.querySelectorAll(".frame").forEach(toQuote); // only now they have a size
  if (focus) byId("answer").focus({ preventScroll: false });
}

// The next question follows up the conversation; none begins another subject.
function setConversation(questions) {
  conversation = questions;
  const going = questions.length > 0;
  byId("subject").hidden = !going;
  byId("subject-text").textContent = going ? `Follows up: ${questions.at(-1)}` : "";
  byId("question-label").textContent = going ? "Follow-up question" : "Question";
  byId("question").placeholder = going ? "Ask on, or choose “New subject”" : "Ask a full question";
}

function showHistory() {
  byId("no-history").hidden = history.length > 0;
  byId("history").replaceChildren(
    ...history.map((answer) => {
      const item = make("li");
      const button = make("button", answer.question, "plain");
      button.type = "button";
      button.addEventListener("click", () => showAnswer(answer, true));
      item.append(button, make("small", answer.answer === null ? "no answer" : percent(answer.confidence)));
      return item;
    }),
  );
}

async function openDocument(documentId, citation) {
  const start = Math.max(0, citation.start - AROUND);
  const shown = await json(`v1/documents/${pathOf(documentId)}?start=${start}&end=${citation.end + AROUND}`);
  byId("document-title").textContent = shown.title || shown.id;
  const part = shown.length > [...shown.text].length ? ` · characters ${start} to ${start + [...shown.text].length} of ${shown.length}` : "";
  byId("document-source").textContent = `${shown.id}${part}`;
  const text = byId("document-text");
  text.replaceChildren(marked(shown.text, spansOf(citation, shown.start, [...shown.text].length)));
  byId("document").showModal();
  const target = text.querySelector("mark") || text.querySelector(".quote");
  if (target) target.scrollIntoView({ block: "center" });
  else text.scrollTop = 0;
}

// Events of a text/event-stream as {event, data}.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      const lines = buffer.slice(0, end).split("\n");
      buffer = buffer.slice(end + 2);
      const field = (name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).replace(/^ /, "")).join("\n");
      if (lines.some((line) => line.startsWith("data:"))) yield { event: field("event"), data: field("data") };
    }
  }
}

async function ask(event) {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (!question || byId("send").disabled) return; // Enter again, while a question is being answered
  fail("");
  byId("send").disabled = true;
  byId("status").textContent = "Looking for passages …";
  try {
    const body = { question, k: Number(byId("k").value) || about.k, adapter: byId("adapter").value, stream: true };
    if (byId("always").checked) body.threshold = 0;
    if (conversation.length) body.history = conversation.slice(-TURNS);
    const response = await call("v1/ask", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    let answer = null;
    for await (const { event: name, data } of events(response)) {
      if (name === "passages") {
        byId("status").textContent = `Reading ${counted(JSON.parse(data).length, "passage")} …`;
      } else if (name === "error") {
        throw new Error(JSON.parse(data).error.message);
      } else if (name === "answer") {
        answer = JSON.parse(data);
      }
    }
    if (answer === null) throw new Error("The connection closed before the answer came.");
    byId("status").textContent = "";
    showAnswer(answer, true);
    history.unshift(answer);
    showHistory();
    setConversation([...conversation, question]);
  } catch (error) {
    byId("status").textContent = "";
    fail(error.message);
  } finally {
    byId("send").disabled = false;
  }
}

function showDocuments() {
  const query = byId("filter").value.trim().toLowerCase();
  const matching = documents.filter((entry) => `${entry.id} ${entry.title}`.toLowerCase().includes(query));
  byId("documents").replaceChildren(
    ...matching.slice(0, documentsShown).map((entry) => {
      const item = make("li");
      item.append(showDocumentButton(entry.title || entry.id, entry.id, { start: 0, end: 0, answer_start: null }));
      if (entry.uploaded && about.changes) {
        const button = make("button", "Delete", "remove");
        button.type = "button";
        button.setAttribute("aria-label", `Delete ${entry.title || entry.id}`);
        button.addEventListener("click", () => removeDocument(entry).catch((error) => fail(error.message)));
        item.append(button);
      } else {
        item.append(make("small", counted(entry.passages, "passage")));
      }
      return item;
    }),
  );
  byId("more").hidden = matching.length <= documentsShown;
}

async function loadDocuments() {
  const all = [];
  for (;;) {
    const reply = await json(`v1/documents?offset=${all.length}&limit=1000`);
    all.push(...reply.documents);
    if (all.length >= reply.total || reply.documents.length === 0) break;
  }
  documents = all.sort((a, b) => Number(b.uploaded) - Number(a.uploaded));
  documentsShown = PAGE;
  showDocuments();
}

async function removeDocument(entry) {
  if (!confirm(`Delete ${entry.title || entry.id} from the index?`)) return;
  const reply = await json(`v1/documents/${pathOf(entry.id)}`, { method: "DELETE" });
  await start();
  byId("upload-status").textContent = reply.trained_adapters.length
    ? `Deleted. These adapters were trained on it and may still recite it: ${reply.trained_adapters.join(", ")}.`
    : "Deleted.";
}

async function upload(event) {
  event.preventDefault();
  const file = byId("file").files[0];
  if (!file) return;
  fail("");
  const status = byId("upload-status");
  if (file.size > about.max_upload_bytes) {
    status.textContent = `The file is larger than ${(about.max_upload_bytes / 1e6).toFixed(0)} MB.`;
    return;
  }
  const body = new FormData();
  body.append("file", file);
  status.textContent = `Reading and indexing ${file.name} …`;
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const reply = await json("v1/documents", { method: "POST", body });
    await start();
    status.textContent = `${reply.title}: ${counted(reply.passages, "passage")}. You can ask about it now.`;
    byId("file").value = "";
  } catch (error) {
    status.textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

async function start() {
  const first = about === null;
  about = await json("v1/about");
  if (first) byId("k").value = about.k;
  byId("token-form").hidden = true;
  byId("about").textContent = `${counted(about.documents, "document")}, ${counted(about.passages, "passage")} · ${about.model} on ${about.device}`;
  byId("report").hidden = !about.report;
  byId("review").hidden = !about.review;
  byId("upload").hidden = !about.changes;
  byId("k").max = about.max_k;
  byId("question").maxLength = about.max_question_chars;
  const adapter = byId("adapter");
  const before = adapter.value || about.adapter;
  adapter.replaceChildren(
    ...about.adapters.map((name) => {
      const option = make("option", name === "none" ? "none (untuned)" : name);
      option.value = name;
      option.selected = name === before;
      return option;
    }),
  );
  await loadDocuments();
}

byId("ask").addEventListener("submit", ask);
byId("question").addEventListener("keydown", (event) => {
  // Enter also ends the composition of a Japanese, Chinese or Korean word.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("ask").requestSubmit();
  }
});
byId("upload").addEventListener("submit", upload);
byId("filter").addEventListener("input", () => { documentsShown = PAGE; showDocuments(); });
byId("more").addEventListener("click", () => { documentsShown += PAGE; showDocuments(); });
byId("document-close").addEventListener("click", () => byId("document").close());
byId("new-subject").addEventListener("click", () => {
  setConversation([]);
  byId("question").value = "";
  byId("question").focus();
});
byId("report").addEventListener("click", () => openInTab("v1/report"));
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value.trim());
  history.length = 0; // another token may not see what the previous one was answered
  showHistory();
  setConversation([]);
  byId("answer").hidden = true;
  fail("");
  start().catch((error) => fail(error.message));
});
start().catch((error) => fail(error.message));
