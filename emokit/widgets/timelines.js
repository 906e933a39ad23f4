// The timelines: panels on canvases, above them the whole clip in one strip.

import { fitCanvas, make } from "./elements.js";
import { GAP, LEFT, RIGHT, ROW, RULER, TITLE, channels, findPlot, followRange } from "./geometry.js";
import { formatTime, formatValue, upperBound } from "./geometry.js";
import { panRange, stackPanels, timeTicks, timeToX, valueToY, xToTime, zoomRange } from "./geometry.js";
import { SpanLane, TraceLane } from "./lanes.js";
import { LOW_QUALITY, bandColumns, binColumns, columnBars, coverage, decimate } from "./samples.js";
import { eachRun, paintBars } from "./samples.js";

/** Height of the overview. */
const OVERVIEW = 26;

/**
 * While the view is moved, what was drawn last is stretched to it wherever drawing it anew
 * takes longer than DEAR milliseconds; it is drawn anew after PAUSE at the latest, and in
 * between never for more than a SHARE of the time.
 */
const DEAR = 3;
const PAUSE = 120;
const SHARE = 1 / 6;

/** Width of the units' values beside their rows. */
const GUTTER = 30;

/** What the tracks' menu and the folds have chosen, kept when the cell is shown again. */
export class Tracks {
  constructor(panels) {
    this.all = panels.map((panel) => ({ ...panel }));
    this.hidden = new Set();
    this.folded = new Set();
    this.blind = false;
  }

  get shown() {
    return this.all.filter((p) => !this.hidden.has(p.title) && (p.tier || !this.blind));
  }

  /** Ways in which a panel can be drawn. */
  static views(panel) {
    return panel.series.length > 1 && panel.series.every((one) => one.share)
      ? ["lines", "stack", "heat"]
      : [];
  }
}

export class Timelines {
  constructor(parent, layout, data, tracks) {
    this.layout = layout;
    this.data = data;
    this.tracks = tracks;
    this.bounds = [0, Math.max(layout.duration, 1e-3)];
    this.view = { start: 0, end: this.bounds[1], left: LEFT, width: 1 };
    this.selection = null;
    this.follows = true;
    this.hover = null;
    this.time = 0;
    this.due = null;
    this.sheets = new WeakMap();
    this.lanes = new Map();
    this.kept = document.createElement("canvas"); // the numbers as they were drawn last
    this.drawn = { start: 0, end: 0, at: -Infinity, cost: 0 };
    this.settling = null;

    this.overview = make("div", "ek-overview", parent);
    this.overview.style.height = `${OVERVIEW}px`;
    this.overview.title = "The whole clip: drag the window to move it, its edges to zoom";
    this.sketch = make("canvas", "ek-canvas", this.overview);
    this.frame = make("canvas", "ek-canvas", this.overview);
    this.element = make("div", "ek-timelines", parent);
    this.element.setAttribute("role", "slider");
    this.element.setAttribute("aria-label", "Time in the clip");
    this.element.setAttribute("aria-valuemin", "0");
    this.element.setAttribute("aria-valuemax", layout.duration.toFixed(2));
    this.base = make("canvas", "ek-canvas", this.element);
    this.sheet = make("canvas", "ek-canvas", this.element);
    this.fixed = make("canvas", "ek-canvas", this.element);
    this.overlay = make("canvas", "ek-canvas", this.element);
    this.folds = make("div", "ek-folds", this.element);
    this.tip = make("div", "ek-tip", this.element);
    this.tip.hidden = true;
    this.arrange();
  }

  // ---- what is shown

  /** Places the panels again, after tracks were chosen or folded. */
  arrange() {
    const { tracks } = this;
    const { plots, height } = stackPanels(tracks.shown, tracks.folded);
    this.plots = plots;
    this.height = height;
    this.element.style.height = `${height}px`;
    this.folds.replaceChildren();
    for (const { panel, top, folded } of plots) {
      const fold = make("button", "ek-fold", this.folds, folded ? "▸" : "▾");
      fold.type = "button";
      fold.title = `${folded ? "Unfold" : "Fold"} ${panel.title}`;
      fold.setAttribute("aria-label", fold.title);
      fold.setAttribute("aria-expanded", String(!folded));
      fold.style.top = `${top - TITLE}px`;
      fold.dataset.title = panel.title;
    }
    if (!this.theme) return;
    this.drawFixed();
    this.drawBase();
    this.drawLanes();
    this.drawOverlay();
  }

