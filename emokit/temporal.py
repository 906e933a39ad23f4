"""Models of how displays unfold over time, trained on labelled sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from .arguments import check_number
from .augment import Augmentation
from .evaluation import split_subjects
from .model_file import read_model, write_model
from .predictions import collect_outputs, move_to_rows, set_beside
from .schema import extend_history, package_version, validate_time
from .sequences import (
    CROP,
    VALUES,
    Clip,
    as_dataset,
    choose_features,
    read_clip,
    read_labels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = ("gru", "lstm", "tcn", "transformer", "conv3d", "linear", "intermediate", "attention")


class TemporalModel:
    """A network that reads sequences of action units, landmarks, voice or pictures.

    Parameters
    ----------
    kind : str
        "gru" or "lstm" (recurrent), "tcn" (dilated convolutions), "transformer"; "conv3d"
        for face pictures; "linear", which sees one row at a time; "intermediate" and
        "attention", which fuse modalities (see :class:`FusionModel`).
    features : sequence of str, optional
        Variables of the datasets to read; by default ``au`` where it is there, else
        ``face_crop``, ``landmark_position`` or ``mfcc``, else all numbers along time.
        Landmarks are centred and scaled, row by row.
    fps : float or None
        Rows a second that the network works on: everything is brought to it and back, so
        that sequences of unequal and uneven sampling may be mixed. None takes the rows as
        they are.
    hidden, layers, dropout, bidirectional
        Size of the network. A bidirectional one looks ahead, and cannot serve live.
    encoder : str, optional
        Name of a timm network that reads ``face_crop`` frame by frame, such as
        "resnet18"; what follows in time is `kind`.
    device : str
        "auto" takes a GPU where there is one.
    seed : int
        On the CPU the same seed, data and versions give the same network, bit for bit.

    Attributes
    ----------
    classes : list of str
        What it was taught to tell apart, after :meth:`fit`.
    values : list of str
        Those of valence, arousal and dominance that it was taught.
    training : pandas.DataFrame
        Losses, an epoch a row.

    Examples
    --------
    >>> import numpy as np, xarray as xr, emokit as ek
    >>> def clip(height, seed):
    ...     rng = np.random.default_rng(seed)
    ...     au = (height * np.sin(np.linspace(0, 3, 40)) + rng.normal(0, 0.02, 40)).clip(0, 1)
    ...     return xr.DataArray(
    ...         au[:, None], dims=("time", "action_unit"), name="au",
    ...         coords={"time": np.arange(40) / 10, "action_unit": ["AU12"]})
    >>> model = ek.TemporalModel(kind="gru", hidden=8).fit(
    ...     [clip(i % 2, i) for i in range(16)], ["neutral", "happiness"] * 8,
    ...     epochs=15, learning_rate=0.02, progress=False)
    >>> model.predict(clip(1, 99)).clip_probability.idxmax().item()
    'happiness'
    """

    def __init__(
        self,
        *,
        kind: str = "gru",
        features: Sequence[str] | None = None,
        fps: float | None = 10.0,
        hidden: int = 48,
        layers: int = 1,
        dropout: float = 0.2,
        bidirectional: bool = True,
        encoder: str | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(_KINDS)}; got {kind!r}")
        if encoder is not None and kind in ("conv3d", "intermediate", "attention"):
            raise ValueError(f"encoder cannot go with kind {kind!r}")
        check_number("hidden", hidden, least=1, whole=True)
        check_number("layers", layers, least=1, whole=True)
        check_number("dropout", dropout, least=0, below=1)
        if fps is not None:
            check_number("fps", fps, above=0)
        if not bidirectional and kind in ("tcn", "transformer", "conv3d"):
            raise ValueError(f"kind {kind!r} looks both ways; bidirectional=False is for gru, lstm")
        if features is None and (encoder is not None or kind == "conv3d"):
            features = [CROP]
        self.options = {
            "kind": kind, "features": None if features is None else list(features), "fps": fps,
            "hidden": hidden, "layers": layers, "dropout": dropout,
            "bidirectional": bidirectional, "encoder": encoder, "device": device, "seed": int(seed),
        }  # fmt: skip
        self.features: list[str] = []
        self.columns: list[str] = []
        self.classes: list[str] = []
        self.values: list[str] = []
        self.training = pd.DataFrame()
        #: Saved along with the model; what uses it may keep here what it needs to know.
        self.notes: dict = {}
        self._network = None
        self._config: dict = {}

    def __repr__(self) -> str:
        taught = ", ".join([*self.classes, *self.values]) or "not fitted"
        return f"<TemporalModel {self.options['kind']}: {taught}>"

    def fit(
        self,
        datasets: Sequence[xr.Dataset | xr.DataArray],
        labels: Sequence,
        *,
        groups: Sequence[str] | None = None,
        validation: float = 0.15,
        epochs: int = 60,
        patience: int = 8,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        class_weights: str | Mapping[str, float] | None = "balanced",
        augment: Augmentation | None = None,
        encoder_weights: str | Path | None = None,
        freeze_epochs: int = 5,
        threads: int = 1,
        progress: bool = True,
    ) -> TemporalModel:
        """Train on labelled sequences.

        Parameters
        ----------
        datasets : sequence of xarray.Dataset or xarray.DataArray
            A sequence each, of one face, along ``time``; NaN where nothing was seen.
        labels : sequence
            For each sequence a class name; an array of class names, one a row ("" where
            unknown); or a mapping or Dataset with any of ``emotion`` (as before),
            ``valence``, ``arousal`` and ``dominance`` (-1 to 1, one value or one a row,
            NaN where unknown). Classes train by cross-entropy, values by concordance.
        groups : sequence of str, optional
            Who is in each sequence; nobody is in training and validation at once.
        validation : float
            Share of the groups (or sequences) that decide when to stop, and, of classes,
            the temperature that makes probabilities honest. 0 does without both.
        epochs, patience, batch_size, learning_rate
            Training ends after `epochs`, or when validation has not improved for
            `patience` of them; the best network is kept.
        class_weights : {"balanced"}, mapping or None
            "balanced" weighs classes by how rare they are.
        augment : Augmentation, optional
            Vary sequences each time they are seen.
        encoder_weights : str or pathlib.Path, optional
            For `encoder`: "pretrained" fetches those that timm names, once; a path reads
            a safetensors file. Otherwise they are drawn at random.
        freeze_epochs : int
            Epochs during which the encoder's given weights stay as they are.
        threads : int
            Of torch while it trains; the result may depend on it in the last digits.
        progress : bool
            Show a progress bar.

        Returns
        -------
        TemporalModel
            Itself.

        Raises
        ------
        TypeError, ValueError
            If datasets and labels do not fit together, or there is nothing to learn.
        """
        from . import training

        check_number("epochs", epochs, least=1, whole=True)
        check_number("batch_size", batch_size, least=1, whole=True)
        clips, subjects = self._prepare(datasets, labels, groups)
        if self.values and batch_size == 1:
            raise ValueError("batch_size must be at least 2: one clip alone has no concordance")
        with training.quiet_threads(threads):
            self._build(clips, encoder_weights)
            rows = training.train(
                self._network,
                clips,
                subjects,
                columns=self.columns,
                validation=validation,
                epochs=epochs,
                patience=patience,
                batch_size=batch_size,
                learning_rate=learning_rate,
                class_weights=self._weigh_classes(clips, class_weights),
                augment=augment,
                freeze_epochs=freeze_epochs if encoder_weights is not None else 0,
                values=[VALUES.index(name) for name in self.values],
                device=training.choose_device(self.options["device"]),
                seed=self.options["seed"],
                progress=progress,
            )
        self.training = pd.DataFrame(rows)
        return self

    def predict(self, dataset: xr.Dataset | xr.DataArray) -> xr.Dataset:
        """Estimate what a sequence displays, for every row and for the whole.

        Parameters
        ----------
        dataset : xarray.Dataset or xarray.DataArray
            With the variables the model was trained on; with a ``face`` dim, each face is
            a sequence. Columns it does not know are ignored, columns it lacks are missing.

        Returns
        -------
        xarray.Dataset
            On the times of `dataset`, NaN where nothing was seen: of classes
            ``emotion_probability (time, [face,] emotion)`` and ``clip_probability
            ([face,] emotion)``; those of ``valence``, ``arousal`` and ``dominance`` it was
            taught, and each as ``clip_…`` for the whole; of fusing kinds ``weight (time,
            modality)``.

        Raises
        ------
        ValueError
            If the model is not fitted, or `dataset` lacks its variables.
        """
        from . import training

        if self._network is None:
            raise ValueError("this model is not fitted; call fit, or load one")
        array = isinstance(dataset, xr.DataArray)
        validate_time(dataset.to_dataset(name="x") if array else dataset, argument="dataset")
        faces = dataset["face"].values if "face" in dataset.dims else None
        if not dataset.sizes["time"] or (faces is not None and not len(faces)):
            raise ValueError("dataset has no rows, or no face, to predict")
        singles = [dataset] if faces is None else [dataset.sel(face=name) for name in faces]
        own = np.asarray(dataset["time"].values)
        network = self._network.to(training.choose_device(self.options["device"]))
        outputs = []
        for single in singles:
            clip, _ = read_clip(single, self.features, self.columns, self.options["fps"])
            with training.quiet_threads(1):
                found = training.run(network, clip)
            as_given, _ = read_clip(single, self.features, self.columns, None)
            outputs.append(move_to_rows(found, clip.time, own, as_given.seen))
        history = extend_history(
            "predict",
            *([dataset] if isinstance(dataset, xr.Dataset) else []),
            model={"name": f"TemporalModel {self.options['kind']}", "classes": self.classes},
        )
        return collect_outputs(
            outputs, own, faces, classes=self.classes, values=self.values,
            modalities=list(dict.fromkeys(name.split("/")[0] for name in self.columns)),
            history=history,
        )  # fmt: skip

    def cross_validate(
        self,
        datasets: Sequence[xr.Dataset | xr.DataArray],
        labels: Sequence,
        *,
        groups: Sequence[str],
        n_folds: int = 5,
        **options: object,
    ) -> xr.Dataset:
        """Train on some people and predict the others, until everybody was predicted.

        Parameters
        ----------
        datasets, labels, groups
            As in :meth:`fit`.
        n_folds : int
            At most as many as there are people.
        **options
            For :meth:`fit`.

        Returns
        -------
        xarray.Dataset
            Along ``row``, a labelled sequence each, or a labelled row of one where labels
            are by row: ``truth`` and ``probability (row, emotion)``, and of values
            ``true_valence`` and ``valence`` and so on; ``subject``, ``fold`` and ``sequence``.
            :func:`audit` takes it as it is, :func:`score` its ``truth`` and ``probability``.

        Raises
        ------
        ValueError
            As :meth:`fit`, and if there are fewer people than folds.
        """
        people = np.asarray(groups).astype(str)
        if len(people) != len(datasets):
            raise ValueError(f"groups must be one for each of {len(datasets)} datasets")
        parts = []
        seed = self.options["seed"]
        for fold, (train, test) in enumerate(split_subjects(people, n_folds=n_folds, seed=seed)):
            model = TemporalModel(**self.options)
            model.fit(
                [datasets[i] for i in train], [labels[i] for i in train],
                groups=people[train], **options,
            )  # fmt: skip
            for i in test:
                single = as_dataset(datasets[i], f"datasets[{i}]")
                clip, _ = read_clip(single, model.features, model.columns, None)
                names = read_labels([labels[i]], [clip], [single["time"].values])
                rows = set_beside(clip, names, model.predict(single), values=model.values)
                parts.append(
                    rows.assign(
                        subject=("row", np.full(rows.sizes["row"], people[i])),
                        fold=("row", np.full(rows.sizes["row"], fold)),
                        sequence=("row", np.full(rows.sizes["row"], i)),
                    )
                )
        # A class that no training sequence of a fold had is one that it cannot expect.
        return xr.concat(parts, "row", join="outer", fill_value={"probability": 0.0})

    def save(self, path: str | Path) -> Path:
        """Write the fitted model to one safetensors file, its description in the metadata.

        Parameters
        ----------
        path : str or pathlib.Path
            Usually ``….safetensors``. A file of that name is replaced once the new one is
            complete.

        Returns
        -------
        pathlib.Path
        """
        if self._network is None:
            raise ValueError("this model is not fitted; there is nothing to save")
        about = {
            "emokit": package_version(), "options": self.options,
            "config": self._config, "features": self.features, "columns": self.columns,
            "classes": self.classes, "values": self.values,
            "training": self.training.to_dict("list"), "notes": self.notes,
        }  # fmt: skip
        state = {k: v.detach().cpu().contiguous() for k, v in self._network.state_dict().items()}
        return write_model(path, state, about)

    @classmethod
    def load(cls, path: str | Path) -> TemporalModel:
        """Read a model that :meth:`save` wrote. Nothing in the file is executed.

        Raises
        ------
        ValueError
            If there is no such file, or it is not of this kind.
        """
        import torch

        from .temporal_nets import Network

        about, state = read_model(path)
        try:
            model = cls(**about["options"])
            with torch.random.fork_rng(devices=[]):
                network = Network(about["config"])
            network.load_state_dict(state)
            for name in ("features", "columns", "classes", "values"):
                setattr(model, name, list(about[name]))
            model.training, model.notes = pd.DataFrame(about["training"]), dict(about["notes"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{Path(path).name} does not hold what it says: {error}") from None
        model._config, model._network = about["config"], network.eval()
        return model

    def plot_training(self) -> Figure:
        """Draw the losses of training and validation over the epochs.

        Returns
        -------
        matplotlib.figure.Figure
            Not shown and not saved. A line marks the network that was kept.
        """
        import matplotlib.pyplot as plt

        if self.training.empty:
            raise ValueError("this model is not fitted; there is nothing to draw")
        table = self.training
        with plt.rc_context({"font.size": 9, "axes.edgecolor": "#888888"}):
            figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
            ax.plot(table["epoch"], table["training"], color="#0072B2", lw=1.6, label="training")
            if table["validation"].notna().any():
                ax.plot(table["epoch"], table["validation"], color="#D55E00", lw=1.6,
                        label="validation")  # fmt: skip
                best = table["epoch"][table["validation"].idxmin()]
                ax.axvline(best, color="#888888", lw=0.8, ls=(0, (4, 3)))
                ax.annotate(
                    "kept", (best, 1), (3, -3), xycoords=("data", "axes fraction"),
                    textcoords="offset points", va="top", color="#888888", size=8,
                )  # fmt: skip
            ax.set(xlabel="epoch", ylabel="loss")
            ax.legend(frameon=False)
            ax.spines[["top", "right"]].set_visible(False)
        plt.close(figure)
        return figure

    def _prepare(
        self, datasets: Sequence, labels: Sequence, groups: Sequence[str] | None
    ) -> tuple[list[Clip], np.ndarray]:
        if not len(datasets):
            raise ValueError("datasets must hold at least one sequence")
        self.features = choose_features(datasets[0], self.options["features"])
        fps = self.options["fps"]
        known: dict[str, None] = {}
        for i, ds in enumerate(datasets):
            _, names = read_clip(ds, self.features, None, None, f"datasets[{i}]")
            known |= dict.fromkeys(names)
        self.columns = list(known)
        clips = [
            read_clip(ds, self.features, self.columns, fps, f"datasets[{i}]")[0]
            for i, ds in enumerate(datasets)
        ]
        times = [as_dataset(ds, "datasets")["time"].values for ds in datasets]
        self.classes = read_labels(labels, clips, times)
        self.values = [
            name
            for i, name in enumerate(VALUES)
            if any(
                np.isfinite(c.frame_values[:, i]).any() or np.isfinite(c.clip_values[i])
                for c in clips
            )
        ]
        if len(self.classes) < 2 and not self.values:
            raise ValueError("labels must hold at least two classes, or values")
        subjects = np.arange(len(clips)).astype(str) if groups is None else np.asarray(groups)
        if len(subjects) != len(clips):
            raise ValueError(f"groups must be one for each of {len(clips)} datasets")
        return clips, subjects.astype(str)

    def _build(self, clips: list[Clip], encoder_weights: str | Path | None) -> None:
        import torch

        from .temporal_nets import Network

        prefixes = [name.split("/")[0] for name in self.columns]
        fusing = self.options["kind"] in ("intermediate", "attention")
        self._config = {
            **{k: v for k, v in self.options.items() if k not in ("features", "device", "seed")},
            "n_columns": len(self.columns),
            "n_classes": len(self.classes),
            "n_values": len(self.values),
            "attend": any(c.clip_class >= 0 or np.isfinite(c.clip_values).any() for c in clips),
            "modalities": [
                [i for i, p in enumerate(prefixes) if p == name] for name in dict.fromkeys(prefixes)
            ]
            if fusing
            else [],
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.options["seed"])
            network = Network(self._config)
        if network.pictures != clips[0].is_picture:
            wanted = "pictures (face_crop)" if network.pictures else "numbers, not pictures"
            raise ValueError(f"kind {self.options['kind']!r} reads {wanted}")
        if not clips[0].is_picture:
            values = np.concatenate([clip.x for clip in clips])
            known = np.isfinite(values)
            count = np.maximum(known.sum(0), 1)
            mean = np.where(known, values, 0).sum(0, dtype=np.float64) / count
            spread = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(0) / count)
            # A column that never moves in training must not explode when it does in use.
            spread = np.where(spread > 1e-3, spread, 1)
            network.mean.copy_(torch.from_numpy(mean))
            network.scale.copy_(torch.from_numpy(spread))
        if encoder_weights is not None:
            from .training import load_encoder

            load_encoder(network, self.options["encoder"], encoder_weights)
        self._network = network

    def _weigh_classes(
        self, clips: list[Clip], asked: str | Mapping[str, float] | None
    ) -> np.ndarray:
        if asked is None:
            return np.ones(max(len(self.classes), 1))
        if isinstance(asked, Mapping):
            strange = set(asked) - set(self.classes)
            if strange:
                raise ValueError(f"class_weights names {', '.join(sorted(strange))}, not a class")
            return np.array([float(asked.get(name, 1)) for name in self.classes])
        if asked != "balanced":
            raise ValueError(f"class_weights must be balanced, a mapping or None; got {asked!r}")
        seen = np.concatenate([[c.clip_class for c in clips], *(c.frame_class for c in clips)])
        count = np.bincount(seen[seen >= 0].astype(int), minlength=max(len(self.classes), 1))
        return count.sum() / np.maximum(count, 1) / len(count)
