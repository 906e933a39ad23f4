"""Pictures as arrays: what the decoder gives, upright and as small as asked for."""

from __future__ import annotations

import av
import numpy as np
from PIL import Image

#: Converting on several threads takes up to three times the processor, and is no faster below
#: 1080 lines.
_PLAIN = {"format": "rgb24", "threads": 1}


def upright(frame: av.VideoFrame, fit: int | None = None) -> np.ndarray:
    """RGB (height, width, 3) as the frame is to be shown, its longer side at most `fit`."""
    if fit and fit < max(frame.width, frame.height):
        width, height = _fitted(frame.width, frame.height, fit)
        # Averaging over areas: other filters look at a few pixels only, and flicker.
        frame = frame.reformat(width, height, interpolation="AREA", **_PLAIN)
    array = frame.reformat(**_PLAIN).to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(array, turns)) if turns else array


def shrink(frame: np.ndarray, fit: int | None = None) -> np.ndarray:
    """The same of a picture (height, width, 3) that is an array already."""
    height, width = frame.shape[:2]
    if not fit or fit >= max(height, width):
        return frame
    image = Image.fromarray(frame)
    return np.asarray(image.resize(_fitted(width, height, fit), Image.Resampling.BOX))


def _fitted(width: int, height: int, fit: int) -> tuple[int, int]:
    scale = fit / max(width, height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def reason(error: BaseException) -> str:
    """What FFmpeg, or the system, said."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
