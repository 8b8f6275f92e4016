"""Random distortions of speech: rooms, noise, level, band, codec, tempo, voice, synthesis (vocoder.py).

Waveforms are float32 numpy arrays in [-1, 1] at 16 kHz.  Tempo and vocal
tract length change in the spectrogram (hop size, mel filters), which costs
nothing: see Pipeline.features.
"""
import os

import numpy as np
import torch

import features
from store import RATE
from vocoder import vocode


def image_room(rng, length=6400):
    """Impulse response of a random rectangular room (image method)."""
    size = rng.uniform([2.5, 2.0, 2.2], [9.0, 7.0, 3.8])
    source = rng.uniform(0.15, 0.85, 3) * size
    direction = rng.normal(size=3)
    distance = rng.uniform(0.2, 2.5)
    microphone = np.clip(source + distance * direction / np.linalg.norm(direction), 0.1, size - 0.1)
    reflection = np.sqrt(1 - rng.uniform(0.12, 0.75, 6))
    order = 9
    grid = np.arange(-order, order + 1)
    index = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)
    index = index[np.abs(index).sum(1) <= 14]
    # Image i along an axis: i even keeps the source's side, i odd mirrors it.
    position = np.where(index % 2 == 0, index * size + source, (index + 1) * size - source)
    delay = np.linalg.norm(position - microphone, axis=1)
    low = np.abs(np.where(index >= 0, index // 2, (index - 1) // 2))
    high = np.abs(np.where(index >= 0, (index + 1) // 2, index // 2))
    gain = np.prod(reflection[:3] ** low * reflection[3:] ** high, axis=1) / np.maximum(delay, 0.1)
    gain *= rng.choice([-1, 1], len(gain)) ** (np.abs(index).sum(1) > 3)
    sample = (delay * (RATE / 343.0)).astype(int)
    response = np.zeros(length, dtype=np.float32)
    keep = sample < length
    np.add.at(response, sample[keep], gain[keep])
    start = max(0, int(np.argmax(np.abs(response))) - 8)
    response = response[start:]
    # Diffuse tail, decaying as the late part of the images does.
    decay = rng.uniform(0.1, 0.5)
    tail = rng.normal(size=len(response)) * np.exp(-6.9 * np.arange(len(response)) / (decay * RATE))
    tail[:int(0.02 * RATE)] = 0
    response += (rng.uniform(0, 0.03) * np.abs(response).max() * tail).astype(np.float32)
    return response / np.sqrt(np.square(response).sum())


def room_bank(path, count=300):
    """A fixed bank of rooms, computed once."""
    if not os.path.exists(path):
        rng = np.random.default_rng(5)
        rooms = [image_room(rng) for _ in range(count)]
        longest = max(len(r) for r in rooms)
        np.save(path, np.stack([np.pad(r, (0, longest - len(r))) for r in rooms]).astype(np.float32))
    return np.load(path)


def convolve(samples, response):
    size = 1 << int(np.ceil(np.log2(len(samples) + len(response))))
    spectrum = torch.fft.rfft(torch.from_numpy(samples), size) * torch.fft.rfft(torch.from_numpy(response), size)
    return torch.fft.irfft(spectrum, size)[:len(samples)].numpy()


def coloured_noise(rng, count):
    """Noise with a random spectral slope (white to brown) and a random tilt band."""
    size = 1 << int(np.ceil(np.log2(max(count, 1024))))
    spectrum = torch.fft.rfft(torch.from_numpy(rng.standard_normal(size).astype(np.float32)))
    frequency = np.linspace(0, 8000, size // 2 + 1)
    shape = np.maximum(frequency, 30.0) ** (-rng.uniform(0, 1.2))
    if rng.random() < 0.4:
        centre, width = rng.uniform(100, 6000), rng.uniform(100, 2500)
        shape = shape * (0.15 + np.exp(-0.5 * ((frequency - centre) / width) ** 2))
    noise = torch.fft.irfft(spectrum * torch.from_numpy(shape.astype(np.float32)), size)[:count].numpy()
    if rng.random() < 0.3:
        points = rng.uniform(0.1, 1.0, max(2, count // 8000))
        noise = noise * np.interp(np.arange(count), np.linspace(0, count, len(points)), points).astype(np.float32)
    return noise / (noise.std() + 1e-9)


def hum(rng, count):
    t = np.arange(count, dtype=np.float32) / RATE
    base = rng.choice([50.0, 60.0, rng.uniform(80, 400)])
    out = np.zeros(count, dtype=np.float32)
    for harmonic in range(1, rng.integers(2, 12)):
        out += np.sin(2 * np.pi * base * harmonic * t + rng.uniform(0, 6.28)) * rng.uniform(0.1, 1) / harmonic
    return out / (out.std() + 1e-9)


def clicks(rng, count):
    """Typing, clicks, knocks: short decaying bursts."""
    out = np.zeros(count, dtype=np.float32)
    rate = rng.uniform(1, 10)
    for start in rng.integers(0, max(1, count - 1), max(1, int(rate * count / RATE))):
        length = int(rng.uniform(0.003, 0.05) * RATE)
        burst = rng.standard_normal(length) * np.exp(-np.arange(length) / (length * rng.uniform(0.1, 0.4)))
        if rng.random() < 0.4:
            burst *= np.sin(np.arange(length) * rng.uniform(0.05, 1.5))
        end = min(count, start + length)
        out[start:end] += (burst[:end - start] * rng.uniform(0.2, 1)).astype(np.float32)
    return out / (out.std() + 1e-9)


def tones(rng, count):
    """Music-like: a few notes with harmonics and a slow envelope."""
    out = np.zeros(count, dtype=np.float32)
    for _ in range(rng.integers(1, 4)):
        position = 0
        while position < count:
            length = min(count - position, int(rng.uniform(0.1, 1.2) * RATE))
            t = np.arange(length, dtype=np.float32) / RATE
            pitch = 110.0 * 2 ** (rng.integers(0, 36) / 12)
            note = sum(np.sin(2 * np.pi * pitch * h * t) / h ** rng.uniform(0.8, 2) for h in range(1, 6))
            out[position:position + length] += note * np.exp(-t * rng.uniform(0.5, 6)).astype(np.float32)
            position += length
    return out / (out.std() + 1e-9)


class Pipeline:
    """Draws distortions; `babble` is a function returning speech samples."""

    def __init__(self, rng, rooms, babble):
        self.rng, self.rooms, self.babble, self.noises = rng, rooms, babble, []

    def coloured(self, count):
        """Coloured noise out of a stock that is slowly renewed: to make it anew each time would be most of the work."""
        if len(self.noises) < 100 or self.rng.random() < 0.02:
            made = coloured_noise(self.rng, max(count, 1 << 19)).astype(np.float32)
            if len(self.noises) == 100:
                self.noises.pop(self.rng.integers(0, 100))
            self.noises.append(made)
        else:
            made = self.noises[self.rng.integers(0, len(self.noises))]
        made = np.resize(made, max(count, len(made)))
        start = self.rng.integers(0, len(made) - count + 1)
        part = made[start:start + count]
        return part / (part.std() + 1e-9)

    def noise(self, count):
        kind = self.rng.random()
        if kind < 0.5:
            return self.coloured(count)
        if kind < 0.72:
            out = np.zeros(count, dtype=np.float32)
            for _ in range(self.rng.integers(3, 7)):
                voice = self.babble()
                if len(voice):
                    repeated = np.resize(np.roll(voice, self.rng.integers(0, len(voice))), count)
                    out += repeated / (repeated.std() + 1e-6) * self.rng.uniform(0.3, 1)
            return out / (out.std() + 1e-9)
        if kind < 0.82:
            return hum(self.rng, count)
        if kind < 0.92:
            return clicks(self.rng, count)
        return tones(self.rng, count)

    def nonspeech(self):
        """A clip without words."""
        count = int(self.rng.uniform(1, 8) * RATE)
        if self.rng.random() < 0.12:
            return np.zeros(count, dtype=np.float32)
        out = np.zeros(count, dtype=np.float32)
        for _ in range(self.rng.integers(1, 4)):
            kind = self.rng.integers(0, 4)
            part = self.coloured(count) if kind == 0 else (hum, clicks, tones)[kind - 1](self.rng, count)
            out += part * self.rng.uniform(0.1, 1)
        level = 10 ** (self.rng.uniform(-70, -12) / 20)
        return (out / (out.std() + 1e-9) * level).astype(np.float32)

    def distort(self, x, synthetic, strength):
        """-> (distorted, samples put before); strength 0..1: how often the harder distortions come."""
        rng = self.rng
        if rng.random() < 0.25 * strength:
            x = vocode(rng, x)
        before, after = (min(24000, int(rng.exponential(0.25) * RATE)) for _ in range(2))
        x = np.pad(x, (before, after))
        if rng.random() < (0.45 if synthetic else 0.3) * strength:
            x = convolve(x, self.rooms[rng.integers(0, len(self.rooms))])
        loud = np.abs(x) > 0.02 * np.abs(x).max()
        level = np.sqrt(np.square(x[loud]).mean()) + 1e-6 if loud.any() else 1e-3
        # A faint floor always, so that digital silence never marks synthesis.
        x = x + self.coloured(len(x)) * level * 10 ** (-rng.uniform(30, 70) / 20)
        if rng.random() < 0.5 * strength:
            x = x + self.noise(len(x)) * level * 10 ** (-rng.uniform(2, 28) / 20)
        if rng.random() < 0.05 * strength:
            limit = rng.uniform(0.2, 0.8) * np.abs(x).max()
            x = np.clip(x, -limit, limit)
        x = x * (10 ** (rng.uniform(-35, -8) / 20) / (level + 1e-9))
        if rng.random() < 0.06 * strength:
            y = np.sign(x) * np.log1p(255 * np.minimum(1, np.abs(x))) / np.log(256)
            y = np.round(y * 127) / 127
            x = np.sign(y) * np.expm1(np.abs(y) * np.log(256)) / 255
        return np.clip(x, -1, 1).astype(np.float32), before

    def features(self, x, synthetic, strength, tempo_limit):
        """-> (log-mels [T, 80], hop); tempo_limit is the fastest tempo the transcript bears."""
        rng = self.rng
        spread = (0.2 if synthetic else 0.15) * strength
        hop = int(round(160 * min(tempo_limit, np.exp(rng.normal(0, spread)).clip(0.75, 1.3))))
        warp = float(np.exp(rng.uniform(-1, 1) * (0.3 if synthetic else 0.2) * strength))
        power = features.power_spectrogram(torch.from_numpy(x), hop)
        if rng.random() < 0.12 * strength:
            top = int(rng.uniform(3000, 7500) / 31.25)
            power[:, top:] *= 1e-4
            if rng.random() < 0.4:
                power[:, :int(rng.uniform(100, 350) / 31.25)] *= 1e-3
        if rng.random() < 0.4 * strength:
            # A smooth random microphone response.
            knots = rng.normal(0, 4, 8)
            curve = np.interp(np.linspace(0, 7, 257), np.arange(8), knots)
            power = power * torch.from_numpy(10 ** (curve / 10)).float()
        return features.normalise(features.log_mel(power, warp)), hop

    def views(self, mel, strength):
        """[2, T, 80]: the features under two maskings."""
        return torch.stack([self.mask(mel.clone(), strength), self.mask(mel, strength)])

    def mask(self, mel, strength):
        """SpecAugment with the mean (zero) as filling; a fifth of the frames, at most half, at strength 0.5."""
        rng = self.rng
        for _ in range(2):
            width = int(rng.integers(0, 1 + int(27 * strength)))
            start = int(rng.integers(0, 80 - width))
            mel[:, start:start + width] = 0
        for _ in range(1 + int(len(mel) * 0.025)):
            width = int(rng.integers(0, 1 + min(int(32 * strength), len(mel) // 12)))
            start = int(rng.integers(0, len(mel) - width + 1))
            mel[start:start + width] = 0
        return mel
