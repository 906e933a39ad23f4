// Timelines of spans (events, annotations) and of traces, drawn on a layer of their own:
// they change while one looks at them, and what lies under them need not be drawn again.

import { LEFT, formatTime, timeToX, valueToY } from "./geometry.js";
import { widenAxis } from "./spans.js";

/** Index of the first span after which one ends that ends after `t`. */
export function firstEnding(spans, t) {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle].latest > t) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Spans in the order of their onsets, each with the latest offset up to it. */
export function orderSpans(spans) {
  const ordered = [...spans].sort((a, b) => a.onset - b.onset);
  let latest = -Infinity;
  for (const span of ordered) span.latest = latest = Math.max(latest, span.offset);
  return ordered;
}

/** Rows of spans, one a label. */
export class SpanLane {
  constructor(panel) {
    this.panel = panel;
    this.row = panel.row;
    this.colors = new Map(panel.rows.map((row) => [row.label, row.color]));
    this.rows = new Map(panel.rows.map((row, k) => [row.label, panel.tier ? 0 : k]));
    this.spans = orderSpans((panel.spans ?? []).map((span) => ({ ...span })));
    this.chosen = null;
    this.draft = null;
    this.face = "";
  }

  setSpans(spans) {
    this.spans = orderSpans(spans.map((span) => ({ ...span })));
  }

  /** Spans that reach into a stretch. */
  *within({ start, end }) {
    for (let k = firstEnding(this.spans, start); k < this.spans.length; k++) {
      const span = this.spans[k];
      if (span.onset > end) return;
      const others = !this.panel.tier && span.face && this.face && span.face !== this.face;
      if (span.offset >= start && !others) yield span;
    }
  }

  draw(c, { top, height }, view, theme) {
    c.fillStyle = theme.plot;
    c.fillRect(LEFT, top, view.width, height);
    c.save();
    c.beginPath();
    c.rect(LEFT, top, view.width, height);
    c.clip();
    c.textBaseline = "middle";
    const reached = new Map(); // of each row, the pixel that is drawn already
    for (const span of this.within(view)) this.drawSpan(c, span, top, view, theme, reached);
    if (this.draft) this.drawSpan(c, { ...this.draft, latest: 0 }, top, view, theme, new Map());
    c.restore();
    if (this.panel.tier) return;
    c.font = `10px ${theme.font}`;
    c.textAlign = "right";
    c.textBaseline = "middle";
    c.fillStyle = theme.dim;
    this.panel.rows.forEach(({ label }, k) => {
      c.fillText(shorten(c, label, LEFT - 12), LEFT - 6, top + (k + 0.5) * this.row);
    });
  }

  drawSpan(c, span, top, view, theme, reached) {
    const row = this.rowOf(span);
    const left = timeToX(span.onset, view);
    const right = Math.max(timeToX(span.offset, view), left + 1.5);
    // Of many in one pixel the first stands for all.
    if (right <= (reached.get(row) ?? -Infinity)) return;
    reached.set(row, right);
    const y = top + row * this.row + 2;
    const h = this.row - 4;
    const chosen = span.id !== undefined && span.id === this.chosen;
    const color = theme.color(this.colors.get(span.row ?? span.label) ?? "ink");
    const [from, to] = [Math.max(left, LEFT - 4), Math.min(right, LEFT + view.width + 4)];
    c.fillStyle = color;
    c.globalAlpha = chosen ? 0.5 : span.draft ? 0.45 : 0.26;
    c.fillRect(from, y, to - from, h);
    c.globalAlpha = 1;
    const edge = Math.min(chosen ? 3 : 1.5, (right - left) / 2);
    c.fillRect(left, y, edge, h);
    c.fillRect(right - edge, y, edge, h);
    if (chosen) {
      c.strokeStyle = color;
      c.lineWidth = 1.5;
      c.strokeRect(left + 0.75, y + 0.75, Math.max(right - left - 1.5, 1), h - 1.5);
    }
    if (span.apex !== undefined && span.apex !== null) {
      const x = timeToX(span.apex, view);
      c.beginPath();
      c.moveTo(x, y + 1);
      c.lineTo(x + 4, y + h / 2);
      c.lineTo(x, y + h - 1);
      c.lineTo(x - 4, y + h / 2);
      c.fill();
    }
    if (!this.panel.tier || to - from < 20) return;
    const words = [span.label, span.intensity].filter(Boolean).join(" ");
    c.font = `${chosen ? "600 " : ""}11px ${theme.font}`;
    c.textAlign = "left";
    c.fillStyle = theme.ink;
    c.fillText(shorten(c, words + (span.comment ? " ✎" : ""), to - from - 10), from + 6, y + h / 2 + 0.5);
  }

  rowOf(span) {
    return this.rows.get(span.row ?? span.label) ?? 0;
  }

