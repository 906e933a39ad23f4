"""How temporal models are trained and run. Imported only where torch is needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from tqdm.auto import tqdm

from .augment import Augmentation, Augmenter
from .calibration import fit_calibration
from .sequences import Clip
from .temporal_nets import Network, concordance_loss, pad

#: Rows read at once, and how far the pieces of a long sequence overlap on either side.
_PIECE, _MARGIN = 1500, 100


@contextmanager
def quiet_threads(n: int) -> Iterator[None]:
    """Let torch use `n` threads for a while: sums depend on how many share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(asked: str) -> torch.device:
    """The device that `asked` names; "auto" is a GPU where there is one, CUDA's or Apple's."""
    if asked == "auto":
        apple = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else apple)
    try:
        return torch.device(asked)
    except RuntimeError as error:
        raise ValueError(f"device must be auto or one that torch knows: {error}") from None


def load_encoder(network: Network, name: str, weights: str | Path) -> None:
    """Put given weights into the image encoder."""
    import timm
    from safetensors.torch import load_file

    if network.encoder is None:
        raise ValueError("encoder_weights need an encoder")
    if str(weights) == "pretrained":
        source = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ValueError(f"encoder_weights: there is no file {str(path)!r}")
        source = load_file(path)
    own = network.encoder.net.state_dict()
    fitting = {k: v for k, v in source.items() if k in own and v.shape == own[k].shape}
    if len(fitting) < 0.9 * len(own):
        raise ValueError(
            f"encoder_weights fit {len(fitting)} of {len(own)} tensors of {name}: "
            "they are of another network"
        )
    network.encoder.net.load_state_dict(fitting, strict=False)


def train(
    network: Network,
    clips: list[Clip],
    subjects: np.ndarray,
    *,
    columns: list[str],
    validation: float,
    epochs: int,
    patience: int,
    batch_size: int,
    learning_rate: float,
    class_weights: np.ndarray,
    augment: Augmentation | None,
    freeze_epochs: int,
    values: list[int],
    device: torch.device,
    seed: int,
    progress: bool,
) -> list[dict]:
    """Train `network` in place, and return the losses of each epoch."""
    rng = np.random.default_rng(seed)
    labelled = np.array([_is_labelled(clip) for clip in clips])
    held = labelled & _hold_out(subjects, subjects[labelled], validation, rng)
    train_rows, held_rows = np.flatnonzero(~held), np.flatnonzero(held)
    network.to(device)
    weights = torch.as_tensor(class_weights, dtype=torch.float32, device=device)
    augmenter = None
    if augment is not None:
        mean, scale = network.mean.cpu().numpy(), network.scale.cpu().numpy()
        augmenter = Augmenter(augment, columns, mean, scale)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, epochs=epochs, pct_start=0.2,
        steps_per_epoch=-(-len(train_rows) // batch_size),
    )  # fmt: skip
    measure = partial(_loss, network, weights=weights, values=values, device=device)
    best, best_state, rows = np.inf, None, []
    bar = tqdm(range(epochs), desc="training", unit="epoch", disable=not progress)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in bar:
            network.train()
            network.freeze_encoder(epoch < freeze_epochs)
            total = 0.0
            for chosen in _batches(rng.permutation(train_rows), batch_size):
                picked = [clips[i] for i in chosen]
                if augmenter is not None:
                    picked = [augmenter.vary(clip, rng) for clip in picked]
                loss = measure(picked)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += float(loss.detach()) * len(chosen)
            held_loss = _mean_loss(network, [clips[i] for i in held_rows], batch_size, measure)
            rows.append(
                {"epoch": epoch, "training": total / len(train_rows), "validation": held_loss}
            )
            bar.set_postfix(training=f"{rows[-1]['training']:.3f}", validation=f"{held_loss:.3f}")
            if held_loss < best:
                best, best_state = held_loss, copy.deepcopy(network.state_dict())
            kept = (
                int(np.nanargmin([row["validation"] for row in rows])) if len(held_rows) else epoch
            )
            if epoch - kept >= patience:
                break
    if best_state is not None:
        network.load_state_dict(best_state)
    network.to("cpu").eval()
    if len(held_rows):
        _set_temperature(network, [clips[i] for i in held_rows])
    return rows


