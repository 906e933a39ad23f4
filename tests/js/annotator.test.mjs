// Editing of spans and traces, and what is told to the kernel. Run: node --test tests/js/
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const names = ["geometry", "spans", "lanes", "session"];
const parts = names.map((name) => `../../emokit/widgets/${name}.js`);
const texts = await Promise.all(parts.map((p) => readFile(new URL(p, import.meta.url), "utf8")));
const source = texts.join("\n").replace(/^import .* from "\.\/\w+\.js";$/gm, "");
const ann = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const span = (id, onset, offset, tier = "a") => ({ id, tier, onset, offset, label: `l${id}` });
const keep = (...list) => new Map(list.map((one) => [one.id, one]));
const times = (spans, tier = "a") => ann.spansOf(spans, tier).map((s) => [s.onset, s.offset]);
const counter = (next) => () => next++;
const limits = { duration: 20, shortest: 0.1 };
const close = (a, b) => assert.ok(Math.abs(a - b) < 1e-9, `${a} is not ${b}`);

test("edges snap to the frames that there are, and to the end", () => {
  const frames = Float64Array.from([0, 0.04, 0.08, 0.5, 0.54]);
  assert.equal(ann.snapTime(0.05, frames, 0.6), 0.04);
  assert.equal(ann.snapTime(0.3, frames, 0.6), 0.5);
  assert.equal(ann.snapTime(0.2, frames, 0.6), 0.08);
  assert.equal(ann.snapTime(0.59, frames, 0.6), 0.6);
  assert.equal(ann.snapTime(-3, frames, 0.6), 0);
  assert.equal(ann.snapTime(7.25, new Float64Array(0), 10), 7.25);
});

test("a span holds the whole of the frame that was on the screen when it ended", () => {
  const frames = Float64Array.from([0, 0.04, 0.08, 0.5]);
  assert.equal(ann.frameEnd(0.08, frames, 0.6), 0.5);
  assert.equal(ann.frameEnd(0.079999, frames, 0.6), 0.5); // rounded by the browser
  assert.equal(ann.frameEnd(0.5, frames, 0.6), 0.6);
});

test("laying a span cuts back, cuts in two and covers what was there, and undo restores it", () => {
  const spans = keep(span(1, 0, 4), span(2, 5, 6), span(3, 7, 12), span(9, 3, 8, "b"));
  const before = new Map(spans);
  const changes = ann.laySpan(spans, span(10, 3, 8), counter(11));
  ann.applyChanges(spans, changes);
  assert.deepEqual(times(spans), [[0, 3], [3, 8], [8, 12]]);
  assert.deepEqual(times(spans, "b"), [[3, 8]]);
  ann.applyChanges(spans, ann.invertChanges(changes));
  assert.deepEqual(new Map([...spans].sort()), before);

  const whole = keep(span(1, 0, 10));
  const cut = ann.laySpan(whole, span(2, 4, 5), counter(3));
  ann.applyChanges(whole, cut);
  assert.deepEqual(times(whole), [[0, 4], [4, 5], [5, 10]]);
  assert.equal(whole.get(3).label, "l1");
  ann.applyChanges(whole, ann.invertChanges(cut));
  assert.deepEqual(times(whole), [[0, 10]]);
});

test("spans that only touch are left alone", () => {
  const spans = keep(span(1, 0, 3), span(2, 5, 6));
  assert.equal(ann.laySpan(spans, span(3, 3, 5), counter(4)).length, 1);
});

test("an edge stops at its neighbours, at the ends, and before it meets the other edge", () => {
  const spans = keep(span(1, 0, 3), span(2, 4, 6), span(3, 8, 9));
  const two = spans.get(2);
  assert.equal(ann.dragEdge(spans, two, "onset", 1, limits).onset, 3);
  assert.equal(ann.dragEdge(spans, two, "onset", 3.5, limits).onset, 3.5);
  close(ann.dragEdge(spans, two, "onset", 7, limits).onset, 5.9);
  assert.equal(ann.dragEdge(spans, two, "offset", 8.5, limits).offset, 8);
  close(ann.dragEdge(spans, two, "offset", 0, limits).offset, 4.1);
  assert.equal(ann.dragEdge(spans, spans.get(3), "offset", 99, limits).offset, 20);
  assert.deepEqual(two, span(2, 4, 6));
});

test("a span keeps its length while it is moved, and stops at its neighbours", () => {
  const spans = keep(span(1, 0, 3), span(2, 4, 6), span(3, 8, 9));
  const at = (by) => ann.moveSpan(spans, spans.get(2), by, limits);
  assert.deepEqual([at(0.5).onset, at(0.5).offset], [4.5, 6.5]);
  assert.deepEqual([at(-9).onset, at(-9).offset], [3, 5]);
  assert.deepEqual([at(9).onset, at(9).offset], [6, 8]);
});

