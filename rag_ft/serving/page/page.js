// Asks the server and shows what it says. Whatever comes from a document or the model goes into text nodes only.

const byId = (id) => document.getElementById(id);
const history = [];
let about = null;
let documents = [];
let shown = 0;
const PAGE = 50;
const AROUND = 4000; // characters of a document shown on either side of a quote

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function fail(message) {
  byId("failure").textContent = message;
  byId("failure").hidden = !message;
  if (message) byId("failure").scrollIntoView({ block: "nearest" });
}

async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...(options.headers || {}), ...(token ? { authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  if (response.status === 401) {
    byId("token-form").hidden = false;
    byId("token").focus();
  }
  if (!response.ok) {
    let message = `The server replied ${response.status}.`;
    try {
      message = (await response.json()).error.message;
    } catch { /* not ours: the status has to do */ }
    throw new Error(message);
  }
  return response;
}

const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

const json = async (path, options) => (await call(path, options)).json();

// Offsets count Unicode code points; JavaScript's strings count UTF-16 units.
function units(text, points) {
  let at = 0;
  for (let left = points; left > 0 && at < text.length; left--) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

// The text with marks: spans are {start, end, tag, className}, by code points, the later ones inside the earlier ones.
function marked(text, spans) {
  const fragment = document.createDocumentFragment();
  const places = spans.map((one) => ({ ...one, start: units(text, one.start), end: units(text, one.end) }));
  const cuts = [...new Set([0, text.length, ...places.flatMap((one) => [one.start, one.end])])].sort((a, b) => a - b);
  for (let i = 0; i + 1 < cuts.length; i++) {
    const piece = text.slice(cuts[i], cuts[i + 1]);
    let node = document.createTextNode(piece);
    for (const place of [...places].reverse()) {
      if (place.start <= cuts[i] && cuts[i + 1] <= place.end && place.start < place.end) {
        const element = make(place.tag, undefined, place.className);
        element.append(node);
        node = element;
      }
    }
    fragment.append(node);
  }
  return fragment;
}

function spansOf(citation, offset, length) {
  const within = (value) => Math.min(Math.max(value - offset, 0), length);
  const spans = [{ start: within(citation.start), end: within(citation.end), tag: "span", className: "quote" }];
  if (citation.answer_start !== null) {
    spans.push({ start: within(citation.answer_start), end: within(citation.answer_end), tag: "mark" });
  }
  return spans;
}

const percent = (value) => `${Math.round(value * 100)}%`;
const place = (one) => `${one.title || one.document_id}${one.page ? `, page ${one.page}` : ""}`;

function showDocumentButton(label, documentId, citation) {
  const button = make("button", label, "plain");
  button.type = "button";
  button.addEventListener("click", () => openDocument(documentId, citation).catch((error) => fail(error.message)));
  return button;
}

function showAnswer(answer, focus) {
  const none = answer.answer === null;
  byId("answer-title").textContent = answer.question;
  const text = byId("answer-text");
  text.textContent = none
    ? answer.complete ? "The documents do not answer this." : "The answer could not be completed."
    : answer.answer;
  text.classList.toggle("none", none);
  const facts = byId("answer-facts");
  facts.replaceChildren();
  if (none) {
    facts.append(make("span", `no answer: ${percent(answer.confidence)} sure`));
    facts.append(make("span", "“Always answer” shows the best quote, right or wrong"));
  } else {
    facts.append(make("span", `${percent(answer.confidence)} sure`));
    const supported = answer.citations.length > 0 && answer.citations.every((one) => one.verdict === "supported");
    facts.append(make("span", supported ? "the quote holds these words" : "the cited passage does not hold these words", supported ? "good" : "bad"));
  }
  facts.append(make("span", `${(answer.usage.retrieve_seconds + answer.usage.read_seconds).toFixed(1)} s`));
  const quotes = byId("quotes");
  quotes.replaceChildren();
  const cited = new Set();
  for (const citation of answer.citations) {
    const found = answer.passages.find((one) => one.passage.id === citation.passage_id);
    const passage = found ? found.passage : { text: citation.quote, start: citation.start };
    cited.add(citation.passage_id);
    const figure = make("figure");
    const quote = make("blockquote");
    quote.append(marked(passage.text, spansOf(citation, passage.start, [...passage.text].length)));
    const caption = make("figcaption", `${place(citation)} · `);
    caption.append(showDocumentButton("show in the document", citation.document_id, citation));
    figure.append(quote, caption);
    quotes.append(figure);
  }
  const others = answer.passages.filter((one) => !cited.has(one.passage.id));
  const details = byId("others");
  details.hidden = others.length === 0;
  details.open = none;
  details.querySelector("summary").textContent =
    `${counted(others.length, none ? "passage" : "other passage")} read`;
  const list = details.querySelector("ol");
  list.replaceChildren();
  for (const one of others) {
    const item = make("li");
    item.append(make("div", one.passage.text));
    const facts = make("div", `${place(one.passage)} · score ${one.score.toFixed(3)}${one.read ? "" : " · did not fit, not read"} · `, "quiet");
    const whole = { start: one.passage.start, end: one.passage.end, answer_start: null };
    facts.append(showDocumentButton("show in the document", one.passage.document_id, whole));
    item.append(facts);
    list.append(item);
  }
  byId("answer").hidden = false;
  if (focus) byId("answer").focus({ preventScroll: false });
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
  const path = documentId.split("/").map(encodeURIComponent).join("/");
  const found = await json(`v1/documents/${path}?start=${start}&end=${citation.end + AROUND}`);
  byId("document-title").textContent = found.title || found.id;
  const part = found.length > [...found.text].length ? ` · characters ${start} to ${start + [...found.text].length} of ${found.length}` : "";
  byId("document-source").textContent = `${found.id}${part}`;
  const text = byId("document-text");
  text.replaceChildren(marked(found.text, spansOf(citation, found.start, [...found.text].length)));
  byId("document").showModal();
  const target = text.querySelector("mark") || text.querySelector(".quote");
  if (target) target.scrollIntoView({ block: "center" });
  else text.scrollTop = 0;
}

// Events of a text/event-stream as {event, data}.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    let end;
    while ((end = held.indexOf("\n\n")) >= 0) {
      const lines = held.slice(0, end).split("\n");
      held = held.slice(end + 2);
      const field = (name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).replace(/^ /, "")).join("\n");
      if (lines.some((line) => line.startsWith("data:"))) yield { event: field("event"), data: field("data") };
    }
  }
}

