// The annotator: what a player needs more to lay spans, change them, and record traces.

import { Editor, Help, INTENSITIES, Status } from "./desk.js";
import { make } from "./elements.js";
import { createWidget } from "./player.js";
import { Recorder } from "./recorder.js";
import { Session, makeShelf } from "./session.js";
import { dragEdge, frameEnd, hitSpan, moveSpan, neighbour } from "./spans.js";
import { snapTime, spansOf, splitSpan } from "./spans.js";

function annotate(parts) {
  const { root, top, toolbar, readout, timelines, tracks, layout, model, data, frames } = parts;
  const { on, act, seek, setSelection, refocus, kernel, shared } = parts;
  const { duration } = layout;
  const tiers = tracks.all.filter((panel) => panel.tier);
  const spanTiers = tiers.filter((panel) => panel.kind === "spans");
  const setup = layout.annotate;
  const session = (shared.session ??= new Session({
    rate: setup.rate,
    duration,
    tell: kernel,
    shelf: makeShelf(setup.shelf),
  }));
  const snap = (t) => snapTime(t, frames, duration);
  const shortest = () => (frames.length > 1 ? duration / frames.length / 2 : 0.02);
  const face = () => layout.faces[data.face] ?? "";

  // ---- what is chosen, and where the next span goes

  let chosen = null; // number of a span
  let preview = null; // a span that is being dragged
  const current = new Map(spanTiers.map((tier) => [tier.tier, tier.rows[0]?.label]));
  const held = new Map(); // code of a key, or a chip, to the span that it lays
  const chosenSpan = () => session.spans.get(chosen) ?? null;
  const tierOf = (span) => spanTiers.find((panel) => panel.tier === span?.tier);

  const choose = (span, { select = false } = {}) => {
    chosen = span?.id ?? null;
    if (span) current.set(span.tier, span.label);
    if (select && span) setSelection({ start: span.onset, end: span.offset });
    sync();
  };

  /** Lanes and words, after anything has changed. */
  const sync = () => {
    if (chosen !== null && !session.spans.has(chosen)) chosen = null;
    for (const panel of tiers) {
      const lane = timelines.lane(panel);
      if (panel.kind === "trace") {
        lane.values = session.traces.get(panel.tier)?.values ?? lane.values;
        continue;
      }
      const own = spansOf(session.spans, panel.tier);
      lane.setSpans(own.map((span) => (span.id === preview?.id ? preview : span)));
      lane.chosen = chosen;
    }
    drawDrafts();
    editor.show(chosenSpan(), tierOf(chosenSpan()));
    status.show();
  };

  const drawDrafts = () => {
    for (const panel of spanTiers) {
      const lane = timelines.lane(panel);
      const own = [...held.values()].find(({ tier }) => tier === panel.tier);
      lane.draft = own ? { ...own, offset: frameEnd(own.last, frames, duration), draft: true } : null;
      if (preview?.tier === panel.tier && preview.id === undefined) lane.draft = preview;
    }
    timelines.refresh({ lanes: true });
  };

  // ---- holding a key

  const begin = (code, tier, label) => {
    if (held.has(code) || !session.open) return;
    current.set(tier, label);
    if (!parts.playing()) {
      labelStill(tier, label);
      return;
    }
    // Spans of a tier do not overlap: the new key takes over from the old one.
    let onset = snap(parts.now());
    for (const [other, span] of [...held]) {
      if (span.tier === tier) onset = Math.max(finish(other), onset);
    }
    held.set(code, { tier, label, onset, last: parts.now(), face: face() });
    press();
    drawDrafts();
  };

  const finish = (code) => {
    const span = held.get(code);
    if (!span) return 0;
    held.delete(code);
    const offset = frameEnd(Math.max(span.last, span.onset), frames, duration);
    if (offset > span.onset) {
      const { tier, label, onset } = span;
      chosen = session.lay({ tier, label, onset, offset, intensity: "", comment: "", face: span.face });
    }
    press();
    sync();
    return offset;
  };

  const finishAll = () => {
    for (const code of [...held.keys()]) finish(code);
  };

  /** A label's key while the clip stands still. */
  const labelStill = (tier, label) => {
    const span = chosenSpan();
    const range = timelines.selection;
    if (span?.tier === tier) change({ label }, "label");
    else if (range) {
      const onset = snap(range.start);
      const offset = Math.max(snap(range.end), frameEnd(onset, frames, duration));
      const id = session.lay({ tier, label, onset, offset, intensity: "", comment: "", face: face() });
      choose(session.spans.get(id));
    } else editor.hint(`Play and hold the key to lay “${label}”, or select a stretch first.`);
  };

  const change = (values, action) => {
    const span = chosenSpan();
    if (!span || Object.entries(values).every(([name, value]) => span[name] === value)) return;
    session.commit([{ id: span.id, before: span, after: { ...span, ...values } }], action);
  };

  const moveEdge = (edge) => {
    const span = chosenSpan();
    if (!span) return false;
    const t = edge === "onset" ? snap(parts.now()) : frameEnd(parts.now(), frames, duration);
    const moved = dragEdge(session.spans, span, edge, t, { duration, shortest: shortest() });
    change({ onset: moved.onset, offset: moved.offset }, `move ${edge}`);
    return true;
  };

  const split = () => {
    const span = chosenSpan();
    if (!span) return;
    const changes = splitSpan(span, snap(parts.now()), session.ids(), shortest());
    if (changes.length) session.commit(changes, "split");
    else editor.hint("Move the playhead into the span to split it there.");
  };

  const remove = () => {
    const span = chosenSpan();
    if (span) session.commit([{ id: span.id, before: span, after: null }], "delete");
  };

  const turnBack = (edit) => {
    if (!edit) editor.hint("There is nothing more to take back or to do again.");
    const last = edit?.changes?.findLast(({ id }) => session.spans.has(id));
    if (last) choose(session.spans.get(last.id));
  };

  const goTo = (by) => {
    const tier = chosenSpan()?.tier ?? spanTiers[0]?.tier;
    const span = neighbour(session.spans, tier, parts.now(), by, chosen);
    if (!span) return;
    choose(span, { select: true });
    seek(span.onset);
  };

  // ---- the pointer on a tier

  const grab = (event, x, y, t) => {
    const at = timelines.laneAt(y);
    if (!at?.inside || !at.plot.panel.tier || at.plot.panel.kind !== "spans" || !session.open) {
      return null;
    }
    const { panel } = at.plot;
    const hit = hitSpan(session.spans, panel.tier, x, timelines.view, { chosen });
    return hit ? dragSpan(hit, t) : drawSpan(panel, t);
  };

  const dragSpan = ({ span, part }, from) => {
    choose(span, { select: true });
    const move = (t) => {
      const limits = { duration, shortest: shortest() };
      if (part === "inside") {
        const onset = snap(span.onset + t - from);
        preview = moveSpan(session.spans, span, onset - span.onset, limits);
      } else preview = dragEdge(session.spans, span, part, snap(t), limits);
      setSelection({ start: preview.onset, end: preview.offset });
      // The picture at the edge that is dragged; the last one that belongs to the span.
      seek(part === "offset" ? Math.max(preview.offset - shortest(), preview.onset) : preview.onset);
      sync();
    };
    const end = (moved) => {
      const after = preview;
      preview = null;
      if (!moved) seek(from);
      else if (after && (after.onset !== span.onset || after.offset !== span.offset)) {
        const action = part === "inside" ? "move" : `move ${part}`;
        session.commit([{ id: span.id, before: span, after }], action);
      }
      sync();
    };
    return { move, end };
  };

  const drawSpan = (panel, from) => {
    const label = current.get(panel.tier);
    const move = (t) => {
      const onset = snap(Math.min(from, t));
      const offset = snap(Math.max(from, t));
      preview = { tier: panel.tier, label, onset, offset, intensity: "", comment: "", face: face() };
      preview.draft = true;
      drawDrafts();
    };
    const end = (moved) => {
      const span = preview;
      preview = null;
      if (!moved) {
        choose(null);
        seek(from);
      } else if (span && span.offset > span.onset) {
        delete span.draft;
        choose(session.spans.get(session.lay(span)), { select: true });
      }
      sync();
    };
    return { move, end };
  };

  // ---- what is on the page

  const desk = make("div", "ek-desk");
  timelines.overview.before(desk);
  const chips = new Map();
  const vocabulary = make("div", "ek-vocabulary", desk);
  for (const panel of spanTiers) {
    const group = make("div", "ek-tier", vocabulary);
    make("span", "ek-tier-name", group, panel.tier);
    for (const { label, key } of panel.rows) {
      const chip = make("button", "ek-chip", group);
      chip.type = "button";
      if (key) make("kbd", "", chip, key);
      make("span", "", chip, label);
      chip.title = `${label}: hold ${key ? `${key}, or this button,` : "this button"} while the clip plays`;
      const code = `chip/${panel.tier}/${label}`;
      chips.set(code, { chip, panel, label, key });
      on(chip, "pointerdown", (event) => {
        if (event.button !== 0) return;
        chip.setPointerCapture(event.pointerId);
        begin(code, panel.tier, label);
      });
      on(chip, "pointerup pointercancel", () => {
        finish(code);
        setTimeout(refocus);
      });
    }
  }
  const keyed = new Map([...chips.values()].filter((c) => c.key).map((c) => [c.key, c]));
  const press = () => {
    const down = [...held.values()];
    for (const { chip, panel, label } of chips.values()) {
      const on = down.some((span) => span.tier === panel.tier && span.label === label);
      chip.setAttribute("aria-pressed", String(on));
    }
  };

  const recorder = new Recorder({ ...parts, session, tiers, vocabulary, refocus });
  const editor = new Editor(desk, { on, change, split, remove, refocus, moveEdge });
  const status = new Status(desk, {
    on,
    session,
    undo: () => turnBack(session.undo()),
    redo: () => turnBack(session.redo()),
    finish: () => kernel({ type: "finish", when: new Date().toISOString() }),
    help: () => help.toggle(),
  });
  const help = new Help(desk);

  const showBlind = () => {
    const blind = model.get("blind");
    root.classList.toggle("ek-blind", blind);
    tracks.blind = blind;
    status.showBlind(blind);
    parts.showsAll();
  };

  const paint = () => {
    for (const { chip, panel, label } of chips.values()) {
      const { color } = panel.rows.find((row) => row.label === label);
      chip.style.setProperty("--ek-color", color);
    }
  };

  const keys = {
    Delete: remove,
    Backspace: remove,
    Enter: () => chosenSpan() && editor.comment.focus(),
    Escape: () => {
      choose(null);
      act.clear();
    },
    "[": () => moveEdge("onset"),
    "]": () => moveEdge("offset"),
    s: split,
    r: () => recorder.toggle(),
    "?": () => help.toggle(),
  };

  session.listeners.add(sync);
  model.on("change:blind", showBlind);
  const watch = setInterval(() => session.waiting.size && status.show(), 1000);
  on(window, "blur", finishAll);
  on(root, "focusout", (event) => {
    if (!root.contains(event.relatedTarget)) finishAll();
  });
  on(window, "beforeunload", (event) => {
    if (!session.waiting.size) return;
    event.preventDefault();
  });
  paint();
  showBlind();
  sync();
  if (!session.open) session.ask();

  return {
    grab,
    doubleClick: (event) => {
      const frame = timelines.element.getBoundingClientRect();
      const at = timelines.laneAt(event.clientY - frame.top);
      if (!at?.inside || !at.plot.panel.tier) return false;
      if (chosenSpan()) editor.comment.focus();
      return true;
    },
    show: (t) => {
      for (const [code, span] of held) {
        if (t < span.last - 1e-3) finish(code); // went back: the span ends where it was
        else span.last = t;
      }
      if (held.size) drawDrafts();
      recorder.show(t);
    },
    paused: () => {
      finishAll();
      recorder.paused();
    },
    keyDown: (event) => {
      if (["INPUT", "SELECT"].includes(event.target.tagName)) return false;
      const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
      if ((ctrlKey || metaKey) && !altKey && ["z", "Z", "y"].includes(key)) {
        if (key === "y" || shiftKey) turnBack(session.redo());
        else turnBack(session.undo());
        return true;
      }
      if (altKey && !ctrlKey && !metaKey && (key === "ArrowLeft" || key === "ArrowRight")) {
        goTo(key === "ArrowLeft" ? -1 : 1);
        return true;
      }
      if (ctrlKey || metaKey || altKey) return false;
      const panel = tierOf(chosenSpan());
      const strength = shiftKey && panel?.intensity && INTENSITIES.includes(key);
      if (strength && !keyed.has(key)) {
        change({ intensity: chosenSpan().intensity === key ? "" : key }, "intensity");
        return true;
      }
      const word = keyed.get(key) ?? (shiftKey ? null : keyed.get(key.toLowerCase()));
      if (word) {
        if (!event.repeat) begin(event.code, word.panel.tier, word.label);
        return true;
      }
      if (!keys[key] || ("[]".includes(key) && !chosenSpan())) return false;
      if (!event.repeat) keys[key]();
      return true;
    },
    keyUp: (event) => finish(event.code),
    message: (message) => {
      if (message.type === "annotations") session.receive(message);
      else if (message.type === "saved") session.answer(message);
    },
    close: () => {
      finishAll();
      recorder.close();
      clearInterval(watch);
      session.listeners.delete(sync);
      model.off("change:blind", showBlind);
    },
  };
}

export default () => createWidget(annotate);
