// What was to be seen and heard at one moment: the face, and the pitch around it.

import { fitCanvas } from "./elements.js";
import { growBox, upperBound } from "./geometry.js";

/** Seconds of pitch on either side of the moment. */
const AROUND = 1.5;

/** Copies the face out of the picture on the screen; false where there is none. */
export function drawFace(canvas, video, { box, width, height }, size) {
  if (!video?.videoWidth || video.readyState < 2 || !box) return false;
  const [x, y, w, h] = growBox(box, 0.15);
  const side = Math.max(w, h);
  const scale = [video.videoWidth / width, video.videoHeight / height];
  const c = fitCanvas(canvas, size, size);
  c.imageSmoothingQuality = "high";
  const from = [(x + w / 2 - side / 2) * scale[0], (y + h / 2 - side / 2) * scale[1]];
  c.drawImage(video, ...from, side * scale[0], side * scale[1], 0, 0, size, size);
  return true;
}

/** Pitch around a time, with the lowest and highest in words; false where there is none. */
export function drawPitch(canvas, { times, values }, t, theme, [width, height]) {
  const from = upperBound(times, t - AROUND);
  const to = upperBound(times, t + AROUND);
  let low = Infinity;
  let high = -Infinity;
  for (let i = from; i < to; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  if (!(low <= high)) return false;
  const c = fitCanvas(canvas, width, height);
  c.fillStyle = theme.plot;
  c.fillRect(0, 0, width, height);
  const span = Math.max(high - low, 20);
  const middle = (low + high) / 2;
  const toX = (at) => ((at - t + AROUND) / (2 * AROUND)) * width;
  const toY = (hertz) => height / 2 - ((hertz - middle) / span) * (height - 24);
  c.strokeStyle = theme.playhead;
  c.lineWidth = 1;
  c.beginPath();
  c.moveTo(width / 2, 0);
  c.lineTo(width / 2, height);
  c.stroke();
  c.strokeStyle = theme.color("#2B8A9E");
  c.lineWidth = 2;
  c.lineCap = "round";
  c.beginPath();
  for (let i = from; i < to; i++) {
    if (Number.isNaN(values[i])) continue;
    const [x, y] = [toX(times[i]), toY(values[i])];
    if (i > from && !Number.isNaN(values[i - 1])) c.lineTo(x, y);
    else {
      c.moveTo(x, y);
      c.lineTo(x, y);
    }
  }
  c.stroke();
  c.font = `10px ${theme.font}`;
  c.fillStyle = theme.dim;
  c.textAlign = "left"; // a canvas keeps what the drawing before has left
  c.textBaseline = "top";
  c.fillText(`pitch ${Math.round(low)} – ${Math.round(high)} Hz`, 4, 3);
  c.textBaseline = "bottom";
  c.fillText(`−${AROUND} s`, 4, height - 2);
  c.textAlign = "right";
  c.fillText(`+${AROUND} s`, width - 4, height - 2);
  return true;
}