  fold(title) {
    const { folded } = this.tracks;
    if (!folded.delete(title)) folded.add(title);
    this.arrange();
  }

  /** What draws a panel of spans or of a trace; null for the others. */
  lane(panel) {
    if (panel.kind !== "spans" && panel.kind !== "trace") return null;
    if (!this.lanes.has(panel.title)) {
      const lane = panel.kind === "spans" ? new SpanLane(panel) : new TraceLane(panel);
      this.lanes.set(panel.title, lane);
    }
    return this.lanes.get(panel.title);
  }

  /** The plot of a panel of spans or of a trace at a height, with its lane; null elsewhere. */
  laneAt(y) {
    const { plot } = findPlot(this.plots, y);
    const lane = plot && !plot.folded ? this.lane(plot.panel) : null;
    return lane && { plot, lane, inside: y >= plot.top && y < plot.top + plot.height };
  }

  // ---- the stretch in view

  get zoomed() {
    return this.view.end - this.view.start < (this.bounds[1] - this.bounds[0]) * 0.9999;
  }

  /** Look at `{start, end}`; drawn with the next frame, however often it is asked for. */
  look({ start, end }) {
    if (start === this.view.start && end === this.view.end) return;
    Object.assign(this.view, { start, end });
    this.follows = this.time >= start && this.time <= end;
    this.refresh({ base: true });
  }

  /**
   * Draw with the next frame, once however often it is asked for. Callbacks of the video's
   * frames run before this in the same frame, so that the playhead does not fall behind.
   */
  refresh({ base = false, lanes = base } = {}) {
    this.stale ||= base;
    this.staleLanes ||= lanes;
    this.due ??= requestAnimationFrame(() => {
      this.due = null;
      if (!this.theme) return;
      if (this.stale) this.followView();
      if (this.staleLanes) this.drawLanes();
      this.stale = this.staleLanes = false;
      this.drawOverlay();
    });
  }

  zoom(factor, at = this.zoomed || factor > 1 ? this.time : this.bounds[1] / 2) {
    const { start, end } = this.view;
    const inside = at >= start && at <= end ? at : (start + end) / 2;
    this.look(zoomRange(this.view, factor, inside, this.bounds));
  }

  pan(seconds) {
    this.look(panRange(this.view, seconds, this.bounds));
  }

  /** Look at a stretch with a little of what is around it. */
  lookAround({ start, end }) {
    const margin = 0.04 * (end - start);
    const wide = { start: start - margin, end: end + margin };
    const whole = { start: this.bounds[0], end: this.bounds[1] };
    const length = Math.min(wide.end - wide.start, whole.end);
    this.look(zoomRange(whole, whole.end / length, 0, this.bounds));
    this.pan(wide.start - this.view.start);
  }

  lookAtAll() {
    this.look({ start: this.bounds[0], end: this.bounds[1] });
  }

  select(range) {
    this.selection = range;
    this.refresh();
  }

  close() {
    if (this.due !== null) cancelAnimationFrame(this.due);
    clearTimeout(this.settling);
  }

  // ---- drawing

  resize(theme) {
    this.theme = theme;
    this.width = this.element.clientWidth;
    this.view.width = Math.max(this.width - LEFT - RIGHT, 1);
    this.drawSketch();
    this.drawFixed();
    this.drawBase();
    this.drawLanes();
    this.drawOverlay();
  }

  /** The whole clip in one strip: displayed emotion where it is known, else the first series. */
  drawSketch() {
    const { theme, view, width, bounds } = this;
    if (!width) return;
    const c = fitCanvas(this.sketch, width, OVERVIEW);
    const whole = { ...view, start: bounds[0], end: bounds[1] };
    c.fillStyle = theme.plot;
    c.fillRect(LEFT, 4, view.width, OVERVIEW - 8);
    if (this.tracks.blind) return;
    const of = (group) =>
      this.tracks.all.find((p) => p.group === group && p.series.some((one) => one.share));
    const panel = of("fused") ?? of("face") ?? this.tracks.all.find((p) => p.kind === "lines");
    if (!panel?.series.length) return;
    const plot = { panel, top: 4, height: OVERVIEW - 8, strip: 0 };
    c.save();
    c.beginPath();
    c.rect(LEFT, 4, view.width, OVERVIEW - 8);
    c.clip();
    this.drawMissing(c, plot, whole);
    if (panel.series[0].share) this.drawStack(c, plot, whole);
    else {
      const sparse = { ...panel, axes: panel.axes.map((axis) => ({ ...axis, ticks: [] })) };
      this.drawLines(c, { ...plot, panel: sparse }, whole);
    }
    c.restore();
  }

