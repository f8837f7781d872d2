// What a reader says of an answer: right, wrong, no answer, or better words marked in a passage.

import { wordMarker } from "./marking.js";
import { json, make } from "./shared.js";

// Where the answer stands; of a declined question, the passage that came first. null: nowhere.
function evidenceOf(answer) {
  const citation = answer.citations[0];
  if (citation && citation.answer_start !== null) {
    const quote = [...citation.quote].slice(citation.answer_start - citation.start, citation.answer_end - citation.start);
    return { document_id: citation.document_id, start: citation.answer_start, end: citation.answer_end, quote: quote.join("") };
  }
  if (citation) return { document_id: citation.document_id, start: citation.start, end: citation.end, quote: citation.quote };
  const passage = answer.passages[0]?.passage;
  return passage ? { document_id: passage.document_id, start: passage.start, end: passage.end, quote: passage.text } : null;
}

// The buttons below an answer. What was chosen stays with the answer for as long as the tab has it.
export function feedbackOn(answer, sourceOf) {
  const unsure = answer.declined?.citations[0] ? answer.declined : null;
  const shown = unsure ?? answer;
  const evidence = evidenceOf(shown);
  if (!evidence) return [];
  const answered = answer.answer !== null;
  const found = shown.answer !== null && shown.citations[0] && shown.citations[0].answer_start !== null;
  const verdicts = [
    ...(found || !answered ? [["right", unsure ? "There is no answer" : "Right"]] : []),
    ...(unsure ? [["unsure", "This is the answer"]] : []),
    ["wrong", unsure ? "The answer is another" : "Wrong"],
    ...(answered ? [["no_answer", "Should give no answer"]] : []),
    ["better", answered ? "Mark better words" : "Mark the answer"],
  ];
  const status = make("p", "", "quiet");
  status.setAttribute("role", "status");
  const marking = make("div", undefined, "marking");
  marking.hidden = true;
  let marker = null;
  const choices = make("div", undefined, "choices");
  choices.append(make("span", answered ? "Is this answer right?" : unsure ? "What is right?" : "Is it right to give no answer?", "quiet"));
  const buttons = verdicts.map(([verdict, label]) => {
    const button = make("button", label, "choice");
    button.type = "button";
    button.addEventListener("click", () => choose(verdict));
    choices.append(button);
    return [verdict, button];
  });

  function show() {
    for (const [verdict, button] of buttons) {
      button.setAttribute("aria-pressed", String(answer.opinion === verdict));
      if (verdict === "better") button.setAttribute("aria-expanded", String(!marking.hidden));
    }
  }

  function close() {
    marker?.end();
    marking.hidden = true;
    marking.replaceChildren();
    show();
  }

  function choose(verdict) {
    if (verdict === answer.opinion) return send("withdraw");
    if (verdict === "better") return marking.hidden ? mark() : close();
    if (verdict === "unsure") return send(verdict, evidence);
    return send(verdict);
  }

  async function send(verdict, better) {
    const body = { question: answer.question, history: answer.history, verdict, evidence, answered, kind: shown.kind, yes: shown.yes };
    if (better) Object.assign(body, { verdict: "better", better });
    try {
      const reply = await json("v1/feedback", {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
      });
      answer.opinion = verdict === "withdraw" ? null : verdict;
      const said = {
        right: "Noted: right.", wrong: "Noted: wrong.", no_answer: "Noted: there should be no answer.",
        better: `Noted as the better answer: “${reply.answer}”`, unsure: `Noted as the answer: “${reply.answer}”`, withdraw: "Taken back.",
      };
      status.textContent = answer.opinion ? `${said[verdict]} Press the button again to take it back.` : said[verdict];
      close();
    } catch (error) {
      status.textContent = error.message;
    }
  }

  // Words are marked by selecting them, or with buttons that move the start and the end by a word.
  function mark() {
    const passages = answer.passages.map((retrieved) => retrieved.passage);
    let at = Math.max(0, passages.findIndex((passage) => passage.document_id === evidence.document_id
      && passage.start <= evidence.start && evidence.start < passage.start + [...passage.text].length));
    const select = make("select");
    select.setAttribute("aria-label", "Passage that has the better words");
    passages.forEach((passage, i) => {
      const option = make("option", `${i + 1}: ${sourceOf(passage)}`);
      option.value = String(i);
      option.selected = i === at;
      select.append(option);
    });
    const text = make("blockquote");
    text.tabIndex = 0;
    text.setAttribute("aria-label", "Passage: select the better words");
    const chosen = make("p", "", "quiet");
    chosen.setAttribute("aria-live", "polite");
    const bar = make("div", undefined, "choices");

    marker = wordMarker({ changed: (mark) => { chosen.textContent = mark ? `Marked: “${mark.quote}”` : ""; } });
    const open = () => {
      const passage = passages[at];
      const area = { element: text, text: passage.text, start: passage.start };
      const known = found && passage.document_id === evidence.document_id && evidence.start >= passage.start;
      marker.begin([area]);
      marker.open(area, known ? evidence.start : passage.start, known ? evidence.end : passage.start);
    };
    bar.append(...marker.buttons);
    const use = make("button", "Send these words");
    use.type = "button";
    use.addEventListener("click", () => {
      const { start, end, quote } = marker.place();
      send("better", { document_id: passages[at].document_id, start, end, quote });
    });
    const cancel = make("button", "Cancel", "plain");
    cancel.type = "button";
    cancel.addEventListener("click", () => { close(); buttons.at(-1)[1].focus(); });
    bar.append(use, cancel);
    select.addEventListener("change", () => { at = Number(select.value); open(); });

    marking.replaceChildren(...(passages.length > 1 ? [select] : []), text, chosen, bar);
    marking.hidden = false;
    status.textContent = "Select the better words, or move the start and the end with the buttons.";
    open();
    show();
    text.focus({ preventScroll: true });
  }

  show();
  return [choices, marking, status];
}
