"""The networks behind TemporalModel: a body for each kind, and heads that all share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

#: Mean and spread of each colour channel that networks trained on photographs expect.
_PICTURE_MEAN, _PICTURE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Network(nn.Module):
    """Rows in, and for every row and the whole clip: class logits and values in -1 to 1.

    Parameters
    ----------
    config : mapping
        ``kind``, ``hidden``, ``layers``, ``dropout``, ``bidirectional``, ``n_columns``,
        ``n_classes``, ``n_values``, ``attend`` (whether clips are pooled by attention),
        ``encoder`` and ``modalities`` (column numbers of each).
    """

    def __init__(self, config: Mapping) -> None:
        super().__init__()
        kind, n_columns = config["kind"], config["n_columns"]
        self.register_buffer("mean", torch.zeros(n_columns))
        self.register_buffer("scale", torch.ones(n_columns))
        self.register_buffer("temperature", torch.ones(1))
        self.pictures = config["encoder"] is not None or kind == "conv3d"
        self.encoder = None
        width = 2 * n_columns
        if config["encoder"] is not None:
            self.encoder = ImageEncoder(config["encoder"])
            width = self.encoder.width
        self.modalities = config["modalities"]
        if kind in ("intermediate", "attention"):
            self.body: nn.Module = _JOINTS[kind](config, [len(m) for m in self.modalities])
        else:
            self.body = _BODIES[kind](width, config)
        self.norm = nn.LayerNorm(self.body.width) if kind != "linear" else nn.Identity()
        self.dropout = nn.Dropout(config["dropout"])
        self.attend = nn.Linear(self.body.width, 1) if config["attend"] else None
        self.classify = nn.Linear(self.body.width, max(config["n_classes"], 1))
        self.regress = nn.Linear(self.body.width, max(config["n_values"], 1))

    def forward(self, x: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Rows (clip, row, column), or pictures (clip, row, y, x, channel), NaN where absent.

        `valid` (clip, row) is False where rows only fill a shorter clip up.
        """
        weight = None
        if self.pictures:
            x = x.float() / 255
            rows = self.encoder(x) if self.encoder is not None else x
            state = self.body(rows, valid)
        else:
            present = torch.isfinite(x)
            # Far outliers are readings gone wrong; they must not drown the rest.
            scaled = ((torch.nan_to_num(x) - self.mean) / self.scale).clamp(-8, 8)
            scaled = torch.where(present, scaled, 0)
            if self.modalities:
                parts = [torch.cat([scaled[..., m], present[..., m]], -1) for m in self.modalities]
                there = torch.stack([present[..., m].any(-1) for m in self.modalities], -1)
                state, weight = self.body(parts, there, valid)
            else:
                state = self.body(torch.cat([scaled, present], dim=-1), valid)
        state = self.dropout(self.norm(state))
        share = (
            torch.zeros_like(state[..., 0]) if self.attend is None else self.attend(state)[..., 0]
        )
        share = torch.softmax(share.masked_fill(~valid, -torch.inf), dim=1)
        pooled = (state * share[..., None]).sum(1)
        out = {
            "frame_logits": self.classify(state),
            "clip_logits": self.classify(pooled),
            "frame_values": torch.tanh(self.regress(state)),
            "clip_values": torch.tanh(self.regress(pooled)),
        }
        return out if weight is None else {**out, "weight": weight}

    def freeze_encoder(self, frozen: bool) -> None:
        """Keep the image encoder's weights as they are, or train them too."""
        if self.encoder is not None:
            self.encoder.requires_grad_(not frozen)
            # Running statistics are weights too, and move in training mode without a gradient.
            self.encoder.train(not frozen)


