// The player: video, faces and timelines on one time axis.
//
// Python sends what to draw (`_layout`, JSON) and the numbers (`_arrays`, binary);
// `current_time`, `selection`, `face`, `loop` and `blur_faces` go both ways. Everything
// else happens here, so that playback needs no round trip to the kernel; only meshes and
// evidence are asked for, when they are to be seen. Times are seconds of the stream.
// This file and those it imports are one module in the end: Python joins them.

import { makeButton, makeSelect, make, readTheme } from "./elements.js";
import { formatTime, frameIndex, frameMiddle, keepUp, mediaAddresses } from "./geometry.js";
import { stepFrame, throttle } from "./geometry.js";
import { bindGestures } from "./gestures.js";
import { drawFace, drawPitch } from "./moment.js";
import { Readout } from "./readout.js";
import { Data } from "./samples.js";
import { Clock, Meshes, Stage, mediaMessage, readPage } from "./stage.js";
import { Timelines, Tracks } from "./timelines.js";
import { Evidence, Toolbar } from "./toolbar.js";

const REPORT_MS = 100;

function renderPlayer({ model, el, siblings, tracks, extend }) {
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
  const evidence = new Evidence(root);
  const toolbar = new Toolbar(root, layout, tracks);
  const timelines = new Timelines(root, layout, data, tracks);
  make("div", "ek-note", root, layout.note);

  const back = makeButton(controls, "back", "One frame back (, or left arrow)");
  const toggle = makeButton(controls, "play", "Play (space)");
  const next = makeButton(controls, "next", "One frame on (. or right arrow)");
  const clockText = make("span", "ek-clock", controls);
  const now = make("b", "", clockText);
  make("span", "", clockText, ` / ${formatTime(layout.duration, 2)}`);
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
  let lastShown = Infinity;
  let lastSent = model.get("current_time");
  let quiet = true; // the frame on screen is not the user's doing
  let nextSeek = null;
  let media = null;
  let looping = false;
  let theme = null;
  let extra = {}; // what a widget that is more than a player adds

  // A kernel that is gone must not stop what the page can do by itself.
  const tellKernel = (message) => {
    try {
      if (message) model.send(message);
      else model.save_changes();
    } catch (error) {
      console.warn(`emokit: the kernel cannot be reached (${error.message})`);
    }
  };

  const report = throttle((t) => {
    if (t === lastSent) return;
    lastSent = t;
    model.set("current_time", t);
    tellKernel();
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
    if (!media.paused && t > lastShown && t - lastShown < 1) {
      meet(events ? events.beginning(lastShown, t) : [], "playback");
    }
    lastShown = t;
    extra.show?.(t);
  };

  const seek = (t, { user = true, tell = true } = {}) => {
    if (tell) clock.tell("seek", t);
    timelines.follows = true;
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
    // A seek that waits is replaced, also when the one before it has just come to its end.
    if (media.seeking || nextSeek !== null) nextSeek = target;
    else media.currentTime = target;
    show(lands);
    if (media.paused) evidence.ask(lands);
  };

  // ---- events that are met

  const panel = layout.panels.find((one) => one.group === "events");
  const events = panel ? timelines.lane(panel) : null;
  const meet = (spans, how) => {
    if (spans.length && layout.hears) tellKernel({ type: "event", numbers: spans.map(({ id }) => id), how });
  };

  /** A press on an event: its apex is shown, with its face and the evidence. */
  const grabEvent = (_, x, y, t) => {
    const at = timelines.laneAt(y);
    if (!at?.inside || at.plot.panel.tier || !at.lane.hit) return null;
    const { start, end, width } = timelines.view;
    const [span] = at.lane.hit(t, y - at.plot.top, (4 * (end - start)) / width);
    if (!span) return null;
    const open = () => {
      if (layout.faces.includes(span.face) && span.face !== layout.faces[data.face]) chooseFace(span.face);
      setSelection(span.offset > span.onset ? { start: span.onset, end: span.offset } : null);
      seek(span.apex ?? span.onset);
      evidence.open(shown);
      if (at.lane === events) meet([span], "click");
    };
    return { move: seek, end: (moved) => !moved && open() };
  };

  const step = (by) => {
    if (!media.paused) setPlaying(false);
    if (frames.length) seek(frames[stepFrame(frames, shown, by)]);
    else seek(shown + by * 0.04);
  };

  const setPlaying = (playing) => {
    if (!playing) {
      media.pause();
      clock.tell("pause", shown);
      return;
    }
    const range = timelines.selection;
    if (looping && range && (shown < range.start - 1e-3 || shown >= range.end - 1e-3)) {
      seek(range.start);
    }
    timelines.follows = true;
    media.play().catch(() => {}); // the message about the media says why
    clock.tell("play", media.currentTime);
  };

  /** Goes back to the start of the selection, or of the clip, where it is looped. */
  const loopBack = (t, { ended = false } = {}) => {
    const range = timelines.selection;
    if (!looping || (!ended && (media.paused || !range))) return false;
    if (!ended && t < range.end - 1e-3) return false;
    seek(range?.start ?? 0, { tell: false });
    if (ended) media.play().catch(() => {});
    return true;
  };

  // ---- following the media

  let frameCall = null;
  let ticking = null;
  let lastFrame = 0;
  const showsFrames = () => media.videoWidth > 0 && "requestVideoFrameCallback" in media;

  const onVideoFrame = (at, { mediaTime }) => {
    lastFrame = at;
    if (!media.seeking && nextSeek === null && !loopBack(mediaTime)) show(mediaTime);
    clock.tell(media.paused ? "rest" : "tick", mediaTime);
    if (media.paused && theme) evidence.refresh(theme);
    frameCall = media.requestVideoFrameCallback(onVideoFrame);
  };

  const onTick = () => {
    // Browsers stop handing out frames of a video that is scrolled out of sight.
    const stalled = performance.now() - lastFrame > 300;
    if (!media.seeking && (!showsFrames() || stalled) && !loopBack(media.currentTime)) {
      show(media.currentTime);
      clock.tell("tick", media.currentTime);
    }
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
    own("ended", () => loopBack(media.currentTime, { ended: true }));
    own("pause", () => {
      toggle.set("play", "Play (space)");
      if (media instanceof Clock) {
        show(media.currentTime);
        if (media.currentTime >= layout.duration) loopBack(layout.duration, { ended: true });
      }
      report.flush();
      evidence.ask(shown);
      extra.paused?.();
    });
    own("seeked", () => {
      if (nextSeek === null) return;
      const target = nextSeek;
      nextSeek = null;
      media.currentTime = target;
    });
  };

  // ---- several players on one clock

  const clock = joinClock(() => model.get("_clock"), {
    seek: (t) => seek(t, { user: true, tell: false }),
    speed: (_, { rate }) => {
      media.playbackRate = rate;
      speed.value = String(rate);
    },
    play: (t, { rate }) => {
      media.playbackRate = rate;
      speed.value = String(rate);
      if (!media.paused) return;
      if (Math.abs(media.currentTime - t) > 0.05) seek(t, { tell: false });
      if (t < layout.duration) media.play().catch(() => {});
    },
    pause: (t) => {
      if (!media.paused) media.pause();
      media.playbackRate = Number(speed.value);
      seek(t, { tell: false });
    },
    rest: (t) => media.paused && seek(t, { tell: false }),
    tick: (t) => {
      if (media.seeking || nextSeek !== null || media.paused) return;
      const { seek: target, pace } = keepUp(media.currentTime, t, layout.duration);
      if (target !== null) media.currentTime = target;
      media.playbackRate = Number(speed.value) * pace;
    },
    rate: () => Number(speed.value),
  });

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
  on(stage.element, "click", (event) => {
    if (event.target.closest(".ek-message")) return;
    const face = stage.faceAt(event);
    if (face < 0 || face === data.face) setPlaying(media.paused);
    else chooseFace(layout.faces[face]);
  });
  const chooseFace = (name) => {
    model.set("face", name);
    tellKernel();
  };
  on(speed, "change", () => {
    media.playbackRate = Number(speed.value);
    clock.tell("speed", shown);
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

  const setSelection = (range, { tell = true } = {}) => {
    timelines.select(range);
    toolbar.showSelection(range);
    if (tell) tellSelection(range);
  };
  const tellSelection = throttle((range) => {
    model.set("selection", range && [range.start, range.end]);
    tellKernel();
  }, REPORT_MS);
  const markEdge = (edge) => {
    const { start = 0, end = layout.duration } = timelines.selection ?? {};
    const range = { start, end, [edge]: shown };
    if (range.end > range.start) setSelection(range);
  };

  bindGestures({
    timelines,
    on,
    seek,
    setSelection,
    now: () => shown,
    settled: () => {
      report.flush();
      tellSelection.flush();
    },
    explain: (event) => extra.doubleClick?.(event) || evidence.open(shown),
    grab: (...press) => extra.grab?.(...press) ?? grabEvent(...press),
  });

  const setFlag = (name, value) => {
    model.set(name, value);
    tellKernel();
    applyFlags();
  };
  const applyFlags = () => {
    looping = model.get("loop");
    stage.blurs = model.get("blur_faces");
    toolbar.press({ loop: looping, blur: stage.blurs, mesh: stage.mesh !== null });
    toolbar.press({ gaze: stage.gazes });
    stage.show(stage.time);
  };

  const kernel = typeof model.send === "function" ? tellKernel : null;
  const meshes = new Meshes(data, kernel, () => stage.show(stage.time));
  /** The face and the pitch of a moment; null for a picture that is of another one. */
  const lookAt = ({ picture, pitch }, { time, face }, theme) => {
    const box = data.boxes(time)[layout.faces.indexOf(face)];
    const there = !media.seeking && frameIndex(frames, time) === frameIndex(frames, shown);
    const times = data.times("voice");
    const values = data.arrays["voice.f0"] ? data.column({ array: "voice.f0" }) : [];
    return {
      picture: there ? !stage.blurs && drawFace(picture, element, { ...layout, box }, 96) : null,
      pitch: drawPitch(pitch, { times: values.length ? times : [], values }, time, theme, [190, 96]),
    };
  };
  evidence.connect(layout.explains ? kernel : null, () => layout.faces[data.face] ?? "", lookAt);
  const onMessage = (message, buffers) => {
    if (message.type === "mesh") meshes.receive(message, buffers[0]);
    else if (message.type === "evidence") evidence.receive(message, timelines.theme);
    else extra.message?.(message);
  };

  const act = {
    loop: () => setFlag("loop", !looping),
    blur: () => setFlag("blur_faces", !stage.blurs),
    mesh: () => {
      stage.mesh = stage.mesh ? null : meshes;
      applyFlags();
    },
    gaze: () => {
      stage.gazes = !stage.gazes;
      applyFlags();
    },
    why: () => toolbar.press({ why: evidence.toggle(shown) }),
    zoomIn: () => timelines.zoom(2),
    zoomOut: () => timelines.zoom(0.5),
    fit: () => timelines.lookAtAll(),
    look: () => timelines.selection && timelines.lookAround(timelines.selection),
    clear: () => setSelection(null),
    tracks: () => timelines.arrange(),
  };
  toolbar.connect(on, act, {
    blur: Boolean(data.arrays["face.face_box"]) && layout.media.kind === "video",
    mesh: Boolean(kernel && layout.mesh),
    gaze: Boolean(data.arrays["face.gaze"]),
    why: Boolean(kernel && layout.explains),
  });
  on(timelines.folds, "click", (event) => {
    const title = event.target.dataset?.title;
    if (title === undefined) return;
    timelines.fold(title);
    refocus();
  });

  on(root, "pointerdown", (event) => {
    if (!event.target.closest("select, button, summary, input, label")) refocus();
  });

  const keys = {
    " ": () => setPlaying(media.paused),
    ArrowLeft: (event) => (event.shiftKey ? seek(shown - 1) : step(-1)),
    ArrowRight: (event) => (event.shiftKey ? seek(shown + 1) : step(1)),
    ",": () => step(-1),
    ".": () => step(1),
    Home: () => seek(0),
    End: () => seek(layout.duration),
    "[": () => markEdge("start"),
    "]": () => markEdge("end"),
    "+": act.zoomIn,
    "=": act.zoomIn,
    "-": act.zoomOut,
    0: act.fit,
    z: act.look,
    l: act.loop,
    b: () => toolbar.offers.blur && act.blur(),
    m: () => toolbar.offers.mesh && act.mesh(),
    g: () => toolbar.offers.gaze && act.gaze(),
    e: () => toolbar.offers.why && act.why(),
    Escape: act.clear,
  };
  on(root, "keydown", (event) => {
    event.stopPropagation();
    const tag = event.target.tagName;
    const native = ["SELECT", "INPUT"].includes(tag) || (["BUTTON", "SUMMARY"].includes(tag) && [" ", "Enter"].includes(event.key));
    if (!native && extra.keyDown?.(event)) {
      event.preventDefault();
      return;
    }
    if (native || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key](event);
  });

  on(root, "keyup", (event) => extra.keyUp?.(event));

  if (extend && kernel) {
    extra = extend({
      ...{ root, top, toolbar, readout, stage, timelines, tracks, layout, model, data, frames },
      ...{ on, act, seek, setSelection, refocus, kernel, makeButton },
      now: () => Math.max(shown, 0),
      playing: () => !media.paused,
      showsAll: () => {
        timelines.drawSketch();
        timelines.arrange();
      },
    });
  }

  // ---- face, theme, size

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
    if (events) events.face = layout.faces[data.face] ?? "";
    if (faceSelect) faceSelect.value = layout.faces[data.face];
    const t = shown;
    shown = -1;
    redraw();
    const silent = quiet;
    quiet = true;
    show(t);
    quiet = silent;
    evidence.ask(shown);
  };
  if (faceSelect) {
    on(faceSelect, "change", () => {
      chooseFace(faceSelect.value);
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
  const onSelection = () => {
    const range = model.get("selection");
    setSelection(range && { start: range[0], end: range[1] }, { tell: false });
  };
  model.on("change:current_time", onTime);
  model.on("change:face", setFace);
  model.on("change:selection", onSelection);
  model.on("change:loop", applyFlags);
  model.on("change:blur_faces", applyFlags);
  model.on("msg:custom", onMessage);

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

  seek(model.get("current_time"), { user: false, tell: false });
  applyFlags();
  onSelection();
  setFace();
  restyle();

  return () => {
    gone.abort();
    detach();
    extra.close?.();
    report.flush();
    siblings.delete(me);
    sizes.disconnect();
    themes.disconnect();
    model.off("change:current_time", onTime);
    model.off("change:face", setFace);
    model.off("change:selection", onSelection);
    model.off("change:loop", applyFlags);
    model.off("change:blur_faces", applyFlags);
    model.off("msg:custom", onMessage);
    tellSelection.flush();
    timelines.close();
    clock.leave();
    if (element) {
      element.removeAttribute("src");
      element.load(); // lets go of the connection
    }
    root.remove();
  };
}

/**
 * What players of one page that `link` has put on the same clock tell one another. Each is
 * a module of its own to the browser, so that they can only meet in the document.
 */
function joinClock(name, { rate, ...hears }) {
  const me = Symbol("player");
  const hear = ({ detail }) => {
    if (detail.from === me || !name() || detail.name !== name()) return;
    leading = false;
    hears[detail.what](detail.t, detail);
  };
  // Of those on a clock, the one that the user started keeps the time.
  let leading = false;
  document.addEventListener("emokit-clock", hear);
  return {
    tell: (what, t) => {
      if (!name() || (["tick", "rest"].includes(what) && !leading)) return;
      leading = true;
      const detail = { from: me, name: name(), what, t, rate: rate() };
      document.dispatchEvent(new CustomEvent("emokit-clock", { detail }));
    },
    leave: () => document.removeEventListener("emokit-clock", hear),
  };
}

/** One widget model: its views share it, and only one of them plays at a time. */
export function createWidget(extend = null) {
  const siblings = new Set();
  const shared = {}; // by the views of one model
  let tracks = null;
  return {
    render: ({ model, el }) => {
      tracks ??= new Tracks(model.get("_layout").panels);
      const more = extend && ((parts) => extend({ ...parts, shared }));
      return renderPlayer({ model, el, siblings, tracks, extend: more });
    },
  };
}
