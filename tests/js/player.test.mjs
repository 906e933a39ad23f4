// Geometry and time of the player, without a browser. Run by pytest, or: node --test tests/js/
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// Joined as the widget joins them: these two need no page.
const parts = ["geometry", "samples"].map((name) => `../../emokit/widgets/${name}.js`);
const texts = await Promise.all(parts.map((p) => readFile(new URL(p, import.meta.url), "utf8")));
const source = texts.join("\n").replace(/^import .* from "\.\/\w+\.js";$/gm, "");
const player = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const view = { start: 2, end: 12, left: 60, width: 500 };
// A clip whose rate drops from 25 to 10 frames a second.
const frames = Float64Array.from([0, 0.04, 0.08, 0.12, 0.22, 0.32]);

test("time and pixels are each other's inverse", () => {
  assert.equal(player.timeToX(2, view), 60);
  assert.equal(player.timeToX(12, view), 560);
  for (const t of [2, 3.7, 11.99]) {
    assert.ok(Math.abs(player.xToTime(player.timeToX(t, view), view) - t) < 1e-12);
  }
});

test("a pointer beside the plot stays inside the view", () => {
  assert.equal(player.xToTime(0, view), 2);
  assert.equal(player.xToTime(9999, view), 12);
});

test("high values are at the top", () => {
  const plot = { top: 10, height: 100 };
  assert.equal(player.valueToY(1, [-1, 1], plot), 10);
  assert.equal(player.valueToY(0, [-1, 1], plot), 60);
  assert.equal(player.valueToY(-1, [-1, 1], plot), 110);
});

test("the frame at a time is the last that began", () => {
  assert.equal(player.frameIndex(frames, 0.05), 1);
  assert.equal(player.frameIndex(frames, 0.21), 3);
  assert.equal(player.frameIndex(frames, 99), 5);
  assert.equal(player.frameIndex(frames, -1), 0);
});

test("a frame time that the browser rounded down still names its frame", () => {
  assert.equal(player.frameIndex(frames, 0.119999), 3);
});

test("stepping follows the frames, not a rate, and stops at the ends", () => {
  assert.equal(frames[player.stepFrame(frames, 0.12, 1)], 0.22);
  assert.equal(frames[player.stepFrame(frames, 0.22, -1)], 0.12);
  assert.equal(player.stepFrame(frames, 0, -1), 0);
  assert.equal(player.stepFrame(frames, 0.32, 1), 5);
});

test("the middle of a frame lies in that frame", () => {
  for (let i = 0; i < frames.length; i++) {
    const middle = player.frameMiddle(frames, i, 0.42);
    assert.equal(player.frameIndex(frames, middle, 0), i);
    assert.ok(middle < 0.42);
  }
  assert.ok(player.frameMiddle(Float64Array.from([0]), 0, 5) > 0);
});

test("the nearest sample speaks for a time, and none for a time far outside", () => {
  const times = Float64Array.from([1, 2, 3]);
  assert.equal(player.sampleIndex(times, 1.4), 0);
  assert.equal(player.sampleIndex(times, 1.6), 1);
  assert.equal(player.sampleIndex(times, 3.9), 2);
  assert.equal(player.sampleIndex(times, 4.1), -1);
  assert.equal(player.sampleIndex(times, -0.1), -1);
  assert.equal(player.sampleIndex(new Float64Array(0), 1), -1);
});

test("a column is taken for its face and unit", () => {
  const shape = [2, 3, 4];
  const values = Float32Array.from({ length: 24 }, (_, i) => i);
  const array = { dims: ["time", "face", "action_unit"], shape, values };
  assert.deepEqual([...player.takeColumn(array, { face: 2, column: 1 })], [9, 21]);
  const flat = { dims: ["time"], shape: [2], values: Float32Array.from([5, NaN]) };
  assert.deepEqual([...player.takeColumn(flat, { face: 2 })], [5, NaN]);
  const perFace = { dims: ["time", "face"], shape: [2, 3], values: values.subarray(0, 6) };
  assert.deepEqual([...player.takeColumn(perFace, { face: 1 })], [1, 4]);
});

