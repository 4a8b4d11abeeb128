// One node: its candles at an as_of, gaps by reason, what was revised since another as_of, its release log.
import { $, ask, chip, code, make, Refused, table, when } from "./dom.js";
import { colour, drawCandles } from "./draw.js";

const BARS = 240, MOST_REVISED = 50;
const VALUES = ["open", "high", "low", "close", "volume"];
const view = { node: null, end: null, chart: null, releases: [], interval: 60, asked: 0 };

export function closeNode() {
  view.node = null;
  $("detail").hidden = true;
}

export function redraw() {
  if (view.node && view.chart) drawCandles($("chart"), view.chart);
}

export async function openNode(node) {
  Object.assign(view, { node, end: null, chart: null });
  $("detail").hidden = false;
  $("title").textContent = node;
  const [releases, fleet, sessions] = await Promise.all([ask("releases", { node }), ask("nodes"), ask("worlds")]);
  if (view.node !== node) return;
  view.releases = releases;
  const known = fleet.nodes.find((one) => one.node_id === node);
  const seconds = { s: 1, m: 60, h: 3600, d: 86400, w: 604800, M: 2629800, y: 31557600 };
  const [, count, unit] = /(\d+)([a-zA-Z])$/.exec(node) ?? [null, 1, "m"];
  view.interval = typeof known?.interval === "number" ? known.interval : count * seconds[unit];
  fillChoices();
  fillLog();
  fillSessions(sessions.filter((one) => one.node_id === node));
  await load();
}

function fillChoices() {
  const names = view.releases.map((one) => `#${one.seq}  ${one.as_of.slice(0, 19).replace("T", " ")}  ${one.kind}`);
  const choices = () => view.releases.map((one, at) => make("option", { value: one.as_of, text: names[at] })).reverse();
  $("after").replaceChildren(...choices());
  $("before").replaceChildren(make("option", { value: "", text: "nothing" }), ...choices());
  const revising = [...view.releases].reverse().find((one) => one.revisions.some((part) => part.changed));
  const before = revising && view.releases[view.releases.indexOf(revising) - 1];
  if (before) $("before").value = before.as_of;
}

function fillLog() {
  const rows = [...view.releases].reverse().map((one) => {
    const changed = one.revisions.reduce((sum, part) => sum + part.changed, 0);
    const failed = Object.entries(one.checks).filter(([, passed]) => !passed).map(([name]) => name);
    return [one.seq, one.as_of.slice(0, 23).replace("T", " "), one.kind, `+${one.added.length} −${one.withdrawn.length}`,
      changed ? `${changed} changed` : "", failed.length ? `overridden: ${failed.join(", ")}` : "passed", one.reason,
      code(one.dataset_fingerprint.slice(0, 19))];
  });
  $("log").replaceChildren(table(["#", "As of", "Kind", "Artifacts", "Revised bars", "Checks", "Reason", "Fingerprint"], rows, "Nothing is released yet."));
}

function fillSessions(sessions) {
  const rows = sessions.map((one) => [one.world_id, one.domain, chip(one.state), one.as_of?.slice(0, 19).replace("T", " ") ?? "",
    one.verdicts.at(-1)?.reasons.join("; ") ?? ""]);
  $("sessions").replaceChildren(table(["World", "Domain", "State", "As of", "Why"], rows, "No world has read it."));
}

async function bars(as_of, start, end) {
  try {
    return await ask("history", { node: view.node, as_of, start, end, format: "json" });
  } catch (error) {
    // An older snapshot may hold nothing of the window, or a part of it.
    if (error instanceof Refused && ["CoverageMissing", "NothingReleased"].includes(error.kind)) return null;
    throw error;
  }
}

async function load() {
  const node = view.node, as_of = $("after").value || undefined, before = $("before").value;
  const asked = ++view.asked;
  if (!as_of) {
    $("summary").textContent = "nothing is released yet";
    return;
  }
  const newest = await ask("snapshot", { node, as_of });
  const first = Math.min(...newest.artifacts.map((ref) => ref.start)), last = Math.max(...newest.artifacts.map((ref) => ref.end));
  const end = Math.min(view.end ?? last, last), start = Math.max(first, end - BARS * view.interval);
  const [after, old] = await Promise.all([bars(as_of, start, end), before ? bars(before, start, end) : null]);
  // What was asked for before is no longer what is looked at.
  if (view.node !== node || view.asked !== asked) return;
  view.end = end;
  view.first = first;
  view.last = last;
  const revised = before && old ? compare(old.bars, after?.bars ?? []) : new Map();
  view.chart = { bars: after?.bars ?? [], gaps: after?.metadata.gaps ?? [[start, end, "not released"]], start, end, interval: view.interval, revised };
  $("window").textContent = `${when(start)} to ${when(end)}`;
  tell(after, old, before);
  redraw();
}

function compare(old, now) {
  const before = new Map(old.map((bar) => [bar[0], bar])), revised = new Map();
  for (const bar of now) {
    const was = before.get(bar[0]);
    before.delete(bar[0]);
    if (!was) revised.set(bar[0], null);
    else if (was.some((value, at) => value !== bar[at])) revised.set(bar[0], was);
  }
  for (const [ts, was] of before) revised.set(ts, was);
  return revised;
}

function tell(after, old, before) {
  const chart = view.chart, now = new Map(chart.bars.map((bar) => [bar[0], bar]));
  const ratio = after ? `${chart.bars.length} bars, coverage ${after.metadata.coverage_ratio.toFixed(4)}, ${after.metadata.verdict}` : "not released in this window";
  const compared = !before ? "" : old ? `, ${chart.revised.size} revised` : ", which held not all of this window";
  $("summary").textContent = ratio + compared;
  const rows = [...chart.revised].sort(([a], [b]) => a - b).slice(0, MOST_REVISED)
    .map(([ts, was]) => [when(ts), ...differing(was, now.get(ts)).map(code)]);
  $("revisions").replaceChildren(table(["Open", "Before", "Now"], rows, "None in this window."));
  const reasons = [...new Set(chart.gaps.map((gap) => gap[2]))];
  $("reasons").replaceChildren(...reasons.map((reason) => make("span", {}, mark(reason), reason.replaceAll("_", " "))),
    ...(chart.revised.size ? [make("span", {}, mark("--revised"), "revised")] : []));
}

// What two states of a bar differ by, as two texts; all values where one of them was not there.
function differing(was, is) {
  const at = VALUES.map((_, number) => number).filter((number) => !was || !is || was[number + 1] !== is[number + 1]);
  return [was, is].map((bar) => (bar ? at.map((number) => `${VALUES[number]} ${short(bar[number + 1])}`).join("  ") : "not there"));
}

const short = (value) => (value === null ? "unknown" : String(Number(value.toPrecision(10))));

function mark(name) {
  const square = make("i");
  square.style.background = colour(name);
  return square;
}

function move(steps) {
  if (view.end === null) return;
  const span = Math.floor(BARS * 0.8) * view.interval;
  view.end = Math.max(view.first + BARS * view.interval, Math.min(view.last, view.end + steps * span));
  load();
}

$("earlier").addEventListener("click", () => move(-1));
$("later").addEventListener("click", () => move(1));
$("newest").addEventListener("click", () => { view.end = null; load(); });
$("after").addEventListener("change", () => { view.end = null; load(); });
$("before").addEventListener("change", () => load());
