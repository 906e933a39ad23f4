// The player as a widget of a notebook, and as a page of its own.

import { createWidget } from "./player.js";

export default () => createWidget();

function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Show the player of a page written by `Player.to_html`: the state is in the page. */
export function mountPage(el) {
  const state = JSON.parse(document.getElementById("emokit-state").textContent);
  for (const entry of Object.values(state._arrays)) entry.data = decodeBase64(entry.data);
  const pieces = [...document.querySelectorAll("script.emokit-media")];
  if (pieces.length) {
    const { media } = state._layout;
    const parts = pieces.map((piece) => decodeBase64(piece.textContent));
    media.inline = URL.createObjectURL(new Blob(parts, { type: media.type }));
    for (const piece of pieces) piece.remove();
  }
  const listeners = new Map();
  /** In place of a kernel: the evidence that came with the page. */
  const answer = ({ number, time, face }) => {
    const own = state._evidence.filter((one) => one.face === face);
    const far = (one) => Math.abs(one.time - time);
    const near = own.reduce((best, one) => (best && far(best) <= far(one) ? best : one), null);
    const note = { note: `This page has no evidence for ${face} near ${time.toFixed(2)} s.` };
    // A tenth of a second shows much the same face; more, and the table shows another moment.
    const found = near && far(near) <= 0.5 ? { ...near, nearest: far(near) > 0.1 } : note;
    for (const fn of listeners.get("msg:custom") ?? []) fn({ type: "evidence", number, ...found });
  };
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      for (const fn of listeners.get(`change:${name}`) ?? []) fn();
    },
    save_changes: () => {},
    send: state._evidence.length ? (message) => setTimeout(answer, 0, message) : undefined,
    on: (event, fn) => listeners.set(event, [...(listeners.get(event) ?? []), fn]),
    off: (event, fn) =>
      listeners.set(
        event,
        (listeners.get(event) ?? []).filter((one) => one !== fn),
      ),
  };
  return createWidget().render({ model, el });
}