const long = Float64Array.from({ length: 100_000 }, (_, i) => i / 1000);

test("decimation keeps a peak of one sample, up and down", () => {
  const values = new Float32Array(long.length);
  values[54_321] = 1;
  values[76_543] = -1;
  const line = player.decimate(long, values, { start: 0, end: 100 }, 500);
  assert.ok(line.times.length <= 2 * 500);
  assert.ok(Math.abs(line.times[line.values.indexOf(1)] - 54.321) <= 0.1);
  assert.ok(Math.abs(line.times[line.values.indexOf(-1)] - 76.543) <= 0.1);
});

test("no peak is lost at any zoom, and none appears in a column that lacks it", () => {
  // A fixed sequence of pseudo-random numbers: the same on every run.
  let state = 1;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const values = Float32Array.from(long, () => (random() < 0.02 ? NaN : random()));
  for (let run = 0; run < 40; run++) {
    const start = 90 * random();
    const range = { start, end: start + 2 + (100 - start - 2) * random() };
    const columns = 100 + Math.floor(300 * random());
    const step = (range.end - range.start) / columns;
    const bins = player.binColumns(long, values, range, columns, "max");
    const line = player.decimate(long, values, range, columns);
    const expected = new Float32Array(columns).fill(NaN);
    long.forEach((t, i) => {
      const column = Math.floor((t - range.start + 1e-9) / step);
      if (t < range.start || t > range.end || Number.isNaN(values[i])) return;
      const k = Math.min(column, columns - 1);
      if (!(values[i] <= expected[k])) expected[k] = values[i];
    });
    assert.deepEqual(bins, expected);
    const inside = values.filter((v, i) => long[i] >= range.start && long[i] <= range.end && v >= 0);
    if (line.times.length < inside.length) {
      assert.equal(Math.max(...line.values.filter((v) => v >= 0)), Math.max(...inside));
      assert.equal(Math.min(...line.values.filter((v) => v >= 0)), Math.min(...inside));
    }
  }
});

test("the extremes of a stretch are exact, gaps or not", () => {
  const values = Float32Array.from([NaN, 3, NaN, -2, 5, NaN, NaN, NaN, NaN, 1, 7, 0, 2]);
  for (let from = 0; from < values.length; from++) {
    for (let to = from; to <= values.length; to++) {
      const known = [...values.subarray(from, to)].filter((v) => !Number.isNaN(v));
      const expected = known.length ? [Math.min(...known), Math.max(...known)] : [NaN, NaN];
      assert.deepEqual(player.extremes(values, from, to), expected);
    }
  }
});

test("decimation keeps the order of time, both ends, and a gap", () => {
  const values = Float32Array.from(long, (t) => (t > 40 && t < 42 ? NaN : Math.sin(t)));
  const line = player.decimate(long, values, { start: 0, end: 100 }, 500);
  for (let i = 1; i < line.times.length; i++) assert.ok(line.times[i] >= line.times[i - 1]);
  assert.ok(line.times[0] < 0.2);
  assert.ok(line.times.at(-1) > 99.8);
  const gaps = line.times.filter((_, i) => Number.isNaN(line.values[i]));
  assert.ok(gaps.length > 0 && gaps.every((t) => t > 40 && t < 42));
});

test("few samples are drawn as they are, with one beyond each edge of the view", () => {
  const times = Float64Array.from([0, 1, 2, 3, 4]);
  const line = player.decimate(times, times, { start: 1.5, end: 2.5 }, 100);
  assert.deepEqual([...line.times], [1, 2, 3]);
});

test("a column of the heat strip shows its highest sample", () => {
  const values = new Float32Array(long.length);
  values[54_321] = 0.9;
  const bins = player.binColumns(long, values, { start: 0, end: 100 }, 200, "max");
  assert.equal(bins[108], Math.fround(0.9));
  assert.equal(bins.filter((v) => v > 0).length, 1);
});

