// The numbers of a result: columns, and the few points of them that a view needs.

import { meanInterval, sampleIndex, upperBound } from "./geometry.js";

/** One column of an array `{dims, shape, values}` whose first dimension is time. */
export function takeColumn({ dims, shape, values }, { face = 0, column = 0 } = {}) {
  let offset = 0;
  let stride = 1;
  for (let d = dims.length - 1; d > 0; d--) {
    offset += (dims[d] === "face" ? face : column) * stride;
    stride *= shape[d];
  }
  const out = new Float32Array(shape[0]);
  for (let i = 0; i < out.length; i++) out[i] = values[offset + i * stride];
  return out;
}

// ---------------------------------------------------------------- levels of detail

/**
 * Lowest and highest value of blocks of 4, 16, 64, … samples, NaN left out. With it the
 * extremes of any stretch are found in a few steps however long it is, and none is lost.
 */
function makePyramid(values) {
  const levels = [{ low: values, high: values }];
  while (levels.at(-1).low.length > 4) {
    const { low, high } = levels.at(-1);
    const n = Math.ceil(low.length / 4);
    const next = { low: new Float32Array(n), high: new Float32Array(n) };
    for (let i = 0; i < n; i++) {
      let least = NaN;
      let most = NaN;
      for (let k = 4 * i; k < Math.min(4 * i + 4, low.length); k++) {
        if (!(low[k] >= least)) least = Number.isNaN(low[k]) ? least : low[k];
        if (!(high[k] <= most)) most = Number.isNaN(high[k]) ? most : high[k];
      }
      next.low[i] = least;
      next.high[i] = most;
    }
    levels.push(next);
  }
  return levels;
}

/** Sum and number of the values before each sample, NaN left out. */
function makeSums(values) {
  const sums = new Float64Array(values.length + 1);
  const counts = new Uint32Array(values.length + 1);
  for (let i = 0; i < values.length; i++) {
    const known = !Number.isNaN(values[i]);
    sums[i + 1] = sums[i] + (known ? values[i] : 0);
    counts[i + 1] = counts[i] + (known ? 1 : 0);
  }
  return { sums, counts };
}

/** `make(key)`, kept as long as `key` itself is. */
function remember(make) {
  const known = new WeakMap();
  return (key) => {
    if (!known.has(key)) known.set(key, make(key));
    return known.get(key);
  };
}

const pyramidOf = remember(makePyramid);
const sumsOf = remember(makeSums);

// Of the stretch that `seekExtremes` looked at last. Fields of an object would be made anew
// for every pixel column, tens of thousands of times a drawing.
let lowest = NaN;
let highest = NaN;

function seekExtremes(levels, from, to) {
  let least = Infinity;
  let most = -Infinity;
  let i = from;
  let j = to;
  for (let n = 0; i < j; n++) {
    const { low, high } = levels[n];
    const top = n === levels.length - 1;
    // What is left over on either side of whole blocks, and then the blocks.
    for (; i < j && (top || i & 3); i++) {
      if (low[i] < least) least = low[i];
      if (high[i] > most) most = high[i];
    }
    while (i < j && j & 3) {
      j--;
      if (low[j] < least) least = low[j];
      if (high[j] > most) most = high[j];
    }
    i >>= 2;
    j >>= 2;
  }
  const found = least <= most;
  lowest = found ? least : NaN;
  highest = found ? most : NaN;
}

/** Lowest and highest of `values[from…to)`, exactly; NaN where there is nothing. */
export function extremes(values, from, to) {
  seekExtremes(pyramidOf(values), from, to);
  return [lowest, highest];
}

/** Index of the first sample of each pixel column, and of the one after the last. */
function columnEdges(times, { start, end }, columns) {
  const edges = new Uint32Array(columns + 1);
  const step = (end - start) / columns;
  edges[0] = upperBound(times, start - 1e-9);
  for (let c = 1; c < columns; c++) edges[c] = upperBound(times, start + c * step - 1e-9);
  edges[columns] = upperBound(times, end);
  return edges;
}

// All series of a group share their times, and all are drawn for one view.
const lastEdges = new WeakMap();

function edgesOf(times, range, columns) {
  const key = `${range.start}/${range.end}/${columns}`;
  if (lastEdges.get(times)?.key !== key) {
    lastEdges.set(times, { key, edges: columnEdges(times, range, columns) });
  }
  return lastEdges.get(times).edges;
}

/**
 * Points of a line: the samples themselves, with one beyond each edge of the view, where
 * they are few; else two for each of `columns` pixel columns, its lowest and its highest,
 * so that no peak is lost. A NaN in `values` marks a gap.
 */
