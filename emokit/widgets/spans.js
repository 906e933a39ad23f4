// Editing of spans and traces: pure functions, and the history of what was done.
//
// A span is {id, tier, onset, offset, label, intensity, comment, face, …}; those of one tier
// do not overlap. An edit is a list of changes {id, before, after}, null where there was or
// will be nothing, so that undoing one is doing its changes backwards.

import { timeToX, upperBound } from "./geometry.js";

const near = 1e-9;

/** Shortest span in seconds, where the clip has no frames to say. */
export const BRIEF = 0.02;

/** Spans of one tier in the order of time. */
export function spansOf(spans, tier) {
  const own = [...spans.values()].filter((span) => span.tier === tier);
  return own.sort((a, b) => a.onset - b.onset);
}

/** Onset of the nearest frame, or `duration`: what begins or ends, does so with a frame. */
export function snapTime(t, frames, duration) {
  const at = Math.min(Math.max(t, 0), duration);
  if (!frames.length) return at;
  const after = upperBound(frames, at);
  const before = frames[Math.max(after - 1, 0)];
  const next = after < frames.length ? frames[after] : duration;
  return Math.max(at - before <= next - at ? before : next, 0);
}

/** End of the frame on screen at `t`: where a span ends that is to hold it. */
export function frameEnd(t, frames, duration) {
  const after = upperBound(frames, t + 1e-3);
  return after < frames.length ? frames[after] : duration;
}

/**
 * Changes that lay `span` over what its tier holds: spans under it go, those that reach out
 * of it are cut back, one that reaches out on both sides becomes two. `newId` names the second.
 */
export function laySpan(spans, span, newId) {
  const changes = [];
  for (const before of spansOf(spans, span.tier)) {
    if (before.id === span.id) continue;
    if (before.offset <= span.onset + near || before.onset >= span.offset - near) continue;
    const head = before.onset < span.onset - near ? { ...before, offset: span.onset } : null;
    const tail = before.offset > span.offset + near ? { ...before, onset: span.offset } : null;
    changes.push({ id: before.id, before, after: head ?? tail });
    if (head && tail) {
      const id = newId();
      changes.push({ id, before: null, after: { ...tail, id } });
    }
  }
  const before = spans.get(span.id) ?? null;
  changes.push({ id: span.id, before, after: span });
  return changes;
}

/** Where the spans beside `span` in its tier end and begin. */
function room(spans, span, duration) {
  const others = spansOf(spans, span.tier).filter((one) => one.id !== span.id);
  const before = others.filter((one) => one.onset < span.onset).map((one) => one.offset);
  const after = others.filter((one) => one.onset > span.onset).map((one) => one.onset);
  return [Math.max(0, ...before), Math.min(duration, ...after)];
}

/** `span` with its edge ("onset" or "offset") at `t`, stopping at its neighbours. */
export function dragEdge(spans, span, edge, t, { duration, shortest = BRIEF }) {
  const [low, high] = room(spans, span, duration);
  if (edge === "onset") {
    return { ...span, onset: Math.min(Math.max(t, low), span.offset - shortest) };
  }
  return { ...span, offset: Math.max(Math.min(t, high), span.onset + shortest) };
}

/** `span` moved by some seconds, as long as before, stopping at its neighbours. */
export function moveSpan(spans, span, by, { duration }) {
  const [low, high] = room(spans, span, duration);
  const length = span.offset - span.onset;
  const onset = Math.max(Math.min(span.onset + by, high - length), low);
  return { ...span, onset, offset: onset + length };
}

/** Changes that cut `span` in two at `t`; none where that would leave nothing of one. */
export function splitSpan(span, t, newId, shortest = BRIEF) {
  if (t - span.onset < shortest - near || span.offset - t < shortest - near) return [];
  const id = newId();
  return [
    { id: span.id, before: span, after: { ...span, offset: t } },
    { id, before: null, after: { ...span, id, onset: t } },
  ];
}