test("columns without a value are NaN, never zero", () => {
  const values = Float32Array.from(long, (t) => (t >= 50 ? NaN : 1));
  const bins = player.binColumns(long, values, { start: 0, end: 200 }, 20, "mean");
  assert.deepEqual([...bins.subarray(0, 5)], [1, 1, 1, 1, 1]);
  assert.ok(bins.subarray(5).every(Number.isNaN));
});

test("between sparse samples a column shows the nearest", () => {
  const times = Float64Array.from([0, 1]);
  const bins = player.binColumns(times, Float32Array.from([3, 7]), { start: 0, end: 1 }, 4, "max");
  assert.deepEqual([...bins], [3, 3, 7, 7]);
});

test("missing stretches run from middle to middle and name their reason", () => {
  const times = Float64Array.from([0, 1, 2, 3, 4, 5]);
  const all = { start: 0, end: 5 };
  assert.deepEqual(player.missingSpans(times, [0, 1, 1, 2, 0, 0], all), [
    { start: 0.5, end: 2.5, code: 1 },
    { start: 2.5, end: 3.5, code: 2 },
  ]);
  assert.deepEqual(player.missingSpans(times, [0, 0, 0, 0, 0, 0], all), []);
  assert.deepEqual(player.missingSpans([], [], all), [{ start: 0, end: 5, code: -1 }]);
});

test("what was never analysed counts as missing", () => {
  const times = Float64Array.from([3, 3.5, 4]);
  assert.deepEqual(player.missingSpans(times, [0, 0, 0], { start: 0, end: 9 }), [
    { start: 0, end: 3, code: -1 },
    { start: 4, end: 9, code: -1 },
  ]);
});

test("times read as on a clock", () => {
  assert.equal(player.formatTime(0), "0:00");
  assert.equal(player.formatTime(83.4567, 3), "1:23.457");
  assert.equal(player.formatTime(59.9996, 3), "1:00.000");
  assert.equal(player.formatTime(3725), "1:02:05");
});

test("ruler labels are round and do not collide", () => {
  for (const [end, width] of [[0.5, 400], [19.7, 900], [19.7, 250], [7200, 600]]) {
    const ticks = player.timeTicks({ start: 0, end, width });
    assert.ok(ticks.length >= 2);
    const apart = ((ticks[1].time - ticks[0].time) / end) * width;
    assert.ok(apart >= 64);
    assert.equal(new Set(ticks.map((tick) => tick.label)).size, ticks.length);
  }
});

test("a picture fits whole and centred", () => {
  assert.deepEqual(player.fitRect(640, 360, 640, 400), {
    left: 0,
    top: 20,
    width: 640,
    height: 360,
    scale: 1,
  });
  assert.equal(player.fitRect(360, 640, 640, 320).left, 230);
});

test("a face box moves between its samples, and never towards a lost one", () => {
  const times = Float64Array.from([0, 1, 2, 3]);
  const values = new Float32Array(4 * 2 * 4).fill(NaN);
  values.set([0, 0, 10, 10], 4); // second face at 0 s
  values.set([8, 4, 10, 10], 12); // and at 1 s; lost at 2 s
  const one = { face: 1, faces: 2 };
  assert.deepEqual(player.boxAt(times, values, one, 0.25), [2, 1, 10, 10]);
  assert.deepEqual(player.boxAt(times, values, one, 1.25), [8, 4, 10, 10]);
  assert.equal(player.boxAt(times, values, one, 1.75), null);
  assert.equal(player.boxAt(times, values, { face: 0, faces: 2 }, 0), null);
});

const media = { port: 5000, token: "t0ken", locations: ["/home/ada/work/a b/talk.mp4"] };

test("a notebook of this machine asks the kernel's server first", () => {
  const page = { hostname: "localhost", baseUrl: "/", serverRoot: "/home/ada/work" };
  assert.deepEqual(player.mediaAddresses(media, page), [
    "http://localhost:5000/t0ken",
    "/proxy/5000/t0ken",
    "/files/a%20b/talk.mp4",
  ]);
});