export function decimate(times, values, range, columns) {
  const from = Math.max(upperBound(times, range.start) - 1, 0);
  const to = Math.min(upperBound(times, range.end) + 1, times.length);
  if (to - from <= 4 * columns) {
    return { times: times.subarray(from, to), values: values.subarray(from, to) };
  }
  const edges = edgesOf(times, range, columns);
  const step = (range.end - range.start) / columns;
  const levels = pyramidOf(values);
  const out = { times: new Float64Array(2 * columns), values: new Float32Array(2 * columns) };
  let n = 0;
  let last = NaN;
  for (let c = 0; c < columns; c++) {
    if (edges[c] === edges[c + 1]) continue;
    seekExtremes(levels, edges[c], edges[c + 1]);
    const low = lowest;
    const high = highest;
    // From the end that lies nearer to where the line comes from.
    const rising = Math.abs(low - last) <= Math.abs(high - last);
    out.times[n] = out.times[n + 1] = range.start + (c + 0.5) * step;
    out.values[n] = rising ? low : high;
    out.values[n + 1] = last = rising ? high : low;
    n += 2;
  }
  return { times: out.times.subarray(0, n), values: out.values.subarray(0, n) };
}

/**
 * One value a pixel column: the highest ("max") or the mean ("mean") of its samples,
 * the nearest sample where none falls into it, NaN where there is nothing.
 */
export function binColumns(times, values, range, columns, how) {
  const out = new Float32Array(columns).fill(NaN);
  const edges = edgesOf(times, range, columns);
  const interval = meanInterval(times);
  const step = (range.end - range.start) / columns;
  const levels = how === "max" ? pyramidOf(values) : null;
  const { sums, counts } = how === "mean" ? sumsOf(values) : {};
  for (let c = 0; c < columns; c++) {
    const from = edges[c];
    const to = edges[c + 1];
    if (from === to) {
      const near = sampleIndex(times, range.start + (c + 0.5) * step, interval);
      if (near >= 0) out[c] = values[near];
    } else if (how === "max") {
      seekExtremes(levels, from, to);
      out[c] = highest;
    } else out[c] = (sums[to] - sums[from]) / (counts[to] - counts[from]);
  }
  return out;
}

/**
 * Top and bottom pixel row of a bar for each pixel column, from its lowest to its highest
 * sample and on to the bar before it, since a line has no steps. -1 where there is nothing.
 */
export function columnBars(times, values, range, columns, toY) {
  const edges = edgesOf(times, range, columns);
  const levels = pyramidOf(values);
  const bars = { top: new Int32Array(columns).fill(-1), bottom: new Int32Array(columns).fill(-1) };
  let above = NaN;
  let below = NaN;
  for (let c = 0; c < columns; c++) {
    // Between two samples that are further apart than elsewhere the line stays where it was.
    const held = edges[c] === edges[c + 1];
    if (held && (edges[c] === 0 || edges[c] === values.length)) continue;
    seekExtremes(levels, edges[c] - held, edges[c + 1]);
    const top = toY(highest);
    const bottom = toY(lowest);
    if (!Number.isNaN(top)) {
      bars.top[c] = Math.floor(top > below ? below : top);
      bars.bottom[c] = Math.floor(bottom < above ? above : bottom);
    }
    above = top;
    below = bottom;
  }
  return bars;
}

/**
 * Lowest of `low` and highest of `high` in each pixel column, the nearest sample's where none
 * falls into it: the band of uncertainty around a line.
 */
export function bandColumns(times, low, high, range, columns) {
  const edges = edgesOf(times, range, columns);
  const step = (range.end - range.start) / columns;
  const interval = meanInterval(times);
  const band = { low: new Float32Array(columns).fill(NaN), high: new Float32Array(columns).fill(NaN) };
  for (let c = 0; c < columns; c++) {
    let [from, to] = [edges[c], edges[c + 1]];
    if (from === to) {
      from = sampleIndex(times, range.start + (c + 0.5) * step, interval);
      to = from + 1;
      if (from < 0) continue;
    }
    band.low[c] = extremes(low, from, to)[0];
    band.high[c] = extremes(high, from, to)[1];
  }
  return band;
}