class Recurrent(nn.Module):
    """GRU or LSTM, forwards or both ways."""

    def __init__(self, n_in: int, config: Mapping) -> None:
        super().__init__()
        both = config["bidirectional"]
        self.width = config["hidden"] * (2 if both else 1)
        layer = nn.LSTM if config["kind"] == "lstm" else nn.GRU
        self.net = layer(
            n_in,
            config["hidden"],
            config["layers"],
            batch_first=True,
            bidirectional=both,
            dropout=config["dropout"] if config["layers"] > 1 else 0.0,
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """State of each row (clip, row, width)."""
        if valid.all():
            return self.net(x)[0]
        packed = pack_padded_sequence(x, valid.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        state, _ = self.net(packed)
        return pad_packed_sequence(state, batch_first=True, total_length=x.shape[1])[0]


class Convolutional(nn.Module):
    """Dilated convolutions with residuals: a temporal convolutional network, looking both ways."""

    def __init__(self, n_in: int, config: Mapping) -> None:
        super().__init__()
        self.width = hidden = config["hidden"]
        self.enter = nn.Linear(n_in, hidden)
        # Each block doubles the reach: with two blocks more than layers, a second or more.
        dilations = [2**i for i in range(config["layers"] + 3)]
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in dilations)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden, hidden, 3, padding=d, dilation=d) for d in dilations
        )
        self.dropout = nn.Dropout(config["dropout"])

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """State of each row (clip, row, width)."""
        state = self.enter(x)
        for norm, convolve in zip(self.norms, self.convolutions, strict=True):
            # What fills shorter clips up must not leak into them.
            inner = norm(state) * valid[..., None]
            inner = convolve(inner.transpose(1, 2)).transpose(1, 2)
            state = state + self.dropout(F.gelu(inner))
        return state