test("a notebook of another machine goes through the notebook server alone", () => {
  const page = { hostname: "hub.example", baseUrl: "/user/ada/", serverRoot: "/home/ada/other" };
  assert.deepEqual(player.mediaAddresses(media, page), ["/user/ada/proxy/5000/t0ken"]);
});

test("a neighbour of the notebook folder does not count as inside it", () => {
  const page = { hostname: "hub.example", baseUrl: "/", serverRoot: "/home/ada/wor" };
  const found = player.mediaAddresses({ locations: media.locations }, page);
  assert.deepEqual(found, []);
});

test("an editor's page, which tells nothing, asks this machine", () => {
  const page = { hostname: "webview.example", baseUrl: null, serverRoot: null };
  assert.deepEqual(player.mediaAddresses(media, page), ["http://127.0.0.1:5000/t0ken"]);
});

test("reports are thinned out, and the last always arrives", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const sent = [];
  const report = player.throttle((x) => sent.push(x), 100);
  for (let x = 0; x < 25; x++) {
    report(x);
    t.mock.timers.tick(10);
  }
  assert.ok(sent.length <= 4);
  t.mock.timers.tick(100);
  assert.equal(sent.at(-1), 24);
  t.mock.timers.tick(1000);
  report(30);
  report(31);
  report.flush();
  assert.deepEqual(sent.slice(-2), [30, 31]);
  const count = sent.length;
  t.mock.timers.tick(1000);
  assert.equal(sent.length, count);
});

test("colours stay as they are where they can be seen, and are lifted where not", () => {
  const ratio = (a, b) => {
    const [x, y] = [player.luminance(a), player.luminance(b)];
    return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
  };
  assert.equal(player.readable("#0072B2", "rgb(255, 255, 255)", 2), "rgb(0, 114, 178)");
  assert.ok(ratio(player.readable("#5C4B51", "rgb(17, 17, 17)", 3.2), "rgb(17, 17, 17)") >= 3.2);
});

test("values read with a true minus, a sign where it matters, and a dash for nothing", () => {
  assert.equal(player.formatValue(NaN, {}), "–");
  assert.equal(player.formatValue(-0.256, { digits: 2, signed: true }), "−0.26");
  assert.equal(player.formatValue(0.5, { digits: 2, signed: true }), "+0.50");
  assert.equal(player.formatValue(-0.001, { digits: 2, signed: true }), "0.00");
});

test("panels do not overlap, and all fit the height", () => {
  const panels = [
    { kind: "heat", group: "face", series: Array(20).fill({}) },
    { kind: "lines", group: "face", series: Array(7).fill({}) },
    { kind: "stack", group: "fused", series: Array(7).fill({}) },
    { kind: "lines", group: "voice", series: [{}, {}], strip: {} },
  ];
  const { plots, height } = player.stackPanels(panels);
  for (let k = 1; k < plots.length; k++) {
    const above = plots[k - 1];
    assert.ok(plots[k].top > above.top + above.height + above.strip);
  }
  const last = plots.at(-1);
  assert.ok(last.top + last.height + last.strip <= height);
  assert.ok(player.stackPanels([]).height > 0);
});

test("a folded panel keeps only its title", () => {
  const panels = [
    { title: "a", kind: "lines", group: "face", series: Array(7).fill({}) },
    { title: "b", kind: "lines", group: "face", series: [{}] },
  ];
  const open = player.stackPanels(panels);
  const shut = player.stackPanels(panels, new Set(["a"]));
  assert.equal(shut.plots[0].height, 0);
  assert.ok(shut.height < open.height - 90);
  assert.ok(shut.plots[1].top - shut.plots[0].top >= 20);
});

