"""Sound for training and judging the detector: speech with labels by its own level, and synthetic noises.

Speech comes from the folders that data.tsv files describe; recordings held out of all training are
listed in `held_out` and only used for judging. Every noise is computed here, none is recorded.
"""
import glob
import os

import numpy as np
import soundfile as sf
from scipy.signal import fftconvolve, lfilter, resample_poly

RATE, HOP = 16000, 512
LOUD, QUIET, CLOSE = -35.0, -45.0, 3     # dB under the utterance's loud level; gaps of up to 3 hops are speech


def held_out(path):
    name = os.path.basename(path)
    if "/heldout/" in path or name.split("-")[0] in ("1272", "2412", "777"):
        return True
    return name.startswith("LJ002-") and 161 <= int(name[6:10]) <= 200


def files(root, want_held_out):
    found = []
    for folder in ("librispeech_devclean", "librispeech_untranscribed", "rhasspy_kathleen", "ljspeech_part",
                   "philippmatthes", "heldout"):
        found += sorted(glob.glob(os.path.join(root, folder, "audio", "*")))
    found = [f for f in found if held_out(f) == want_held_out]
    table = os.path.join(root, "speechocean762", "data.tsv")
    for line in open(table, encoding="utf-8"):
        name, _, _, split = line.rstrip("\n").split("\t")
        if (split == "test") == want_held_out:
            found.append(os.path.join(root, "speechocean762", name))
    return found


def load(path):
    x, rate = sf.read(path, dtype="float32", always_2d=True)
    x = x.mean(1)
    if rate != RATE:
        x = resample_poly(x, RATE, rate).astype(np.float32)
    return x[: len(x) // HOP * HOP]


def label(x):
    """1 speech, 0 none, -1 not judged, one for each hop."""
    level = 10 * np.log10((x.reshape(-1, HOP).astype(np.float64) ** 2).mean(1) + 1e-12)
    level -= np.percentile(level, 95)
    y = np.where(level > LOUD, 1, np.where(level < QUIET, 0, -1)).astype(np.int8)
    speech = np.flatnonzero(y == 1)
    for a, b in zip(speech[:-1], speech[1:]):
        if 1 < b - a <= CLOSE + 1:
            y[a:b] = 1
    return y


def coloured(rng, n, slope):
    f = np.fft.rfft(rng.standard_normal(n))
    f *= np.maximum(np.arange(len(f)), 4.0) ** (-slope / 2)
    return np.fft.irfft(f, n)


def band_noise(rng, n):
    centre, width = 10 ** rng.uniform(2, 3.7), rng.uniform(0.05, 1)
    k = np.fft.rfftfreq(n, 1 / RATE)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * np.exp(-(((k - centre) / (width * centre)) ** 2)), n)


def swelling(rng, n):
    points = max(2, int(n / RATE * rng.uniform(0.3, 4)))
    return coloured(rng, n, rng.uniform(0, 2)) * np.interp(np.arange(n), np.linspace(0, n, points), rng.uniform(0, 1, points) ** 2)


def hum(rng, n):
    f, t = rng.choice([50, 60, 100, 120, rng.uniform(30, 400)]), np.arange(n) / RATE
    return sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * f * k * t + rng.uniform(0, 6)) for k in range(1, 16) if f * k < 7900)


def clicks(rng, n):
    """Typing, clicks, knocks, drums: decaying resonances at irregular times."""
    x, t = np.zeros(n), 0
    base, decay, rate = 10 ** rng.uniform(1.8, 3.7), rng.uniform(0.003, 0.08), rng.uniform(1, 12)
    while t < n:
        m = min(n - t, int(decay * 8 * RATE) + 1)
        s = np.arange(m) / RATE
        ring = np.sin(2 * np.pi * base * rng.uniform(0.7, 1.4) * s) + rng.uniform(0, 1.5) * rng.standard_normal(m)
        x[t:t + m] += rng.uniform(0.1, 1) * ring * np.exp(-s / (decay * rng.uniform(0.5, 1.5)))
        t += int(rng.exponential(RATE / rate)) + 200
    return x