/** Mixes bars of one colour, `thick` pixels high at least, into `{width, height, data}`. */
export function paintBars(image, { top, bottom }, [r, g, b], alpha, thick = 1) {
  const { width, height, data } = image;
  for (let c = 0; c < width; c++) {
    if (top[c] < 0 && bottom[c] < 0) continue;
    const last = Math.min(Math.max(bottom[c], top[c] + thick - 1), height - 1);
    for (let y = Math.max(Math.min(top[c], height - 1), 0); y <= last; y++) {
      const at = (y * width + c) * 4;
      const before = (data[at + 3] / 255) * (1 - alpha);
      const whole = alpha + before;
      data[at] = (r * alpha + data[at] * before) / whole;
      data[at + 1] = (g * alpha + data[at + 1] * before) / whole;
      data[at + 2] = (b * alpha + data[at + 2] * before) / whole;
      data[at + 3] = 255 * whole;
    }
  }
}

// ---------------------------------------------------------------- what is missing

/** Stretches `{start, end, code}` where status is not 0, or where there is no sample (-1). */
export function missingSpans(times, status, { start, end }) {
  const n = times.length;
  if (!n) return [{ start, end, code: -1 }];
  const interval = meanInterval(times);
  const spans = [];
  // Sound and picture rarely end on the same instant: less than this is no gap.
  const slack = Math.max(interval, 0.1);
  const first = times[0] - interval;
  const last = times[n - 1] + interval;
  if (times[0] > start + slack) spans.push({ start, end: times[0], code: -1 });
  for (let i = 0; i < n; i++) {
    const code = status[i];
    if (code === 0) continue;
    const from = i > 0 ? (times[i - 1] + times[i]) / 2 : Math.max(first, start);
    const to = i + 1 < n ? (times[i] + times[i + 1]) / 2 : Math.min(last, end);
    const open = spans[spans.length - 1];
    if (open && open.code === code && open.end === from) open.end = to;
    else spans.push({ start: from, end: to, code });
  }
  if (times[n - 1] < end - slack) spans.push({ start: times[n - 1], end, code: -1 });
  return spans;
}

/** Face box `[x, y, width, height]` at time `t`, between its samples; null where there is none. */
export function boxAt(times, values, { face, faces }, t) {
  const at = (i) => values.subarray((i * faces + face) * 4, (i * faces + face) * 4 + 4);
  const near = sampleIndex(times, t);
  if (near < 0 || Number.isNaN(at(near)[0])) return null;
  const other = times[near] <= t ? near + 1 : near - 1;
  if (other < 0 || other >= times.length || Number.isNaN(at(other)[0])) return [...at(near)];
  const share = (t - times[near]) / (times[other] - times[near]);
  return Array.from(at(near), (value, k) => value + share * (at(other)[k] - value));
}

/**
 * For each pixel column, how much of it spans of one sort cover, 0 to 1. `wanted(code)` says
 * which sort. Scattered frames must neither vanish from a long clip nor seem to fill it.
 */
export function coverage(spans, wanted, { start, end }, columns) {
  const out = new Float32Array(columns);
  const scale = columns / (end - start);
  for (const span of spans) {
    if (span.end <= start || span.start >= end || !wanted(span.code)) continue;
    const from = Math.max((span.start - start) * scale, 0);
    const to = Math.min((span.end - start) * scale, columns);
    const first = Math.floor(from);
    const last = Math.min(Math.floor(to), columns - 1);
    if (first === last) out[first] += to - from;
    else {
      out[first] += first + 1 - from;
      out.fill(1, first + 1, last);
      out[last] += to - last;
    }
  }
  return out;
}

/** Calls `draw(first, after)` for each run of columns whose value passes. */
export function eachRun(values, passes, draw) {
  for (let i = 0; i < values.length; i++) {
    if (!passes(values[i])) continue;
    const first = i;
    while (i < values.length && passes(values[i])) i++;
    draw(first, i);
  }
}

/** Rows that hold nothing though their status does not say why; and those hard to read. */
export const EMPTY = -2;
export const LOW_QUALITY = -3;

/** Face box at time `t`, or, within `reach` seconds, the nearest there is; else null. */
export function nearestBox(times, values, place, t, reach) {
  const here = boxAt(times, values, place, t);
  if (here || !times.length) return here;
  const middle = Math.min(upperBound(times, t), times.length - 1);
  const known = (i) => !Number.isNaN(values[(i * place.faces + place.face) * 4]);
  let best = -1;
  for (let i = middle; i >= 0 && t - times[i] <= reach; i--) {
    if (known(i) && times[i] - t <= reach) {
      best = i;
      break;
    }
  }
  for (let i = middle; i < times.length && times[i] - t <= reach; i++) {
    if (t - times[i] > reach || !known(i)) continue;
    if (best < 0 || times[i] - t < Math.abs(t - times[best])) best = i;
    break;
  }
  if (best < 0) return null;
  const at = (best * place.faces + place.face) * 4;
  return Array.from(values.subarray(at, at + 4));
}

