// Geometry and time of the player, without a browser. Run by pytest, or: node --test tests/js/
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const file = new URL("../../emokit/widgets/player.js", import.meta.url);
const source = (await readFile(file)).toString("base64");
const player = await import(`data:text/javascript;base64,${source}`);

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
  assert.ok(line.times.length <= 4 * 500);
  assert.equal(line.times[line.values.indexOf(1)], 54.321);
  assert.equal(line.times[line.values.indexOf(-1)], 76.543);
});

test("decimation keeps the order of time, both ends, and a gap", () => {
  const values = Float32Array.from(long, (t) => (t > 40 && t < 42 ? NaN : Math.sin(t)));
  const line = player.decimate(long, values, { start: 0, end: 100 }, 500);
  for (let i = 1; i < line.times.length; i++) assert.ok(line.times[i] > line.times[i - 1]);
  assert.equal(line.times[0], 0);
  assert.equal(line.times.at(-1), 99.999);
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
