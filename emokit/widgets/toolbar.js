// Above the timelines: tracks, zoom and selection. Beside the video: the evidence.

import { make, makeButton, makeSelect } from "./elements.js";
import { formatTime } from "./geometry.js";
import { Tracks } from "./timelines.js";

export class Toolbar {
  constructor(parent, layout, tracks) {
    this.layout = layout;
    this.tracks = tracks;
    this.element = make("div", "ek-toolbar", parent);
    this.menu = make("details", "ek-menu", this.element);
    make("summary", "", this.menu, "Tracks").title = "Choose what is shown";
    this.list = make("div", "ek-menu-list", this.menu);
    this.buttons = {
      why: makeButton(this.element, "why", "Why these estimates? (e)"),
      mesh: makeButton(this.element, "mesh", "Face mesh (m)"),
      gaze: makeButton(this.element, "gaze", "Gaze (g)"),
      blur: makeButton(this.element, "blur", "Cover faces while reviewing (b)"),
    };
    make("span", "ek-spring", this.element);
    this.chosen = make("span", "ek-chosen", this.element);
    Object.assign(this.buttons, {
      loop: makeButton(this.element, "loop", "Play the selection, or the clip, over and over (l)"),
      look: makeButton(this.element, "fit", "Zoom to the selection (z)"),
      clear: makeButton(this.element, "clear", "Clear the selection (Esc)"),
      zoomOut: makeButton(this.element, "zoomOut", "Zoom out (-, or the wheel with Ctrl)"),
      zoomIn: makeButton(this.element, "zoomIn", "Zoom in (+, or the wheel with Ctrl)"),
    });
    this.all = make("button", "ek-button ek-wide", this.element, "all");
    this.all.type = "button";
    this.all.title = "Show the whole clip (0)";
    this.offers = {};
    this.showSelection(null);
  }

  connect(on, act, offers) {
    this.offers = offers;
    for (const [name, { button }] of Object.entries(this.buttons)) {
      if (name in offers) button.hidden = !offers[name];
      on(button, "click", act[name]);
    }
    on(this.all, "click", act.fit);
    on(this.menu, "toggle", () => this.menu.open && this.list.querySelector("input")?.focus());
    on(document, "pointerdown", (event) => {
      if (!this.menu.contains(event.target)) this.menu.open = false;
    });
    on(this.menu, "keydown", (event) => {
      if (event.key !== "Escape" || !this.menu.open) return;
      this.menu.open = false;
      event.stopPropagation();
    });
    for (const panel of this.tracks.all) this.addTrack(panel, on, act);
    this.menu.hidden = !this.tracks.all.length;
  }

  addTrack(panel, on, act) {
    const { tracks } = this;
    const row = make("div", "ek-menu-row", this.list);
    const label = make("label", "", row);
    const box = make("input", "", label);
    box.type = "checkbox";
    box.checked = !tracks.hidden.has(panel.title);
    make("span", "", label, panel.title);
    on(box, "change", () => {
      if (box.checked) tracks.hidden.delete(panel.title);
      else tracks.hidden.add(panel.title);
      act.tracks();
    });
    const views = Tracks.views(panel);
    if (!views.length) return;
    const options = views.map((view) => [view, { heat: "heat strip" }[view] ?? view]);
    const select = makeSelect(row, `How ${panel.title} is drawn`, options, panel.kind);
    on(select, "change", () => {
      panel.kind = select.value;
      panel.tall = true; // one that was asked for gets room
      act.tracks();
    });
  }

  showSelection(range) {
    const { look, clear } = this.buttons;
    look.button.disabled = clear.button.disabled = !range;
    this.chosen.textContent = range
      ? `${formatTime(range.start, 2)} – ${formatTime(range.end, 2)}  (${(range.end - range.start).toFixed(2)} s)`
      : "";
    this.chosen.title = range ? "Selection: start – end (length)" : "";
  }

  press(states) {
    for (const [name, on] of Object.entries(states)) this.buttons[name].press(on);
  }
}

/** Units that push an emotion one way or the other, computed by the kernel when asked. */
export class Evidence {
  constructor(parent) {
    this.element = make("section", "ek-evidence", parent);
    this.element.hidden = true;
    this.element.setAttribute("aria-label", "Evidence");
    this.send = null;
    this.number = 0;
    this.asked = null;
    this.waiting = null;
    this.emotion = null;
  }

  /** `face()` names the face; `look(canvases, time, theme)` draws the moment and says what it could. */
  connect(send, face, look) {
    this.send = send;
    this.face = face;
    this.look = look;
  }

