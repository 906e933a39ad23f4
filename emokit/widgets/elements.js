// Elements of the page, and the colours of its theme.

import { channels, luminance, readable } from "./geometry.js";

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  play: "M4 2.2v11.6L13.5 8z",
  pause: "M3.6 2.5h3.2v11H3.6zM9.2 2.5h3.2v11H9.2z",
  back: "M3 3h2v10H3zM13 3v10L6 8z",
  next: "M11 3h2v10h-2zM3 3v10l7-5z",
  zoomIn: "M6.5 1.5a5 5 0 0 1 3.9 8.1l4 4-1.1 1.1-4-4A5 5 0 1 1 6.5 1.5zm0 1.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM5.8 4.2h1.4v1.6h1.6v1.4H7.2v1.6H5.8V7.2H4.2V5.8h1.6z",
  zoomOut: "M6.5 1.5a5 5 0 0 1 3.9 8.1l4 4-1.1 1.1-4-4A5 5 0 1 1 6.5 1.5zm0 1.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM4.2 5.8h4.6v1.4H4.2z",
  fit: "M1.5 3H3v10H1.5zM13 3h1.5v10H13zM4 8l3-3v2h2V5l3 3-3 3V9H7v2z",
  loop: "M4 4.2h6.2V2.4L13.6 5l-3.4 2.6V5.8H5.2v2.4H3.6V4.6zM12 11.8H5.8v1.8L2.4 11l3.4-2.6v1.8h5V7.8h1.6v3.6z",
  clear: "M3.6 2.5 8 6.9l4.4-4.4 1.1 1.1L9.1 8l4.4 4.4-1.1 1.1L8 9.1l-4.4 4.4-1.1-1.1L6.9 8 2.5 3.6z",
  undo: "M6.2 2.2 2 6.4l4.2 4.2V7.8h3.6a2.4 2.4 0 0 1 0 4.8H5V14h4.8a3.9 3.9 0 0 0 0-7.7H6.2z",
  redo: "M9.8 2.2 14 6.4l-4.2 4.2V7.8H6.2a2.4 2.4 0 0 0 0 4.8H11V14H6.2a3.9 3.9 0 0 1 0-7.7h3.6z",
  split: "M7.3 1.5h1.4v13H7.3zM1.5 5h4v6h-4zM10.5 5h4v6h-4z",
  why: "M8 1.6a6.4 6.4 0 1 1 0 12.8A6.4 6.4 0 0 1 8 1.6zM8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3zm-.8 7h1.6v1.6H7.2zM8 4.2c1.5 0 2.5.9 2.5 2.2 0 1-.6 1.5-1.2 1.9-.4.3-.5.5-.5.9H7.2c0-1 .4-1.5 1-1.9.5-.3.7-.5.7-.9s-.3-.7-.9-.7-1 .4-1 1H5.5c0-1.5 1-2.5 2.5-2.5z",
  blur: "M8 1.5c2.8 0 4.6 2 4.6 5 0 3.6-2.3 8-4.6 8s-4.6-4.4-4.6-8c0-3 1.8-5 4.6-5zM5 5.2h1.6v1.6H5zM7.2 5.2h1.6v1.6H7.2zM9.4 5.2H11v1.6H9.4zM7.2 7.4h1.6V9H7.2zM9.4 7.4H11V9H9.4zM5 7.4h1.6V9H5zM7.2 9.6h1.6v1.6H7.2z",
  gaze: "M8 3.5c3 0 5.4 1.9 7 4.5-1.6 2.6-4 4.5-7 4.5S2.6 10.6 1 8c1.6-2.6 4-4.5 7-4.5zM8 5C5.900 5 4.100 6.200 2.800 8c1.300 1.800 3.100 3 5.200 3s3.900-1.200 5.200-3C11.900 6.200 10.100 5 8 5zm0 1a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",
  mesh: "M8 1 14 4.5v7L8 15l-6-3.5v-7zM8 2.7 3.5 5.3v5.4L8 13.3l4.5-2.6V5.3zM8 8 3 5l.6-1L8 6.7 12.4 4l.6 1zM7.4 8h1.2v6H7.4z",
  sound: "M2 6v4h2.6L8.5 13V3L4.6 6zM10 5.2v1.3a1.6 1.6 0 0 1 0 3v1.3a2.9 2.9 0 0 0 0-5.6z",
  mute: "M2 6v4h2.6L8.5 13V3L4.6 6zM10 6.4l.9-.9 1.5 1.6 1.6-1.6.9.9L13.3 8l1.6 1.6-.9.9-1.6-1.6-1.5 1.6-.9-.9L11.5 8z",
};

export function make(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

export function makeButton(parent, icon, label) {
  const button = make("button", "ek-button", parent);
  button.type = "button";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = svg.appendChild(document.createElementNS(SVG, "path"));
  path.setAttribute("fill-rule", "evenodd");
  button.append(svg);
  const set = (name, text) => {
    path.setAttribute("d", ICONS[name]);
    button.title = text;
    button.setAttribute("aria-label", text);
  };
  const press = (on) => button.setAttribute("aria-pressed", String(on));
  set(icon, label);
  return { button, set, press };
}

export function makeSelect(parent, label, options, chosen) {
  const select = make("select", "ek-select", parent);
  select.title = label;
  select.setAttribute("aria-label", label);
  for (const [value, text] of options) {
    const option = make("option", "", select, text);
    option.value = value;
  }
  select.value = chosen;
  return select;
}

/** Size a canvas for the screen's real pixels; drawing stays in CSS pixels. */
export function fitCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const w = Math.round(width * ratio);
  const h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

const HEAT = {
  light: ["#F7F9FC", "#C9DCF0", "#6FA8D6", "#1F66AD", "#0A2F66"],
  dark: ["#1B2129", "#21405F", "#2F72B0", "#6FB0EA", "#CDE6FC"],
};

/** 256 steps of the heat ramp, as `[r, g, b]`. */
export function makeRamp(stops) {
  const colors = stops.map(channels);
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (colors.length - 1);
    const k = Math.min(Math.floor(place), colors.length - 2);
    return colors[k].map((value, c) =>
      Math.round(value + (place - k) * (colors[k + 1][c] - value)),
    );
  });
}

/** Colours and fonts as the page's theme has them now. */
export function readTheme(root) {
  root.dataset.theme = "light";
  const first = getComputedStyle(root);
  // The browser turns any way of writing a colour into rgb() here.
  const dark = luminance(first.backgroundColor) < 0.25;
  root.dataset.theme = dark ? "dark" : "light";
  const style = getComputedStyle(root);
  const get = (name) => style.getPropertyValue(name).trim();
  const background = style.backgroundColor;
  const ink = style.color;
  const ramp = makeRamp(dark ? HEAT.dark : HEAT.light);
  return {
    dark,
    ink,
    background,
    dim: get("--ek-dim"),
    faint: get("--ek-faint"),
    grid: get("--ek-grid"),
    plot: get("--ek-plot"),
    hatch: get("--ek-hatch"),
    doubt: get("--ek-doubt"),
    veil: get("--ek-veil"),
    accent: get("--ek-accent"),
    playhead: get("--ek-playhead"),
    font: style.fontFamily,
    ramp,
    // As the pixels of an image lie in memory.
    ramp32: Uint32Array.from(ramp, ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0),
    color: (name) => (name === "ink" ? ink : readable(name, background, dark ? 3.2 : 2)),
  };
}
