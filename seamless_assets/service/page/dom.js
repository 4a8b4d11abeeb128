// Small helpers: elements from text alone, so that nothing that is told can become markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, { text, kind, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function table(names, rows, empty) {
  if (!rows.length) return make("p", { text: empty, kind: "quiet" });
  const head = make("tr", {}, ...names.map((name) => make("th", { text: name })));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell) =>
    cell instanceof Node ? make("td", {}, cell) : make("td", { text: String(cell) }))));
  // A table that is wider than a phone moves by itself, and not the page with it.
  return make("div", { kind: "wide" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

export const chip = (word) => make("span", { text: word, kind: `chip ${/^\w+$/.test(word) ? word : ""}` });
export const code = (text) => make("code", { text });
export const when = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");

export function age(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  for (const [size, name] of units) if (Math.abs(seconds) >= size) return `${Math.floor(seconds / size)} ${name}`;
  return `${Math.round(seconds)} s`;
}

export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.kind = problem.error;
  }
}

export async function ask(path, query = {}) {
  const told = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const answer = await fetch(`../v1/${path}?${new URLSearchParams(told)}`);
  const body = await answer.json();
  if (!answer.ok) throw new Refused(body);
  return body;
}
