// Below the picture: the chosen span as a form, undo, what is saved, and the keys.

import { make, makeButton, makeSelect } from "./elements.js";
import { formatTime } from "./geometry.js";

export const INTENSITIES = ["A", "B", "C", "D", "E"];
const STRENGTH = ["trace", "slight", "marked", "severe", "maximum"];

const HELP = [
  ["label's key", "hold while the clip plays: lays a span"],
  ["", "paused: labels the chosen span, or lays one over the selection"],
  ["space", "play, pause"],
  ["← →", "one frame; with Shift one second"],
  ["drag on a tier", "lays a span of the tier's last label"],
  ["drag a span", "moves it; its edges stretch it, and the picture follows"],
  ["[ ]", "onset or offset of the chosen span to the playhead"],
  ["s", "split the chosen span at the playhead"],
  ["Enter", "comment on the chosen span"],
  ["Shift+A … E", "FACS intensity, where the tier has it"],
  ["Delete", "remove the chosen span"],
  ["Alt+← Alt+→", "span before, span after"],
  ["Ctrl+Z, Ctrl+Shift+Z", "undo, redo"],
  ["r", "record the trace while the clip plays; again to stop"],
  ["Esc", "let go of the span, clear the selection"],
  ["z, l", "zoom to the selection, loop it"],
  ["Ctrl+wheel, + −, 0", "zoom; the whole clip"],
  ["?", "this help"],
];

/** The chosen span, in words and numbers that can be changed. */
export class Editor {
  constructor(parent, { on, change, split, remove, refocus }) {
    this.element = make("div", "ek-editor", parent);
    this.words = make("span", "ek-hint", this.element);
    this.form = make("span", "ek-form", this.element);
    this.tier = make("b", "", this.form);
    this.labels = makeSelect(this.form, "Label", [], "");
    this.when = make("span", "ek-when", this.form);
    this.strengths = make("span", "ek-strengths", this.form);
    this.letters = INTENSITIES.map((letter, k) => {
      const button = make("button", "ek-letter", this.strengths, letter);
      button.type = "button";
      button.title = `Intensity ${letter}, ${STRENGTH[k]} (Shift+${letter})`;
      on(button, "click", () => {
        change({ intensity: button.getAttribute("aria-pressed") === "true" ? "" : letter }, "intensity");
        refocus();
      });
      return button;
    });
    this.comment = make("input", "ek-comment", this.form);
    this.comment.type = "text";
    this.comment.placeholder = "comment (Enter)";
    this.comment.setAttribute("aria-label", "Comment");
    const { button: cut } = makeButton(this.form, "split", "Split at the playhead (s)");
    const { button: bin } = makeButton(this.form, "clear", "Remove the span (Delete)");
    on(cut, "click", () => (split(), refocus()));
    on(bin, "click", () => (remove(), refocus()));
    on(this.labels, "change", () => (change({ label: this.labels.value }, "label"), refocus()));
    on(this.comment, "change", () => change({ comment: this.comment.value }, "comment"));
    on(this.comment, "keydown", (event) => {
      if (event.key === "Escape") this.comment.value = this.span?.comment ?? "";
      if (event.key === "Escape" || event.key === "Enter") refocus();
    });
    this.hint();
  }

  hint(text = "Hold a label's key while the clip plays, or drag on a tier. ? shows all keys.") {
    this.words.textContent = text;
    this.words.hidden = false;
    this.form.hidden = true;
  }

  show(span, panel) {
    if (!span) {
      if (this.span || this.words.hidden) this.hint();
      this.span = null;
      return;
    }
    const other = this.span?.id !== span.id;
    this.span = span;
    this.words.hidden = true;
    this.form.hidden = false;
    this.tier.textContent = panel?.tier ?? span.tier;
    const labels = panel?.rows.map((row) => row.label) ?? [];
    if (!labels.includes(span.label)) labels.push(span.label);
    this.labels.replaceChildren();
    for (const label of labels) make("option", "", this.labels, label).value = label;
    this.labels.value = span.label;
    const length = (span.offset - span.onset).toFixed(2);
    this.when.textContent = `${formatTime(span.onset, 2)} – ${formatTime(span.offset, 2)} (${length} s)`;
    this.when.title = [span.annotator, span.modified].filter(Boolean).join(", ");
    this.strengths.hidden = !panel?.intensity;
    for (const letter of this.letters) {
      letter.setAttribute("aria-pressed", String(letter.textContent === span.intensity));
    }
    if (other || document.activeElement !== this.comment) this.comment.value = span.comment ?? "";
  }
}

/** Undo, redo, the end of a blind pass, help, and whether all is saved. */
export class Status {
  constructor(parent, { on, session, undo, redo, finish, help }) {
    this.session = session;
    this.element = make("div", "ek-status", parent);
    this.undo = makeButton(this.element, "undo", "Undo (Ctrl+Z)");
    this.redo = makeButton(this.element, "redo", "Redo (Ctrl+Shift+Z)");
    this.end = make("button", "ek-button ek-wide ek-end", this.element);
    this.end.type = "button";
    this.help = make("button", "ek-button ek-wide", this.element, "?");
    this.help.type = "button";
    this.help.title = "Keys (?)";
    this.text = make("span", "ek-saved", this.element);
    this.text.setAttribute("role", "status");
    on(this.undo.button, "click", undo);
    on(this.redo.button, "click", redo);
    on(this.help, "click", help);
    on(this.end, "click", () => {
      // What has been seen cannot be unseen: it takes two presses.
      if (this.sure) finish();
      else this.ask(true);
    });
    on(this.end, "blur", () => this.ask(false));
  }

  ask(sure) {
    this.sure = sure;
    this.end.textContent = sure ? "Show the model now?" : "Finish blind pass";
  }

  showBlind(blind) {
    this.end.hidden = !blind;
    this.end.title = "Shows the model's timelines; edits after that are marked as not blind";
    this.ask(false);
  }

  show() {
    const { session } = this;
    this.undo.button.disabled = !session.history.done.length;
    this.redo.button.disabled = !session.history.undone.length;
    const { state } = session;
    this.element.dataset.state = session.open ? state : "saving";
    let words = "saving …";
    if (!session.open) words = "asking the kernel …";
    else if (session.problem) words = `The last edit was not taken: ${session.problem}`;
    else if (session.unsaved) words = `NOT SAVED: ${session.unsaved}`;
    else if (state === "lost") {
      // JupyterLab goes on asking a part of the kernel that a restart from elsewhere has ended.
      words =
        "NOT SAVED: the kernel does not answer. Kept in this browser; " +
        "run the cell again, and if that does not help, reload the page first.";
    } else if (state === "saved") {
      words = session.file ? `saved in ${session.file}` : "not saved to a file (path=None)";
    }
    this.text.textContent = words;
  }
}

export class Help {
  constructor(parent) {
    this.element = make("div", "ek-help", parent);
    this.element.hidden = true;
    for (const [key, words] of HELP) {
      make("kbd", key ? "" : "ek-none", this.element, key);
      make("span", "", this.element, words);
    }
  }

  toggle() {
    this.element.hidden = !this.element.hidden;
  }
}
