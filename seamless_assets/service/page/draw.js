// What is drawn on canvases: strips of coverage, and candles with their gaps and revisions.

const REASONS = {
  missing: "--missing", no_trades: "#8aa0b8", outage: "#b7791f", halted: "#7c6f9c", pre_listing: "#9aa5b1",
  post_delisting: "#6b7280", retention: "#5f7f9f", declared: "#4f8a5b", "not released": "#9aa5b1",
};

export function colour(name) {
  const known = REASONS[name] ?? name;
  return known.startsWith("--") ? getComputedStyle(document.documentElement).getPropertyValue(known).trim() : known;
}

function scaled(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

// Each cell is filled from below by what is present; what is missing glows above it, however little it is.
export function drawStrip(canvas, strip, releasedEnd) {
  const { pen, width, height } = scaled(canvas);
  const cells = strip.missing.length, step = width / cells, span = (strip.end - strip.start) / cells;
  for (let at = 0; at < cells; at++) {
    const missing = strip.missing[at], absent = strip.absent[at], unproven = strip.unproven[at];
    const x = Math.round(at * step), w = Math.round((at + 1) * step) - x;
    const isOpen = releasedEnd === null || strip.start + at * span >= releasedEnd;
    pen.globalAlpha = isOpen ? 0.45 : 1;
    pen.fillStyle = colour("--present");
    pen.fillRect(x, 0, w, height);
    const grey = height * absent, amber = height * unproven;
    const red = missing > 0 ? Math.max(3, height * missing) : 0;
    pen.fillStyle = colour("--absent");
    pen.fillRect(x, 0, w, Math.min(height, grey + amber + red));
    pen.fillStyle = colour("--unproven");
    pen.fillRect(x, 0, w, Math.min(height, amber + red));
    pen.fillStyle = colour("--missing");
    pen.fillRect(x, 0, w, red);
  }
  pen.globalAlpha = 1;
}

// Candles of [start, end); `gaps` are [start, end, reason]; `revised` maps opens to what was there before.
export function drawCandles(canvas, chart) {
  const { pen, width, height } = scaled(canvas);
  const { bars, start, end, interval, gaps, revised } = chart;
  const left = 8, right = width - 72, top = 10, floor = height - 26, volumeTop = floor - 56;
  const x = (ts) => left + ((ts - start) / Math.max(1, end - start)) * (right - left);
  const shown = [...bars, ...[...revised.values()].filter((bar) => bar)];
  const low = Math.min(...shown.map((bar) => bar[3])), high = Math.max(...shown.map((bar) => bar[2]));
  const room = (high - low || high || 1) * 0.05;
  const y = (price) => top + ((high + room - price) / (high - low + 2 * room || 1)) * (volumeTop - 8 - top);
  const most = Math.max(1e-12, ...bars.map((bar) => bar[5]));

  for (const [from, to, reason] of gaps) {
    pen.globalAlpha = 0.28;
    pen.fillStyle = colour(reason);
    pen.fillRect(x(Math.max(from, start)), top, Math.max(2, x(Math.min(to, end)) - x(Math.max(from, start))), floor - top);
  }
  pen.globalAlpha = 1;
  axes(pen, { left, right, top, floor, volumeTop, low, high, start, end, x, y });

  const body = Math.max(1, ((right - left) * interval) / Math.max(1, end - start) * 0.68);
  for (const [ts, open, top_, bottom, close, volume] of bars) {
    const middle = x(ts + interval / 2), isUp = close >= open;
    pen.fillStyle = pen.strokeStyle = colour(isUp ? "--up" : "--down");
    pen.globalAlpha = 0.35;
    const tall = (volume / most) * 50;
    pen.fillRect(middle - body / 2, floor - tall, body, tall);
    pen.globalAlpha = 1;
    pen.fillRect(middle - 0.5, y(top_), 1, Math.max(1, y(bottom) - y(top_)));
    pen.fillRect(middle - body / 2, y(Math.max(open, close)), body, Math.max(1, Math.abs(y(open) - y(close))));
  }
  pen.strokeStyle = pen.fillStyle = colour("--revised");
  for (const [ts, before] of revised) {
    const middle = x(ts + interval / 2);
    pen.beginPath();
    pen.moveTo(middle - 5, top);
    pen.lineTo(middle + 5, top);
    pen.lineTo(middle, top + 8);
    pen.fill();
    if (before) pen.strokeRect(middle - body / 2 - 1.5, y(Math.max(before[1], before[4])) - 1, body + 3,
      Math.max(2, Math.abs(y(before[1]) - y(before[4])) + 2));
  }
}

function axes(pen, at) {
  const ink = colour("--quiet"), line = colour("--line");
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  if (Number.isFinite(at.low)) {
    for (let step = 0; step <= 4; step++) {
      const price = at.low + ((at.high - at.low) * step) / 4;
      pen.fillStyle = line;
      pen.fillRect(at.left, at.y(price), at.right - at.left, 1);
      pen.fillStyle = ink;
      pen.fillText(price.toPrecision(7).replace(/\.?0+$/, ""), at.right + 8, at.y(price));
    }
  }
  pen.fillStyle = ink;
  const ticks = Math.max(1, Math.floor((at.right - at.left) / 170));
  for (let step = 0; step <= ticks; step++) {
    const ts = at.start + ((at.end - at.start) * step) / ticks;
    const text = new Date(ts * 1000).toISOString().slice(0, 16).replace("T", " ");
    pen.textAlign = step === 0 ? "left" : step === ticks ? "right" : "center";
    pen.fillText(text, at.x(ts), at.floor + 14);
  }
  pen.textAlign = "left";
}