  /** The window of the overview, with the playhead and the selection. */
  drawFrame() {
    const { theme, view, width, bounds, selection } = this;
    const c = fitCanvas(this.frame, width, OVERVIEW);
    const whole = { ...view, start: bounds[0], end: bounds[1] };
    const left = timeToX(view.start, whole);
    const right = timeToX(view.end, whole);
    c.fillStyle = theme.background;
    c.globalAlpha = 0.68;
    c.fillRect(LEFT - 1, 3, left - LEFT + 1, OVERVIEW - 6);
    c.fillRect(right, 3, LEFT + view.width - right + 1, OVERVIEW - 6);
    c.globalAlpha = 1;
    if (selection) {
      const from = timeToX(selection.start, whole);
      c.fillStyle = theme.accent;
      c.fillRect(from, OVERVIEW - 4, Math.max(timeToX(selection.end, whole) - from, 2), 3);
    }
    if (this.zoomed) {
      c.strokeStyle = theme.accent;
      c.lineWidth = 1.5;
      c.beginPath();
      c.roundRect(left, 2.5, Math.max(right - left, 4), OVERVIEW - 5, 3);
      c.stroke();
      c.fillStyle = theme.accent;
      for (const x of [left, Math.max(right, left + 4)]) {
        c.beginPath();
        c.roundRect(x - 2, OVERVIEW / 2 - 5, 4, 10, 2);
        c.fill();
      }
    }
    c.fillStyle = theme.playhead;
    c.fillRect(timeToX(this.time, whole) - 0.75, 1, 1.5, OVERVIEW - 2);
  }

  /** What stays as it is while the view moves: titles, axes, what the colours mean. */
  drawFixed() {
    const { theme, view, width } = this;
    if (!width) return;
    const c = fitCanvas(this.fixed, width, this.height);
    for (const plot of this.plots) {
      const { panel, top } = plot;
      c.font = `600 11px ${theme.font}`;
      c.textAlign = "left";
      c.textBaseline = "alphabetic";
      c.fillStyle = theme.ink;
      c.fillText(panel.title, LEFT, top - 6);
      if (plot.folded) continue;
      const after = LEFT + c.measureText(panel.title).width + 8;
      c.font = `11px ${theme.font}`;
      c.fillStyle = theme.dim;
      const room = panel.kind === "heat" ? 272 : 0;
      if (after + c.measureText(panel.unit).width < LEFT + view.width - room) {
        c.fillText(panel.unit, after, top - 6);
      }
      if (panel.kind === "heat") this.drawKey(c, top - 14);
      if (!this.lane(panel)) this.drawAxes(c, plot);
    }
  }

  drawLanes() {
    const { theme, view, width } = this;
    const some = this.plots.some(({ panel }) => this.lane(panel));
    this.sheet.hidden = !some;
    if (!width || !some) return;
    const c = fitCanvas(this.sheet, width, this.height);
    for (const plot of this.plots) {
      if (!plot.folded) this.lane(plot.panel)?.draw(c, plot, view, theme);
    }
  }

  /** Draws the view anew, or stretches what there is to it until there is time for that. */
  followView() {
    const { at, cost } = this.drawn;
    clearTimeout(this.settling);
    const since = performance.now() - at;
    if (cost < DEAR || since > Math.max(PAUSE, cost / SHARE)) {
      this.drawBase();
      return;
    }
    this.settling = setTimeout(() => this.theme && this.drawBase(), PAUSE);
    this.pasteBase();
  }

