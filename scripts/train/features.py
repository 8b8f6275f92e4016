"""Log-mel features, exactly those of the C engine and of NeMo since 2.5.

Pre-emphasis 0.97, STFT 512/400/160 with a symmetric Hann window and constant
centre padding, power, Slaney mel filters, ln(x + 2^-24), mean and standard
deviation (divisor N-1, +1e-5) per mel bin over the valid frames.
"""
import math

import numpy as np
import torch

RATE, FFT, WINDOW, HOP, MELS = 16000, 512, 400, 160, 80
GUARD = 2.0 ** -24


def mel_filters(bins=MELS, warp=1.0, fft=FFT):
    """[bins, fft / 2 + 1] float64; warp scales the frequency axis (vocal tract length)."""
    def to_mel(hz):
        return hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) * 27 / math.log(6.4)

    def to_hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top = to_mel(8000.0)
    points = np.array([to_hz(top * i / (bins + 1)) for i in range(bins + 2)])
    frequency = np.arange(fft // 2 + 1) * (RATE / fft)
    if warp != 1.0:
        # Piecewise linear: scaled below the knee, then straight to 8 kHz.
        knee = 6800.0 / max(warp, 1.0)
        frequency = np.where(frequency <= knee, frequency * warp,
                             8000 - (8000 - knee * warp) * (8000 - frequency) / (8000 - knee))
    left, centre, right = points[:-2, None], points[1:-1, None], points[2:, None]
    rising = (frequency[None] - left) / (centre - left)
    falling = (right - frequency[None]) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)


def power_spectrogram(samples, hop=HOP):
    """samples: float32 tensor [S] in [-1, 1] -> [floor(S/hop), 257]."""
    emphasised = samples.clone()
    emphasised[1:] -= 0.97 * samples[:-1]
    window = torch.zeros(FFT)
    window[56:456] = torch.hann_window(WINDOW, periodic=False)
    padded = torch.nn.functional.pad(emphasised, (FFT // 2, FFT // 2))
    frames = padded.unfold(0, FFT, hop)[:max(1, len(samples) // hop)]
    spectrum = torch.fft.rfft(frames * window)
    return spectrum.real.square() + spectrum.imag.square()


def normalise(mel):
    """mel [V, F] -> zero mean, unit deviation per bin."""
    mean = mel.mean(0)
    if len(mel) < 2:
        return torch.zeros_like(mel)
    return (mel - mean) / (mel.std(0) + 1e-5)


_FILTERS = {}


def log_mel(power, warp=1.0):
    warp = round(warp, 2)
    if warp not in _FILTERS:
        _FILTERS[warp] = torch.tensor(mel_filters(warp=warp), dtype=torch.float32).t().contiguous()
    return torch.log(power @ _FILTERS[warp] + GUARD)


def features(samples):
    """float32 samples -> [V, 80] as the recogniser sees them."""
    return normalise(log_mel(power_spectrogram(samples)))
