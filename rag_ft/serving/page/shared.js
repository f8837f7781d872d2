// What the pages share: calls of the server, and text with marks.
// Text from a document or the model goes only into text nodes.

export const byId = (id) => document.getElementById(id);

export function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

export function fail(message) {
  byId("failure").textContent = message;
  byId("failure").hidden = !message;
  if (message) byId("failure").scrollIntoView({ block: "nearest" });
}

export async function call(path, options = {}) {
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
    } catch { /* not our JSON: show the status */ }
    throw Object.assign(new Error(message), { status: response.status });
  }
  return response;
}

export const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

export const json = async (path, options) => (await call(path, options)).json();

// Offsets count Unicode code points; JavaScript's strings count UTF-16 units.
export function units(text, points) {
  let at = 0;
  for (let left = points; left > 0 && at < text.length; left--) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

// The text with marks: spans are {start, end, tag, className} in code points; later spans lie inside earlier ones.
export function marked(text, spans) {
  const fragment = document.createDocumentFragment();
  const marks = spans.map((span) => ({ ...span, start: units(text, span.start), end: units(text, span.end) }));
  const cuts = [...new Set([0, text.length, ...marks.flatMap((mark) => [mark.start, mark.end])])].sort((a, b) => a - b);
  for (let i = 0; i + 1 < cuts.length; i++) {
    const piece = text.slice(cuts[i], cuts[i + 1]);
    let node = document.createTextNode(piece);
    for (const mark of [...marks].reverse()) {
      if (mark.start <= cuts[i] && cuts[i + 1] <= mark.end && mark.start < mark.end) {
        const element = make(mark.tag, undefined, mark.className);
        element.append(node);
        node = element;
      }
    }
    fragment.append(node);
  }
  return fragment;
}

export const points = (text, units) => [...text.slice(0, units)].length;