  drawBase() {
    clearTimeout(this.settling);
    if (!this.width) return;
    const began = performance.now();
    const { start, end } = this.view;
    this.drawNumbers();
    const at = performance.now();
    this.drawn = { start, end, at, cost: at - began };
    this.pasteBase();
  }

  /** The ruler, and the numbers as they were drawn last, in the place that they have now. */
  pasteBase() {
    const { theme, view, width, drawn } = this;
    const c = fitCanvas(this.base, width, this.height);
    this.drawRuler(c);
    c.fillStyle = theme.plot;
    for (const { panel, top, height, folded } of this.plots) {
      if (!folded && !this.lane(panel)) c.fillRect(LEFT, top, view.width, height);
    }
    c.save();
    c.beginPath();
    c.rect(LEFT, RULER, view.width, this.height - RULER);
    c.clip();
    c.imageSmoothingEnabled = false;
    const ratio = window.devicePixelRatio || 1;
    const from = [LEFT * ratio, RULER * ratio, view.width * ratio, (this.height - RULER) * ratio];
    const left = timeToX(drawn.start, view);
    const right = timeToX(drawn.end, view);
    c.drawImage(this.kept, ...from, left, RULER, right - left, this.height - RULER);
    c.restore();
  }

  /** All numbers in view, on a canvas of their own. */
  drawNumbers() {
    const { theme, view, width } = this;
    const c = fitCanvas(this.kept, width, this.height);
    for (const plot of this.plots) {
      if (plot.folded || this.lane(plot.panel)) continue;
      const { panel, top, height } = plot;
      c.fillStyle = theme.plot;
      c.fillRect(LEFT, top, view.width, height);
      c.save();
      c.beginPath();
      c.rect(LEFT, top, view.width, height + plot.strip);
      c.clip();
      this.drawMissing(c, plot, view);
      if (panel.kind === "heat") this.drawHeat(c, plot);
      else if (panel.kind === "stack") this.drawStack(c, plot, view);
      else this.drawLines(c, plot, view);
      this.drawDoubt(c, plot);
      if (panel.strip) this.drawStrip(c, plot);
      c.restore();
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
    if (view.width < 420) return;
    c.font = `10px ${theme.font}`;
    c.textBaseline = "middle";
    c.textAlign = "left";
    // Of the marks, only those that this clip needs.
    const doubt = Boolean(this.data.arrays["face.face_quality"]);
    const key = right - 186 - (doubt ? 88 : 0);
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
    if (!doubt) return;
    c.fillStyle = theme.veil;
    c.fillRect(key + 196, top, 16, 9);
    c.fillStyle = theme.doubt;
    c.fillRect(key + 196, top, 16, 3);
    c.fillStyle = theme.dim;
    c.fillText("low quality", key + 217, top + 5);
  }

  hatch(c, x, y, w, h) {
    c.fillStyle = this.hatching(c);
    c.fillRect(x, y, w, h);
  }

  /** A pattern of the whole canvas, so that the lines of neighbouring stretches join. */
  hatching(c) {
    const ratio = window.devicePixelRatio || 1;
    const key = `${this.theme.hatch}/${ratio}`;
    if (this.pattern?.key !== key) {
      const size = Math.round(6 * ratio);
      const tile = document.createElement("canvas");
      tile.width = tile.height = size;
      const t = tile.getContext("2d");
      t.strokeStyle = this.theme.hatch;
      t.lineWidth = ratio;
      t.beginPath();
      for (const s of [-size, 0, size]) {
        t.moveTo(s - 1, size + 1);
        t.lineTo(s + size + 1, -1);
      }
      t.stroke();
      const fill = c.createPattern(tile, "repeat");
      fill.setTransform(new DOMMatrix().scale(6 / size));
      this.pattern = { key, fill };
    }
    return this.pattern.fill;
  }

  /** Where nothing was read: hatched; a band at the top where that is less than half of a pixel. */
  drawMissing(c, { panel, top, height, strip }, view) {
    const columns = Math.max(Math.round(view.width), 1);
    const missing = (code) => code !== LOW_QUALITY;
    const share = coverage(this.data.spans(panel), missing, view, columns);
    eachRun(share, (s) => s >= 0.5, (from, to) => {
      this.hatch(c, LEFT + from, top, to - from, height + strip);
    });
    eachRun(share, (s) => s > 1e-6 && s < 0.5, (from, to) => {
      this.hatch(c, LEFT + from, top, to - from, 5);
    });
  }

  /** Where the face is hard to read the values stay, under a veil and a bar along the top. */
  drawDoubt(c, { panel, top, height }) {
    const { view, theme } = this;
    const columns = Math.max(Math.round(view.width), 1);
    const low = (code) => code === LOW_QUALITY;
    const share = coverage(this.data.spans(panel), low, view, columns);
    eachRun(share, (s) => s >= 0.5, (from, to) => {
      c.fillStyle = theme.veil;
      c.fillRect(LEFT + from, top, to - from, height);
      c.fillStyle = theme.doubt;
      c.fillRect(LEFT + from, top, to - from, 3);
    });
    c.fillStyle = theme.doubt;
    c.globalAlpha = 0.4;
    eachRun(share, (s) => s > 1e-6 && s < 0.5, (from, to) => {
      c.fillRect(LEFT + from, top, to - from, 2);
    });
    c.globalAlpha = 1;
  }

  drawHeat(c, { panel, top, height }) {
    const { view, theme } = this;
    const ratio = window.devicePixelRatio || 1;
    const columns = Math.max(Math.round(view.width * ratio), 1);
    const rows = Math.max(Math.round(height * ratio), 1);
    const [low, high] = panel.range ?? [0, 1];
    const { image } = this.sheetOf(panel, columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const times = this.data.times(panel.group);
    panel.series.forEach((series, row) => {
      const bins = binColumns(times, this.data.column(series), view, columns, "max");
      const first = Math.round(row * ROW * ratio);
      const last = Math.round(((row + 1) * ROW - 1) * ratio);
      const line = pixels.subarray(first * columns, (first + 1) * columns);
      for (let column = 0; column < columns; column++) {
        const value = bins[column];
        if (Number.isNaN(value)) continue;
        const share = Math.min(Math.max((value - low) / (high - low), 0), 1);
        line[column] = theme.ramp32[Math.round(share * 255)];
      }
      for (let y = first + 1; y < last; y++) pixels.set(line, y * columns);
    });
    this.blit(c, panel, top, view, height);
  }

  drawStack(c, { panel, top, height }, view) {
    const { theme } = this;
    const columns = Math.max(Math.round(view.width), 1);
    const times = this.data.times(panel.group);
    const bottom = new Float32Array(columns).fill(top + height);
    c.globalAlpha = 0.85;
    for (const series of panel.series) {
      const bins = binColumns(times, this.data.column(series), view, columns, "mean");
      c.fillStyle = theme.color(series.color);
      c.beginPath();
      for (let from = 0; from < columns; from++) {
        if (Number.isNaN(bins[from])) continue;
        // One outline for a whole stretch: along its top, and back along its bottom.
        let to = from;
        while (to < columns && !Number.isNaN(bins[to])) to++;
        c.moveTo(LEFT + from, bottom[from]);
        for (let k = from; k < to; k++) {
          const y = bottom[k] - bins[k] * height;
          c.lineTo(LEFT + k, y);
          c.lineTo(LEFT + k + 1, y);
        }
        for (let k = to - 1; k >= from; k--) {
          c.lineTo(LEFT + k + 1, bottom[k]);
          c.lineTo(LEFT + k, bottom[k]);
          bottom[k] -= bins[k] * height;
        }
        from = to;
      }
      c.fill();
    }
    c.globalAlpha = 1;
  }

  drawLines(c, plot, view) {
    const { panel } = plot;
    const { theme } = this;
    c.strokeStyle = theme.grid;
    c.lineWidth = 1;
    c.beginPath();
    for (const tick of panel.axes[0]?.ticks ?? []) {
      const y = Math.round(valueToY(tick, panel.axes[0].range, plot)) + 0.5;
      c.moveTo(LEFT, y);
      c.lineTo(LEFT + view.width, y);
    }
    c.stroke();
    const ordered = [...panel.series].sort((a, b) => this.depth(a) - this.depth(b));
    for (const series of ordered) this.drawBand(c, series, plot, view);
    const dense = ordered.filter((series) => this.isDense(series, view));
    if (dense.length) this.drawDense(c, dense, plot, view);
    for (const series of ordered) {
      if (dense.includes(series)) continue;
      const times = this.data.times(series.array.split(".")[0]);
      const line = decimate(times, this.data.column(series), view, Math.ceil(view.width));
      c.strokeStyle = theme.color(series.color);
      c.globalAlpha = series.behind ? 0.55 : series.label === "neutral" ? 0.7 : 1;
      this.drawPath(c, line, panel.axes[series.axis ?? 0].range, plot, view, series.wide ? 2 : 1.4);
      c.globalAlpha = 1;
    }
  }

  /** How sure a line is, where the data says so. */
  drawBand(c, series, plot, view) {
    const band = this.data.band(series);
    if (!band) return;
    const times = this.data.times(series.array.split(".")[0]);
    const columns = Math.max(Math.round(view.width), 1);
    const { low, high } = bandColumns(times, band.low, band.high, view, columns);
    const axis = plot.panel.axes[series.axis ?? 0].range;
    c.fillStyle = this.theme.color(series.color);
    c.globalAlpha = 0.18;
    for (let x = 0; x < columns; x++) {
      if (Number.isNaN(low[x]) || Number.isNaN(high[x])) continue;
      const top = valueToY(high[x], axis, plot);
      c.fillRect(LEFT + x, top, 1, Math.max(valueToY(low[x], axis, plot) - top, 1));
    }
    c.globalAlpha = 1;
  }

  /** Whether a pixel holds so many samples that the line becomes an area. */
  isDense(series, view) {
    const times = this.data.times(series.array.split(".")[0]);
    const inView = upperBound(times, view.end) - upperBound(times, view.start);
    return inView > 2.5 * view.width * (window.devicePixelRatio || 1);
  }

  drawPath(c, line, axis, plot, view, width) {
    c.lineWidth = width;
    // Round corners cannot be seen where there is one at every other pixel, and are slow.
    c.lineJoin = line.times.length > view.width / 2 ? "bevel" : "round";
    c.lineCap = "round";
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
  }

  /**
   * For each pixel column of the screen a bar from its lowest to its highest sample, mixed
   * pixel by pixel so that no line hides another. Strokes of as many points take several
   * times as long.
   */
  drawDense(c, ordered, plot, view) {
    const ratio = window.devicePixelRatio || 1;
    const columns = Math.max(Math.round(view.width * ratio), 1);
    const rows = Math.max(Math.round(plot.height * ratio), 1);
    const { image } = this.sheetOf(plot.panel, columns, rows);
    const scaled = { top: 0, height: rows };
    for (const series of ordered) {
      const times = this.data.times(series.array.split(".")[0]);
      const axis = plot.panel.axes[series.axis ?? 0].range;
      const bars = columnBars(times, this.data.column(series), view, columns, (value) =>
        valueToY(value, axis, scaled),
      );
      paintBars(image, bars, channels(this.theme.color(series.color)), 0.65, Math.round(ratio));
    }
    this.blit(c, plot.panel, plot.top, view, plot.height);
  }

  /** An empty image of the screen's own pixels, and the canvas that carries it over a panel. */
  sheetOf(panel, columns, rows) {
    let sheet = this.sheets.get(panel);
    if (sheet?.image.width !== columns || sheet.image.height !== rows) {
      const canvas = document.createElement("canvas");
      canvas.width = columns;
      canvas.height = rows;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      sheet = { canvas, context, image: new ImageData(columns, rows) };
      this.sheets.set(panel, sheet);
    }
    sheet.image.data.fill(0);
    return sheet;
  }

  /** Puts a panel's image in its place, with what is under it shining through. */
  blit(c, panel, top, view, height) {
    const { canvas, context, image } = this.sheets.get(panel);
    context.putImageData(image, 0, 0);
    c.imageSmoothingEnabled = false;
    c.drawImage(canvas, LEFT, top, view.width, height);
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
        // A unit that is read unreliably steps back; the hover text gives the figure.
        c.globalAlpha = series.weak ? 0.5 : 1;
        c.fillText(series.label, LEFT - 8, top + row * ROW + ROW / 2);
      });
      c.globalAlpha = 1;
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
    this.drawFrame();
    const c = fitCanvas(this.overlay, width, this.height);
    this.drawSelection(c);
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
    const seen = this.time >= view.start - 1e-6 && this.time <= view.end + 1e-6;
    if (seen) this.drawPlayhead(c, x);
    for (const plot of this.plots) {
      if (plot.folded) continue;
      if (plot.panel.kind === "heat") this.drawUnitValues(c, plot);
      else if (plot.panel.kind === "lines" && seen) this.drawDots(c, plot, x);
    }
  }