def music(rng, n):
    """Notes and chords with overtones and plucked or bowed envelopes, some with a beat."""
    x, t, step = np.zeros(n), 0, int(RATE * rng.uniform(0.1, 0.6))
    root, tilt, bowed = rng.uniform(40, 64), rng.uniform(0.6, 2), rng.random() < 0.5
    while t < n:
        m = min(n - t, int(step * rng.uniform(1, 3)))
        s = np.arange(m) / RATE
        envelope = np.minimum(1, s / 0.05) * np.minimum(1, (m / RATE - s) / 0.05) if bowed else np.exp(-s * rng.uniform(2, 8))
        for degree in rng.choice([0, 2, 4, 5, 7, 9, 11, 12, 16, 19], rng.integers(1, 5), replace=False):
            f = 440 * 2 ** ((root + degree - 69) / 12)
            vibrato = rng.uniform(0, 0.004) * np.sin(2 * np.pi * 5 * s) / 5
            for k in range(1, 12):
                if f * k < 7800:
                    x[t:t + m] += envelope * k ** -tilt * rng.uniform(0.4, 1) * np.sin(2 * np.pi * f * k * (s + vibrato))
        t += step
    return x + (rng.uniform(0, 2) * clicks(rng, n) if rng.random() < 0.4 else 0)


def beeps(rng, n):
    t = np.arange(n) / RATE
    f1, f2, rate = rng.uniform(300, 3000), rng.uniform(300, 3000), rng.uniform(0.5, 6)
    gate = ((t * rate + rng.random()) % 1) < rng.uniform(0.2, 0.7)
    return gate * (np.sin(2 * np.pi * f1 * t) + rng.integers(0, 2) * np.sin(2 * np.pi * f2 * t))


def breath(rng, n):
    """Coughs, breaths, paper: short bursts of shaped noise."""
    x, t = np.zeros(n), int(rng.uniform(0, RATE))
    while t < n:
        m = min(n - t, int(RATE * rng.uniform(0.08, 0.6)))
        shape = np.sin(np.pi * np.arange(m) / m) ** rng.uniform(0.3, 2)
        x[t:t + m] += shape * lfilter([1], [1, -rng.uniform(-0.5, 0.9)], rng.standard_normal(m)) * rng.uniform(0.2, 1)
        t += m + int(RATE * rng.uniform(0.2, 2))
    return x


def noise(rng, n):
    kind = rng.integers(0, 12)
    if kind <= 3:
        x = coloured(rng, n, rng.uniform(-0.5, 2.5))
    else:
        x = (swelling, hum, clicks, music, music, beeps, breath, band_noise)[kind - 4](rng, n)
    if rng.random() < 0.3:
        x = x / (np.std(x) + 1e-9) + rng.uniform(0, 1) * coloured(rng, n, rng.uniform(0, 2)) * 0.5
    return (x / (np.sqrt(np.mean(x ** 2)) + 1e-9)).astype(np.float32)


def room(rng, x):
    """A dry path and an exponentially decaying tail; the length stays."""
    m = int(RATE * rng.uniform(0.1, 0.5))
    tail = rng.standard_normal(m) * np.exp(-6.9 * np.arange(m) / m) * rng.uniform(0.02, 0.15)
    tail[0] = 1
    return fftconvolve(x, tail)[: len(x)].astype(np.float32)


def narrow(rng, x):
    """A telephone's or a cheap microphone's band."""
    f = np.fft.rfft(x)
    k = np.fft.rfftfreq(len(x), 1 / RATE)
    low, high = rng.uniform(50, 300), rng.uniform(3000, 7500)
    return np.fft.irfft(f / (1 + (low / np.maximum(k, 1)) ** 4) / (1 + (k / high) ** 8), len(x)).astype(np.float32)
