// The picture: the video or what stands in for it, and the faces over it.

import { fitCanvas, make } from "./elements.js";
import { faceAt, fitRect, gazeEnd, growBox } from "./geometry.js";

/** Stands in for a media element where there is none: the same few names, driven by a clock. */
export class Clock extends EventTarget {
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
export function mediaMessage(media, { loaded }) {
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

export function readPage() {
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

/** Seconds for which a face that is lost for a moment stays covered. */
const BLUR_REACH = 1;

/** Meshes are long: the kernel sends as many samples at a time. */
const MESH_CHUNK = 64;

/** Face meshes, asked of the kernel as they are needed. */
export class Meshes {
  constructor(data, ask, changed) {
    this.data = data;
    this.ask = ask;
    this.changed = changed;
    this.chunks = new Map();
  }

  /** x and y of every point, in pixels; null where there is no face, or not yet. */
  points(t, face) {
    const i = this.data.index("face", t);
    if (i < 0) return null;
    const number = Math.floor(i / MESH_CHUNK);
    const chunk = this.chunk(number, face);
    this.chunk(number + 1, face);
    if (!chunk?.length) return null;
    const size = chunk.length / Math.min(MESH_CHUNK, this.samples - number * MESH_CHUNK);
    const points = chunk.subarray((i % MESH_CHUNK) * size, ((i % MESH_CHUNK) + 1) * size);
    return Number.isNaN(points[0]) ? null : points;
  }

  get samples() {
    return this.data.times("face").length;
  }

  chunk(number, face) {
    const start = number * MESH_CHUNK;
    const key = `${face}/${start}`;
    if (start >= this.samples) return null;
    if (!this.chunks.has(key)) {
      this.chunks.set(key, null);
      this.ask({ type: "mesh", face, start, count: MESH_CHUNK });
    }
    return this.chunks.get(key);
  }

  receive({ face, start }, bytes) {
    const { buffer, byteOffset, byteLength } = bytes;
    const copy = (buffer ?? bytes).slice(byteOffset ?? 0, (byteOffset ?? 0) + (byteLength ?? 0));
    this.chunks.set(`${face}/${start}`, new Float32Array(copy));
    // An hour of meshes would fill the browser's memory.
    if (this.chunks.size > 60) this.chunks.delete(this.chunks.keys().next().value);
    this.changed();
  }
}

/** Video with the face boxes over it. */
export class Stage {
  constructor(parent, layout, data) {
    this.layout = layout;
    this.data = data;
    this.element = make("div", "ek-stage", parent);
    this.canvas = make("canvas", "ek-canvas", this.element);
    this.message = make("div", "ek-message", this.element);
    this.message.setAttribute("role", "status");
    this.message.hidden = true;
    this.time = 0;
    this.blurs = false;
    this.mesh = null;
    this.gazes = false;
    if (layout.width) {
      // The width of what surrounds it depends on it as well.
      parent.style.setProperty("--ek-aspect", layout.width / layout.height);
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

  /** Where the picture stands in the stage, and its scale; null where it has no size. */
  get place() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const { layout } = this;
    return width && height && layout.width
      ? fitRect(layout.width, layout.height, width, height)
      : null;
  }

  /** Index of the face under the pointer; -1 where there is none. */
  faceAt(event) {
    const { place } = this;
    if (!place) return -1;
    const frame = this.element.getBoundingClientRect();
    const x = (event.clientX - frame.left - place.left) / place.scale;
    const y = (event.clientY - frame.top - place.top) / place.scale;
    return faceAt(this.data.boxes(this.time), x, y);
  }

  show(t) {
    this.time = t;
    const { layout, data, theme, place } = this;
    if (!theme || !place) return;
    const c = fitCanvas(this.canvas, this.element.clientWidth, this.element.clientHeight);
    const onScreen = ([x, y, w, h]) => [
      place.left + x * place.scale,
      place.top + y * place.scale,
      w * place.scale,
      h * place.scale,
    ];
    if (this.blurs) {
      for (const box of data.boxes(t, BLUR_REACH)) {
        if (box) this.drawBlur(c, growBox(box, 0.25), place, onScreen);
      }
    }
    if (this.mesh) {
      layout.faces.forEach((_, face) => {
        const points = this.mesh.points(t, face);
        if (points) this.drawMesh(c, points, place, face === data.face);
      });
    }
    data.boxes(t).forEach((box, face) => {
      if (!box) return;
      this.drawBox(c, layout.faces[face], onScreen(box), face === data.face);
      if (this.gazes) this.drawGaze(c, box, face, place, t);
    });
  }

  /** Coarse squares in place of a face. The video file itself stays as it is. */
  drawBlur(c, box, place, onScreen) {
    const { layout } = this;
    const [x, y, w, h] = onScreen(box);
    c.save();
    c.beginPath();
    c.ellipse(x + w / 2, y + h / 2, w / 2, h / 2, 0, 0, 2 * Math.PI);
    c.clip();
    c.fillStyle = "#6b6f76";
    c.fillRect(x, y, w, h);
    const video = this.element.querySelector("video");
    if (video?.videoWidth && video.readyState >= 2) {
      const cells = 7;
      const sheet = (this.sheet ??= document.createElement("canvas"));
      sheet.width = sheet.height = cells;
      const scaleX = video.videoWidth / layout.width;
      const scaleY = video.videoHeight / layout.height;
      const small = sheet.getContext("2d");
      small.imageSmoothingQuality = "high";
      const from = [box[0] * scaleX, box[1] * scaleY, box[2] * scaleX, box[3] * scaleY];
      small.drawImage(video, ...from, 0, 0, cells, cells);
      c.imageSmoothingEnabled = false;
      c.drawImage(sheet, x, y, w, h);
    }
    c.restore();
  }

  drawMesh(c, points, place, chosen) {
    c.fillStyle = chosen ? "#FFD24A" : "#FFFFFF";
    c.globalAlpha = 0.8;
    for (let k = 0; k < points.length; k += 2) {
      const x = place.left + points[k] * place.scale;
      const y = place.top + points[k + 1] * place.scale;
      c.fillRect(x - 0.6, y - 0.6, 1.2, 1.2);
    }
    c.globalAlpha = 1;
  }

  /** A ray from each eye; where the eyes are not known, from where they usually are. */
  drawGaze(c, [x, y, w, h], face, place, t) {
    const gaze = this.data.row("face.gaze", t, face);
    if (!gaze) return;
    const eyes = this.data.row("face.eye", t, face) ?? [x + 0.32 * w, y + 0.4 * h, x + 0.68 * w, y + 0.4 * h];
    const toX = (at) => place.left + at * place.scale;
    const toY = (at) => place.top + at * place.scale;
    c.lineCap = "round";
    for (const [color, wide] of [["rgba(0, 0, 0, 0.55)", 5], ["#57D5FF", 2.5]]) {
      c.strokeStyle = c.fillStyle = color;
      c.lineWidth = wide;
      for (const from of [[eyes[0], eyes[1]], [eyes[2], eyes[3]]]) {
        const end = gazeEnd(from, gaze[0], gaze[1], w);
        c.beginPath();
        c.moveTo(toX(from[0]), toY(from[1]));
        c.lineTo(toX(end[0]), toY(end[1]));
        c.stroke();
        c.beginPath();
        c.arc(toX(from[0]), toY(from[1]), wide / 2 + 1, 0, 2 * Math.PI);
        c.fill();
      }
    }
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