/** Numbers of the result, as columns; each is cut out once. */
export class Data {
  constructor(layout, packed) {
    this.layout = layout;
    this.arrays = {};
    for (const [name, { dims, shape, dtype, data }] of Object.entries(packed)) {
      // A copy: the bytes arrive at any offset, and typed arrays need an aligned one.
      const bytes = ArrayBuffer.isView(data)
        ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)
        : data.slice(0);
      const values = dtype === "float64" ? new Float64Array(bytes) : new Float32Array(bytes);
      this.arrays[name] = { dims, shape, values };
    }
    this.face = 0;
    this.columns = new Map();
    this.missing = new Map();
  }

  times(group) {
    return this.arrays[`${group}.time`]?.values ?? NOTHING;
  }

  column({ array, column = 0 }) {
    const key = `${array}/${column}/${this.face}`;
    if (!this.columns.has(key)) {
      this.columns.set(key, takeColumn(this.arrays[array], { face: this.face, column }));
    }
    return this.columns.get(key);
  }

  /** Lowest and highest that a series may be; null where the data does not say. */
  band(series) {
    if (series.band) {
      const [low, high] = series.band.map((array) => this.column({ ...series, array }));
      return { low, high };
    }
    if (!series.noise) return null;
    const key = `band/${series.array}/${series.column ?? 0}/${this.face}`;
    if (!this.columns.has(key)) {
      const values = this.column(series);
      const noise = series.noise[this.face] ?? series.noise[0];
      this.columns.set(key, { low: values.map((v) => v - noise), high: values.map((v) => v + noise) });
    }
    return this.columns.get(key);
  }

  /** Numbers of one face at time `t`, such as its gaze; null where they are not known. */
  row(array, t, face) {
    const { shape, values } = this.arrays[array] ?? {};
    const i = this.index(array.split(".")[0], t);
    if (!shape || i < 0) return null;
    const size = values.length / (shape[0] * shape[1]);
    const at = (i * shape[1] + face) * size;
    const row = values.subarray(at, at + size);
    return Number.isNaN(row[0]) ? null : row;
  }

  index(group, t) {
    return sampleIndex(this.times(group), t);
  }

  value(series, t) {
    const i = this.index(series.array.split(".")[0], t);
    return i < 0 ? NaN : this.column(series)[i];
  }

  /** Box of every face at time `t`, in pixels of the upright frame; null where there is none. */
  boxes(t, reach = 0) {
    const boxes = this.arrays["face.face_box"]?.values;
    if (!boxes) return [];
    const faces = this.layout.faces.length;
    return this.layout.faces.map((_, face) =>
      nearestBox(this.times("face"), boxes, { face, faces }, t, reach),
    );
  }

  /** Why there is nothing at time `t`, or little to rely on; empty where all is well. */
  reason(group, t) {
    const i = this.index(group, t);
    if (i < 0) return "not analysed";
    const code = this.column({ array: `${group}.status` })[i];
    if (code) return this.layout.reasons[group]?.[code] ?? "no value";
    if (group !== "face" || !this.arrays["face.face_quality"]) return "";
    const quality = this.column({ array: "face.face_quality" })[i];
    if (!(quality < this.layout.low_quality)) return "";
    const why = this.arrays["face.quality_reason"]
      ? this.layout.quality_reasons[this.column({ array: "face.quality_reason" })[i]]
      : "";
    return `low face quality (${quality.toFixed(2)}${why ? `: ${why}` : ""})`;
  }

  /** Stretches of a panel that hold nothing to draw, or little to rely on. */
  spans({ title, group, series }) {
    if (!this.arrays[`${group}.status`]) return [];
    const key = `${title}/${this.face}`;
    if (!this.missing.has(key)) {
      const status = this.column({ array: `${group}.status` }).slice();
      // A voice is silent now and then without anything being wrong.
      const own = group === "voice" ? [] : series.filter((s) => s.array.startsWith(`${group}.`));
      const columns = own.map((one) => this.column(one));
      for (let i = 0; columns.length && i < status.length; i++) {
        if (columns.every((column) => Number.isNaN(column[i]))) status[i] ||= EMPTY;
      }
      if (group === "face" && this.arrays["face.face_quality"]) {
        const quality = this.column({ array: "face.face_quality" });
        for (let i = 0; i < status.length; i++) {
          if (quality[i] < this.layout.low_quality) status[i] ||= LOW_QUALITY;
        }
      }
      const whole = { start: 0, end: this.layout.duration };
      this.missing.set(key, missingSpans(this.times(group), status, whole));
    }
    return this.missing.get(key);
  }
}

const NOTHING = new Float64Array(0);
