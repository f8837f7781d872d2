// Words of a text are marked by selecting them, or with buttons that move the start and the end by a word.
// Offsets outside of this file count Unicode code points; JavaScript's strings count UTF-16 units.

import { make, marked, points, units } from "./shared.js";

const WORD = /[\p{L}\p{M}\p{N}]+(?:[-'’.,][\p{L}\p{M}\p{N}]+)*|[^\s\p{L}\p{M}\p{N}]/gu;
const SETTLED_MS = 700; // after a selection has not changed for so long, it is the mark

// `areas`: elements that show a text, as {element, text, start}, where start is the text's offset in its document.
// `changed` is called after each change of the mark, and `selected` when words are selected while nothing is marked.
export function wordMarker({ changed, selected = () => {} }) {
  let areas = [];
  let area = null;
  let words = [];
  let first = 0;
  let last = 0;
  let settled = 0;
  let begun = false; // whether words are marked and drawn

  // The mark, with offsets in the document; null: nothing is marked.
  function place() {
    if (!area || !words.length) return null;
    const [start, end] = [words[first].index, words[last].index + words[last][0].length];
    return {
      area, quote: area.text.slice(start, end),
      start: area.start + points(area.text, start), end: area.start + points(area.text, end),
    };
  }

  function draw() {
    clearTimeout(settled);
    const mark = place();
    for (const { element, text, start } of areas) {
      const here = mark && mark.area.element === element;
      element.replaceChildren(marked(text, here ? [{ start: mark.start - start, end: mark.end - start, tag: "mark" }] : []));
    }
    changed(mark);
    if (!mark) return;
    const [box, marker] = [area.element.getBoundingClientRect(), area.element.querySelector("mark").getBoundingClientRect()];
    if (marker.top < box.top || marker.bottom > box.bottom) area.element.scrollTop += marker.top - box.top - 40;
  }

  function look(where) {
    area = where;
    begun = where !== null;
    words = where ? [...where.text.matchAll(WORD)] : [];
  }

  // Mark the words between two offsets of an area's document; its first word where there are none.
  function open(where, start, end) {
    look(where);
    const [from, to] = [units(where.text, start - where.start), units(where.text, end - where.start)];
    const within = (word) => word.index >= from && word.index < to;
    first = Math.max(0, words.findIndex(within));
    last = Math.max(first, words.findLastIndex(within));
    draw();
  }

  const buttons = [
    ["Start one word earlier", "◀ start", () => { first = Math.max(0, first - 1); }],
    ["Start one word later", "start ▶", () => { first = Math.min(words.length - 1, first + 1); last = Math.max(first, last); }],
    ["End one word earlier", "◀ end", () => { last = Math.max(0, last - 1); first = Math.min(first, last); }],
    ["End one word later", "end ▶", () => { last = Math.min(words.length - 1, last + 1); }],
  ].map(([name, label, step]) => {
    const button = make("button", label, "choice");
    button.type = "button";
    button.setAttribute("aria-label", name);
    button.addEventListener("click", () => { if (words.length) { step(); draw(); } });
    return button;
  });

  function onSelection() {
    if (!areas.some(({ element }) => element.isConnected)) return document.removeEventListener("selectionchange", onSelection);
    const selection = document.getSelection();
    if (!selection.rangeCount || selection.isCollapsed) return;
    const where = areas.find(({ element }) => element.contains(selection.anchorNode) && element.contains(selection.focusNode));
    if (!where) return;
    const range = selection.getRangeAt(0);
    const before = document.createRange();
    before.selectNodeContents(where.element);
    before.setEnd(range.startContainer, range.startOffset);
    const start = before.toString().length;
    const end = start + range.toString().length;
    const all = [...where.text.matchAll(WORD)];
    const touched = all.flatMap((word, i) => (word.index < end && word.index + word[0].length > start ? [i] : []));
    if (!touched.length) return;
    [area, words, first, last] = [where, all, touched[0], touched.at(-1)];
    changed(place());
    clearTimeout(settled);
    settled = setTimeout(() => {
      if (!begun) selected();
      begun = true;
      draw();
    }, SETTLED_MS);
  }

  return {
    buttons, place, open,
    // Show a text for marking in each of these elements; nothing is marked yet.
    begin(where) {
      clearTimeout(settled);
      areas = where;
      look(null);
      document.addEventListener("selectionchange", onSelection);
    },
    end() {
      clearTimeout(settled);
      areas = [];
      look(null);
      document.removeEventListener("selectionchange", onSelection);
    },
  };
}
