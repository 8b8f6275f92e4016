#!/usr/bin/env python3
"""Writes tests/unit/vad_silero.inc: what PyTorch's form of the graph answers on weights and sound that the
unit test makes in the same way (a linear congruential generator), so that no weights need be committed."""
import os

import numpy as np
import torch

from graph import HOP, Detector

HOPS = 48
SCALES = {"conv1": 0.12, "conv2": 0.09, "conv3": 0.12, "conv4": 0.12, "lstm_cell": 0.14, "final_conv": 3.0}


class Generator:
    def __init__(self):
        self.seed = 7

    def values(self, count):
        out = np.empty(count, np.float32)
        for i in range(count):
            self.seed = (self.seed * 1664525 + 1013904223) & 0xFFFFFFFF
            out[i] = (self.seed >> 8) / 2 ** 23 - 1
        return out


def main():
    net, g = Detector(), Generator()
    tensors = net.tensors()
    for name in tensors:
        if name != "stft_conv.weight":
            scale = np.float32(SCALES[name.split(".")[0]])
            tensors[name] = torch.tensor(g.values(tensors[name].numel()) * scale).reshape(tensors[name].shape)
    net.load(tensors)
    sound = g.values(HOPS * HOP) * (np.arange(HOPS * HOP) // 4096 % 3 * 0.25).astype(np.float32)
    with torch.no_grad():
        p = torch.sigmoid(net.double()(torch.tensor(sound.astype(np.float64))[None]))[0].numpy()
    path = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "unit", "vad_silero.inc")
    with open(path, "w", encoding="utf-8") as f:
        f.write("/* Written by scripts/vad/fixture.py. */\nstatic const double expected[] = {\n")
        for i in range(0, HOPS, 6):
            f.write("    " + " ".join(f"{v:.8f}," for v in p[i:i + 6]) + "\n")
        f.write("};\n")


main()