test("a span is split where both halves have some length", () => {
  const [first, second] = ann.splitSpan(span(1, 2, 4), 3, counter(7), 0.1);
  assert.deepEqual([first.after.onset, first.after.offset], [2, 3]);
  assert.deepEqual([second.id, second.after.onset, second.after.offset], [7, 3, 4]);
  for (const t of [2, 2.05, 3.95, 4, 9]) {
    assert.deepEqual(ann.splitSpan(span(1, 2, 4), t, counter(7), 0.1), []);
  }
});

test("the pointer takes an edge, the middle or nothing; of two that meet, the chosen one", () => {
  const view = { start: 0, end: 20, left: 0, width: 1000 }; // 50 pixels a second
  const spans = keep(span(1, 2, 4), span(2, 4, 6));
  const hit = (x, chosen = null) => {
    const found = ann.hitSpan(spans, "a", x, view, { chosen });
    return found && [found.span.id, found.part];
  };
  assert.deepEqual(hit(150), [1, "inside"]);
  assert.deepEqual(hit(97), [1, "onset"]);
  assert.deepEqual(hit(303), [2, "offset"]);
  assert.deepEqual(hit(202, 1), [1, "offset"]);
  assert.deepEqual(hit(202, 2), [2, "onset"]);
  assert.equal(hit(80), null);
  assert.equal(ann.hitSpan(spans, "b", 150, view), null);
  const thin = keep(span(1, 2, 2.1)); // five pixels
  assert.equal(ann.hitSpan(thin, "a", 102.5, view).part, "inside");
});

test("one goes from span to span, from the chosen one or from the playhead", () => {
  const spans = keep(span(1, 2, 4), span(2, 5, 6), span(3, 8, 9));
  const id = (...args) => ann.neighbour(spans, "a", ...args)?.id;
  assert.equal(id(0, 1, 2), 3);
  assert.equal(id(0, -1, 2), 1);
  assert.equal(id(5.5, 1), 3);
  assert.equal(id(5.5, -1), 2);
  assert.equal(id(9.5, 1), undefined);
});

test("a movement of the hand fills the samples that it passes, evenly", () => {
  const values = new Float32Array(11).fill(NaN); // ten a second
  assert.deepEqual(ann.writeMovement(values, 10, 0.15, 0, 0.55, 1), [2, 6]);
  assert.deepEqual([...values].map((v) => Number(v.toFixed(3))), [NaN, NaN, 0.125, 0.375, 0.625, 0.875, NaN, NaN, NaN, NaN, NaN]);
  const [from, to] = ann.writeMovement(values, 10, 0.61, 5, 0.65, 5);
  assert.ok(to <= from); // between two samples: nothing
  ann.writeMovement(values, 10, 0.95, 2, 9, 2);
  assert.equal(values[10], 2);
  close(ann.traceAt(values, 10, 0.99), 2);
  assert.ok(Number.isNaN(ann.traceAt(values, 10, 5)));
});

test("a pad's top is the high end; an unbounded axis widens until all fits", () => {
  assert.equal(ann.padValue(0, 100, [-1, 1]), 1);
  assert.equal(ann.padValue(75, 100, [-1, 1]), -0.5);
  assert.equal(ann.padValue(400, 100, [-1, 1]), -1);
  assert.deepEqual(ann.widenAxis([-1, 1], -0.5, 0.5), [-1, 1]);
  assert.deepEqual(ann.widenAxis([-1, 1], -1.2, 3.7), [-2, 4]);
});

test("a stick's tremble about its middle moves nothing, and all the way is all the way", () => {
  assert.equal(ann.deflection(0.05), 0);
  assert.equal(ann.deflection(1), 1);
  assert.equal(ann.deflection(-1), -1);
  assert.ok(ann.deflection(0.1) < 0.03);
});

test("spans in view are found however long those before them are", () => {
  const lane = new ann.SpanLane({ tier: "a", rows: [{ label: "x" }], row: 24 });
  lane.setSpans([span(1, 0, 100), span(2, 1, 2), span(3, 50, 51), span(4, 90, 91)]);
  const seen = (start, end) => [...lane.within({ start, end })].map((s) => s.id);
  assert.deepEqual(seen(60, 70), [1]);
  assert.deepEqual(seen(50.5, 95), [1, 3, 4]);
  assert.deepEqual(seen(101, 110), []);
});

test("a trace keeps its extremes, and its gaps, when many samples share a pixel", () => {
  const values = new Float32Array(1000);
  values[777] = 9;
  values.fill(NaN, 300, 400);
  const points = ann.tracePoints(values, 10, { start: 0, end: 100, width: 50 });
  assert.ok(points.length <= 110);
  assert.equal(Math.max(...points.map(([, v]) => v).filter((v) => !Number.isNaN(v))), 9);
  assert.ok(points.some(([t, v]) => Number.isNaN(v) && t > 30 && t < 40));
});

// ---------------------------------------------------------------- the session

