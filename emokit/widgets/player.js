// The player: video, face boxes and timelines on one time axis.
//
// Python sends what to draw (`_layout`, JSON) and the numbers (`_arrays`, binary);
// `current_time` and `face` go both ways. Everything else happens here, so that
// playback needs no round trip to the kernel. Times are seconds of the stream.

// ---------------------------------------------------------------- pure functions

/** First index whose value is greater than `x`, in an ascending array. */
export function upperBound(values, x) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Horizontal position of time `t` in a view `{start, end, left, width}`. */
export function timeToX(t, view) {
  return view.left + ((t - view.start) / (view.end - view.start)) * view.width;
}

/** Time at horizontal position `x`, kept inside the view. */
export function xToTime(x, view) {
  const share = Math.min(Math.max((x - view.left) / view.width, 0), 1);
  return view.start + share * (view.end - view.start);
}

/** Vertical position of `value` in a plot `{top, height}` with the axis `[low, high]`. */
export function valueToY(value, [low, high], plot) {
  return plot.top + (1 - (value - low) / (high - low)) * plot.height;
}

/** Index of the frame on screen at time `t`. Browsers round frame times, hence the slack. */
export function frameIndex(times, t, slack = 1e-3) {
  return Math.max(upperBound(times, t + slack) - 1, 0);
}

/** A time in the middle of a frame: seeking there lands on it, whatever the rounding. */
export function frameMiddle(times, index, duration) {
  const start = times[index];
  if (index + 1 < times.length) return (start + times[index + 1]) / 2;
  const before = index > 0 ? start - times[index - 1] : 0.04;
  const end = duration > start ? Math.min(start + before, duration) : start + before;
  return (start + end) / 2;
}

/** Index of the frame `by` frames from the one at time `t`, kept inside the clip. */
export function stepFrame(times, t, by) {
  return Math.min(Math.max(frameIndex(times, t) + by, 0), times.length - 1);
}

/** Mean distance between samples, in seconds. */
export function meanInterval(times) {
  const n = times.length;
  return n > 1 ? (times[n - 1] - times[0]) / (n - 1) : 0.5;
}

/** Index of the sample nearest to time `t`; -1 where none is near enough to speak for it. */
export function sampleIndex(times, t, interval = meanInterval(times)) {
  const n = times.length;
  if (!n || t < times[0] - interval || t > times[n - 1] + interval) return -1;
  const after = Math.min(upperBound(times, t), n - 1);
  const before = Math.max(after - 1, 0);
  return t - times[before] < times[after] - t ? before : after;
}

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

/**
 * Points of a line, at most four for each of `columns` pixel columns: first, lowest,
 * highest and last, so that no peak is lost. A NaN in `values` marks a gap.
 */
export function decimate(times, values, { start, end }, columns) {
  const from = Math.max(upperBound(times, start) - 1, 0);
  const to = Math.min(upperBound(times, end) + 1, times.length);
  if (to - from <= 4 * columns) {
    return { times: times.slice(from, to), values: values.slice(from, to) };
  }
  const out = { times: [], values: [] };
  const push = (i) => {
    out.times.push(times[i]);
    out.values.push(values[i]);
  };
  let i = from;
  for (let c = 0; c < columns && i < to; c++) {
    const edge = c + 1 < columns ? start + ((c + 1) / columns) * (end - start) : Infinity;
    let first = -1;
    let last = -1;
    let low = -1;
    let high = -1;
    const begin = i;
    for (; i < to && times[i] < edge; i++) {
      if (Number.isNaN(values[i])) continue;
      if (first < 0) first = low = high = i;
      last = i;
      if (values[i] < values[low]) low = i;
      if (values[i] > values[high]) high = i;
    }
    if (first >= 0) [...new Set([first, low, high, last])].sort((a, b) => a - b).forEach(push);
    else if (i > begin) push(begin);
  }
  return out;
}

/**
 * One value a pixel column: the highest ("max") or the mean ("mean") of its samples,
 * the nearest sample where none falls into it, NaN where there is nothing.
 */
export function binColumns(times, values, { start, end }, columns, how) {
  const out = new Float32Array(columns).fill(NaN);
  const interval = meanInterval(times);
  const step = (end - start) / columns;
  let i = upperBound(times, start - 1e-9);
  for (let c = 0; c < columns; c++) {
    const edge = start + (c + 1) * step;
    let count = 0;
    let sum = 0;
    let high = -Infinity;
    const begin = i;
    for (; i < times.length && times[i] < edge; i++) {
      if (Number.isNaN(values[i])) continue;
      count += 1;
      sum += values[i];
      high = Math.max(high, values[i]);
    }
    if (count) out[c] = how === "max" ? high : sum / count;
    else if (i === begin) {
      const near = sampleIndex(times, edge - step / 2, interval);
      if (near >= 0) out[c] = values[near];
    }
  }
  return out;
}

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

/** `m:ss`, or `h:mm:ss` from an hour on, with `digits` decimals. */
export function formatTime(t, digits = 0) {
  const unit = 10 ** digits;
  const whole = Math.round(Math.max(t, 0) * unit);
  const seconds = Math.floor(whole / unit);
  const rest = digits ? "." + String(whole % unit).padStart(digits, "0") : "";
  const two = (x) => String(x).padStart(2, "0");
  const h = Math.floor(seconds / 3600);
  const m = Math.floor(seconds / 60) % 60;
  return (h ? `${h}:${two(m)}` : `${m}`) + `:${two(seconds % 60)}${rest}`;
}

const TICK_STEPS = [
  0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
];

/** Round times for the ruler, at least `apart` pixels from one another. */
export function timeTicks({ start, end, width }, apart = 64) {
  const wanted = ((end - start) * apart) / width;
  const step = TICK_STEPS.find((s) => s >= wanted) ?? TICK_STEPS[TICK_STEPS.length - 1];
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  const ticks = [];
  for (let k = Math.ceil(start / step - 1e-9); k * step <= end + 1e-9; k++) {
    ticks.push({ time: k * step, label: formatTime(k * step, digits) });
  }
  return ticks;
}

