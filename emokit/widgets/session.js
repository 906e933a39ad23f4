// What has been annotated, as the page knows it: shown at once, told to the kernel, which
// writes it to a file and says so. Until it does, the edit waits in the browser's own store,
// and a page that is opened again sends it again.

import { History, applyChanges, invertChanges, laySpan } from "./spans.js";

/** Milliseconds after which a kernel that has not answered is said not to. */
const PATIENCE = 3000;

export class Session {
  /**
   * `tell` sends a message to the kernel, `shelf` keeps `{base, messages}` in the browser
   * (`read()`, `write(value)`), and `changed` is called whenever anything has changed.
   */
  constructor({ rate, duration, tell, shelf }) {
    this.rate = rate;
    this.duration = duration;
    this.tell = tell;
    this.shelf = shelf;
    this.me = Math.random().toString(36).slice(2);
    this.spans = new Map();
    this.traces = new Map();
    this.history = new History();
    this.listeners = new Set();
    this.waiting = new Map();
    this.number = 0;
    this.revision = null;
    this.problem = ""; // why an edit was refused
    this.unsaved = ""; // why the kernel could not write the file
    this.file = "";
  }

  get open() {
    return this.revision !== null;
  }

  /** "saved", "saving", or "lost" where the kernel does not answer. */
  get state() {
    if (this.problem || this.unsaved) return "lost";
    if (!this.waiting.size) return "saved";
    const oldest = Math.min(...[...this.waiting.values()].map(({ sent }) => sent));
    return performance.now() - oldest > PATIENCE ? "lost" : "saving";
  }

  notify() {
    for (const listener of this.listeners) listener();
  }

  ask() {
    this.tell({ type: "annotations", from: this.me });
  }

  /** What the kernel has: everything there is here is replaced by it. */
  receive(state) {
    if (state.to !== this.me) return;
    const first = !this.open;
    if (!first && this.waiting.size && !this.problem) return; // an answer to each is on its way
    this.revision = state.revision;
    this.file = state.file;
    this.spans = new Map(state.annotations.map((span) => [span.id, span]));
    const samples = Math.floor(this.duration * this.rate) + 1;
    this.traces = new Map();
    for (const { tier, runs, input_lag: lag } of state.traces) {
      const values = new Float32Array(samples).fill(NaN);
      for (const run of runs) values.set(run.values, run.start);
      this.traces.set(tier, { values, lag });
    }
    this.waiting.clear();
    if (first) this.recover(state.last);
    else this.history = new History();
    this.notify();
  }

  /** Edits that no kernel has answered before the page was left. */
  recover(last) {
    const kept = this.shelf.read();
    this.shelf.write(null);
    if (!kept) return;
    // Of those that are kept the kernel may have written some before it could answer.
    const done = kept.messages.findIndex(({ from, number }) => `${from}/${number}` === last);
    if (done < 0 && kept.base !== this.revision) return;
    for (const message of kept.messages.slice(done + 1)) {
      if (message.type === "edit") applyChanges(this.spans, message.changes);
      else this.putTrace(message.tier, message.start, message.values);
      this.send({ ...message, action: `recovered: ${message.action}` });
    }
  }

  newId() {
    let most = 0;
    for (const id of this.spans.keys()) most = Math.max(most, id);
    return most + 1;
  }

  /** A function that gives one new number after another. */
  ids() {
    let next = this.newId();
    return () => next++;
  }

  /** Do and keep an edit, under a word for the log. */
  commit(changes, action) {
    if (!changes.length) return;
    this.history.add({ changes, action });
    this.change(changes, action);
  }

  change(changes, action) {
    applyChanges(this.spans, changes);
    this.send({ type: "edit", action, changes });
    this.notify();
  }

  /** Lay a span over what is there, or change one. Returns its number. */
  lay(span, action = "lay") {
    const ids = this.ids();
    const id = span.id ?? ids();
    this.commit(laySpan(this.spans, { ...span, id }, ids), action);
    return id;
  }

  undo() {
    const edit = this.history.undo();
    if (edit?.trace) this.writeTrace({ ...edit.trace, values: edit.trace.before }, "undo");
    else if (edit) this.change(invertChanges(edit.changes), "undo");
    return edit;
  }

  redo() {
    const edit = this.history.redo();
    if (edit?.trace) this.writeTrace({ ...edit.trace, values: edit.trace.after }, "redo");
    else if (edit) this.change(edit.changes, "redo");
    return edit;
  }

  // ---- traces

  putTrace(tier, start, values) {
    const numbers = Float32Array.from(values, (value) => value ?? NaN);
    this.traces.get(tier).values.set(numbers, start);
  }

  /** Send samples `from…to` of a trace that is being recorded. */
  sendTrace(tier, from, to, details) {
    const values = this.traces.get(tier).values.subarray(from, to);
    if (!values.length) return;
    if (details.lag !== null && details.lag !== undefined) this.traces.get(tier).lag = details.lag;
    this.send({ type: "trace", action: "record", tier, start: from, values: plain(values), ...details });
  }

  /** Note that samples from `start` on were changed, so that it can be undone. */
  keepTrace(tier, start, before) {
    const after = this.traces.get(tier).values.slice(start, start + before.length);
    this.history.add({ action: "record", trace: { tier, start, before, after } });
  }

  writeTrace({ tier, start, values }, action) {
    this.putTrace(tier, start, values);
    this.send({ type: "trace", action, tier, start, values: plain(values) });
    this.notify();
  }

  // ---- to the kernel, and back

  send(message) {
    this.number += 1;
    const whole = { ...message, number: this.number, from: this.me };
    whole.when ??= new Date().toISOString();
    this.waiting.set(this.number, { sent: performance.now(), message: whole });
    this.keep();
    this.tell(whole);
  }

  /** The kernel has written it. */
  answer({ number, from, revision, file, problem, unsaved }) {
    if (from !== this.me) {
      this.ask(); // somebody else's edit: in another window, or in Python
      return;
    }
    if (problem) {
      this.problem = problem;
      this.waiting.clear();
      this.shelf.write(null);
      this.ask();
    } else {
      this.waiting.delete(number);
      this.revision = revision;
      this.file = file;
      this.problem = "";
      this.unsaved = unsaved;
      this.keep();
    }
    this.notify();
  }

  keep() {
    const messages = [...this.waiting.values()].map(({ message }) => message);
    this.shelf.write(messages.length ? { base: this.revision, messages } : null);
  }
}

function plain(values) {
  return Array.from(values, (value) => (Number.isNaN(value) ? null : value));
}

/** Keeps a value in the browser under a name; where it may not, it keeps nothing. */
export function makeShelf(name) {
  const key = `emokit/${name}`;
  return {
    read() {
      try {
        return JSON.parse(window.localStorage.getItem(key));
      } catch {
        return null;
      }
    },
    write(value) {
      try {
        if (value === null) window.localStorage.removeItem(key);
        else window.localStorage.setItem(key, JSON.stringify(value));
      } catch {
        // A browser that keeps nothing, or has no room: the kernel's file remains.
      }
    },
  };
}