def run(network: Network, clip: Clip) -> dict[str, np.ndarray]:
    """Outputs of one clip as arrays: by row (row, …), and of the whole (…,)."""
    network.eval()
    n = len(clip.x)
    device, temperature = next(network.parameters()).device, network.temperature.cpu()
    pieces, whole, sizes = [], [], []
    for start in range(0, n, _PIECE):
        first, last = max(start - _MARGIN, 0), min(start + _PIECE + _MARGIN, n)
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(clip.x[None, first:last])).to(device)
            valid = torch.ones(1, last - first, dtype=torch.bool, device=device)
            out = {name: value.cpu() for name, value in network(x, valid).items()}
        inner = slice(start - first, min(start + _PIECE, n) - first)
        out["frame_probability"] = (out.pop("frame_logits") / temperature).softmax(-1)
        pieces.append({k: v[0, inner].numpy() for k, v in out.items() if not k.startswith("clip")})
        whole.append({k: v[0] for k, v in out.items() if k.startswith("clip")})
        sizes.append(last - first)
    found = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    share = torch.tensor(sizes, dtype=torch.float32)[:, None] / sum(sizes)
    logits = (torch.stack([piece["clip_logits"] for piece in whole]) * share).sum(0)
    found["clip_probability"] = (logits / temperature).softmax(-1).numpy()
    found["clip_values"] = (
        (torch.stack([piece["clip_values"] for piece in whole]) * share).sum(0).numpy()
    )
    return found


def _is_labelled(clip: Clip) -> bool:
    return bool(
        clip.clip_class >= 0
        or (clip.frame_class >= 0).any()
        or np.isfinite(clip.clip_values).any()
        or np.isfinite(clip.frame_values).any()
    )


def _hold_out(
    subjects: np.ndarray, labelled: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Rows of a share of the people of whom anything is known."""
    if not 0 <= share < 1:
        raise ValueError(f"validation must be a share, 0 to 1; got {share!r}")
    people = np.unique(labelled)
    n = min(round(share * len(people)), len(people) - 1)
    return np.isin(subjects, rng.choice(people, n, replace=False))


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _loss(
    network: Network, clips: list[Clip], weights: Tensor, values: list[int], device: torch.device
) -> Tensor:
    picture = clips[0].is_picture
    x = pad([clip.x for clip in clips], 0 if picture else np.nan).to(device)
    valid = pad([np.ones(len(clip.x), bool) for clip in clips], False).to(device)
    out = network(x, valid)
    frames = pad([clip.frame_class for clip in clips], -1).to(device)
    wholes = torch.tensor([clip.clip_class for clip in clips], device=device)
    losses = [
        F.cross_entropy(out[name].reshape(-1, out[name].shape[-1])[known], truth[known], weights)
        for name, truth in (("frame_logits", frames.reshape(-1)), ("clip_logits", wholes))
        if (known := truth >= 0).any()
    ]
    if values:
        by_frame = pad([clip.frame_values for clip in clips], np.nan).to(device)[..., values]
        by_clip = torch.from_numpy(np.stack([c.clip_values for c in clips])).to(device)[:, values]
        n = len(values)
        for name, truth in (("frame_values", by_frame), ("clip_values", by_clip)):
            if torch.isfinite(truth).any():
                losses.append(concordance_loss(truth.reshape(-1, n), out[name].reshape(-1, n)))
    if not losses:
        return out["frame_logits"].sum() * 0  # a batch in which nothing is labelled
    return torch.stack(losses).sum()


def _mean_loss(
    network: Network, clips: list[Clip], batch_size: int, measure: Callable[[list[Clip]], Tensor]
) -> float:
    """Loss on clips that train nothing; NaN where there are none."""
    network.eval()
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(clips), batch_size):
            picked = clips[start : start + batch_size]
            total += float(measure(picked)) * len(picked)
    return total / len(clips) if clips else float("nan")


def _set_temperature(network: Network, clips: list[Clip]) -> None:
    """Make probabilities honest on clips that trained nothing."""
    truth, said = [], []
    for clip in clips:
        out = run(network, clip)
        known = clip.frame_class >= 0
        if clip.clip_class >= 0:
            truth.append([clip.clip_class])
            said.append(out["clip_probability"][None])
        elif known.any():
            truth.append(clip.frame_class[known])
            said.append(out["frame_probability"][known])
    if not truth:
        return
    truth, said = np.concatenate(truth).astype(str), np.concatenate(said)
    if len(set(truth)) > 1:
        names = [str(i) for i in range(said.shape[1])]
        fitted = fit_calibration(truth, said, labels=names)
        # Few clips can ask for any temperature at all.
        network.temperature.fill_(float(np.clip(fitted.temperature, 0.25, 4)))