/** Where a picture of `width` × `height` stands inside a box, whole and centred. */
export function fitRect(width, height, boxWidth, boxHeight) {
  const scale = Math.min(boxWidth / width, boxHeight / height);
  return {
    left: (boxWidth - width * scale) / 2,
    top: (boxHeight - height * scale) / 2,
    width: width * scale,
    height: height * scale,
    scale,
  };
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

const RULER = 24;
const TITLE = 20;
const GAP = 9;
const ROW = 12;

/** Vertical place of each panel's plot below the ruler, and the height of all. */
export function stackPanels(panels) {
  let y = RULER;
  const plots = panels.map((panel) => {
    const top = y + TITLE;
    let height = 54;
    if (panel.kind === "heat") height = panel.series.length * ROW;
    else if (panel.kind === "stack") height = 36;
    else if (panel.series.length > 3) height = 100;
    else if (panel.group === "voice") height = panel.series.length ? 76 : 0;
    const strip = panel.strip ? 8 : 0;
    y = top + height + strip + GAP;
    return { panel, top, height, strip };
  });
  return { plots, height: y };
}

function channels(color) {
  const hex = /^#([0-9a-f]{6})$/i.exec(color);
  if (hex) return [0, 2, 4].map((k) => parseInt(hex[1].slice(k, k + 2), 16));
  const numbers = color.match(/[\d.]+/g)?.map(Number) ?? [];
  return numbers.length >= 3 ? numbers.slice(0, 3) : [0, 0, 0];
}

/** Relative luminance of a colour, as WCAG defines it. */
export function luminance(color) {
  const [r, g, b] = channels(color).map((value) => {
    const v = value / 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** `color`, moved towards black or white until it stands out from `background`. */
export function readable(color, background, ratio = 2.2) {
  const back = luminance(background);
  const goal = back < 0.4 ? 255 : 0;
  let rgb = channels(color);
  for (let k = 0; k < 20; k++) {
    const front = luminance(`rgb(${rgb})`);
    if ((Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05) >= ratio) break;
    rgb = rgb.map((value) => Math.round(value + (goal - value) * 0.1));
  }
  return `rgb(${rgb.join(", ")})`;
}

/**
 * Where the media file may be found, best first. A page of this machine asks the
 * kernel's own server; any other goes through jupyter-server-proxy; the notebook
 * server's file route is the last resort, and only reaches its own folder.
 */
export function mediaAddresses(media, page) {
  if (media.inline) return [media.inline];
  const found = [];
  const local = ["localhost", "127.0.0.1", "[::1]", ""].includes(page.hostname);
  const base = page.baseUrl === null ? null : page.baseUrl.replace(/\/*$/, "/");
  const direct = () => {
    const host = page.hostname === "localhost" ? "localhost" : "127.0.0.1";
    found.push(`http://${host}:${media.port}/${media.token}`);
  };
  if (media.port && (local || base === null)) direct();
  if (media.port && base !== null) found.push(`${base}proxy/${media.port}/${media.token}`);
  if (base !== null && page.serverRoot) {
    const root = page.serverRoot.replace(/\/*$/, "/");
    const inside = (media.locations ?? []).find((place) => place.startsWith(root));
    if (inside) {
      const parts = inside.slice(root.length).split("/").map(encodeURIComponent);
      found.push(`${base}files/${parts.join("/")}`);
    }
  }
  return found;
}

/** Call `fn` at most once in `wait` ms, and once more with the last arguments at the end. */
export function throttle(fn, wait) {
  let timer = null;
  let waiting = null;
  const tick = () => {
    timer = null;
    if (waiting) {
      const args = waiting;
      waiting = null;
      call(...args);
    }
  };
  const call = (...args) => {
    if (timer !== null) {
      waiting = args;
      return;
    }
    timer = setTimeout(tick, wait);
    fn(...args);
  };
  call.flush = () => {
    clearTimeout(timer);
    tick();
    clearTimeout(timer);
    timer = null;
  };
  return call;
}

export function formatValue(value, series) {
  if (Number.isNaN(value)) return "–";
  const text = Math.abs(value).toFixed(series.digits ?? 2);
  const negative = value < 0 && Number(text) !== 0;
  return (negative ? "−" : series.signed && Number(text) !== 0 ? "+" : "") + text;
}

// ---------------------------------------------------------------- data

/** Numbers of the result, as columns; each is cut out once. */
class Data {
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
    this.intervals = new Map();
  }

  times(group) {
    return this.arrays[`${group}.time`]?.values ?? new Float64Array(0);
  }

  column({ array, column = 0 }) {
    const key = `${array}/${column}/${this.face}`;
    if (!this.columns.has(key)) {
      this.columns.set(key, takeColumn(this.arrays[array], { face: this.face, column }));
    }
    return this.columns.get(key);
  }

  index(group, t) {
    const times = this.times(group);
    if (!this.intervals.has(group)) this.intervals.set(group, meanInterval(times));
    return sampleIndex(times, t, this.intervals.get(group));
  }

  value(series, t) {
    const i = this.index(series.array.split(".")[0], t);
    return i < 0 ? NaN : this.column(series)[i];
  }

  /** Why there is nothing at time `t`, in words; empty where there is something. */
  reason(group, t) {
    const i = this.index(group, t);
    if (i < 0) return "not analysed";
    const code = this.column({ array: `${group}.status` })[i];
    return code ? (this.layout.reasons[group]?.[code] ?? "no value") : "";
  }

  /** Stretches of a panel that hold nothing to draw. */
  spans({ group, series }, view) {
    if (!this.arrays[`${group}.status`]) return [];
    const status = this.column({ array: `${group}.status` }).slice();
    // A voice is silent now and then without anything being wrong.
    const own = group === "voice" ? [] : series.filter((s) => s.array.startsWith(`${group}.`));
    const columns = own.map((one) => this.column(one));
    for (let i = 0; columns.length && i < status.length; i++) {
      if (columns.every((column) => Number.isNaN(column[i]))) status[i] ||= -2;
    }
    return missingSpans(this.times(group), status, view);
  }
}

// ---------------------------------------------------------------- elements

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  play: "M4 2.2v11.6L13.5 8z",
  pause: "M3.6 2.5h3.2v11H3.6zM9.2 2.5h3.2v11H9.2z",
  back: "M3 3h2v10H3zM13 3v10L6 8z",
  next: "M11 3h2v10h-2zM3 3v10l7-5z",
  sound: "M2 6v4h2.6L8.5 13V3L4.6 6zM10 5.2v1.3a1.6 1.6 0 0 1 0 3v1.3a2.9 2.9 0 0 0 0-5.6z",
  mute: "M2 6v4h2.6L8.5 13V3L4.6 6zM10 6.4l.9-.9 1.5 1.6 1.6-1.6.9.9L13.3 8l1.6 1.6-.9.9-1.6-1.6-1.5 1.6-.9-.9L11.5 8z",
};

function make(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

function makeButton(parent, icon, label) {
  const button = make("button", "ek-button", parent);
  button.type = "button";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = svg.appendChild(document.createElementNS(SVG, "path"));
  button.append(svg);
  const set = (name, text) => {
    path.setAttribute("d", ICONS[name]);
    button.title = text;
    button.setAttribute("aria-label", text);
  };
  set(icon, label);
  return { button, set };
}

function makeSelect(parent, label, options, chosen) {
  const select = make("select", "ek-select", parent);
  select.title = label;
  select.setAttribute("aria-label", label);
  for (const [value, text] of options) {
    const option = make("option", "", select, text);
    option.value = value;
  }
  select.value = chosen;
  return select;
}

/** Size a canvas for the screen's real pixels; drawing stays in CSS pixels. */
function fitCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const w = Math.round(width * ratio);
  const h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

const HEAT = {
  light: ["#F7F9FC", "#C9DCF0", "#6FA8D6", "#1F66AD", "#0A2F66"],
  dark: ["#1B2129", "#21405F", "#2F72B0", "#6FB0EA", "#CDE6FC"],
};

/** 256 steps of the heat ramp, as `[r, g, b]`. */
function makeRamp(stops) {
  const colors = stops.map(channels);
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (colors.length - 1);
    const k = Math.min(Math.floor(place), colors.length - 2);
    return colors[k].map((value, c) =>
      Math.round(value + (place - k) * (colors[k + 1][c] - value)),
    );
  });
}

/** Colours and fonts as the page's theme has them now. */
function readTheme(root) {
  root.dataset.theme = "light";
  const first = getComputedStyle(root);
  // The browser turns any way of writing a colour into rgb() here.
  const dark = luminance(first.backgroundColor) < 0.25;
  root.dataset.theme = dark ? "dark" : "light";
  const style = getComputedStyle(root);
  const get = (name) => style.getPropertyValue(name).trim();
  const background = style.backgroundColor;
  const ink = style.color;
  return {
    dark,
    ink,
    background,
    dim: get("--ek-dim"),
    faint: get("--ek-faint"),
    grid: get("--ek-grid"),
    plot: get("--ek-plot"),
    hatch: get("--ek-hatch"),
    playhead: get("--ek-playhead"),
    font: style.fontFamily,
    ramp: makeRamp(dark ? HEAT.dark : HEAT.light),
    color: (name) => (name === "ink" ? ink : readable(name, background, dark ? 3.2 : 2)),
  };
}

// ---------------------------------------------------------------- timelines

const LEFT = 62;
const RIGHT = 52;

class Timelines {
  constructor(parent, layout, data) {
    this.layout = layout;
    this.data = data;
    this.element = make("div", "ek-timelines", parent);
    this.element.setAttribute("role", "slider");
    this.element.setAttribute("aria-label", "Time in the clip");
    this.element.setAttribute("aria-valuemin", "0");
    this.element.setAttribute("aria-valuemax", layout.duration.toFixed(2));
    this.base = make("canvas", "ek-canvas", this.element);
    this.overlay = make("canvas", "ek-canvas", this.element);
    this.tip = make("div", "ek-tip", this.element);
    this.tip.hidden = true;
    const { plots, height } = stackPanels(layout.panels);
    this.plots = plots;
    this.height = height;
    this.element.style.height = `${height}px`;
    this.view = { start: 0, end: Math.max(layout.duration, 1e-3), left: LEFT, width: 1 };
    this.hover = null;
    this.time = 0;
  }

  resize(theme) {
    this.theme = theme;
    this.width = this.element.clientWidth;
    this.view.width = Math.max(this.width - LEFT - RIGHT, 1);
    this.drawBase();
    this.drawOverlay();
  }

  drawBase() {
    const { theme, view, width } = this;
    if (!width) return;
    const c = fitCanvas(this.base, width, this.height);
    this.drawRuler(c);
    for (const plot of this.plots) {
      const { panel, top, height } = plot;
      c.font = `600 11px ${theme.font}`;
      c.textAlign = "left";
      c.textBaseline = "alphabetic";
      c.fillStyle = theme.ink;
      c.fillText(panel.title, LEFT, top - 6);
      const after = LEFT + c.measureText(panel.title).width + 8;
      c.font = `11px ${theme.font}`;
      c.fillStyle = theme.dim;
      const room = panel.kind === "heat" ? 190 : 0;
      if (after + c.measureText(panel.unit).width < LEFT + view.width - room) {
        c.fillText(panel.unit, after, top - 6);
      }
      if (panel.kind === "heat") this.drawKey(c, top - 14);
      c.fillStyle = theme.plot;
      c.fillRect(LEFT, top, view.width, height);
      c.save();
      c.beginPath();
      c.rect(LEFT, top, view.width, height + plot.strip);
      c.clip();
      this.drawMissing(c, plot);
      if (panel.kind === "heat") this.drawHeat(c, plot);
      else if (panel.kind === "stack") this.drawStack(c, plot);
      else this.drawLines(c, plot);
      if (panel.strip) this.drawStrip(c, plot);
      c.restore();
      this.drawAxes(c, plot);
    }
  }

  drawRuler(c) {
    const { theme, view } = this;
    c.font = `10.5px ${theme.font}`;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.strokeStyle = theme.grid;
    c.lineWidth = 1;
    for (const tick of timeTicks(view)) {
      const x = Math.round(timeToX(tick.time, view)) + 0.5;
      c.fillStyle = theme.dim;
      c.fillText(tick.label, x, 9);
      c.beginPath();
      c.moveTo(x, 17);
      c.lineTo(x, RULER - 2);
      c.stroke();
    }
    c.beginPath();
    c.moveTo(LEFT, RULER - 2.5);
    c.lineTo(LEFT + view.width, RULER - 2.5);
    c.stroke();
    c.textAlign = "right";
    c.fillStyle = theme.faint;
    c.fillText("min:s", LEFT - 22, 9);
  }

  /** What the heat's colours mean, and the hatching. */
  drawKey(c, top) {
    const { theme, view } = this;
    const right = LEFT + view.width;
    if (view.width < 380) return;
    c.font = `10px ${theme.font}`;
    c.textBaseline = "middle";
    c.textAlign = "left";
    const key = right - 186;
    for (let i = 0; i < 64; i++) {
      c.fillStyle = `rgb(${theme.ramp[i * 4]})`;
      c.fillRect(key + 12 + i, top, 1.2, 9);
    }
    c.strokeStyle = theme.grid;
    c.strokeRect(key + 11.5, top - 0.5, 65, 10);
    c.fillStyle = theme.dim;
    c.fillText("0", key + 2, top + 5);
    c.fillText("1", key + 82, top + 5);
    c.fillStyle = theme.plot;
    c.fillRect(key + 104, top, 16, 9);
    this.hatch(c, key + 104, top, 16, 9);
    c.fillStyle = theme.dim;
    c.fillText("no face read", key + 125, top + 5);
  }

  hatch(c, x, y, w, h) {
    c.save();
    c.beginPath();
    c.rect(x, y, w, h);
    c.clip();
    c.strokeStyle = this.theme.hatch;
    c.lineWidth = 1;
    c.beginPath();
    // Lines start on a grid of the whole canvas, so that neighbouring stretches join.
    for (let s = Math.floor((x - h) / 6) * 6; s < x + w; s += 6) {
      c.moveTo(s, y + h);
      c.lineTo(s + h, y);
    }
    c.stroke();
    c.restore();
  }

  drawMissing(c, { panel, top, height, strip }) {
    for (const span of this.data.spans(panel, this.view)) {
      const x = timeToX(span.start, this.view);
      // A single lost frame of a long clip still shows.
      const w = Math.max(timeToX(span.end, this.view) - x, 1);
      this.hatch(c, x, top, w, height + strip);
    }
  }

  drawHeat(c, { panel, top }) {
    const { view, theme } = this;
    const ratio = window.devicePixelRatio || 1;
    const columns = Math.max(Math.round(view.width * ratio), 1);
    const [low, high] = panel.range;
    const image = new ImageData(columns, panel.series.length);
    panel.series.forEach((series, row) => {
      const times = this.data.times(panel.group);
      const bins = binColumns(times, this.data.column(series), view, columns, "max");
      bins.forEach((value, column) => {
        if (Number.isNaN(value)) return;
        const share = Math.min(Math.max((value - low) / (high - low), 0), 1);
        image.data.set([...theme.ramp[Math.round(share * 255)], 255], (row * columns + column) * 4);
      });
    });
    const sheet = make("canvas");
    sheet.width = columns;
    sheet.height = panel.series.length;
    sheet.getContext("2d").putImageData(image, 0, 0);
    c.imageSmoothingEnabled = false;
    panel.series.forEach((_, row) => {
      c.drawImage(sheet, 0, row, columns, 1, LEFT, top + row * ROW, view.width, ROW - 1);
    });
  }

  drawStack(c, { panel, top, height }) {
    const { view, theme } = this;
    const columns = Math.max(Math.round(view.width), 1);
    const times = this.data.times(panel.group);
    const bins = panel.series.map((series) =>
      binColumns(times, this.data.column(series), view, columns, "mean"),
    );
    const colors = panel.series.map((series) => theme.color(series.color));
    c.globalAlpha = 0.85;
    for (let column = 0; column < columns; column++) {
      let y = top + height;
      for (let k = 0; k < bins.length; k++) {
        const h = bins[k][column] * height;
        if (Number.isNaN(h)) continue;
        c.fillStyle = colors[k];
        c.fillRect(LEFT + column, y - h, 1, h);
        y -= h;
      }
    }
    c.globalAlpha = 1;
  }

  drawLines(c, plot) {
    const { panel } = plot;
    const { view, theme } = this;
    c.strokeStyle = theme.grid;
    c.lineWidth = 1;
    c.beginPath();
    for (const tick of panel.axes[0]?.ticks ?? []) {
      const y = Math.round(valueToY(tick, panel.axes[0].range, plot)) + 0.5;
      c.moveTo(LEFT, y);
      c.lineTo(LEFT + view.width, y);
    }
    c.stroke();
    c.lineJoin = "round";
    c.lineCap = "round";
    const ordered = [...panel.series].sort((a, b) => this.depth(a) - this.depth(b));
    for (const series of ordered) {
      const times = this.data.times(series.array.split(".")[0]);
      const line = decimate(times, this.data.column(series), view, Math.ceil(view.width));
      const axis = panel.axes[series.axis ?? 0].range;
      c.strokeStyle = theme.color(series.color);
      // Where a pixel holds many samples a line becomes an area, and must not hide the others.
      const dense = times.length > 8 * view.width;
      c.lineWidth = dense ? 1 : series.wide ? 2 : 1.4;
      c.globalAlpha = dense || series.behind ? 0.55 : series.label === "neutral" ? 0.7 : 1;
      c.beginPath();
      let down = false;
      for (let i = 0; i < line.times.length; i++) {
        if (Number.isNaN(line.values[i])) {
          down = false;
          continue;
        }
        const x = timeToX(line.times[i], view);
        const y = valueToY(line.values[i], axis, plot);
        if (down) c.lineTo(x, y);
        else {
          c.moveTo(x, y);
          c.lineTo(x, y); // a lone sample becomes a dot
        }
        down = true;
      }
      c.stroke();
      c.globalAlpha = 1;
    }
  }

  depth(series) {
    return series.label === "neutral" || series.behind ? 0 : 1;
  }

  drawStrip(c, { panel, top, height }) {
    const { view, theme } = this;
    const columns = Math.max(Math.round(view.width), 1);
    const times = this.data.times(panel.group);
    const bins = binColumns(times, this.data.column(panel.strip), view, columns, "max");
    c.fillStyle = theme.color(panel.strip.color);
    bins.forEach((value, column) => {
      if (Number.isNaN(value)) return;
      c.globalAlpha = 0.08 + 0.92 * Math.min(Math.max(value, 0), 1);
      c.fillRect(LEFT + column, top + height + 3, 1, 5);
    });
    c.globalAlpha = 1;
  }

  drawAxes(c, plot) {
    const { panel, top } = plot;
    const { theme, view } = this;
    c.textBaseline = "middle";
    c.font = `10px ${theme.font}`;
    if (panel.kind === "heat") {
      c.textAlign = "right";
      c.fillStyle = theme.dim;
      panel.series.forEach((series, row) => {
        c.fillText(series.label, LEFT - 8, top + row * ROW + ROW / 2);
      });
      return;
    }
    panel.axes.slice(0, 2).forEach((axis, side) => {
      const series = panel.axes.length > 1 ? panel.series[side] : null;
      c.textAlign = side ? "left" : "right";
      const x = side ? LEFT + view.width + 8 : LEFT - 8;
      axis.ticks.forEach((tick, k) => {
        c.fillStyle = series ? theme.color(series.color) : theme.dim;
        const y = valueToY(tick, axis.range, plot);
        const inset = k === 0 ? -4 : k === axis.ticks.length - 1 ? 4 : 0;
        const text = formatValue(tick, { digits: Number.isInteger(tick) ? 0 : 1 });
        const unit = axis.label && k === axis.ticks.length - 1 ? ` ${axis.label}` : "";
        c.fillText(text + unit, x, y + inset);
      });
    });
  }

  drawOverlay() {
    const { theme, view, width } = this;
    if (!width) return;
    const c = fitCanvas(this.overlay, width, this.height);
    if (this.hover) {
      const x = Math.round(timeToX(this.hover.time, view)) + 0.5;
      c.strokeStyle = theme.faint;
      c.lineWidth = 1;
      c.setLineDash([3, 3]);
      c.beginPath();
      c.moveTo(x, RULER);
      c.lineTo(x, this.height - GAP);
      c.stroke();
      c.setLineDash([]);
    }
    const x = timeToX(this.time, view);
    c.strokeStyle = c.fillStyle = theme.playhead;
    c.lineWidth = 1.5;
    // Faint across the titles, so that they can be read underneath.
    c.globalAlpha = 0.3;
    c.beginPath();
    c.moveTo(x, RULER - 4);
    c.lineTo(x, this.height - GAP);
    c.stroke();
    c.globalAlpha = 1;
    c.beginPath();
    for (const { top, height, strip } of this.plots) {
      c.moveTo(x, top);
      c.lineTo(x, top + height + strip);
    }
    c.stroke();
    c.beginPath();
    c.moveTo(x - 5, RULER - 12);
    c.lineTo(x + 5, RULER - 12);
    c.lineTo(x, RULER - 3);
    c.closePath();
    c.fill();
    for (const plot of this.plots) {
      if (plot.panel.kind === "heat") this.drawUnitValues(c, plot);
      else if (plot.panel.kind === "lines") this.drawDots(c, plot, x);
    }
  }

  drawUnitValues(c, { panel, top }) {
    const { theme, view } = this;
    c.textAlign = "right";
    c.textBaseline = "middle";
    panel.series.forEach((series, row) => {
      const value = this.data.value(series, this.time);
      c.font = `${value >= 0.5 ? "600 " : ""}10px ${theme.font}`;
      c.fillStyle = value >= 0.25 ? theme.ink : theme.faint;
      c.fillText(
        formatValue(value, series),
        LEFT + view.width + 30,
        top + row * ROW + ROW / 2,
      );
    });
  }

  drawDots(c, plot, x) {
    const { panel } = plot;
    for (const series of panel.series) {
      const axis = panel.axes[series.axis ?? 0].range;
      const value = this.data.value(series, this.time);
      if (Number.isNaN(value) || value < axis[0] || value > axis[1]) continue;
      c.beginPath();
      c.arc(x, valueToY(value, axis, plot), 3, 0, 2 * Math.PI);
      c.fillStyle = this.theme.color(series.color);
      c.fill();
      c.strokeStyle = this.theme.background;
      c.lineWidth = 1;
      c.stroke();
    }
  }

  show(t) {
    this.time = t;
    this.element.setAttribute("aria-valuenow", t.toFixed(2));
    this.element.setAttribute("aria-valuetext", formatTime(t, 2));
    this.drawOverlay();
  }

  /** Plot under a point, and the row of a heat strip. */
  find(y) {
    const plot = this.plots.find((p) => y >= p.top - TITLE && y < p.top + p.height + p.strip + GAP);
    if (!plot || plot.panel.kind !== "heat") return { plot };
    const row = Math.floor((y - plot.top) / ROW);
    return { plot, series: plot.panel.series[row] };
  }

  /** Show the time and the values under the pointer. */
  point(event) {
    const frame = this.element.getBoundingClientRect();
    const x = event.clientX - frame.left;
    const y = event.clientY - frame.top;
    const inside = x >= LEFT && x <= LEFT + this.view.width;
    const { plot, series } = this.find(y);
    const unit = series ? `${series.label} ${series.hint}`.trim() : "";
    this.hover = inside ? { time: xToTime(x, this.view) } : null;
    this.tip.replaceChildren();
    if (inside) {
      make("div", "ek-tip-time", this.tip, formatTime(this.hover.time, 2));
      if (plot) this.describe(plot.panel, series ? [series] : null, unit);
    } else if (unit && x < LEFT) make("div", "", this.tip, unit);
    this.tip.hidden = !this.tip.childNodes.length;
    if (!this.tip.hidden) {
      const { offsetWidth: w, offsetHeight: h } = this.tip;
      const left = x + 14 + w > this.width ? x - 14 - w : x + 14;
      this.tip.style.left = `${Math.max(left, 0)}px`;
      this.tip.style.top = `${Math.max(Math.min(y - h / 2, this.height - h), 0)}px`;
    }
    this.drawOverlay();
  }

  describe(panel, chosen, unit) {
    const { time } = this.hover;
    const series = chosen ?? (panel.kind === "heat" ? [] : panel.series);
    const all = chosen || !panel.strip ? series : [...series, panel.strip];
    const values = all.map((one) => this.data.value(one, time));
    const reason = this.data.reason(panel.group, time);
    if (values.every(Number.isNaN) && (reason || panel.group !== "voice")) {
      if (unit) make("div", "", this.tip, unit);
      make("div", "ek-tip-reason", this.tip, reason || "no value");
      return;
    }
    all.forEach((one, k) => {
      const line = make("div", "ek-tip-line", this.tip);
      if (one.color) {
        make("i", "ek-swatch", line).style.background = this.theme.color(one.color);
      }
      const several = new Set(panel.series.map((s) => s.label)).size < panel.series.length;
      make("span", "", line, unit || (several ? `${one.label}, ${one.source}` : one.label));
      const suffix = one.unit && !Number.isNaN(values[k]) ? ` ${one.unit}` : "";
      make("b", "", line, formatValue(values[k], one) + suffix);
    });
  }

  leave() {
    this.hover = null;
    this.tip.hidden = true;
    this.drawOverlay();
  }
}

// ---------------------------------------------------------------- values at the playhead

/** A table of the quantities by their source: what the lines mean, and their values now. */
class Readout {
  constructor(parent, layout, data) {
    this.data = data;
    this.element = make("div", "ek-readout", parent);
    const panels = layout.panels.filter((panel) => panel.kind !== "heat");
    const series = panels.flatMap((panel) => [
      ...panel.series,
      ...(panel.strip ? [panel.strip] : []),
    ]);
    this.element.hidden = !series.length;
    this.sources = ["face", "voice", "fused"].filter((s) => series.some((x) => x.source === s));
    const table = make("table", "", this.element);
    const head = make("tr", "", make("thead", "", table));
    make("th", "", head, "at the playhead").scope = "col";
    this.swatches = [];
    for (const source of this.sources) make("th", "", head, source).scope = "col";
    const body = make("tbody", "", table);
    const rows = new Map();
    for (const one of series) rows.set(one.label, [...(rows.get(one.label) ?? []), one]);
    this.cells = [];
    for (const [label, members] of rows) {
      const row = make("tr", "", body);
      const name = make("th", "", row);
      name.scope = "row";
      const several = members.some((one) => one.color !== members[0].color);
      if (!several) this.swatches.push([make("i", "ek-swatch", name), members[0].color]);
      else make("i", "ek-swatch ek-none", name);
      const unit = members[0].unit ? ` (${members[0].unit})` : "";
      make("span", "", name, label + unit);
      for (const source of this.sources) {
        const cell = make("td", "", row);
        const one = members.find((member) => member.source === source);
        if (!one) continue;
        if (several) this.swatches.push([make("i", "ek-swatch ek-line", cell), one.color]);
        if (one.share) cell.classList.add("ek-share");
        this.cells.push({ series: one, cell, text: make("span", "", cell), shown: null });
      }
    }
    this.reason = make("div", "ek-reason", this.element);
    this.hasFace = this.sources.includes("face");
  }

  retheme(theme) {
    for (const [swatch, color] of this.swatches) swatch.style.background = theme.color(color);
    for (const { cell, series } of this.cells) {
      if (series.share) cell.style.setProperty("--ek-color", theme.color(series.color));
    }
  }

  show(t) {
    for (const entry of this.cells) {
      const value = this.data.value(entry.series, t);
      const text = formatValue(value, entry.series);
      if (text === entry.shown) continue;
      entry.shown = text;
      entry.text.textContent = text;
      if (entry.series.share) entry.cell.style.setProperty("--ek-value", value || 0);
    }
    const reason = this.hasFace ? this.data.reason("face", t) : "";
    if (this.reason.textContent !== reason) this.reason.textContent = reason;
  }
}

// ---------------------------------------------------------------- media

/** Stands in for a media element where there is none: the same few names, driven by a clock. */
class Clock extends EventTarget {
  constructor(duration) {
    super();
    this.length = duration;
    this.paused = true;
    this.seeking = false;
    this.muted = false;
    this.rate = 1;
    this.at = 0;
    this.since = 0;
  }

  get currentTime() {
    if (this.paused) return this.at;
    const now = this.at + ((performance.now() - this.since) / 1000) * this.rate;
    if (now >= this.length) {
      this.at = this.length;
      this.pause();
      return this.at;
    }
    return now;
  }

  set currentTime(t) {
    this.at = t;
    this.since = performance.now();
  }

  get playbackRate() {
    return this.rate;
  }

  set playbackRate(rate) {
    this.currentTime = this.currentTime;
    this.rate = rate;
  }

  async play() {
    if (!this.paused) return;
    if (this.at >= this.length) this.at = 0;
    this.since = performance.now();
    this.paused = false;
    this.dispatchEvent(new Event("play"));
  }

  pause() {
    if (this.paused) return;
    this.at = Math.min(this.currentTime, this.length);
    this.paused = true;
    this.dispatchEvent(new Event("pause"));
  }
}

const PROBES = {
  h264: 'video/mp4; codecs="avc1.42E01E"',
  hevc: 'video/mp4; codecs="hvc1.1.6.L93.B0"',
  vp8: 'video/webm; codecs="vp8"',
  vp9: 'video/webm; codecs="vp9"',
  av1: 'video/mp4; codecs="av01.0.05M.08"',
  aac: 'audio/mp4; codecs="mp4a.40.2"',
  mp3: "audio/mpeg",
  opus: 'audio/webm; codecs="opus"',
  vorbis: 'audio/webm; codecs="vorbis"',
  flac: "audio/flac",
  pcm_s16le: "audio/wav",
};

function canDecode(media) {
  const probe = PROBES[media.codec];
  return Boolean(probe && document.createElement("video").canPlayType(probe));
}

/** Why there is no picture, and what to do about it. */
function mediaMessage(media, { loaded }) {
  if (media.kind === "none") return media.note;
  const rest = "The timelines still work.";
  if (loaded || !canDecode(media)) {
    const what = media.kind === "audio" ? "play" : "show";
    const sort = media.kind === "audio" ? "sound" : "video";
    return (
      `This browser cannot ${what} ${media.codec || "this"} ${sort} (${media.name}). ${rest} ` +
      "To see it here, make a copy that browsers play:\n" +
      `ffmpeg -i "${media.name}" -c:v libx264 -pix_fmt yuv420p -fps_mode passthrough ` +
      "-c:a aac copy.mp4\nand give it to the player: ek.play(result, clip=\"copy.mp4\")"
    );
  }
  return (
    `${media.name} (${media.codec}) could not be loaded from the notebook's kernel. ${rest} ` +
    "Run the cell again if the kernel was restarted. On JupyterHub or Binder, the server needs " +
    "jupyter-server-proxy, or the file must lie in the notebook's folder."
  );
}

function readPage() {
  let config = {};
  try {
    config = JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}");
  } catch {
    // Not a Jupyter page.
  }
  return {
    hostname: window.location.hostname,
    baseUrl: config.baseUrl ?? null,
    serverRoot: config.serverRoot ?? null,
  };
}

// ---------------------------------------------------------------- the picture

/** Video with the face boxes over it. */
class Stage {
  constructor(parent, layout, data) {
    this.layout = layout;
    this.data = data;
    this.element = make("div", "ek-stage", parent);
    this.canvas = make("canvas", "ek-canvas", this.element);
    this.message = make("div", "ek-message", this.element);
    this.message.setAttribute("role", "status");
    this.message.hidden = true;
    this.time = 0;
    if (layout.width) {
      this.element.style.setProperty("--ek-aspect", layout.width / layout.height);
    }
    const picture = layout.media.kind === "video" || (layout.width && data.arrays["face.face_box"]);
    this.element.classList.toggle("ek-no-picture", !picture);
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
    this.element.classList.toggle("ek-silent", Boolean(text));
  }

  resize(theme) {
    this.theme = theme;
    this.show(this.time);
  }

  show(t) {
    this.time = t;
    const { layout, data, theme } = this;
    const boxes = data.arrays["face.face_box"];
    const width = this.element.clientWidth;
    const height = this.element.clientHeight;
    if (!theme || !width || !height) return;
    const c = fitCanvas(this.canvas, width, height);
    if (!boxes || !layout.width) return;
    const place = fitRect(layout.width, layout.height, width, height);
    layout.faces.forEach((name, face) => {
      const box = boxAt(data.times("face"), boxes.values, { face, faces: layout.faces.length }, t);
      if (!box) return;
      const [x, y, w, h] = box.map((value) => value * place.scale);
      this.drawBox(c, name, [place.left + x, place.top + y, w, h], face === data.face);
    });
  }

  drawBox(c, name, [x, y, w, h], chosen) {
    const front = chosen ? "#FFD24A" : "#FFFFFF";
    // A dark line around the light one: the box is seen on any picture.
    c.strokeStyle = "rgba(0, 0, 0, 0.55)";
    c.lineWidth = chosen ? 4 : 3;
    c.strokeRect(x, y, w, h);
    c.strokeStyle = front;
    c.lineWidth = chosen ? 2 : 1.2;
    c.strokeRect(x, y, w, h);
    c.font = `600 11px ${this.theme.font}`;
    const wide = c.measureText(name).width + 10;
    const top = y > 18 ? y - 18 : y;
    c.fillStyle = "rgba(0, 0, 0, 0.62)";
    c.fillRect(x - 1, top, wide, 17);
    c.fillStyle = front;
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.fillText(name, x + 4, top + 9);
  }
}

// ---------------------------------------------------------------- the player

const REPORT_MS = 100;

function renderPlayer({ model, el, siblings }) {
  const layout = model.get("_layout");
  const data = new Data(layout, model.get("_arrays"));
  const frames = data.times("frame");
  const gone = new AbortController();
  const on = (target, names, fn, options = {}) => {
    for (const name of names.split(" ")) {
      target.addEventListener(name, fn, { signal: gone.signal, ...options });
    }
  };

  const root = make("div", "emokit-player", el);
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Player of ${layout.media.name || "a result"}`);
  // JupyterLab must not take the player's keys for its own commands.
  root.dataset.lmSuppressShortcuts = "true";
  const top = make("div", "ek-top", root);
  const screen = make("div", "ek-screen", top);
  const stage = new Stage(screen, layout, data);
  const controls = make("div", "ek-controls", screen);
  const readout = new Readout(top, layout, data);
  const timelines = new Timelines(root, layout, data);
  make("div", "ek-note", root, layout.note);

  const back = makeButton(controls, "back", "One frame back (, or left arrow)");
  const toggle = makeButton(controls, "play", "Play (space)");
  const next = makeButton(controls, "next", "One frame on (. or right arrow)");
  const clock = make("span", "ek-clock", controls);
  const now = make("b", "", clock);
  make("span", "", clock, ` / ${formatTime(layout.duration, 2)}`);
  const frameText = make("span", "ek-frame", controls);
  make("span", "ek-spring", controls);
  const faceSelect =
    layout.faces.length > 1
      ? makeSelect(controls, "Face shown in the timelines", layout.faces.map((f) => [f, f]))
      : null;
  const speeds = [0.25, 0.5, 0.75, 1, 1.5, 2].map((s) => [String(s), `${s}×`]);
  const speed = makeSelect(controls, "Speed", speeds, "1");
  const sound = layout.media.sound ? makeButton(controls, "sound", "Mute") : null;

  // ---- time: shown here, reported to the kernel, asked for by the user or the kernel

  let shown = -1;
  let lastSent = model.get("current_time");
  let quiet = true; // the frame on screen is not the user's doing
  let nextSeek = null;
  let media = null;

  const report = throttle((t) => {
    if (t === lastSent) return;
    lastSent = t;
    model.set("current_time", t);
    model.save_changes();
  }, REPORT_MS);

  const show = (t) => {
    if (t !== shown) {
      shown = t;
      timelines.show(t);
      stage.show(t);
      readout.show(t);
      now.textContent = formatTime(t, 3);
      if (layout.media.kind === "video" && frames.length) {
        frameText.textContent = `frame ${frameIndex(frames, t) + 1} of ${frames.length}`;
      }
    }
    if (!quiet) report(t);
  };

  const seek = (t, { user = true } = {}) => {
    let target = Math.min(Math.max(t, 0), layout.duration);
    let lands = target;
    if (frames.length) {
      const index = frameIndex(frames, target);
      // Before the first frame there is none to land on.
      lands = frames[index];
      target = frameMiddle(frames, index, layout.duration);
    }
    if (user) quiet = false;
    else if (media.paused) quiet = true;
    if (media.seeking) nextSeek = target;
    else media.currentTime = target;
    show(lands);
  };

  const step = (by) => {
    media.pause();
    if (frames.length) seek(frames[stepFrame(frames, shown, by)]);
    else seek(shown + by * 0.04);
  };

  const setPlaying = (playing) => {
    if (!playing) media.pause();
    else media.play().catch(() => {}); // the message about the media says why
  };

  // ---- following the media

  let frameCall = null;
  let ticking = null;
  let lastFrame = 0;
  const showsFrames = () => media.videoWidth > 0 && "requestVideoFrameCallback" in media;

  const onVideoFrame = (at, { mediaTime }) => {
    lastFrame = at;
    if (!media.seeking && nextSeek === null) show(mediaTime);
    frameCall = media.requestVideoFrameCallback(onVideoFrame);
  };

  const onTick = () => {
    // Browsers stop handing out frames of a video that is scrolled out of sight.
    const stalled = performance.now() - lastFrame > 300;
    if (!media.seeking && (!showsFrames() || stalled)) show(media.currentTime);
    ticking = media.paused ? null : requestAnimationFrame(onTick);
  };

  const detach = () => {
    if (!media) return;
    if (frameCall !== null) media.cancelVideoFrameCallback?.(frameCall);
    if (ticking !== null) cancelAnimationFrame(ticking);
    frameCall = ticking = null;
    media.pause();
  };

  const me = { pause: () => media.pause() };
  siblings.add(me);

  const attach = (element) => {
    detach();
    media = element;
    media.playbackRate = Number(speed.value);
    const own = (names, fn) => on(media, names, (event) => media === element && fn(event));
    own("play", () => {
      quiet = false;
      lastFrame = performance.now();
      for (const other of siblings) if (other !== me) other.pause();
      toggle.set("pause", "Pause (space)");
      if (ticking === null) ticking = requestAnimationFrame(onTick);
    });
    own("pause ended", () => {
      toggle.set("play", "Play (space)");
      if (media instanceof Clock) show(media.currentTime);
      report.flush();
    });
    own("seeked", () => {
      if (nextSeek === null) return;
      const target = nextSeek;
      nextSeek = null;
      media.currentTime = target;
    });
  };

  const useClock = () => {
    const clockwork = new Clock(layout.duration);
    clockwork.currentTime = Math.max(shown, 0);
    nextSeek = null;
    attach(clockwork);
  };

  const openMedia = () => {
    const addresses = mediaAddresses(layout.media, readPage());
    const element = make(layout.media.kind === "audio" ? "audio" : "video", "ek-video");
    element.preload = layout.media.kind === "audio" ? "auto" : "metadata";
    element.playsInline = true;
    element.disableRemotePlayback = true;
    const fail = (loaded) => {
      element.remove();
      stage.say(mediaMessage(layout.media, { loaded }));
      useClock();
    };
    const tryNext = () => {
      const address = addresses.shift();
      if (address === undefined) fail(element.error?.code === MediaError.MEDIA_ERR_DECODE);
      else element.src = address;
    };
    attach(element);
    on(element, "error", tryNext);
    on(element, "loadedmetadata", () => {
      if (layout.media.kind === "video" && !element.videoWidth) {
        // Its sound may play nevertheless, and then remains the clock.
        element.classList.add("ek-blank");
        stage.say(mediaMessage(layout.media, { loaded: true }));
      } else if (showsFrames()) {
        frameCall = element.requestVideoFrameCallback(onVideoFrame);
      }
      if (shown > 0) seek(shown, { user: false });
    });
    stage.element.prepend(element);
    tryNext();
    return element;
  };

  let element = null;
  if (layout.media.kind === "none") {
    stage.say(layout.media.note);
    useClock();
  } else element = openMedia();

  // ---- what the user does

  const refocus = () => root.focus({ preventScroll: true });
  on(back.button, "click", () => step(-1));
  on(next.button, "click", () => step(1));
  on(toggle.button, "click", () => setPlaying(media.paused));
  on(stage.element, "click", () => setPlaying(media.paused));
  on(speed, "change", () => {
    media.playbackRate = Number(speed.value);
  });
  if (sound) {
    on(sound.button, "click", () => {
      media.muted = !media.muted;
      sound.set(media.muted ? "mute" : "sound", media.muted ? "Sound on" : "Mute");
    });
  }
  // After a click, space plays again rather than pressing the same button; a button that
  // was reached with the tab key keeps its own space and enter.
  on(controls, "pointerup", (event) => {
    if (event.target.closest("button")) setTimeout(refocus);
  });
  on(speed, "change", refocus);

  const area = timelines.element;
  let dragging = false;
  const seekTo = (event) => {
    seek(xToTime(event.clientX - area.getBoundingClientRect().left, timelines.view));
  };
  on(area, "pointerdown", (event) => {
    const x = event.clientX - area.getBoundingClientRect().left;
    if (event.button !== 0 || x < LEFT - 6 || x > LEFT + timelines.view.width + 6) return;
    dragging = true;
    area.setPointerCapture(event.pointerId);
    seekTo(event);
  });
  on(area, "pointermove", (event) => {
    if (dragging) seekTo(event);
    timelines.point(event);
  });
  on(area, "pointerup pointercancel lostpointercapture", () => {
    if (dragging) report.flush();
    dragging = false;
  });
  on(area, "pointerleave", () => timelines.leave());
  on(root, "pointerdown", (event) => {
    if (!event.target.closest("select, button")) refocus();
  });

  const keys = {
    " ": () => setPlaying(media.paused),
    ArrowLeft: (event) => (event.shiftKey ? seek(shown - 1) : step(-1)),
    ArrowRight: (event) => (event.shiftKey ? seek(shown + 1) : step(1)),
    ",": () => step(-1),
    ".": () => step(1),
    Home: () => seek(0),
    End: () => seek(layout.duration),
  };
  on(root, "keydown", (event) => {
    event.stopPropagation();
    const tag = event.target.tagName;
    const native = tag === "SELECT" || (tag === "BUTTON" && [" ", "Enter"].includes(event.key));
    if (native || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key](event);
  });

  // ---- face, theme, size

  let theme = null;
  const restyle = () => {
    // Outside the document, where a notebook first renders it, nothing has a style yet.
    if (!root.isConnected) return;
    theme = readTheme(root);
    readout.retheme(theme);
    redraw();
  };
  const redraw = () => {
    if (!theme) return;
    timelines.resize(theme);
    stage.resize(theme);
  };
  const setFace = () => {
    data.face = Math.max(layout.faces.indexOf(model.get("face")), 0);
    if (faceSelect) faceSelect.value = layout.faces[data.face];
    const t = shown;
    shown = -1;
    redraw();
    const silent = quiet;
    quiet = true;
    show(t);
    quiet = silent;
  };
  if (faceSelect) {
    on(faceSelect, "change", () => {
      model.set("face", faceSelect.value);
      model.save_changes();
      refocus();
    });
  }
  const onTime = () => {
    const t = model.get("current_time");
    if (t !== lastSent) {
      lastSent = t;
      seek(t, { user: false });
    }
  };
  model.on("change:current_time", onTime);
  model.on("change:face", setFace);

  const sizes = new ResizeObserver(() => (theme ? redraw() : restyle()));
  sizes.observe(timelines.element);
  sizes.observe(stage.element);
  const themes = new MutationObserver(restyle);
  const themed = { attributes: true, attributeFilter: ["class", "style", "data-jp-theme-name"] };
  themes.observe(document.body, themed);
  themes.observe(document.documentElement, themed);
  // JupyterLab sets the attribute before the new theme's sheet is there.
  on(document, "load", (event) => event.target.tagName === "LINK" && restyle(), { capture: true });
  on(window.matchMedia("(prefers-color-scheme: dark)"), "change", restyle);

  seek(model.get("current_time"), { user: false });
  setFace();
  restyle();

  return () => {
    gone.abort();
    detach();
    report.flush();
    siblings.delete(me);
    sizes.disconnect();
    themes.disconnect();
    model.off("change:current_time", onTime);
    model.off("change:face", setFace);
    if (element) {
      element.removeAttribute("src");
      element.load(); // lets go of the connection
    }
    root.remove();
  };
}

/** One widget model: its views share it, and only one of them plays at a time. */
function createWidget() {
  const siblings = new Set();
  return { render: ({ model, el }) => renderPlayer({ model, el, siblings }) };
}

export default createWidget;

// ---------------------------------------------------------------- a page of its own

function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Show the player of a page written by `Player.to_html`: the state is in the page. */
export function mountPage(el) {
  const state = JSON.parse(document.getElementById("emokit-state").textContent);
  for (const entry of Object.values(state._arrays)) entry.data = decodeBase64(entry.data);
  const pieces = [...document.querySelectorAll("script.emokit-media")];
  if (pieces.length) {
    const { media } = state._layout;
    const parts = pieces.map((piece) => decodeBase64(piece.textContent));
    media.inline = URL.createObjectURL(new Blob(parts, { type: media.type }));
    for (const piece of pieces) piece.remove();
  }
  const listeners = new Map();
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      for (const fn of listeners.get(`change:${name}`) ?? []) fn();
    },
    save_changes: () => {},
    on: (event, fn) => listeners.set(event, [...(listeners.get(event) ?? []), fn]),
    off: (event, fn) =>
      listeners.set(
        event,
        (listeners.get(event) ?? []).filter((one) => one !== fn),
      ),
  };
  return createWidget().render({ model, el });
}
