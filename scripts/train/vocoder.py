"""Speech taken apart into spectral envelope and pitch, and made anew by pulses and noise: how synthesisers speak.

Diphone and statistical synthesis differ from people in the same few ways, whoever recorded their voice: a buzz for a
source, a pitch that hardly moves, spectra that were smoothed over time.  `vocode` gives these to any recording.
"""
import numpy as np

from store import RATE

HOP, SIZE, LAGS = 80, 512, (40, 266)       # samples between frames; of a spectrum; pitch of 400 to 60 Hz


def frames_of(x, width):
    """[T, width] around every HOP-th sample."""
    padded = np.pad(x, (width // 2, width // 2 + HOP))
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::HOP][:1 + len(x) // HOP]


def smooth(rows, deviation):
    """Gaussian over time (frames)."""
    if deviation < 0.3:
        return rows
    reach = int(np.ceil(2.5 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    padded = np.pad(rows, ((reach, reach), (0, 0)), mode="edge")
    return sum(w * padded[i:i + len(rows)] for i, w in enumerate(weights / weights.sum()))


def pitch(x):
    """-> (period in samples, how periodic 0..1) of each frame, by the normalised autocorrelation of 40 ms."""
    window = np.hanning(640)
    frames = frames_of(x, 640)
    frames = frames - frames.mean(1, keepdims=True)
    spectrum = np.fft.rfft(frames * window.astype(np.float32), 1024)
    correlation = np.fft.irfft(spectrum.real ** 2 + spectrum.imag ** 2)[:, :LAGS[1] + 1]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 1024)) ** 2)[:LAGS[1] + 1]
    correlation = correlation / (correlation[:, :1] + 1e-9) * (own[0] / own)
    # A little less for long periods, so that twice the period is not taken for it.
    part = correlation[:, LAGS[0]:] * (1 - 0.0006 * np.arange(LAGS[1] + 1 - LAGS[0]))
    return LAGS[0] + part.argmax(1), part.max(1).clip(0, 1)


def envelope(x, order):
    """Cepstra [T, order] of the spectral envelope, with 25 ms windows."""
    spectrum = np.fft.rfft(frames_of(x, 400) * np.hanning(400).astype(np.float32), SIZE)
    power = spectrum.real ** 2 + spectrum.imag ** 2
    return np.fft.irfft(0.5 * np.log(power + 1e-7 * power.mean() + 1e-10))[:, :order]


def vocode(rng, x):
    """float32 samples -> as many, by another source; which one, and how smooth, rng says."""
    order = int(rng.integers(20, 40))
    period, periodic = pitch(x)
    cepstra = smooth(envelope(x, order), rng.uniform(0, 5) if rng.random() < 0.6 else 0)
    voiced = smooth((periodic > 0.5).astype(np.float32)[:, None], 1.5)[:, 0]
    speaking = (periodic > 0.6) & (cepstra[:, 0] > np.quantile(cepstra[:, 0], 0.3))
    usual = np.median(period[speaking]) if speaking.any() else 130.0
    # The pitch of the speaker or another one; as it moves, or nearly flat.
    moves = rng.uniform(0, 0.4) if rng.random() < 0.6 else 1.0
    log_period = np.log(np.where(voiced > 0.5, period, usual) / usual)
    log_period = smooth(log_period.clip(-0.5, 0.5)[:, None], 4)[:, 0] * moves
    centre = usual if rng.random() < 0.4 else RATE / rng.uniform(75, 240)
    fall = rng.uniform(0, 0.25) * np.linspace(-0.5, 0.5, len(period))
    period = centre * np.exp(log_period + fall)

    cepstra[:, 1:] *= rng.uniform(0.95, 1.2)                     # sharper formants
    folded = np.zeros((len(cepstra), SIZE), dtype=np.float32)    # of least phase
    folded[:, :order] = cepstra
    folded[:, 1:order] *= 2
    filters = np.exp(np.fft.rfft(folded))

    ticks = np.cumsum(1 / period) * HOP
    at = np.interp(np.arange(1, int(ticks[-1])), ticks, np.arange(len(ticks)))      # pulses, in frames
    frame = at.astype(int)
    gain = np.sqrt(period[frame]) * voiced[frame]
    heard = gain > 1e-3
    at, frame, gain = at[heard], frame[heard], gain[heard]
    impulses = np.fft.irfft(filters)
    out = np.zeros(len(x) + 2 * SIZE, dtype=np.float64)
    start = np.rint(at * HOP).astype(int)
    breath = rng.uniform(0, 0.35) if rng.random() < 0.6 else 0.0
    np.add.at(out, start[:, None] + np.arange(SIZE), impulses[frame] * (gain * (1 - breath))[:, None])

    source = np.fft.rfft(rng.standard_normal((len(cepstra), 2 * HOP)) * np.hanning(2 * HOP) ** 0.5, SIZE)
    noise = np.fft.irfft(source * filters) * np.sqrt((1 - voiced) + voiced * breath ** 2)[:, None]
    start = np.maximum(0, np.arange(len(cepstra)) * HOP - HOP)
    np.add.at(out, start[:, None] + np.arange(SIZE), noise)
    out = out[:len(x)]
    return (out * (np.sqrt(np.square(x).mean()) / (np.sqrt(np.square(out).mean()) + 1e-9))).astype(np.float32)
