#!/usr/bin/env python3
"""Writes tests/unit/neural_lm.inc: what PyTorch's LSTM makes of two histories on weights that test_neural_lm.c can
generate too."""
import os

import numpy as np
import torch

PIECES, INPUT, HIDDEN = 12, 8, 16
HISTORIES = ((0, 3, 7, 7, 1, 11), (0, 3, 2, 9, 5, 4))       # the start, and what comes after it
SCALE = 1.5


def generator():
    seed = 11
    while True:
        seed = (seed * 1664525 + 1013904223) & 0xffffffff
        yield ((seed >> 8) / (1 << 23) - 1) * SCALE


def main():
    values = generator()

    def tensor(*shape):
        return torch.tensor(np.fromiter(values, np.float64, int(np.prod(shape))).reshape(shape))

    torch.set_default_dtype(torch.float64)
    embed = tensor(PIECES, INPUT)
    lstm = torch.nn.LSTM(INPUT, HIDDEN)
    with torch.no_grad():
        for name, shape in (("weight_ih_l0", (4 * HIDDEN, INPUT)), ("bias_ih_l0", (4 * HIDDEN,)), ("weight_hh_l0", (4 * HIDDEN, HIDDEN))):
            getattr(lstm, name).copy_(tensor(*shape))
        lstm.bias_hh_l0.zero_()
        out, bias = tensor(PIECES, HIDDEN), tensor(PIECES)
        rows = [torch.log_softmax(lstm(embed[list(history)])[0] @ out.T + bias, 1) for history in HISTORIES]
    path = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "unit", "neural_lm.inc")
    with open(path, "w", encoding="utf-8") as file:
        file.write("/* Written by scripts/parity/neural_lm.py: log p after each piece of each history. */\n")
        file.write("static const int histories[%d][%d] = {%s};\n" % (len(HISTORIES), len(HISTORIES[0]), ", ".join(
            "{%s}" % ", ".join(map(str, history)) for history in HISTORIES)))
        file.write("static const double expected[%d][%d][%d] = {\n" % (len(HISTORIES), len(HISTORIES[0]), PIECES))
        for history in rows:
            file.write("    {%s},\n" % ",\n     ".join("{%s}" % ", ".join("%.6f" % v for v in row) for row in history))
        file.write("};\n")


main()