  /** The picture on the screen has changed; it may be that of the moment now. */
  refresh(theme) {
    if (this.element.hidden || !this.figure?.isConnected) return;
    const { picture, pitch, answer } = this;
    const seen = this.look({ picture, pitch }, answer, theme);
    if (seen.picture !== null) picture.hidden = !seen.picture;
    pitch.hidden = !seen.pitch;
    this.figure.hidden = picture.hidden && pitch.hidden;
  }

  /** Opens or closes; returns whether it is open now. */
  toggle(t) {
    this.element.hidden = !this.element.hidden;
    this.asked = null;
    if (!this.element.hidden) this.ask(t);
    return !this.element.hidden;
  }

  open(t) {
    if (!this.send || !this.element.hidden) return;
    this.toggle(t);
  }

  /** Ask about time `t`; while an answer is under way only the latest question is kept. */
  ask(t) {
    const key = `${t}/${this.face?.()}`;
    if (!this.send || this.element.hidden || key === this.asked) return;
    this.asked = key;
    if (this.waiting) {
      this.next = t;
      return;
    }
    this.number += 1;
    this.send({ type: "explain", number: this.number, time: t, face: this.face() });
    this.waiting = setTimeout(() => {
      this.waiting = null;
      this.write("The kernel does not answer: it is busy, or was restarted.");
    }, 4000);
    if (!this.element.childNodes.length) this.write("Asking the kernel …");
  }

  write(text) {
    this.element.replaceChildren();
    make("div", "ek-evidence-note", this.element, text);
  }

  receive(answer, theme) {
    if (answer.number !== this.number) return;
    clearTimeout(this.waiting);
    this.waiting = null;
    this.answer = answer;
    this.draw(theme);
    if (this.next !== undefined) {
      const t = this.next;
      this.next = undefined;
      this.asked = null;
      this.ask(t);
    }
  }

  draw(theme) {
    const { answer } = this;
    if (answer.note) {
      this.write(answer.note);
      return;
    }
    this.element.replaceChildren();
    const { emotions } = answer;
    const found = emotions.find((one) => one.label === this.emotion) ?? emotions[0];
    const head = make("div", "ek-evidence-head", this.element);
    make("b", "", head, "Why");
    const options = emotions.map((one) => [
      one.label,
      `${one.label} ${one.probability.toFixed(2)}`,
    ]);
    const select = makeSelect(head, "Emotion explained", options, found.label);
    const alone = answer.alone ? "this frame alone, " : "";
    const nearest = answer.nearest ? ", the nearest moment that this page explains" : "";
    make("span", "", head, `${alone}at ${formatTime(answer.time, 2)}, ${answer.face}${nearest}`);
    select.addEventListener("change", () => {
      this.emotion = select.value === emotions[0].label ? null : select.value;
      this.draw(theme);
    });
    const body = make("div", "ek-evidence-body", this.element);
    this.figure = make("div", "ek-evidence-figure", body);
    this.picture = make("canvas", "ek-face", this.figure);
    this.picture.hidden = true;
    this.picture.title = `${answer.face} at ${formatTime(answer.time, 2)}`;
    this.pitch = make("canvas", "ek-pitch", this.figure);
    const most = Math.max(...emotions.flatMap((e) => e.units.map((u) => Math.abs(u.push))), 0.1);
    const list = make("div", "ek-pushes", body);
    for (const { unit, hint, presence, push } of found.units) {
      const row = make("div", "ek-push", list);
      row.title = `shown ${presence.toFixed(2)}; multiplies the odds by ${Math.exp(push).toFixed(2)}`;
      make("span", "ek-push-unit", row, `${unit} ${hint}`);
      const bar = make("i", push < 0 ? "ek-against" : "ek-for", make("span", "ek-push-bar", row));
      bar.style.width = `${(50 * Math.abs(push)) / most}%`;
      bar.style.background = theme.color(push < 0 ? "ink" : found.color);
      make("b", "", row, `${push < 0 ? "−" : "+"}${Math.abs(push).toFixed(2)}`);
    }
    if (!found.units.length) make("div", "ek-evidence-note", this.element, "No unit is shown.");
    const voice = answer.voice ? `Voice: ${answer.voice}. ` : "";
    const more = answer.alone
      ? " Of this frame alone: the timeline also weighs what comes before and after."
      : "";
    make(
      "div",
      "ek-evidence-note",
      this.element,
      `${voice}Bars: what each shown unit adds to the log odds against the average emotion.${more}`,
    );
    this.refresh(theme);
  }
}