test("pointing finds the panel, its title included, and the row of a heat strip", () => {
  const rows = Array.from({ length: 20 }, (_, k) => ({ label: k }));
  const panels = [
    { title: "a", kind: "heat", group: "face", series: rows },
    { title: "b", kind: "lines", group: "face", series: [{}] },
  ];
  const { plots } = player.stackPanels(panels);
  const [heat, lines] = plots;
  assert.deepEqual(player.findPlot(plots, heat.top + 12 * 3 + 1), { plot: heat, series: rows[3] });
  assert.deepEqual(player.findPlot(plots, heat.top - 5), { plot: heat });
  assert.deepEqual(player.findPlot(plots, lines.top - 5), { plot: lines });
  assert.equal(player.findPlot(plots, 9999).plot, undefined);
});

const bounds = [0, 100];

test("zooming keeps the time under the pointer where it is, and the view inside the clip", () => {
  const range = { start: 20, end: 60 };
  for (const at of [20, 31, 60]) {
    const closer = player.zoomRange(range, 4, at, bounds);
    const share = (r) => (at - r.start) / (r.end - r.start);
    assert.ok(Math.abs(closer.end - closer.start - 10) < 1e-9);
    assert.ok(Math.abs(share(closer) - share(range)) < 1e-9);
  }
  assert.deepEqual(player.zoomRange(range, 0.01, 30, bounds), { start: 0, end: 100 });
  assert.deepEqual(player.zoomRange({ start: 0, end: 10 }, 0.5, 0, bounds), { start: 0, end: 20 });
});

test("zooming ends at a few frames, however short the clip", () => {
  let range = { start: 0, end: 100 };
  for (let k = 0; k < 60; k++) range = player.zoomRange(range, 2, 50, bounds);
  assert.ok(range.end - range.start > 0.1 && range.end - range.start < 0.2);
  const tiny = player.zoomRange({ start: 0, end: 0.04 }, 8, 0.02, [0, 0.04]);
  assert.deepEqual(tiny, { start: 0, end: 0.04 });
});

test("panning stops at either end and keeps its length", () => {
  const range = { start: 20, end: 60 };
  assert.deepEqual(player.panRange(range, 7, bounds), { start: 27, end: 67 });
  assert.deepEqual(player.panRange(range, 900, bounds), { start: 60, end: 100 });
  assert.deepEqual(player.panRange(range, -900, bounds), { start: 0, end: 40 });
});

test("the view turns over when the playhead leaves it, and not before", () => {
  const range = { start: 20, end: 60 };
  assert.equal(player.followRange(range, 59.9, bounds), range);
  const next = player.followRange(range, 60.1, bounds);
  assert.ok(next.start < 60.1 && next.start > 55);
  assert.ok(Math.abs(next.end - next.start - 40) < 1e-9);
  assert.deepEqual(player.followRange(range, 99, bounds), { start: 60, end: 100 });
});

test("a selection reads from left to right, inside the clip, and is none at a point", () => {
  assert.deepEqual(player.orderedRange(7, 3, bounds), { start: 3, end: 7 });
  assert.deepEqual(player.orderedRange(90, 180, bounds), { start: 90, end: 100 });
  assert.equal(player.orderedRange(5, 5, bounds), null);
  assert.equal(player.orderedRange(120, 180, bounds), null);
});

test("the edges of a range can be taken hold of, and the inside of a narrow one", () => {
  const range = { start: 4, end: 8 }; // pixels 160 to 360
  const grips = [150, 156, 163, 260, 358, 364, 370].map((x) => player.gripAt(x, range, view));
  const expected = ["outside", "start", "start", "inside", "end", "end", "outside"];
  assert.deepEqual(grips, expected);
  const narrow = { start: 4, end: 4.2 };
  assert.equal(player.gripAt(165, narrow, view), "inside");
  assert.equal(player.gripAt(165, null, view), "outside");
});

