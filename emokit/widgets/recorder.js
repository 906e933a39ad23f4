// Recording of a trace while the clip plays, by the mouse or a stick of a gamepad.

import { make } from "./elements.js";
import { deflection, median, padValue, traceAt, writeMovement } from "./spans.js";

/** Samples after which a piece is sent to be saved, though the pass goes on. */
const PIECE = 125;

/** A jump of the picture by more than this many seconds begins another pass. */
const JUMP = 0.5;

/** The pad beside the picture, and what the hand does on it. */
export class Recorder {
  constructor({ on, top, readout, timelines, session, tiers, vocabulary, refocus, now, playing }) {
    this.session = session;
    this.timelines = timelines;
    this.top = top;
    this.now = now;
    this.playing = playing;
    this.panels = tiers.filter((panel) => panel.kind === "trace");
    this.panel = this.panels[0] ?? null;
    this.armed = false;
    this.pass = null;
    this.value = NaN; // under the hand
    this.moved = null; // when the hand moved last, until its value is written
    this.device = "mouse";
    this.axes = null;
    this.chips = this.panels.map((panel) => {
      const group = make("div", "ek-tier", vocabulary);
      make("span", "ek-tier-name", group, panel.tier);
      const chip = make("button", "ek-chip ek-record", group);
      chip.type = "button";
      make("kbd", "", chip, "r");
      make("span", "", chip, "record");
      chip.title = "Record while the clip plays, with the mouse or a gamepad's stick";
      on(chip, "click", () => {
        this.toggle(panel);
        refocus();
      });
      return chip;
    });
    this.pad = make("div", "ek-pad");
    readout.element.before(this.pad);
    this.pad.hidden = true;
    this.high = make("span", "ek-pad-end", this.pad);
    this.track = make("div", "ek-pad-track", this.pad);
    this.mark = make("i", "ek-pad-mark", this.track);
    this.low = make("span", "ek-pad-end", this.pad);
    this.text = make("b", "ek-pad-value", this.pad);
    // Anywhere beside the picture: the eyes are on it, not on the pad.
    on(top, "pointermove", (event) => this.hand(event));
  }

  get scale() {
    return this.timelines.lane(this.panel).axis;
  }

  toggle(panel = this.panel) {
    if (!panel || !this.session.open) return;
    const same = panel === this.panel;
    this.finish();
    this.panel = panel;
    this.armed = same ? !this.armed : true;
    this.value = NaN;
    this.moved = null;
    this.show(this.now());
    this.draw();
  }

  hand(event) {
    if (!this.armed) return;
    const { top, height } = this.track.getBoundingClientRect();
    if (this.panel.relative) {
      const { low, high } = this.panel;
      const from = Number.isNaN(this.value) ? this.start() ?? 0 : this.value;
      this.value = from - (event.movementY / height) * (high - low);
    } else this.value = padValue(event.clientY - top, height, this.scale);
    this.device = "mouse";
    this.moved ??= event.timeStamp;
    this.draw();
  }

  /** Value that the trace has at the playhead; null where it has none. */
  start() {
    const value = traceAt(this.session.traces.get(this.panel.tier).values, this.session.rate, this.now());
    return Number.isNaN(value) ? null : value;
  }

  /** The stick that is moved, if there is one. */
  stick(seconds) {
    const pads = navigator.getGamepads?.() ?? [];
    const pad = [...pads].find((one) => one?.connected && one.axes.length > 1);
    if (!pad) return;
    const up = -deflection(pad.axes[1]);
    const still = this.axes === pad.axes[1];
    this.axes = pad.axes[1];
    if (still && this.device !== "gamepad") return;
    if (!still) {
      this.device = "gamepad";
      this.moved ??= pad.timestamp;
    }
    const { low, high, relative } = this.panel;
    if (!relative) this.value = (low + high) / 2 + (up * (high - low)) / 2;
    else {
      // Held all the way, the stick crosses half of the scale in a second.
      const from = Number.isNaN(this.value) ? this.start() ?? 0 : this.value;
      this.value = from + up * ((high - low) / 2) * seconds;
    }
  }

  /** The picture of time `t` is on the screen. */
  show(t) {
    if (!this.armed) return;
    if (Number.isNaN(this.value)) this.value = this.start() ?? (this.panel.relative ? 0 : NaN);
    this.stick(this.pass ? Math.max(t - this.pass.t, 0) : 0);
    if (!this.playing()) {
      this.draw();
      return;
    }
    if (this.pass && (t < this.pass.t || t - this.pass.t > JUMP)) this.finish();
    const { values } = this.session.traces.get(this.panel.tier);
    if (!this.pass) {
      const number = `${this.session.me}/${++passes}`;
      this.pass = { number, t, value: this.value, before: values.slice(), from: null, to: 0, sent: 0, lags: [] };
    }
    const { pass } = this;
    if (this.moved !== null) {
      pass.lags.push(Math.max(performance.now() - this.moved, 0) / 1000);
      this.moved = null;
    }
    if (!Number.isNaN(pass.value) && !Number.isNaN(this.value)) {
      const [from, to] = writeMovement(values, this.session.rate, pass.t, pass.value, t, this.value);
      if (to > from) {
        if (pass.from === null) pass.from = pass.sent = from;
        pass.to = to;
      }
    }
    pass.t = t;
    pass.value = this.value;
    if (pass.from !== null && pass.to - pass.sent >= PIECE) this.send();
    this.timelines.refresh({ lanes: true });
    this.draw();
  }

  send() {
    const { pass } = this;
    const details = { pass: pass.number, device: this.device, lag: pass.lags.length ? median(pass.lags) : null };
    this.session.sendTrace(this.panel.tier, pass.sent, pass.to, details);
    pass.sent = pass.to;
  }

  /** The pass is over: what is left of it is sent, and it can be undone as one. */
  finish() {
    const { pass } = this;
    if (!pass) return;
    if (pass.from !== null && pass.to > pass.from) {
      if (pass.to > pass.sent) this.send();
      this.session.keepTrace(this.panel.tier, pass.from, pass.before.slice(pass.from, pass.to));
      this.session.notify();
    }
    this.pass = null;
  }

  paused() {
    this.finish();
    this.draw();
  }

  close() {
    this.finish();
    this.pad.remove();
  }

  draw() {
    this.chips.forEach((chip, k) => {
      chip.setAttribute("aria-pressed", String(this.armed && this.panels[k] === this.panel));
    });
    this.pad.hidden = !this.armed;
    this.top.classList.toggle("ek-armed", this.armed);
    if (!this.armed) return;
    const [low, high] = this.scale;
    this.pad.classList.toggle("ek-recording", this.pass !== null);
    this.high.textContent = `${this.panel.tier} ${high.toFixed(1)}`;
    this.low.textContent = low.toFixed(1).replace("-", "−");
    const known = !Number.isNaN(this.value);
    this.text.textContent = known ? this.value.toFixed(2).replace("-", "−") : "move the mouse";
    this.mark.hidden = !known;
    const share = Math.min(Math.max((this.value - low) / (high - low), 0), 1);
    if (known) this.mark.style.bottom = `${share * 100}%`;
  }
}

let passes = 0;
