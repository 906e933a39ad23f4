"""How one column of numbers is smoothed along real time, within runs that have no long gap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Numbers held at once while windows are gathered; about 100 MB with what goes with them.
_BLOCK = 2_000_000

#: Spread of the acceleration, per root second and in units of the column's range, among which
#: the Kalman filter chooses by likelihood: from hardly any movement to a jump across the whole
#: range within a tenth of a second.
_JERKINESS = np.geomspace(0.05, 50, 13)

#: Least standard deviation of a measurement that the Kalman filter believes.
_LEAST_NOISE = 1e-3


def smooth_by_windows(
    time: np.ndarray, values: np.ndarray, *, window: float, max_gap: float, method: str
) -> np.ndarray:
    """Smooth each column of ``values (time, column)`` within its own runs."""
    # A rounding error must not decide whether the sample at the window's edge counts.
    reach = window / 2 * (1 + 1e-9)
    first = np.searchsorted(time, time - reach, side="left")
    last = np.searchsorted(time, time + reach, side="right")
    width = int((last - first).max())
    run = number_runs(time, values, max_gap)
    result = np.full_like(values, np.nan)
    for rows, columns in _blocks(values.shape, width):
        index = first[rows, None] + np.arange(width)
        inside = (index < last[rows, None])[..., None]
        index = index.clip(max=len(time) - 1)
        part, numbers = values[:, columns], run[:, columns]
        same = inside & (numbers[index] == numbers[rows][:, None, :]) & np.isfinite(part[index])
        offset = (time[index] - time[rows][:, None]) / (window / 2)
        result[rows, columns] = _METHODS[method](
            np.where(same, part[index], np.nan), offset, part[rows]
        )
    result[~np.isfinite(values)] = np.nan
    return result


def number_runs(time: np.ndarray, values: np.ndarray, max_gap: float) -> np.ndarray:
    """Number of the run that each value belongs to, for each column."""
    finite = np.isfinite(values)
    latest = np.maximum.accumulate(np.where(finite, time[:, None], -np.inf), axis=0)
    before = np.vstack([np.full((1, values.shape[1]), -np.inf), latest[:-1]])
    starts = finite & (time[:, None] - before > max_gap * (1 + 1e-9))
    return np.cumsum(starts, axis=0)


def _blocks(shape: tuple[int, int], width: int) -> Iterator[tuple[slice, slice]]:
    """Cut rows and columns so that no window array is large."""
    n_rows, n_columns = shape
    columns = min(n_columns, max(_BLOCK // width, 1))
    rows = max(_BLOCK // (width * columns), 1)
    for column in range(0, n_columns, columns):
        for row in range(0, n_rows, rows):
            yield slice(row, min(row + rows, n_rows)), slice(column, column + columns)


def _median(windows: np.ndarray, offset: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Median of ``windows (row, sample, column)`` over the samples that are not NaN."""
    ordered = np.sort(windows, axis=1)  # NaN goes to the end
    count = np.isfinite(windows).sum(axis=1, keepdims=True)
    middle = np.concatenate([(count - 1) // 2, count // 2], axis=1).clip(min=0)
    return np.take_along_axis(ordered, middle, axis=1).mean(axis=1)


def _fit_parabola(windows: np.ndarray, offset: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Value at offset 0 of the parabola through ``windows (row, sample, column)``."""
    present = np.isfinite(windows)
    filled = np.where(present, windows, 0)
    powers = offset[..., None] ** np.arange(5)
    moments = np.einsum("rsp,rsc->rcp", powers, present)
    right = np.einsum("rsp,rsc->rcp", powers[..., :3], filled)
    enough = moments[..., 0] > 3.5  # through three samples the parabola is exact anyway
    order = np.arange(3)
    left = np.where(
        enough[..., None, None], moments[..., order[:, None] + order[None, :]], np.eye(3)
    )
    return np.where(enough, np.linalg.solve(left, right[..., None])[..., 0, 0], own)


_METHODS = {"median": _median, "savgol": _fit_parabola}


def smooth_exponentially(
    time: np.ndarray, values: np.ndarray, *, window: float, max_gap: float
) -> np.ndarray:
    """Mean of what has been, of weights that fall to 1/e within `window` seconds."""
    run = number_runs(time, values, max_gap)
    fade = np.exp(-np.diff(time, prepend=time[:1]) / window)
    total, weight = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    result, current = np.full_like(values, np.nan), np.zeros(values.shape[1])
    for row, numbers in enumerate(values):
        new = run[row] != current
        current = run[row]
        seen = np.isfinite(numbers)
        total = np.where(new, 0, total * fade[row]) + np.where(seen, numbers, 0)
        weight = np.where(new, 0, weight * fade[row]) + seen
        result[row, seen] = total[seen] / weight[seen]
    return result


def smooth_by_kalman(
    time: np.ndarray, values: np.ndarray, *, noise: np.ndarray, max_gap: float
) -> np.ndarray:
    """Kalman filter and Rauch-Tung-Striebel smoother of values that drift at changing speed.

    The state is the value and its speed; the speed is a Wiener process whose strength is
    the likeliest of ``_JERKINESS``, for each column. Where `noise`, the standard deviation
    of each column's measurements, is NaN it is estimated from second differences.
    """
    noise = np.where(np.isfinite(noise), noise, estimate_noise(time, values, max_gap))
    # Pixels, hertz and probabilities alike: everything is measured against its own range.
    finite = np.isfinite(values)
    high = np.where(finite, values, -np.inf).max(0)
    scale = np.where(finite.any(0), high - np.where(finite, values, np.inf).min(0), 1)
    scale = np.where(scale > 0, scale, 1)
    values, noise = values / scale, noise / scale
    noise = np.maximum(np.nan_to_num(noise), _LEAST_NOISE)
    result = np.empty_like(values)
    width = max(_BLOCK // (len(time) * len(_JERKINESS)), 1)
    for start in range(0, values.shape[1], width):
        part = slice(start, start + width)
        run = number_runs(time, values[:, part], max_gap)
        result[:, part] = _smooth_block(time, values[:, part], run, noise[part])
    result[~finite] = np.nan
    return result * scale


def estimate_noise(time: np.ndarray, values: np.ndarray, max_gap: float) -> np.ndarray:
    """Standard deviation of the measurements of each column, from its second differences.

    The median of their size: movement is rare, noise is in every row. On uneven time the
    middle value is held against the line between its neighbours.
    """
    if len(time) < 3:
        return np.full(values.shape[1], np.nan)
    step = np.diff(time)
    share = (step[:-1] / (step[:-1] + step[1:]))[:, None]
    bend = values[1:-1] - (1 - share) * values[:-2] - share * values[2:]
    scale = np.sqrt(1 + share**2 + (1 - share) ** 2)
    near = (step[:-1] <= max_gap) & (step[1:] <= max_gap)
    size = np.abs(bend / scale)[near]
    ordered = np.sort(size, axis=0)  # NaN goes to the end
    count = np.isfinite(size).sum(0)
    if not len(size):
        return np.full(values.shape[1], np.nan)
    middle = np.take_along_axis(ordered, ((count - 1) // 2).clip(min=0)[None], axis=0)[0]
    return np.where(count > 0, middle / 0.6745, np.nan)


def window_means(time: np.ndarray, values: np.ndarray, window: float) -> np.ndarray:
    """Mean of each column over a centred window, of what is there.

    NaN where less than half of the rows in the window hold a number.
    """
    reach = window / 2 * (1 + 1e-9)
    first = np.searchsorted(time, time - reach, side="left")
    last = np.searchsorted(time, time + reach, side="right")
    finite = np.isfinite(values)
    total = np.cumsum(np.where(finite, values, 0), axis=0, dtype=np.float64)
    count = np.cumsum(finite, axis=0)
    total, count = (np.concatenate([np.zeros_like(a[:1]), a]) for a in (total, count))
    n = count[last] - count[first]
    rows = (last - first).reshape(-1, *[1] * (values.ndim - 1))
    mean = (total[last] - total[first]) / np.where(n > 0, n, 1)
    return np.where((n > 0) & (2 * n >= rows), mean, np.nan)


def _smooth_block(
    time: np.ndarray, values: np.ndarray, run: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    n = values.shape[1]
    *_, likelihood = _filter(
        time, np.tile(values, len(_JERKINESS)), np.tile(run, len(_JERKINESS)),
        np.tile(noise, len(_JERKINESS)), np.repeat(_JERKINESS, n),
    )  # fmt: skip
    best = _JERKINESS[likelihood.reshape(len(_JERKINESS), n).argmax(0)]
    state, spread, ahead, ahead_spread, begins, _ = _filter(
        time, values, run, noise, best, keep=True
    )
    smoothed, result = state[-1], np.empty_like(values)
    result[-1] = smoothed[0]
    for row in range(len(time) - 2, -1, -1):
        step = time[row + 1] - time[row]
        a, b, c = spread[row]
        # Gain: the filtered spread, moved ahead, over the predicted spread.
        p, q, r = ahead_spread[row + 1]
        left, right = np.stack([a + step * b, b + step * c]), np.stack([b, c])
        determinant = p * r - q * q
        difference = smoothed - ahead[row + 1]
        first = (r * difference[0] - q * difference[1]) / determinant
        second = (p * difference[1] - q * difference[0]) / determinant
        smoothed = state[row] + np.where(begins[row + 1], 0, left * first + right * second)
        result[row] = smoothed[0]
    return result


def _filter(
    time: np.ndarray,
    values: np.ndarray,
    run: np.ndarray,
    noise: np.ndarray,
    jerkiness: np.ndarray,
    *,
    keep: bool = False,
) -> tuple:
    """Filtered and predicted states (row, 2, column) and spreads (row, 3, column).

    A spread is the variance of the value, the covariance, and the variance of the speed.
    With them come where runs begin, and the log likelihood of each column.
    """
    variance, drive = noise**2, jerkiness**2
    start_spread = np.stack([np.ones_like(noise), np.zeros_like(noise), 4 * np.ones_like(noise)])
    state, spread = np.zeros((2, len(noise))), start_spread
    likelihood, current = np.zeros(len(noise)), np.zeros(len(noise), dtype=run.dtype)
    kept: tuple[list, ...] = ([], [], [], [], [])
    steps = np.diff(time, prepend=time[:1])
    for row, step in enumerate(steps):
        begins, current = run[row] != current, run[row]
        (value, speed), (a, b, c) = state, spread
        ahead = np.stack([value + step * speed, speed])
        ahead_spread = np.stack(
            [
                a + 2 * step * b + step**2 * c + drive * step**3 / 3,
                b + step * c + drive * step**2 / 2,
                c + drive * step,
            ]
        )
        seen = np.isfinite(values[row])
        measured = np.where(seen, values[row], 0)
        ahead = np.where(begins, np.stack([measured, np.zeros_like(measured)]), ahead)
        ahead_spread = np.where(begins, start_spread, ahead_spread)
        p, q, r = ahead_spread
        total = p + variance
        surprise = np.where(seen, measured - ahead[0], 0)
        gain = np.where(seen, np.stack([p, q]) / total, 0)
        state = ahead + gain * surprise
        spread = np.stack([p - gain[0] * p, q - gain[0] * q, r - gain[1] * q])
        told = seen & ~begins
        likelihood -= np.where(told, np.log(total) + surprise**2 / total, 0) / 2
        if keep:
            for place, item in zip(kept, (state, spread, ahead, ahead_spread, begins), strict=True):
                place.append(item)
    return (*(np.array(place) for place in kept), likelihood)