test("the wheel belongs to the page, unless it zooms, or pans where there is room", () => {
  const wheel = (more) => ({ deltaX: 0, deltaY: 0, deltaMode: 0, ...more });
  assert.equal(player.wheelIntent(wheel({ deltaY: 100 }), true), null);
  assert.equal(player.wheelIntent(wheel({ deltaX: 30, deltaY: 2 }), false), null);
  assert.deepEqual(player.wheelIntent(wheel({ deltaX: 30, deltaY: 2 }), true), { pan: 30 });
  assert.deepEqual(player.wheelIntent(wheel({ deltaY: 50, shiftKey: true }), true), { pan: 50 });
  assert.ok(player.wheelIntent(wheel({ deltaY: -100, ctrlKey: true }), false).zoom > 1.3);
  assert.ok(player.wheelIntent(wheel({ deltaY: 100, metaKey: true }), false).zoom < 0.75);
  // One notch must not be a leap, in whatever unit it comes.
  assert.ok(player.wheelIntent(wheel({ deltaY: -3, deltaMode: 2, ctrlKey: true }), true).zoom < 2);
});

test("a click finds the face under it; of two, the one in front", () => {
  const boxes = [[0, 0, 100, 100], null, [40, 40, 20, 20]];
  assert.equal(player.faceAt(boxes, 10, 10), 0);
  assert.equal(player.faceAt(boxes, 50, 50), 2);
  assert.equal(player.faceAt(boxes, 500, 50), -1);
});

test("a face that is lost for a moment stays covered, and not for longer", () => {
  const times = Float64Array.from([0, 1, 2, 3, 4, 5, 6]);
  const values = new Float32Array(7 * 4).fill(NaN);
  values.set([10, 10, 5, 5], 4);
  const place = { face: 0, faces: 1 };
  assert.deepEqual(player.nearestBox(times, values, place, 1, 1.5), [10, 10, 5, 5]);
  assert.deepEqual(player.nearestBox(times, values, place, 2.4, 1.5), [10, 10, 5, 5]);
  assert.deepEqual(player.nearestBox(times, values, place, 0, 1.5), [10, 10, 5, 5]);
  assert.equal(player.nearestBox(times, values, place, 4, 1.5), null);
  assert.equal(player.nearestBox(times, values, place, 2.4, 0), null);
});

test("a pixel column knows how much of it is missing, and of which sort", () => {
  const wide = { start: 0, end: 100 };
  const spans = [
    { start: 1, end: 1.1, code: 1 },
    { start: 1.5, end: 1.6, code: 1 },
    { start: 1.7, end: 1.8, code: -3 },
    { start: 50.5, end: 53, code: 1 },
    { start: 99.5, end: 100, code: 1 },
  ];
  const share = player.coverage(spans, (code) => code === 1, wide, 100);
  const close = (column, value) => assert.ok(Math.abs(share[column] - value) < 1e-6, `${column}`);
  [[0, 0], [1, 0.2], [2, 0], [50, 0.5], [51, 1], [52, 1], [53, 0], [99, 0.5]].forEach((pair) =>
    close(...pair),
  );
  const runs = [];
  player.eachRun(share, (s) => s >= 0.5, (from, to) => runs.push([from, to]));
  assert.deepEqual(runs, [[50, 53], [99, 100]]);
  const closer = player.coverage(spans, (code) => code === 1, { start: 51, end: 52 }, 4);
  assert.deepEqual([...closer], [1, 1, 1, 1]);
});

test("rows that are hard to read are set apart from those without a face", () => {
  const bytes = (values, Type = Float32Array) => new Uint8Array(Type.from(values).buffer);
  const entry = (dims, values) => ({
    dims,
    shape: [values.length, 1].slice(0, dims.length),
    dtype: "float32",
    data: bytes(values),
  });
  const of = ["time", "face"];
  const layout = {
    duration: 4,
    low_quality: 0.4,
    faces: ["face_0"],
    reasons: { face: ["", "no face"] },
  };
  const data = new player.Data(layout, {
    "face.time": { dims: ["time"], shape: [5], dtype: "float64", data: bytes([0, 1, 2, 3, 4], Float64Array) },
    "face.status": entry(of, [0, 1, 0, 0, 0]),
    "face.face_quality": entry(of, [0.9, NaN, 0.2, 0.9, 0.9]),
    "face.valence": entry(of, [0.5, NaN, 0.5, NaN, 0.5]),
  });
  const panel = { title: "x", group: "face", series: [{ array: "face.valence" }] };
  assert.deepEqual(data.spans(panel), [
    { start: 0.5, end: 1.5, code: 1 },
    { start: 1.5, end: 2.5, code: player.LOW_QUALITY },
    { start: 2.5, end: 3.5, code: player.EMPTY },
  ]);
  assert.equal(data.reason("face", 1), "no face");
  assert.equal(data.reason("face", 2), "low face quality (0.20)");
  assert.equal(data.reason("face", 4), "");
});