  drawPlayhead(c, x) {
    c.strokeStyle = c.fillStyle = this.theme.playhead;
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
  }

  drawSelection(c) {
    const { theme, view, selection } = this;
    if (!selection || selection.end < view.start || selection.start > view.end) return;
    const left = Math.max(timeToX(selection.start, view), LEFT);
    const right = Math.min(timeToX(selection.end, view), LEFT + view.width);
    c.fillStyle = theme.accent;
    c.globalAlpha = 0.1;
    c.fillRect(left, RULER - 2, right - left, this.height - RULER - GAP + 2);
    c.globalAlpha = 0.3;
    c.fillRect(left, 0, right - left, RULER - 2);
    c.globalAlpha = 0.9;
    for (const t of [selection.start, selection.end]) {
      if (t < view.start || t > view.end) continue;
      const x = Math.round(timeToX(t, view));
      c.fillRect(x - 0.5, RULER - 2, 1, this.height - RULER - GAP + 2);
      c.fillRect(x - 1.5, 2, 3, RULER - 4);
    }
    c.globalAlpha = 1;
  }

  /** Values of the units beside their rows, written anew only when they change. */
  drawUnitValues(c, { panel, top, height }) {
    const { theme, view, data } = this;
    const ratio = window.devicePixelRatio || 1;
    const texts = panel.series.map((series) =>
      formatValue(data.value(series, this.time), series),
    );
    const key = `${theme.ink}/${ratio}/${height}/${texts}`;
    const canvas = (this.gutter ??= document.createElement("canvas"));
    if (this.gutterKey !== key) {
      this.gutterKey = key;
      const g = fitCanvas(canvas, GUTTER, height);
      g.textAlign = "right";
      g.textBaseline = "middle";
      texts.forEach((text, row) => {
        const value = Number(text);
        g.font = `${value >= 0.5 ? "600 " : ""}10px ${theme.font}`;
        g.fillStyle = value >= 0.25 ? theme.ink : theme.faint;
        g.fillText(text, GUTTER - 2, row * ROW + ROW / 2);
      });
    }
    const left = LEFT + view.width + 32 - GUTTER;
    c.drawImage(canvas, left, top, canvas.width / ratio, canvas.height / ratio);
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
    if (this.follows) {
      this.look(followRange(this.view, t, this.bounds));
      this.follows = true;
    }
    this.refresh();
  }

