"""Pictures of one face, cut from a clip, for models that read pictures."""

from __future__ import annotations

import numpy as np
import xarray as xr
from PIL import Image

from .arguments import check_number
from .clip import Clip
from .schema import validate


def crop_faces(
    clip: Clip,
    faces: xr.Dataset,
    *,
    face: str | None = None,
    size: int = 96,
    margin: float = 0.2,
    fps: float | None = None,
) -> xr.DataArray:
    """Cut a square picture of one face from each frame in which it was found.

    Parameters
    ----------
    clip : Clip
        Where the pictures come from.
    faces : xarray.Dataset
        With ``face_box (time, face, box)``, from :func:`detect_faces` or :func:`analyze`.
    face : str, optional
        Track; the first by default.
    size : int
        Pixels of a side of the pictures.
    margin : float
        How much more than the box's longer side to show, as a share of it.
    fps : float, optional
        At most so many pictures a second; by default every row.

    Returns
    -------
    xarray.DataArray
        ``face_crop (time, y, x, channel)``, uint8. Only rows in which the face was found
        are there: a picture cannot be NaN. What lies outside the frame is black.

    Raises
    ------
    ValueError
        If there is no such face, it was never found, or an option is out of range.

    Examples
    --------
    >>> import emokit as ek
    >>> clip = ek.sample_clip()
    >>> faces = ek.detect_faces(clip, fps=2, progress=False)
    >>> ek.crop_faces(clip, faces, size=64, fps=1).sizes["x"]
    64
    """
    validate(faces, group="face", requires=["face_box"], argument="faces")
    check_number("size", size, least=8, whole=True, unit="pixels")
    check_number("margin", margin, least=0)
    if fps is not None:
        check_number("fps", fps, above=0)
    names = [str(name) for name in faces["face"].values]
    if not names or (face is not None and face not in names):
        raise ValueError(f"face must be one of {', '.join(names) or 'none'}; got {face!r}")
    boxes = faces["face_box"].sel(face=face or names[0]).dropna("time")
    if fps is not None and boxes.sizes["time"]:
        # The first row of each slot of time, so that pictures are never closer than asked.
        slot = np.floor((boxes["time"].values - boxes["time"].values[0]) * fps + 1e-6)
        boxes = boxes.isel(time=np.unique(slot, return_index=True)[1])
    if not boxes.sizes["time"]:
        raise ValueError(f"{face or names[0]} is never found")
    times = boxes["time"].values
    pictures = [
        _cut(frame, box, size, margin)
        for (_, frame), box in zip(clip.frames(times=times), boxes.values, strict=True)
    ]
    return xr.DataArray(
        np.stack(pictures),
        dims=("time", "y", "x", "channel"),
        coords={"time": times},
        name="face_crop",
        attrs={"long_name": f"pictures of {face or names[0]}", "margin": margin},
    )


def _cut(frame: np.ndarray, box: np.ndarray, size: int, margin: float) -> np.ndarray:
    left, top, width, height = box
    half = max(width, height) * (1 + margin) / 2
    x, y = left + width / 2, top + height / 2
    region = [round(v) for v in (x - half, y - half, x + half, y + half)]
    # Pillow fills what lies outside the frame with black.
    picture = Image.fromarray(frame).crop(region).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture)
