"""Fitted networks as files: safetensors, with their description as JSON in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .files import replace_when_complete

if TYPE_CHECKING:
    from torch import Tensor

#: Marks a file as ours, and says which way its metadata is laid out.
_FORMAT = "emokit temporal model 1"


def write_model(path: str | Path, state: Mapping[str, Tensor], about: Mapping) -> Path:
    """Write tensors and their description, under a temporary name until they are complete."""
    from safetensors.torch import save_file

    path = Path(path).expanduser()
    with replace_when_complete(path, expected=".safetensors") as partial:
        save_file(
            dict(state), partial, metadata={"emokit": json.dumps({"format": _FORMAT, **about})}
        )
    return path


def read_model(path: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """Description and tensors of a file that :func:`write_model` wrote.

    Raises
    ------
    ValueError
        If there is no such file, or it is not of this kind.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("emokit", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is not a model file: {error}") from None
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise ValueError(f"{path.name} holds no {_FORMAT}")
    return about, state