/** What the pointer at `x` takes hold of in a tier: {span, part}, the part "onset", "offset" or "inside". */
export function hitSpan(spans, tier, x, view, { slack = 5, chosen = null } = {}) {
  let best = null;
  for (const span of spansOf(spans, tier)) {
    const left = timeToX(span.onset, view);
    const right = timeToX(span.offset, view);
    if (x < left - slack || x > right + slack) continue;
    // Of a narrow span the inside must remain for dragging.
    const inner = Math.min(slack, (right - left) / 4);
    const part = x < left + inner ? "onset" : x > right - inner ? "offset" : "inside";
    const inside = x >= left && x <= right;
    // Where two spans meet, the chosen one's edge is taken, else that of the span pointed at.
    const rank = (span.id === chosen ? 2 : 0) + (inside ? 1 : 0);
    if (!best || rank > best.rank) best = { span, part, rank };
  }
  return best && { span: best.span, part: best.part };
}

/** The span before (-1) or after (1) time `t` in a tier, or beside the chosen one. */
export function neighbour(spans, tier, t, by, chosen = null) {
  const own = spansOf(spans, tier);
  const at = own.findIndex((span) => span.id === chosen);
  if (at >= 0) return own[at + by] ?? null;
  if (by > 0) return own.find((span) => span.onset >= t - near) ?? null;
  return own.filter((span) => span.onset < t - near).at(-1) ?? null;
}

/** Does changes to a Map of spans. */
export function applyChanges(spans, changes) {
  for (const { id, after } of changes) {
    if (after) spans.set(id, after);
    else spans.delete(id);
  }
}

/** The changes that take others back. */
export function invertChanges(changes) {
  return changes.map(({ id, before, after }) => ({ id, before: after, after: before })).reverse();
}

// ---------------------------------------------------------------- traces

/**
 * Writes a movement from `v0` at `t0` to `v1` at `t1` into samples at `rate`, and returns the
 * first and the one after the last that it touched. Between two looks at the hand it is
 * taken to have moved evenly.
 */
export function writeMovement(values, rate, t0, v0, t1, v1) {
  const first = Math.max(Math.ceil(t0 * rate - near), 0);
  const last = Math.min(Math.floor(t1 * rate + near), values.length - 1);
  for (let i = first; i <= last; i++) {
    const share = t1 > t0 ? (i / rate - t0) / (t1 - t0) : 1;
    values[i] = v0 + share * (v1 - v0);
  }
  return [first, last + 1];
}

/** Value of a trace at time `t`: that of its nearest sample; NaN where there is none. */
export function traceAt(values, rate, t) {
  const i = Math.round(t * rate);
  return i >= 0 && i < values.length ? values[i] : NaN;
}

/** Value for a hand at height `y` of a pad: its top is the scale's high end. */
export function padValue(y, height, [low, high]) {
  return high - Math.min(Math.max(y / height, 0), 1) * (high - low);
}

/** The axis of an unbounded trace: its scale, widened by halves of itself until all fits. */
export function widenAxis([low, high], least, most) {
  const step = (high - low) / 2;
  const below = least < low ? Math.ceil((low - least) / step) : 0;
  const above = most > high ? Math.ceil((most - high) / step) : 0;
  return [low - below * step, high + above * step];
}

/** A stick's deflection without the tremble about its middle. */
export function deflection(axis, dead = 0.08) {
  const size = Math.abs(axis);
  return size <= dead ? 0 : (Math.sign(axis) * Math.min(size - dead, 1 - dead)) / (1 - dead);
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  return n ? (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2 : NaN;
}

// ---------------------------------------------------------------- what was done

/** Edits that can be taken back, and those taken back that can be done again. */
export class History {
  constructor() {
    this.done = [];
    this.undone = [];
  }

  add(edit) {
    this.done.push(edit);
    this.undone = [];
  }

  undo() {
    const edit = this.done.pop();
    if (edit) this.undone.push(edit);
    return edit ?? null;
  }

  redo() {
    const edit = this.undone.pop();
    if (edit) this.done.push(edit);
    return edit ?? null;
  }
}
