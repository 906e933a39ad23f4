// What the pointer and the wheel do over the timelines and the overview.

import { LEFT, RULER, gripAt, orderedRange, panRange, timeToX, wheelIntent, xToTime } from "./geometry.js";

/** Pixels within which a press is a click and not yet a drag. */
const STILL = 4;

/**
 * A press on a timeline seeks, and a drag moves on from there. On the ruler, or with
 * shift, a drag selects; the edges of a selection can be taken up again there. With the
 * middle button, or alt, it pans. Two fingers zoom. Nothing is taken from the page's own
 * scrolling but the wheel with control, command or shift, and sideways movement.
 *
 * What lies on the timelines may take a press for itself: `grab(event, x, y, t)` then returns
 * `{move(t, event), end(moved)}`.
 */
export function bindGestures({ timelines, on, seek, setSelection, now, settled, explain, grab }) {
  const area = timelines.element;
  const xOf = (event, node = area) => event.clientX - node.getBoundingClientRect().left;
  const yOf = (event) => event.clientY - area.getBoundingClientRect().top;
  const timeAt = (x) => xToTime(x, timelines.view);
  const touches = new Map();
  let drag = null;
  let pinch = null;

  const select = (a, b) => setSelection(orderedRange(a, b, timelines.bounds));

  const begin = (event) => {
    const x = xOf(event);
    const y = yOf(event);
    const t = timeAt(x);
    if (event.button === 1 || event.altKey) return { does: "pan", x, moved: false };
    const held = event.shiftKey ? null : grab?.(event, x, y, t);
    if (held) return { does: "hold", x, held, moved: false };
    const { selection } = timelines;
    const grip = y < RULER ? gripAt(x, selection, timelines.view) : "outside";
    if (grip === "start") return { does: "select", x, from: selection.end, moved: true };
    if (grip === "end") return { does: "select", x, from: selection.start, moved: true };
    if (event.shiftKey) return { does: "select", x, from: t, moved: false, extends: true };
    if (y < RULER) return { does: "select", x, from: t, moved: false };
    return { does: "seek", x, moved: false };
  };

  const beginPinch = () => {
    const [a, b] = [...touches.values()];
    drag?.held?.end(false);
    drag = null;
    pinch = { apart: Math.abs(a - b), middle: (a + b) / 2 };
  };

  const movePinch = () => {
    const [a, b] = [...touches.values()];
    const apart = Math.max(Math.abs(a - b), 20);
    const middle = (a + b) / 2;
    timelines.zoom(apart / Math.max(pinch.apart, 20), timeAt(middle));
    const { view } = timelines;
    timelines.pan(((pinch.middle - middle) / view.width) * (view.end - view.start));
    pinch = { apart, middle };
  };

  on(area, "pointerdown", (event) => {
    const x = xOf(event);
    if (event.target.closest("button") || event.button > 1) return;
    if (x < LEFT - 6 || x > LEFT + timelines.view.width + 6) return;
    event.button === 1 && event.preventDefault();
    area.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") touches.set(event.pointerId, x);
    if (touches.size === 2) {
      beginPinch();
      return;
    }
    drag = begin(event);
    if (drag.does === "seek") seek(timeAt(x));
  });

  on(area, "pointermove", (event) => {
    const x = xOf(event);
    if (touches.has(event.pointerId)) touches.set(event.pointerId, x);
    if (pinch && touches.size === 2) movePinch();
    else if (drag) move(x, event);
    else area.classList.toggle("ek-edge", overEdge(event));
    timelines.point(event);
  });

  const overEdge = (event) => {
    const grip = yOf(event) < RULER && gripAt(xOf(event), timelines.selection, timelines.view);
    return grip === "start" || grip === "end";
  };

  const move = (x, event) => {
    if (!drag.moved && Math.abs(x - drag.x) < STILL && drag.does !== "seek") return;
    drag.moved = true;
    if (drag.does === "seek") seek(timeAt(x));
    else if (drag.does === "select") select(drag.from, timeAt(x));
    else if (drag.does === "hold") drag.held.move(timeAt(x), event);
    else {
      const { view } = timelines;
      timelines.pan(((drag.x - x) / view.width) * (view.end - view.start));
      drag.x = x;
    }
  };

  on(area, "pointerup pointercancel lostpointercapture", (event) => {
    touches.delete(event.pointerId);
    if (touches.size < 2) pinch = null;
    if (!drag) return;
    const { does, moved, from, held, extends: extending } = drag;
    drag = null;
    if (does === "hold") held.end(moved);
    if (does === "select" && !moved && event.type === "pointerup") {
      if (extending) select(now(), from);
      else seek(from);
    }
    settled();
  });

  on(area, "pointerleave", () => timelines.leave());
  on(area, "dblclick", (event) => {
    if (event.target.closest("button")) return;
    if (yOf(event) >= RULER) explain(event);
    else if (timelines.zoomed || !timelines.selection) timelines.lookAtAll();
    else timelines.lookAround(timelines.selection);
  });

  const wheel = (event) => {
    const intent = wheelIntent(event, timelines.zoomed);
    if (!intent) return;
    event.preventDefault();
    const { view } = timelines;
    if (intent.zoom) timelines.zoom(intent.zoom, timeAt(xOf(event)));
    else timelines.pan((intent.pan / view.width) * (view.end - view.start));
    timelines.leave(); // what the tip says is no longer under the pointer
  };
  on(area, "wheel", wheel, { passive: false });
  on(timelines.overview, "wheel", wheel, { passive: false });

  bindOverview({ timelines, on, xOf });
}

/** The window of the overview is dragged by its middle or its edges, or drawn anew. */
function bindOverview({ timelines, on, xOf }) {
  const strip = timelines.overview;
  let hold = null;
  const whole = () => {
    const [start, end] = timelines.bounds;
    return { ...timelines.view, start, end };
  };
  const gripOf = (event) => {
    if (!timelines.zoomed) return "outside";
    return gripAt(xOf(event, strip), timelines.view, whole());
  };

  on(strip, "pointerdown", (event) => {
    if (event.button !== 0) return;
    strip.setPointerCapture(event.pointerId);
    const { start, end } = timelines.view;
    const t = xToTime(xOf(event, strip), whole());
    hold = { grip: gripOf(event), from: t, start, end, x: event.clientX, moved: false };
  });

  on(strip, "pointermove", (event) => {
    if (!hold) {
      const grip = gripOf(event);
      strip.dataset.grip = grip;
      return;
    }
    if (!hold.moved && Math.abs(event.clientX - hold.x) < STILL) return;
    hold.moved = true;
    const t = xToTime(xOf(event, strip), whole());
    const { bounds } = timelines;
    const { grip, from, start, end } = hold;
    if (grip === "inside") timelines.look(panRange({ start, end }, t - from, bounds));
    else {
      const fixed = { start: end, end: start, outside: from }[grip];
      const range = orderedRange(fixed, t, bounds);
      // The window cannot be made narrower than what can be told apart on the screen.
      if (range && timeToX(range.end, whole()) - timeToX(range.start, whole()) > 2) {
        timelines.look(range);
      }
    }
  });

  on(strip, "pointerup pointercancel", () => {
    if (hold && !hold.moved && timelines.zoomed && hold.grip === "outside") {
      const { start, end } = timelines.view;
      timelines.pan(hold.from - (start + end) / 2);
    }
    hold = null;
  });
  on(strip, "dblclick", () => timelines.lookAtAll());
}
