"""Make ``emokit/data/sample_speech.m4a``, the synthetic voice of the sample clip.

Needs ``espeak-ng`` on the path: ``python tools/make_sample_speech.py``.

The sample clip shows a woman in tears who calms, smiles and laughs; its own sound is
silent. Here espeak-ng speaks a monologue to it: slow, low and soft over the tears,
quick, high and loud over the laughter. No person's voice is in it.

Licence: the text is written for emokit; text and sound are released under emokit's MIT
licence. espeak-ng (GPL-3.0-or-later) only speaks it and is not part of emokit.
"""

from __future__ import annotations

import io
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soxr

TARGET = Path(__file__).parent.parent / "emokit" / "data" / "sample_speech.m4a"
NOTE = "synthetic speech made with espeak-ng for emokit; not a person"
SECONDS = 19.69
RATE = 24_000
BITS = 48_000


@dataclass(frozen=True)
class Line:
    """One line, when it begins and must have ended (s), and how it is spoken.

    ``speed`` is in words a minute, ``pitch`` is espeak-ng's 0 to 99, ``range`` how far
    the pitch moves against usual (percent), ``level`` the root mean square in dB re full
    scale.
    """

    begin: float
    end: float
    text: str
    speed: int
    pitch: int
    range: int
    level: float


LINES = (
    Line(0.3, 3.0, "The letter came this morning.", 105, 22, 40, -31),
    Line(3.2, 6.0, "They are closing the bakery.", 105, 18, 40, -32),
    Line(6.2, 8.5, "After eleven years.", 100, 18, 40, -31),
    Line(8.8, 10.3, "So I rang them up.", 135, 35, 70, -27),
    Line(10.5, 13.2, "And it was the wrong letter! It was meant for the bank!", 250, 75, 170, -19),
    Line(13.3, 16.2, "She read it twice, and then she started laughing!", 225, 82, 180, -18),
    Line(
        16.3,
        19.4,
        "We are staying! All of us! Come on, I am baking everyone a cake!",
        255,
        85,
        190,
        -17,
    ),
)


def main() -> None:
    """Speak the lines, put them at their times, and encode."""
    sound = np.zeros(round(SECONDS * RATE), dtype=np.float32)
    for line in LINES:
        spoken = speak(line)
        length = len(spoken) / RATE
        if line.begin + length > line.end:
            raise SystemExit(f"{line.text!r} takes {length:.2f} s: it ends after {line.end} s")
        first = round(line.begin * RATE)
        sound[first : first + len(spoken)] += spoken
        print(f"{line.begin:5.2f} to {line.begin + length:5.2f} s  {line.text}")
    encode(sound, TARGET)
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes, peak {np.abs(sound).max():.2f}")


def speak(line: Line) -> np.ndarray:
    """Samples of one line at ``RATE``, without silence around it."""
    markup = f'<speak><prosody range="{line.range}%">{line.text}</prosody></speak>'
    command = ["espeak-ng", "-m", "-z", "-v", "en-us+f3", "--stdout"]
    command += ["-s", str(line.speed), "-p", str(line.pitch), markup]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(output)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15
    heard = np.flatnonzero(np.abs(samples) > 0.002)
    samples = soxr.resample(samples[heard[0] : heard[-1] + 1], rate, RATE)
    samples *= 10 ** (line.level / 20) / np.sqrt(np.mean(samples**2))
    return samples.clip(-1, 1).astype(np.float32)


def encode(sound: np.ndarray, target: Path) -> None:
    """Write mono AAC, all at once or not at all."""
    partial = target.with_suffix(".partial.m4a")
    with av.open(str(partial), "w", format="ipod") as container:
        container.metadata.update(title=NOTE, comment=NOTE)
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        stream.bit_rate = BITS
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        for part in (frame, None):
            container.mux(stream.encode(part))
    partial.replace(target)


if __name__ == "__main__":
    main()
