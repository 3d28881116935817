"use strict";

// What all parts of the page share: how values are written, and elements made. Text from the server
// only ever becomes text nodes.

const by = (id) => document.getElementById(id);
const none = "–";
const time = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const count = (value) => value == null ? none : String(Math.round(value * 10) / 10);
const money = (value) => value == null ? none : value >= 1 ? value.toFixed(2) : value.toFixed(4);

function duration(ms) {
  if (ms == null) return none;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120e3) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 7200e3) return `${Math.round(ms / 60e3)} min`;
  return ms < 48 * 3600e3 ? `${Math.round(ms / 3600e3)} h` : `${Math.round(ms / 86400e3)} d`;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text != null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Only what differs is written, so that a screen reader's place and a selection stay.
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// One row for each item, kept by its key: a focused button stays where it is.
function showRows(body, items, keyOf, make, fill, empty) {
  const old = new Map(Array.from(body.rows, (row) => [row.dataset.key, row]));
  const rows = items.map((item) => {
    const key = keyOf(item);
    const row = old.get(key) || make(item);
    row.dataset.key = key;
    fill(row, item);
    return row;
  });
  if (!rows.length) {
    const row = element("tr");
    row.append(element("td", empty, { class: "none", colspan: "12" }));
    rows.push(row);
  }
  const same = rows.length === body.rows.length && rows.every((row, at) => row === body.rows[at]);
  if (!same) body.replaceChildren(...rows);
}

const cells = (count, head) => () => {
  const row = element("tr");
  for (let at = 0; at < count; at++) {
    row.append(at === 0 && head ? element("th", "", { scope: "row" }) : element("td"));
  }
  return row;
};

const fillCells = (row, texts) => texts.forEach((text, at) => text == null || setText(row.cells[at], text));