async function ask(event) {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (!question || byId("send").disabled) return; // Enter again, while one is on its way
  fail("");
  byId("send").disabled = true;
  byId("status").textContent = "Looking for passages …";
  try {
    const body = { question, k: Number(byId("k").value) || about.k, adapter: byId("adapter").value, stream: true };
    if (byId("always").checked) body.threshold = 0;
    const response = await call("v1/ask", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    let answer = null;
    for await (const one of events(response)) {
      if (one.event === "passages") {
        byId("status").textContent = `Reading ${counted(JSON.parse(one.data).length, "passage")} …`;
      } else if (one.event === "error") {
        throw new Error(JSON.parse(one.data).error.message);
      } else if (one.event === "answer") {
        answer = JSON.parse(one.data);
      }
    }
    if (answer === null) throw new Error("The server ended before it had answered.");
    byId("status").textContent = "";
    showAnswer(answer, true);
    history.unshift(answer);
    showHistory();
  } catch (error) {
    byId("status").textContent = "";
    fail(error.message);
  } finally {
    byId("send").disabled = false;
  }
}

function showDocuments() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const found = documents.filter((one) => `${one.id} ${one.title}`.toLowerCase().includes(wanted));
  byId("documents").replaceChildren(
    ...found.slice(0, shown).map((one) => {
      const item = make("li");
      item.append(showDocumentButton(one.title || one.id, one.id, { start: 0, end: 0, answer_start: null }));
      if (one.uploaded && about.changes) {
        const button = make("button", "Delete", "remove");
        button.type = "button";
        button.setAttribute("aria-label", `Delete ${one.title || one.id}`);
        button.addEventListener("click", () => removeDocument(one).catch((error) => fail(error.message)));
        item.append(button);
      } else {
        item.append(make("small", counted(one.passages, "passage")));
      }
      return item;
    }),
  );
  byId("more").hidden = found.length <= shown;
}

async function loadDocuments() {
  const all = [];
  for (;;) {
    const reply = await json(`v1/documents?offset=${all.length}&limit=1000`);
    all.push(...reply.documents);
    if (all.length >= reply.total || reply.documents.length === 0) break;
  }
  documents = all.sort((a, b) => Number(b.uploaded) - Number(a.uploaded));
  shown = PAGE;
  showDocuments();
}

async function removeDocument(one) {
  if (!confirm(`Delete ${one.title || one.id} from the index?`)) return;
  const reply = await json(`v1/documents/${one.id.split("/").map(encodeURIComponent).join("/")}`, { method: "DELETE" });
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
    status.textContent = `${reply.title}: ${counted(reply.passages, "passage")}. Ask about it now.`;
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
byId("filter").addEventListener("input", () => { shown = PAGE; showDocuments(); });
byId("more").addEventListener("click", () => { shown += PAGE; showDocuments(); });
byId("document-close").addEventListener("click", () => byId("document").close());
byId("report").addEventListener("click", async () => {
  // Opened at once, in the click, or the browser takes it for a pop-up.
  const tab = window.open("about:blank", "_blank");
  try {
    const { path } = await json("v1/report");
    tab.opener = null;
    tab.location.replace(path);
  } catch (error) {
    tab?.close();
    fail(error.message);
  }
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value.trim());
  history.length = 0; // another token may not read what the one before was answered
  showHistory();
  byId("answer").hidden = true;
  fail("");
  start().catch((error) => fail(error.message));
});
start().catch((error) => fail(error.message));
