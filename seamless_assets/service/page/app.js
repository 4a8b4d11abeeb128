// The fleet: every node as a strip; what runs; and the way to one node's page.
import { $, age, ask, chip, make, table, when } from "./dom.js";
import { colour, drawStrip } from "./draw.js";
import { closeNode, openNode, redraw } from "./node.js";

const SPANS = { "1 day": 86400, "7 days": 7 * 86400, "30 days": 30 * 86400, "1 year": 365 * 86400, all: null };
const CELLS = 160, AT_ONCE = 4, MOST_USES = 50;
const state = { span: "7 days", nodes: [], now: 0, strips: new Map(), sessions: [] };

function trouble(error) {
  $("trouble").hidden = !error;
  if (error) $("trouble").textContent = error.message;
}

function windowOf(node) {
  const end = node.released_end ?? Math.floor(state.now);
  const span = SPANS[state.span];
  const start = span === null ? node.released_start ?? node.start : end - span;
  return { start: Math.floor(Math.max(start, Math.min(node.start, end - 1))), end: Math.floor(end) };
}

function worst(node) {
  const states = state.sessions.filter((one) => one.node_id === node.node_id).map((one) => one.state);
  return ["HOLD", "PARTIAL", "ACTIVE"].find((name) => states.includes(name));
}

function row(node) {
  const [, exchange, ...rest] = node.node_id.split(":");
  const frame = rest.pop(), verdict = worst(node);
  const strip = make("canvas", { kind: "strip", role: "img", "aria-label": `Coverage of ${node.node_id}` });
  const line = make("a", { kind: "node", href: `#${encodeURIComponent(node.node_id)}` },
    make("span", { kind: "name" }, make("b", { text: rest.join(":") }), make("span", { text: ` ${frame} · ${exchange}` })),
    strip,
    make("span", { kind: "right coverage", text: "…" }),
    make("span", { kind: "right", text: age(node.lag_seconds) }),
    verdict ? chip(verdict) : make("span", { kind: "quiet", text: "no session" }),
    make("span", { kind: "quiet release", text: node.as_of ? `#${node.seq} ${node.as_of.slice(0, 16).replace("T", " ")}` : "nothing released" }));
  line.dataset.node = node.node_id;
  return line;
}

function paint(node) {
  const strip = state.strips.get(node.node_id);
  const line = document.querySelector(`.node[data-node="${CSS.escape(node.node_id)}"]`);
  if (!strip || !line) return;
  drawStrip(line.querySelector("canvas"), strip, node.released_end);
  const possible = strip.absent.reduce((sum, share, at) => sum + 1 - share - strip.unproven[at], 0);
  const missing = strip.missing.reduce((sum, share) => sum + share, 0);
  const ratio = possible > 0 ? 1 - missing / possible : 1;
  line.querySelector(".coverage").textContent = `${(Math.floor(ratio * 10000) / 100).toFixed(2)} %`;
  line.querySelector("canvas").title = `${when(strip.start)} to ${when(strip.end)}`;
}

function shown() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  return state.nodes.filter((node) => words.every((word) => node.node_id.toLowerCase().includes(word)));
}

function list() {
  const head = make("div", { kind: "node head" }, ...["Node", state.span === "all" ? "Coverage, all" : `Coverage, ${state.span} to the last release`, "Present", "Lag", "Worlds", "Last release"]
    .map((text, at) => make("span", { text, kind: at === 2 || at === 3 ? "right" : "" })));
  $("nodes").replaceChildren(head, ...shown().map(row));
  shown().forEach(paint);
}

async function fillStrips() {
  const waiting = shown().slice(), span = state.span;
  const work = async () => {
    for (let node = waiting.shift(); node && span === state.span; node = waiting.shift()) {
      const strip = await ask("strip", { node: node.node_id, cells: CELLS, ...windowOf(node) });
      if (span !== state.span) return;
      state.strips.set(node.node_id, strip);
      paint(node);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

async function loadFleet() {
  const [fleet, sessions] = await Promise.all([ask("nodes"), ask("worlds")]);
  Object.assign(state, { nodes: fleet.nodes, now: fleet.now, sessions });
  $("clock").textContent = `${when(fleet.now)} UTC, ${fleet.nodes.length} nodes`;
  list();
  await fillStrips();
}

async function loadOperations() {
  const told = await ask("operations");
  $("fills").replaceChildren(table(["Node", "From", "To", "Held by", "Lease ends in"],
    told.fills.map((one) => [one.node_id, when(one.start), when(one.end), one.holder, age(one.seconds_left)]),
    "Nothing is being filled."));
  $("leases").replaceChildren(table(["Key"], told.leases.map((key) => [key]), "None."));
  $("budgets").replaceChildren(table(["Exchange", "Free", "Refill"], (told.budgets ?? []).map(budget), "None is told."));
}

async function loadBots() {
  const told = await ask("dialects");
  $("bots").hidden = !told.uses.length;
  $("costs").replaceChildren(table(["Exchange", "Requests answered", "Asked of the exchange", "Saved"],
    told.costs.map((one) => [one.exchange, one.answered, one.upstream, Math.max(0, one.answered - one.upstream)]), "Nobody asked about now."));
  $("uses").replaceChildren(table(["Who", "Exchange", "World", "Asks for", "Requests", "Refused", "Last"],
    told.uses.slice(0, MOST_USES).map((one) => [one.caller, one.exchange, one.world || "live", one.asked, one.requests,
      one.refused, `${age(told.now - one.last_at)} ago`]), "Nobody."));
}

function budget(one) {
  const level = make("i");
  level.style.width = `${Math.max(0, Math.min(100, (100 * (one.tokens ?? one.capacity)) / one.capacity))}%`;
  const text = one.tokens === null ? `${one.capacity}, never asked for` : `${Math.floor(one.tokens)} of ${one.capacity}`;
  return [one.exchange, make("span", {}, make("span", { kind: "meter" }, level), text), `${one.per_second.toFixed(1)} a second`];
}

async function guarded(work) {
  try {
    await work();
    trouble(null);
  } catch (error) {
    trouble(error);
  }
}

function route() {
  const node = decodeURIComponent(location.hash.slice(1));
  $("fleet").hidden = $("operations").hidden = Boolean(node);
  if (node) guarded(() => openNode(node));
  else closeNode();
}

function begin() {
  for (const name of Object.keys(SPANS)) {
    const button = make("button", { text: name, "aria-pressed": name === state.span });
    button.addEventListener("click", () => {
      state.span = name;
      state.strips.clear();
      for (const other of $("spans").children) other.setAttribute("aria-pressed", other === button);
      guarded(async () => { list(); await fillStrips(); });
    });
    $("spans").append(button);
  }
  for (const [name, text] of [["--present", "present"], ["--absent", "proven absent"],
    ["--unproven", "out of retention or declared"], ["--missing", "missing"]]) {
    const mark = make("i");
    mark.style.background = colour(name);
    $("legend").append(make("span", {}, mark, text));
  }
  $("filter").addEventListener("input", () => guarded(async () => { list(); await fillStrips(); }));
  window.addEventListener("hashchange", route);
  window.addEventListener("resize", () => { shown().forEach(paint); redraw(); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { shown().forEach(paint); redraw(); });
  const every = (seconds, work) => setInterval(() => { if (!document.hidden && !location.hash.slice(1)) guarded(work); }, seconds * 1000);
  every(30, loadFleet);
  every(5, loadOperations);
  every(5, loadBots);
  guarded(async () => { await Promise.all([loadFleet(), loadOperations(), loadBots()]); });
  route();
}

begin();