  /** Spans at time `t`, give or take `slack` seconds, `y` pixels below the top; the nearest first. */
  hit(t, y, slack = 1e-6) {
    const row = Math.floor(y / this.row);
    const near = [...this.within({ start: t - slack, end: t + slack })];
    const far = (span) => Math.max(span.onset - t, t - span.offset, 0);
    return near.filter((span) => this.rowOf(span) === row).sort((a, b) => far(a) - far(b));
  }

  /** Spans that begin after `from` and not after `to`. */
  beginning(from, to) {
    return [...this.within({ start: from, end: to })].filter(({ onset }) => onset > from && onset <= to);
  }

  /** Lines that say what is at time `t`, `y` pixels below the top. */
  describe(t, y) {
    const found = this.hit(t, y);
    return found.slice(0, 6).flatMap((span) => {
      const name = [span.label, span.intensity, span.face].filter(Boolean).join(", ");
      const when = `${formatTime(span.onset, 2)} – ${formatTime(span.offset, 2)}`;
      const apex = span.apex === undefined || span.apex === null ? "" : `, apex ${formatTime(span.apex, 2)}`;
      const size = span.amplitude === undefined || span.amplitude === null ? "" : `, amplitude ${span.amplitude.toFixed(2)}`;
      return [name, when + apex + size, ...(span.comment ? [span.comment] : [])];
    });
  }
}

/** A trace, with the value under the hand while it is recorded. */
export class TraceLane {
  constructor(panel) {
    this.panel = panel;
    this.rate = panel.rate;
    const runs = panel.runs ?? [];
    this.values = new Float32Array(Math.max(0, ...runs.map((r) => r.start + r.values.length)));
    this.values.fill(NaN);
    for (const run of runs) this.values.set(run.values, run.start);
  }

  get axis() {
    const { low, high, relative } = this.panel;
    if (!relative) return [low, high];
    let least = low;
    let most = high;
    for (const value of this.values) {
      if (value < least) least = value;
      if (value > most) most = value;
    }
    return widenAxis([low, high], least, most);
  }

  draw(c, plot, view, theme) {
    const { top, height } = plot;
    c.fillStyle = theme.plot;
    c.fillRect(LEFT, top, view.width, height);
    const axis = this.axis;
    const middle = (axis[0] + axis[1]) / 2;
    c.strokeStyle = theme.grid;
    c.lineWidth = 1;
    c.font = `10px ${theme.font}`;
    c.textAlign = "right";
    c.textBaseline = "middle";
    c.fillStyle = theme.dim;
    for (const [value, shift] of [[axis[0], -5], [middle, 0], [axis[1], 5]]) {
      const y = Math.round(valueToY(value, axis, plot)) + 0.5;
      c.beginPath();
      c.moveTo(LEFT, y);
      c.lineTo(LEFT + view.width, y);
      c.stroke();
      c.fillText(String(Number(value.toFixed(2))).replace("-", "−"), LEFT - 8, y + shift);
    }
    c.save();
    c.beginPath();
    c.rect(LEFT, top, view.width, height);
    c.clip();
    c.strokeStyle = theme.color(this.panel.color);
    c.lineWidth = 1.6;
    c.lineJoin = "round";
    c.beginPath();
    let down = false;
    for (const [t, value] of tracePoints(this.values, this.rate, view)) {
      if (Number.isNaN(value)) {
        down = false;
        continue;
      }
      const x = timeToX(t, view);
      const y = valueToY(value, axis, plot);
      if (down) c.lineTo(x, y);
      else {
        c.moveTo(x - 0.5, y);
        c.lineTo(x + 0.5, y);
      }
      down = true;
    }
    c.stroke();
    c.restore();
  }

  describe(t) {
    const value = this.values[Math.round(t * this.rate)];
    return [value === undefined || Number.isNaN(value) ? "not traced" : value.toFixed(2)];
  }
}

/** Points of a trace in view: its samples, or where they are many, the extremes of each pixel. */
export function tracePoints(values, rate, view) {
  const from = Math.max(Math.floor(view.start * rate), 0);
  const to = Math.min(Math.ceil(view.end * rate) + 1, values.length);
  const each = Math.max(Math.floor((to - from) / Math.max(view.width, 1)), 1);
  const points = [];
  for (let i = from; i < to; i += each) {
    if (each < 3) {
      points.push([i / rate, values[i]]);
      continue;
    }
    let least = NaN;
    let most = NaN;
    for (let k = i; k < Math.min(i + each, to); k++) {
      if (!(values[k] >= least)) least = Number.isNaN(values[k]) ? least : values[k];
      if (!(values[k] <= most)) most = Number.isNaN(values[k]) ? most : values[k];
    }
    points.push([i / rate, least], [i / rate, most]);
  }
  return points;
}

/** `text`, cut with an ellipsis to fit `width` pixels. */
export function shorten(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (c.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}
