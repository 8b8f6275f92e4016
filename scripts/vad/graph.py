"""Silero's published 16 kHz graph in PyTorch, with the tensor names of its safetensors file.

Whole sequences are run at once: all steps but the LSTM look at one hop only.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

HOP, CONTEXT, WINDOW, STRIDE = 512, 64, 256, 128


def stft_basis():
    """Rows 0…128 w·cos, 129…257 −w·sin, w the periodic Hann window."""
    n = torch.arange(WINDOW, dtype=torch.float64)
    k = torch.arange(WINDOW // 2 + 1, dtype=torch.float64)[:, None]
    w = 0.5 - 0.5 * torch.cos(2 * math.pi * n / WINDOW)
    angle = 2 * math.pi * k * n / WINDOW
    return torch.cat([w * torch.cos(angle), -w * torch.sin(angle)]).float()[:, None, :]


@torch.no_grad()
def magnitudes(x):
    """[N, 640] → [N, 4, 129]; the same numbers as a convolution with the basis."""
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(WINDOW) / WINDOW)
    return torch.fft.rfft(x.unfold(1, WINDOW, STRIDE) * window).abs()


def convolve(x, conv):
    """Conv1d on [N, T, C] as one matrix product, which is much faster for so few steps."""
    taps = F.pad(x, (0, 0, 1, 1)).unfold(1, 3, conv.stride[0])
    return F.linear(taps.reshape(*taps.shape[:2], -1), conv.weight.reshape(conv.out_channels, -1), conv.bias)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("basis", stft_basis())
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, pcm):
        """pcm [B, T·512] from a fresh state → logits [B, T]."""
        return self.step(pcm, None)[0]

    def step(self, pcm, state):
        """The same from a state (h, c), each [1, B, 128], or None; the new state comes back too."""
        batch, hops = pcm.shape[0], pcm.shape[1] // HOP
        x = F.pad(pcm, (CONTEXT, 0)).unfold(1, HOP + CONTEXT, HOP).reshape(batch * hops, HOP + CONTEXT)
        x = torch.cat([x, x[:, 511:575].flip(1)], 1)
        m = magnitudes(x)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            m = F.relu(convolve(m, conv))
        h, state = self.lstm(m.reshape(batch, hops, 128), state)
        return self.final_conv(F.relu(h).transpose(1, 2))[:, 0], state

    def tensors(self):
        """The state under the published names, in the published order."""
        out = {"stft_conv.weight": self.basis}
        for name in ("conv1", "conv2", "conv3", "conv4"):
            out[name + ".weight"], out[name + ".bias"] = getattr(self, name).weight, getattr(self, name).bias
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            out["lstm_cell." + name] = getattr(self.lstm, name + "_l0")
        out["final_conv.weight"], out["final_conv.bias"] = self.final_conv.weight, self.final_conv.bias
        return {k: v.detach().contiguous() for k, v in out.items()}

    def load(self, tensors):
        state = {"basis": tensors["stft_conv.weight"]}
        for name, value in tensors.items():
            if name.startswith("lstm_cell."):
                state["lstm." + name[10:] + "_l0"] = value
            elif name != "stft_conv.weight":
                state[name] = value
        self.load_state_dict({k: v.float() for k, v in state.items()})
