"""From a result and its clip to what a widget is made of."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from emokit.clip import Clip, ClipError
from emokit.opening import open_clip
from emokit.schema import GROUPS, QUALITY_REASON, validate

from .evidence import EVIDENCE
from .panels import build_panels, status_reasons
from .proxy import make_proxy, needs_proxy
from .serve import media_type
from .spans import span_panels

logger = logging.getLogger(__name__)

#: Groups that have timelines of numbers.
_TIMELINES = ("face", "voice", "fused")

#: Groups that have spans.
_SPANS = ("events", "annotations")

#: Faces of a lower quality than this are marked as hard to read.
_LOW_QUALITY = 0.4

_NOTE = "Values are model estimates of displayed behaviour, not of what a person feels."


def assemble(
    result: xr.DataTree | xr.Dataset | None,
    *,
    clip: Clip | str | Path | None = None,
    proxy: bool = True,
    explain: Callable[..., xr.DataArray] | None = None,
    events: xr.Dataset | None = None,
    progress: bool = True,
) -> dict[str, object]:
    """Arguments of :class:`Player`, from those of :func:`play`; without a result, a clip alone."""
    groups = {} if result is None else _read_groups(result)
    attrs = {} if result is None else result.attrs
    shown, note = _find_clip(clip, attrs)
    panels, arrays = build_panels(groups)
    events = _find_events(result, events)
    panels = [*span_panels(result, events), *panels]
    words = [_NOTE, note] if shown else [_NOTE]
    media, note = _find_media(shown, proxy=proxy, progress=progress) if shown else (None, note)
    if media and media != shown.path:
        words.append(f"The picture is an H.264 copy of {shown.codec}.")
    frame_times = np.empty(0)
    if shown and shown.has_video:
        frame_times = shown.frame_times
    elif "face.time" in arrays:
        frame_times = arrays["face.time"].values
    if frame_times.size:
        arrays["frame.time"] = xr.DataArray(frame_times, dims="time")

    if explain is None and "face" in groups and set(groups["face"]) >= EVIDENCE:
        # Through the package, so that no widget depends on a stage.
        import emokit

        explain = emokit.explain

    size = (attrs.get("width"), attrs.get("height"))
    if not all(size):
        size = shown.size if shown and shown.size else (None, None)
    kind = "none"
    if media:
        kind = "video" if shown.has_video else "audio"
    layout = {
        "duration": _duration(
            attrs.get("duration") or (shown.duration if shown else 0.0), groups, panels
        ),
        "width": int(size[0]) if size[0] else None,
        "height": int(size[1]) if size[1] else None,
        "faces": [str(face) for face in groups["face"]["face"].values] if "face" in groups else [],
        "panels": panels,
        "reasons": status_reasons(groups),
        "low_quality": _LOW_QUALITY,
        "quality_reasons": ["", *(name.replace("_", " ") for name in QUALITY_REASON[1:])],
        "hears": any(panel["group"] == "events" for panel in panels),
        "explains": explain is not None,
        "mesh": "face" in groups and "landmark_position" in groups["face"],
        "note": " ".join(filter(None, words)),
        "media": {
            "kind": kind,
            "name": shown.name if media else "",
            "codec": (shown.codec if shown else "") or attrs.get("codec") or "",
            "type": media_type(media) if media else "",
            "sound": bool(media and shown.has_audio),
            "note": note,
        },
    }
    packed = {name: _pack(name, array) for name, array in arrays.items()}
    tree = result if isinstance(result, xr.DataTree) else xr.DataTree.from_dict(groups)
    return {
        "layout": layout,
        "arrays": packed,
        "result": tree,
        "media": media,
        "explain": explain,
        "clip": shown,
        "events": events,
    }


def _find_events(
    result: xr.DataTree | xr.Dataset | None, events: xr.Dataset | None
) -> xr.Dataset | None:
    if events is not None or not isinstance(result, xr.DataTree):
        return events
    return result["events"].to_dataset() if "events" in result.children else None


def _duration(known: float, groups: Mapping[str, xr.Dataset], panels: list[dict]) -> float:
    ends = [ds["time"].values[-1] for ds in groups.values() if ds.sizes.get("time")]
    ends += [span["offset"] for panel in panels for span in panel.get("spans", ())]
    last = max(ends, default=0)
    # The last window of a voice may reach a little beyond the end of the clip.
    return float(known if known > last - 0.5 else last)


def _read_groups(result: xr.DataTree | xr.Dataset) -> dict[str, xr.Dataset]:
    if isinstance(result, xr.DataTree) and not result.children and result.data_vars:
        result = result.to_dataset()  # a stage that was saved and loaded by itself
    if isinstance(result, xr.DataTree):
        groups = {
            name: result[name].to_dataset()
            for name in _TIMELINES
            if name in result.children and result[name].data_vars
        }
        if not groups and not set(_SPANS) & set(result.children):
            raise ValueError(
                f"result has none of the groups {', '.join(_TIMELINES)}; it has "
                f"{', '.join(result.children) or 'no group'}"
            )
    elif isinstance(result, xr.Dataset):
        groups = {_group_of(result): result}
    else:
        raise TypeError(
            "result must be an xarray DataTree, as analyze returns, or the Dataset of one stage; "
            f"got {type(result).__name__}"
        )
    for name, ds in groups.items():
        validate(ds, group=name, argument=f"group {name!r} of result")
    return groups


def _group_of(ds: xr.Dataset) -> str:
    if "face" in ds.dims:
        return "face"
    names = set(map(str, ds.data_vars))
    # Arousal alone may be either's; it is what the vocal stage returns.
    if names & (set(GROUPS["fused"]) - set(GROUPS["voice"])):
        return "fused"
    if names & set(GROUPS["voice"]):
        return "voice"
    raise ValueError(
        "result has no variable that the player knows; it has "
        f"{', '.join(sorted(names)) or 'no variable'}"
    )


def _find_clip(
    clip: Clip | str | Path | None, attrs: Mapping[str, object]
) -> tuple[Clip | None, str]:
    """The clip to show and what to say of it, or None and why not."""
    if isinstance(clip, Clip):
        return clip, ""
    if clip is not None:
        return open_clip(clip), ""
    source = attrs.get("source")
    if not source:
        return None, "The result does not name a file; ek.play(result, clip=…) shows one."
    try:
        found = open_clip(str(source), fps=attrs.get("fps", 25.0))
    except ClipError as error:
        return None, f"The clip cannot be shown: {error}. ek.play(result, clip=…) names another."
    known = attrs.get("source_sha256")
    if known and found.sha256 and known != found.sha256:
        warnings.warn(
            f"{found.name} is not the file that was analysed: it has changed since, and times "
            "and boxes may not fit it",
            stacklevel=4,
        )
        return found, "The file has changed since it was analysed: times and boxes may not fit it."
    return found, ""


def _find_media(clip: Clip, *, proxy: bool, progress: bool) -> tuple[Path | None, str]:
    """The file for the browser, or None and why there is none."""
    own = clip.path if clip.path and clip.path.is_file() else None
    if own and media_type(own).startswith("image/"):
        own = None
    if own and (not proxy or not needs_proxy(clip)):
        return own, ""
    if proxy:
        try:
            return make_proxy(clip, progress=progress), ""
        except ClipError as error:
            logger.warning("%s", error)
    note = "This clip is not one media file, so there is nothing for the browser to play."
    return own, "" if own else note


def _pack(name: str, array: xr.DataArray) -> dict[str, object]:
    # Times stay double: after an hour, single precision is off by a quarter of a millisecond.
    dtype = "float64" if name.endswith(".time") else "float32"
    values = np.ascontiguousarray(array.values, dtype=np.dtype(dtype).newbyteorder("<"))
    return {
        "dims": [str(dim) for dim in array.dims],
        "shape": list(values.shape),
        "dtype": dtype,
        "data": values.tobytes(),
    }