  /** Show the time and the values under the pointer. */
  point(event) {
    const frame = this.element.getBoundingClientRect();
    const x = event.clientX - frame.left;
    const y = event.clientY - frame.top;
    const inside = x >= LEFT && x <= LEFT + this.view.width;
    const { plot, series } = findPlot(this.plots, y);
    const unit = series ? `${series.label} ${series.hint ?? ""}`.trim() : "";
    this.hover = inside ? { time: xToTime(x, this.view) } : null;
    this.tip.replaceChildren();
    if (inside) {
      make("div", "ek-tip-time", this.tip, formatTime(this.hover.time, 2));
      const lane = plot && !plot.folded ? this.lane(plot.panel) : null;
      const lines = lane?.describe(this.hover.time, y - plot.top) ?? [];
      for (const line of lines) make("div", "ek-tip-line", this.tip, line);
      if (plot && !plot.folded && !lane) this.describe(plot.panel, series ? [series] : null, unit);
    } else if (unit && x < LEFT) make("div", "", this.tip, unit);
    this.tip.hidden = !this.tip.childNodes.length;
    if (!this.tip.hidden) {
      const { offsetWidth: w, offsetHeight: h } = this.tip;
      const left = x + 14 + w > this.width ? x - 14 - w : x + 14;
      this.tip.style.left = `${Math.max(left, 0)}px`;
      this.tip.style.top = `${Math.max(Math.min(y - h / 2, this.height - h), 0)}px`;
    }
    this.refresh();
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
    this.refresh();
  }
}