test("a linked player keeps up by its pace, and seeks only when it is far away", () => {
  assert.deepEqual(player.keepUp(5, 5.01, 20), { seek: null, pace: 1 });
  assert.ok(Math.abs(player.keepUp(5, 5.2, 20).pace - 1.2) < 1e-9);
  assert.ok(Math.abs(player.keepUp(5, 4.8, 20).pace - 0.8) < 1e-9);
  assert.ok(player.keepUp(5, 5.9, 20).pace < 1.5);
  assert.equal(player.keepUp(5, 8, 20).seek, 8);
  assert.deepEqual(player.keepUp(19.99, 30, 20), { seek: null, pace: 1 });
  assert.equal(player.keepUp(3, 30, 20).seek, 20);
});

test("bars of neighbouring columns meet, and a gap stays a gap", () => {
  const times = Float64Array.from({ length: 40 }, (_, i) => i);
  const values = Float32Array.from(times, (t) => (t < 10 ? 5 : t < 20 ? NaN : t < 30 ? 40 : 90));
  const range = { start: 0, end: 40 };
  const { top, bottom } = player.columnBars(times, values, range, 4, (v) => 100 - v);
  assert.deepEqual([...top], [95, -1, 60, 10]);
  assert.deepEqual([...bottom], [95, -1, 60, 60]);
});

test("where samples are sparse a bar holds its value rather than leaving a hole", () => {
  const times = Float64Array.from([0, 1, 2, 3, 9]);
  const values = Float32Array.from([5, 5, 5, 30, 5]);
  const { top } = player.columnBars(times, values, { start: 0, end: 20 }, 10, (v) => 100 - v);
  assert.deepEqual([...top], [95, 70, 70, 70, 70, -1, -1, -1, -1, -1]);
});

test("bars are mixed so that none hides another", () => {
  const image = { width: 1, height: 3, data: new Uint8ClampedArray(12) };
  player.paintBars(image, { top: [0], bottom: [1] }, [255, 0, 0], 0.5);
  player.paintBars(image, { top: [1], bottom: [9] }, [0, 0, 255], 0.5);
  const pixel = (y) => [...image.data.subarray(4 * y, 4 * y + 4)];
  assert.deepEqual(pixel(0), [255, 0, 0, 128]);
  assert.deepEqual(pixel(2), [0, 0, 255, 128]);
  const [r, , b, a] = pixel(1);
  assert.ok(r > 60 && b > r && a > 185);
});

test("a band holds the lowest low and the highest high of each pixel, and gaps", () => {
  const times = Float64Array.from({ length: 40 }, (_, i) => i);
  const low = Float32Array.from(times, (t) => (t >= 20 && t < 30 ? NaN : -t));
  const high = Float32Array.from(times, (t) => (t >= 20 && t < 30 ? NaN : t));
  const band = player.bandColumns(times, low, high, { start: 0, end: 40 }, 4);
  assert.deepEqual([...band.low], [-9, -19, NaN, -39]);
  assert.deepEqual([...band.high], [9, 19, NaN, 39]);
  const close = player.bandColumns(times, low, high, { start: 4, end: 6 }, 4);
  assert.deepEqual([...close.high], [4, 5, 5, 6]);
});

test("a gaze to the person's right goes to the picture's left, and up goes up", () => {
  const [x, y] = player.gazeEnd([100, 50], 30, 90, 40);
  assert.ok(Math.abs(x - 60) < 1e-9 && Math.abs(y - 30) < 1e-9);
});
