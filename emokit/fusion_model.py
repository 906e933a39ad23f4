"""Fusion that is learned: one fit for early, intermediate, attention and stacked fusion."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from .alignment import align_time, read_time
from .arguments import check_number
from .augment import Augmentation
from .schema import extend_history, validate_time
from .sequences import VALUES, centre_landmarks, nearest, regular_time
from .temporal import TemporalModel

METHODS = ("early", "intermediate", "attention", "ensemble")

#: Variables that say where a face is, not what it shows; and how many columns are too many.
_PLACES, _MOST = ("face_box", "face_point", "face_score", "mesh_score"), 64

#: What a logarithm takes for a probability of 0.
_LEAST_PROBABILITY = 1e-4

#: Modalities go missing in training, so that they may in use.
_DROPOUT = Augmentation(
    time_warp=0, drop_frames=0, drop_units=0, noise=0, mirror=0, drop_modality=0.3
)


class FusionModel:
    """Learns to fuse modalities, any of which may be missing for any span.

    Parameters
    ----------
    method : {"attention", "intermediate", "early", "ensemble"}
        "early" puts the features of all modalities, aligned, into one
        :class:`TemporalModel` of `kind`. "intermediate" has a recurrent encoder for each
        modality and joins their states row by row. "attention" lets the encoded modalities
        of each row attend to each other and weighs them; the weights come with the result.
        "ensemble" stacks: it weighs the log probabilities of each modality, row by row
        (Wolpert 1992), and needs ``emotion_probability`` of each.
    features : mapping of str to sequence of str, optional
        Variables of each modality; by default all numbers along time but for boxes and
        what has more than 64 columns.
    kind : str
        Of the "early" network.
    fps, hidden, device, seed
        As in :class:`TemporalModel`.

    Examples
    --------
    >>> import emokit as ek
    >>> clips, truth = ek.simulate_modalities(n_clips=12, duration=10, seed=0)
    >>> model = ek.FusionModel(method="ensemble").fit(clips, truth, epochs=15, progress=False)
    >>> fused = ek.fuse(clips[0], method="ensemble", model=model)
    >>> sorted(fused.data_vars)
    ['clip_probability', 'emotion_probability']
    """

    def __init__(
        self,
        *,
        method: str = "attention",
        features: Mapping[str, Sequence[str]] | None = None,
        kind: str = "gru",
        fps: float = 10.0,
        hidden: int = 32,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
        check_number("fps", fps, above=0)
        kind = {"early": kind, "ensemble": "linear"}.get(method, method)
        self.method, self.fps = method, fps
        self.features = None if features is None else {k: list(v) for k, v in features.items()}
        self._columns: dict[str, list[str]] = {}
        # Modalities are brought to the common rate here, so the network takes rows as given.
        self.model = TemporalModel(
            kind=kind, fps=None, hidden=hidden, dropout=0.1, device=device, seed=seed
        )

    def __repr__(self) -> str:
        used = dict.fromkeys(key.split("/")[0] for key in self._columns)
        return f"<FusionModel {self.method}: {', '.join(used) or 'not fitted'}>"

    def fit(
        self,
        examples: Sequence[Mapping[str, xr.Dataset]],
        labels: Sequence,
        *,
        groups: Sequence[str] | None = None,
        augment: Augmentation | None = _DROPOUT,
        **options: object,
    ) -> FusionModel:
        """Train on labelled examples.

        Parameters
        ----------
        examples : sequence of mapping of str to xarray.Dataset
            Modalities by name, for each clip. A clip may lack some.
        labels : sequence
            As in :meth:`TemporalModel.fit`. What is one a row is on the rows of the
            example's first modality.
        groups : sequence of str, optional
            Who is in each example.
        augment : Augmentation, optional
            By default only modality dropout.
        **options
            More for :meth:`TemporalModel.fit`.

        Returns
        -------
        FusionModel
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an example is no mapping of Datasets, or labels do not fit.
        """
        if not len(examples) or len(labels) != len(examples):
            raise ValueError("examples and labels must be as many, and at least one")
        self._columns = self._find_columns(examples)
        joined = [self._join(example) for example in examples]
        moved = [
            _move_label(label, next(iter(example.values())), ds["time"].values)
            for label, example, ds in zip(labels, examples, joined, strict=True)
        ]
        self.model.options["features"] = list(self._columns)
        self.model.notes = {"method": self.method, "fps": self.fps}
        self.model.fit(joined, moved, groups=groups, augment=augment, **options)
        return self

    def predict(
        self,
        modalities: Mapping[str, xr.Dataset],
        *,
        time: np.ndarray | xr.Dataset | None = None,
        face: str | None = None,
    ) -> xr.Dataset:
        """Fuse the modalities of one clip.

        Parameters
        ----------
        modalities : mapping of str to xarray.Dataset
            Any of those it was fitted on.
        time, face
            As in :func:`fuse`.

        Returns
        -------
        xarray.Dataset
            As of :meth:`TemporalModel.predict`. "attention" adds ``weight (time,
            modality)``: how much each counted at each row, 0 where it was missing.
        """
        if not self._columns:
            raise ValueError("this model is not fitted; call fit, or load one")
        first = next(iter(modalities.values()), None)
        if first is None:
            raise ValueError("modalities is empty")
        wanted = read_time(first if time is None else time)
        joined = self._join(modalities, face)
        found = self.model.predict(joined)
        moved = align_time(found, wanted, method="linear", max_gap=max(0.5, 2 / self.fps))
        history = extend_history(
            "fuse", *modalities.values(), method=self.method,
            parameters={"modalities": list(modalities), "face": face, "model": repr(self.model)},
        )  # fmt: skip
        return moved.assign_attrs(history=history)

    def apply(
        self,
        modalities: Mapping[str, xr.Dataset],
        *,
        method: str,
        time: np.ndarray | xr.Dataset | None,
        face: str | None,
    ) -> xr.Dataset:
        """What :func:`fuse` calls: predict, if the model is one of `method`."""
        if method != self.method:
            raise ValueError(f"model fuses by {self.method!r}; method is {method!r}")
        return self.predict(modalities, time=time, face=face)

    def save(self, path: str | Path) -> Path:
        """Write the fitted model to one safetensors file, as :meth:`TemporalModel.save` does."""
        return self.model.save(path)

    @classmethod
    def load(cls, path: str | Path) -> FusionModel:
        """Read a model that :meth:`save` wrote. Nothing in the file is executed."""
        model = TemporalModel.load(path)
        if not {"method", "fps"} <= set(model.notes):
            raise ValueError(f"{Path(path).name} holds a temporal model that fuses nothing")
        fusion = cls(method=model.notes["method"], fps=model.notes["fps"])
        fusion.model = model
        for column in model.columns:
            key, label = column.split(":", 1)
            fusion._columns.setdefault(key, []).append(label)
        return fusion

    def _find_columns(self, examples: Sequence[Mapping]) -> dict[str, list[str]]:
        """Labels of the columns of every ``modality/variable`` that occurs."""
        columns: dict[str, list[str]] = {}
        for i, example in enumerate(examples):
            if not isinstance(example, Mapping) or not example:
                raise TypeError(f"examples[{i}] must map names of modalities to Datasets")
            for name, ds in example.items():
                if "/" in name or ":" in name:
                    raise ValueError(f"a modality's name may not hold '/' or ':'; got {name!r}")
                validate_time(ds, argument=f"examples[{i}][{name!r}]")
                chosen = self._choose_features(name, ds)
                for variable in chosen:
                    labels = _labels(_one_face(ds, None, chosen)[variable].transpose("time", ...))
                    known = columns.setdefault(f"{name}/{variable}", [])
                    known += [label for label in labels if label not in known]
        if not columns:
            raise ValueError("examples hold nothing to fuse")
        return columns

    def _choose_features(self, name: str, ds: xr.Dataset) -> list[str]:
        if self.features is not None:
            return [v for v in self.features.get(name, ()) if v in ds.data_vars]
        names = [str(v) for v in ds.data_vars if _is_feature(ds[v])]
        return [v for v in names if v == "emotion_probability" or self.method != "ensemble"]

    def _join(self, modalities: Mapping[str, xr.Dataset], face: str | None = None) -> xr.Dataset:
        """All columns on one regular time, NaN where a modality or a variable is missing."""
        asked: dict[str, list[str]] = {}
        for key in self._columns:
            name, variable = key.split("/")
            asked.setdefault(name, []).append(variable)
        known = {name: ds for name, ds in modalities.items() if name in asked}
        for name, ds in known.items():
            validate_time(ds, argument=f"modalities[{name!r}]")
        ends = [ds["time"].values[[0, -1]] for ds in known.values() if ds.sizes["time"]]
        if not ends:
            raise ValueError(f"modalities must hold rows of some of {', '.join(sorted(asked))}")
        start, end = min(e[0] for e in ends), max(e[1] for e in ends)
        # One row more than fits, so that the last rows of the input lie within.
        time = regular_time(np.array([start, end + 1 / self.fps]), self.fps)
        gap = max(0.5, 2 / self.fps)
        moved = {
            name: align_time(_one_face(ds, face, asked[name]), time, method="mean", max_gap=gap)
            for name, ds in known.items()
        }
        joined = {}
        for key, columns in self._columns.items():
            name, variable = key.split("/")
            values = np.full((len(time), len(columns)), np.nan, np.float32)
            if variable in moved.get(name, ()):
                array = moved[name][variable].transpose("time", ...)
                place = pd.Index(columns).get_indexer(_labels(array))
                found = array.values
                found = centre_landmarks(found) if variable == "landmark_position" else found
                values[:, place[place >= 0]] = found.reshape(len(time), -1)[:, place >= 0]
                values[_is_absent(known[name], variable, face, time)] = np.nan
            if self.method == "ensemble":
                values = np.log(values.clip(_LEAST_PROBABILITY))
            joined[key] = xr.DataArray(
                values, dims=("time", f"{key}/column"), coords={f"{key}/column": columns}
            )
        return xr.Dataset(joined, coords={"time": time})


def _is_absent(ds: xr.Dataset, variable: str, face: str | None, time: np.ndarray) -> np.ndarray:
    """Rows of `time` whose nearest row of `ds` holds nothing: alignment would bridge them."""
    array = _one_face(ds, face, [variable])[variable].transpose("time", ...)
    empty = np.isnan(array.values.reshape(array.shape[0], -1)).all(1)
    return empty[nearest(ds["time"].values, time)]


def _one_face(ds: xr.Dataset, face: str | None, asked: Container[str]) -> xr.Dataset:
    """What can be put on another time: numbers of one face, and what was `asked` for."""
    if "face" in ds.dims:
        names = [str(name) for name in ds["face"].values]
        if face is not None and face not in names:
            raise ValueError(f"face must be one of {', '.join(names)}; got {face!r}")
        if not names:
            ds, names = ds.reindex(face=["none"]), ["none"]
        ds = ds.sel(face=face or names[0], drop=True)
    return ds[[v for v in ds.data_vars if v in asked or _is_feature(ds[v])]]


def _is_feature(array: xr.DataArray) -> bool:
    columns = int(np.prod([n for d, n in array.sizes.items() if d not in ("time", "face")]))
    return (
        "time" in array.dims
        and np.issubdtype(array.dtype, np.floating)
        and columns <= _MOST
        and array.name not in _PLACES
    )


def _labels(array: xr.DataArray) -> list[str]:
    labels = [""]
    for dim in array.dims[1:]:
        own = array[dim].values if dim in array.coords else range(array.sizes[dim])
        labels = [f"{before}:{label}".lstrip(":") for before in labels for label in own]
    return labels


def _move_label(label: object, first: xr.Dataset, time: np.ndarray) -> object:
    """A label of rows, from the rows of the first modality to those of the network."""
    own = first["time"].values
    rows = nearest(own, time)
    beyond = (time < own[0] - 1e-6) | (time > own[-1] + 1e-6)

    def move(values: object, is_value: bool) -> object:
        array = np.asarray(values, dtype=np.float32 if is_value else object)
        if not array.ndim:
            return values
        if array.shape != own.shape:
            raise ValueError(
                f"labels of rows must be one for each of the {len(own)} rows of the first "
                f"modality; got {array.shape}"
            )
        moved = array[rows]
        moved[beyond] = np.nan if is_value else ""
        return moved

    if isinstance(label, xr.Dataset):
        label = {str(name): label[name].values for name in label.data_vars}
    if isinstance(label, Mapping):
        return {name: move(value, name in VALUES) for name, value in label.items()}
    return move(label, False)
