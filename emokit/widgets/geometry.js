// Time, pixels, colours and words: pure functions, and the sizes they share.

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

export const LEFT = 62;
export const RIGHT = 52;
export const RULER = 24;
export const TITLE = 20;
export const GAP = 9;
export const ROW = 12;

/**
 * Vertical place of each panel's plot below the ruler, and the height of all. Of a
 * panel in `folded` only the title is left.
 */
export function stackPanels(panels, folded = new Set()) {
  let y = RULER;
  const plots = panels.map((panel) => {
    const top = y + TITLE;
    if (folded.has(panel.title)) {
      y = top + 2;
      return { panel, top, height: 0, strip: 0, folded: true };
    }
    let height = 54;
    if (panel.height) height = panel.height;
    else if (panel.kind === "heat") height = panel.series.length * ROW;
    else if (panel.kind === "stack") height = panel.tall ? 84 : 36;
    else if (panel.series.length > 3) height = 100;
    else if (panel.group === "voice") height = panel.series.length ? 76 : 0;
    const strip = panel.strip ? 8 : 0;
    y = top + height + strip + GAP;
    return { panel, top, height, strip, folded: false };
  });
  return { plots, height: y };
}

/** Plot under the height `y`, its title included, and the row of a heat strip. */
export function findPlot(plots, y) {
  const plot = plots.find((p) => y >= p.top - TITLE && y < p.top + p.height + p.strip + GAP);
  if (!plot || plot.panel.kind !== "heat" || plot.folded || y < plot.top) return { plot };
  return { plot, series: plot.panel.series[Math.floor((y - plot.top) / ROW)] };
}

// ---------------------------------------------------------------- the stretch in view

/** Shortest stretch that can be looked at, in seconds: three frames of an ordinary clip. */
const SHORTEST = 0.12;

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

function stretch(start, length, [low, high]) {
  const from = clamp(start, low, high - length);
  return { start: from, end: from + length };
}

/** `range`, `factor` times closer, with time `at` staying where it is on the screen. */
export function zoomRange({ start, end }, factor, at, bounds) {
  const whole = bounds[1] - bounds[0];
  const length = clamp((end - start) / factor, Math.min(SHORTEST, whole), whole);
  const share = (at - start) / (end - start);
  return stretch(at - share * length, length, bounds);
}

/** `range`, moved by some seconds, stopping at either end. */
export function panRange({ start, end }, by, bounds) {
  return stretch(start + by, end - start, bounds);
}

/** `range` itself while time `t` is in it; else turned over, like a page, to where `t` is. */
export function followRange(range, t, bounds) {
  if (t >= range.start && t <= range.end) return range;
  const length = range.end - range.start;
  return stretch(t - 0.05 * length, length, bounds);
}

/** The range between two times, whichever comes first; null where they are one point. */
export function orderedRange(a, b, [low, high]) {
  const start = clamp(Math.min(a, b), low, high);
  const end = clamp(Math.max(a, b), low, high);
  return end > start ? { start, end } : null;
}

/** What of a range the pointer at `x` takes hold of: "start", "end", "inside" or "outside". */
export function gripAt(x, range, view, slack = 5) {
  if (!range) return "outside";
  const left = timeToX(range.start, view);
  const right = timeToX(range.end, view);
  // Of a very narrow range the inside must remain for dragging.
  const inner = Math.min(slack, (right - left) / 4);
  if (x >= left - slack && x <= left + inner) return "start";
  if (x >= right - inner && x <= right + slack) return "end";
  return x > left && x < right ? "inside" : "outside";
}

/**
 * What turning the wheel over the timelines asks for. With control or command (which is
 * also how a touchpad reports a pinch) it zooms; sideways, or with shift, it pans where
 * there is anywhere to go. Anything else is the page's own scrolling: null.
 */
export function wheelIntent({ deltaX, deltaY, deltaMode, ctrlKey, metaKey, shiftKey }, zoomed) {
  const unit = deltaMode === 1 ? 16 : deltaMode === 2 ? 400 : 1;
  // A mouse reports 100 or so a notch, a touchpad a few pixels at a time.
  if (ctrlKey || metaKey) return { zoom: Math.exp(clamp(-deltaY * unit, -60, 60) / 150) };
  const sideways = shiftKey && !deltaX ? deltaY : deltaX;
  if (zoomed && sideways && (shiftKey || Math.abs(deltaX) > Math.abs(deltaY))) {
    return { pan: sideways * unit };
  }
  return null;
}

/** Index of the face whose box `[x, y, width, height]` holds a point; of several, the smallest. */
export function faceAt(boxes, x, y) {
  let found = -1;
  boxes.forEach((box, face) => {
    if (!box || x < box[0] || y < box[1] || x > box[0] + box[2] || y > box[1] + box[3]) return;
    if (found < 0 || box[2] * box[3] < boxes[found][2] * boxes[found][3]) found = face;
  });
  return found;
}

/**
 * End of a ray of `length` pixels from `[x, y]` for a gaze of `pitch` (up) and `yaw` (to the
 * person's right, which is the picture's left), in degrees.
 */
export function gazeEnd([x, y], pitch, yaw, length) {
  const [up, right] = [pitch, yaw].map((angle) => Math.sin((angle * Math.PI) / 180));
  return [x - right * length, y - up * length];
}

/** `box` grown by `share` of its size on every side. */
export function growBox([x, y, w, h], share) {
  return [x - w * share, y - h * share, w * (1 + 2 * share), h * (1 + 2 * share)];
}

/**
 * What keeps a linked player, at `mine`, with the one that keeps the time: a seek where they
 * are far apart, else a pace a little quicker or slower, since every seek stalls the picture.
 */
export function keepUp(mine, theirs, duration) {
  const target = clamp(theirs, 0, duration);
  const behind = target - mine;
  if (Math.abs(behind) > 1) return { seek: target, pace: 1 };
  return { seek: null, pace: Math.abs(behind) < 0.03 ? 1 : 1 + clamp(behind, -0.4, 0.4) };
}

// ---------------------------------------------------------------- colours and words

/** Red, green and blue of a colour, 0 to 255. */
export function channels(color) {
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