function start({ shelf = null } = {}) {
  const told = [];
  const box = { value: shelf };
  const session = new ann.Session({
    rate: 10,
    duration: 2,
    tell: (message) => told.push(message),
    shelf: { read: () => box.value, write: (value) => (box.value = value && structuredClone(value)) },
  });
  const open = (revision = 0, annotations = [], last = "") =>
    session.receive({
      to: session.me,
      last,
      revision,
      file: "a.json",
      annotations,
      traces: [{ tier: "v", runs: [], input_lag: null }],
    });
  const save = (n, revision) =>
    session.answer({ number: n, from: session.me, revision, file: "a.json", unsaved: "" });
  return { session, told, box, open, save };
}

test("an edit is shown at once, told, kept until it is saved, and then forgotten", () => {
  const { session, told, box, open, save } = start();
  open();
  const id = session.lay({ tier: "a", label: "x", onset: 0, offset: 1 });
  assert.deepEqual(times(session.spans), [[0, 1]]);
  assert.equal(told[0].changes[0].id, id);
  assert.equal(told[0].changes[0].before, null);
  assert.equal(session.state, "saving");
  assert.equal(box.value.base, 0);
  assert.equal(box.value.messages.length, 1);
  save(told[0].number, 1);
  assert.equal(session.state, "saved");
  assert.equal(box.value, null);
});

test("undo and redo are edits of their own", () => {
  const { session, told, open } = start();
  open(3, [span(1, 0, 2)]);
  session.lay({ tier: "a", label: "x", onset: 0.5, offset: 1 });
  assert.deepEqual(times(session.spans), [[0, 0.5], [0.5, 1], [1, 2]]);
  session.undo();
  assert.deepEqual(times(session.spans), [[0, 2]]);
  session.redo();
  assert.deepEqual(times(session.spans), [[0, 0.5], [0.5, 1], [1, 2]]);
  assert.deepEqual(told.map((m) => m.action), ["lay", "undo", "redo"]);
  assert.equal(session.redo(), null);
});

test("what no kernel answered is sent again by the next page, where nothing else was done", () => {
  const first = start();
  first.open(4);
  first.session.lay({ tier: "a", label: "x", onset: 0, offset: 1 });
  const again = start({ shelf: first.box.value });
  again.open(4);
  assert.deepEqual(times(again.session.spans), [[0, 1]]);
  assert.equal(again.told[0].action, "recovered: lay");
  const late = start({ shelf: first.box.value });
  late.open(5, [], `${first.session.me}/1`); // it had arrived after all
  assert.equal(late.told.length, 0);
  assert.equal(late.session.spans.size, 0);

  first.session.lay({ tier: "a", label: "y", onset: 1, offset: 1.5 });
  const half = start({ shelf: first.box.value });
  half.open(5, [span(1, 0, 1)], `${first.session.me}/1`); // the first had, the second had not
  assert.deepEqual(times(half.session.spans), [[0, 1], [1, 1.5]]);
  const others = start({ shelf: first.box.value });
  others.open(5, [span(1, 0, 1)], "someone/8"); // somebody else has been there since
  assert.equal(others.told.length, 0);
});

test("a refused edit is taken from the screen, with its reason", () => {
  const { session, told, open } = start();
  open(1, [span(1, 0, 1)]);
  session.lay({ tier: "a", label: "x", onset: 0.5, offset: 1.5 });
  session.answer({ number: told[0].number, from: session.me, problem: "no such tier" });
  assert.equal(told.at(-1).type, "annotations");
  open(1, [span(1, 0, 1)]);
  assert.deepEqual(times(session.spans), [[0, 1]]);
  assert.equal(session.problem, "no such tier");
  assert.equal(session.state, "lost");
});

test("an edit from elsewhere makes the page ask again, and answers to others are not taken", () => {
  const { session, told, open } = start();
  open(1);
  session.answer({ from: "another window", revision: 2 });
  assert.equal(told.at(-1).type, "annotations");
  session.receive({ to: "another window", revision: 9, annotations: [], traces: [] });
  assert.equal(session.revision, 1);
});

test("a pass over a trace is undone as one, back to what was there before", () => {
  const { session, told, open } = start();
  open();
  const { values } = session.traces.get("v");
  values.fill(0.25, 0, 5);
  const before = values.slice();
  ann.writeMovement(values, 10, 0.3, 1, 0.8, 1);
  session.sendTrace("v", 3, 9, { pass: "p/1", device: "mouse", lag: 0.01 });
  session.keepTrace("v", 3, before.slice(3, 9));
  assert.deepEqual(told[0].values, [1, 1, 1, 1, 1, 1]);
  session.undo();
  assert.deepEqual([...values.subarray(0, 10)], [0.25, 0.25, 0.25, 0.25, 0.25, NaN, NaN, NaN, NaN, NaN]);
  assert.deepEqual(told[1].values, [0.25, 0.25, null, null, null, null]);
  session.redo();
  assert.deepEqual([...values.subarray(3, 9)], [1, 1, 1, 1, 1, 1]);
});