class Attending(nn.Module):
    """Transformer encoder with sinusoidal positions."""

    def __init__(self, n_in: int, config: Mapping) -> None:
        super().__init__()
        self.width = hidden = config["hidden"]
        self.enter = nn.Linear(n_in, hidden)
        layer = nn.TransformerEncoderLayer(
            hidden, _n_heads(hidden), 2 * hidden, config["dropout"], "gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.net = nn.TransformerEncoder(layer, config["layers"] + 1, enable_nested_tensor=False)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """State of each row (clip, row, width)."""
        rows = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        rate = torch.exp(
            torch.arange(0, self.width, 2, device=x.device) * (-math.log(1e3) / self.width)
        )
        angle = rows[:, None] * rate
        place = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, : self.width]
        return self.net(self.enter(x) + place, src_key_padding_mask=~valid)


class Volumetric(nn.Module):
    """Convolutions over space and time together, on small pictures."""

    def __init__(self, n_in: int, config: Mapping) -> None:
        super().__init__()
        self.width = hidden = config["hidden"]
        widths = [3, max(hidden // 4, 8), max(hidden // 2, 8), hidden]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(before, after, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=False),
                nn.GroupNorm(1, after),
                nn.GELU(),
                nn.MaxPool3d((1, 2, 2), ceil_mode=True),
            )
            for before, after in pairwise(widths)
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """State of each row (clip, row, width)."""
        state = (x - 0.45).permute(0, 4, 1, 2, 3) / 0.25
        mask = valid[:, None, :, None, None]
        for block in self.blocks:
            state = block(state * mask)
        return state.mean((3, 4)).transpose(1, 2)


class Linear(nn.Module):
    """No body at all: each row speaks for itself, and the head weighs its columns."""

    def __init__(self, n_in: int, config: Mapping) -> None:
        super().__init__()
        self.width = n_in

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """State of each row (clip, row, width)."""
        return x


class ImageEncoder(nn.Module):
    """A timm network that turns each picture into numbers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        # A name may come from a file somebody gave, and timm takes some for addresses.
        if not timm.is_model(name):
            raise ValueError(f"encoder must be a network that timm knows; got {name!r}")
        self.net = timm.create_model(name, pretrained=False, num_classes=0)
        self.register_buffer(
            "colour", torch.tensor([_PICTURE_MEAN, _PICTURE_STD]), persistent=False
        )
        with torch.no_grad():
            try:
                # Not every network gives what its num_features says.
                self.width = self.net.eval()(torch.zeros(1, 3, 64, 64)).shape[-1]
            except AssertionError as error:
                raise ValueError(
                    f"encoder {name!r} takes pictures of one size only ({error}); choose one that "
                    "takes any, as convolutional networks do"
                ) from None

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (clip, row, width) of pictures (clip, row, y, x, channel) in 0 to 1."""
        clips, rows = x.shape[:2]
        pictures = (x.flatten(0, 1) - self.colour[0]) / self.colour[1]
        return self.net(pictures.permute(0, 3, 1, 2)).unflatten(0, (clips, rows))


class Joined(nn.Module):
    """Intermediate fusion: an encoder for each modality, joined row by row."""

    def __init__(self, config: Mapping, n_columns: list[int]) -> None:
        super().__init__()
        inner = {**config, "kind": "gru"}
        self.encoders = nn.ModuleList(Recurrent(2 * n, inner) for n in n_columns)
        width = self.encoders[0].width
        self.width = config["hidden"]
        self.mix = nn.Linear(width * len(n_columns) + len(n_columns), self.width)

    def forward(self, parts: list[Tensor], there: Tensor, valid: Tensor) -> tuple[Tensor, None]:
        """State of each row, and None for the shares it does not know."""
        states = [encode(part, valid) for encode, part in zip(self.encoders, parts, strict=True)]
        states = [s * there[..., i : i + 1] for i, s in enumerate(states)]
        state = F.gelu(self.mix(torch.cat([*states, there.to(states[0].dtype)], dim=-1)))
        # A joint layer gives no weight to a modality as such.
        return state, None


class CrossModal(nn.Module):
    """Attention fusion: the modalities of a row attend to each other, and are weighed."""

    def __init__(self, config: Mapping, n_columns: list[int]) -> None:
        super().__init__()
        inner = {**config, "kind": "gru"}
        self.encoders = nn.ModuleList(Recurrent(2 * n, inner) for n in n_columns)
        self.width = width = self.encoders[0].width
        self.name = nn.Parameter(torch.randn(len(n_columns), width) * 0.1)
        self.cross = nn.TransformerEncoderLayer(
            width, _n_heads(width), 2 * width, config["dropout"], "gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.weigh = nn.Linear(width, 1)

    def forward(self, parts: list[Tensor], there: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """State of each row, and the share of each modality in it (clip, row, modality)."""
        states = [encode(part, valid) for encode, part in zip(self.encoders, parts, strict=True)]
        state = torch.stack(states, dim=2) + self.name
        # A row without any modality would have nothing to attend to; it attends to all.
        hidden = ~there & there.any(-1, keepdim=True)
        clips, rows, n, width = state.shape
        state = self.cross(
            state.reshape(-1, n, width), src_key_padding_mask=hidden.reshape(-1, n)
        ).reshape(clips, rows, n, width)
        weight = torch.softmax(self.weigh(state)[..., 0].masked_fill(hidden, -torch.inf), dim=-1)
        return (state * weight[..., None]).sum(2), weight


_BODIES = {
    "gru": Recurrent,
    "lstm": Recurrent,
    "tcn": Convolutional,
    "transformer": Attending,
    "conv3d": Volumetric,
    "linear": Linear,
}
_JOINTS = {"intermediate": Joined, "attention": CrossModal}
KINDS = (*_BODIES, *_JOINTS)


def concordance_loss(truth: Tensor, estimate: Tensor) -> Tensor:
    """1 minus Lin's concordance, the mean over columns; NaN in `truth` is left out."""
    losses = []
    for true, guess in zip(truth.T, estimate.T, strict=True):
        known = torch.isfinite(true)
        if known.sum() < 2:
            continue
        true, guess = true[known], guess[known]  # noqa: PLW2901
        apart = true.mean() - guess.mean()
        covariance = ((true - true.mean()) * (guess - guess.mean())).mean()
        spread = true.var(correction=0) + guess.var(correction=0) + apart**2
        losses.append(1 - 2 * covariance / (spread + 1e-6))
    return torch.stack(losses).mean() if losses else estimate.sum() * 0


def pad(arrays: list[np.ndarray], fill: float) -> Tensor:
    """Arrays of unequal length as one tensor (clip, row, …)."""
    longest = max(len(array) for array in arrays)
    whole = np.full((len(arrays), longest, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in zip(whole, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(whole)


def _n_heads(width: int) -> int:
    return next(n for n in (4, 2, 1) if width % n == 0)
