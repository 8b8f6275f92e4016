#!/usr/bin/env python3
"""Writes the small parity fixtures: tiny-*.gguf (random weights) and tiny-*.expect (what the reference makes
of them). Usage: tiny.py FOLDER. The committed ones lie in tests/fixtures/parity.

An .expect file, little endian: "RSPF", u32 decoder runs; for each run: u32 name length, name ("tdt", "ctc", ...),
u32 inputs; for each input: u32 seed, samples, mel frames, encoder frames, tensors; for each tensor (mel, subsampling
output, each layer): u32 count, stride, kept; f32 largest magnitude; f32 values[kept] at 0, stride, 2*stride, ...;
then u32 tokens; for each: u32 id, frame, duration, f32 confidence.
"""
import struct
import sys
from pathlib import Path

import torch

from common import (PIECES, build, calibrate, check_features, ctc_greedy, encode, expectations, features, greedy, quantize_some, randomize,
                    signal, write_gguf)

MARGIN = 4e-3          # smallest lead of the best token and duration anywhere in a kept input
LENGTHS = [(t - 1) * 1280 + extra for t, extra in zip(range(1, 41), [480, 1280, 160, 1100, 640, 321, 959, 1279] * 5)]
LENGTHS += [480000, 16000 * 15, 16000 * 3 + 77]

SPECS = {
    "tiny-tdt": dict(head="tdt", d=32, layers=2, heads=4, ff=128, bias=False, kernel=9, channels=8, mels=128,
                     xscaling=False, hidden=24, lstm=2),
    "tiny-hybrid": dict(head="tdt", d=24, layers=2, heads=2, ff=96, bias=True, kernel=9, channels=12, mels=80,
                        xscaling=False, hidden=20, lstm=1, hybrid=True, bank=True),
    "tiny-ctc": dict(head="ctc", d=32, layers=2, heads=4, ff=128, bias=True, kernel=9, channels=8, mels=80, xscaling=True),
    "tiny-rnnt": dict(head="rnnt", d=36, layers=2, heads=3, ff=96, bias=True, kernel=5, channels=8, mels=80,
                      xscaling=True, hidden=28, lstm=2),
    "tiny-local": dict(head="ctc", d=32, layers=2, heads=4, ff=64, bias=True, kernel=9, channels=8, mels=80,
                       xscaling=False, local=(7, 5), raw=True, bank=True),
    "tiny-quants": dict(head="ctc", d=256, layers=1, heads=4, ff=256, bias=False, kernel=9, channels=8, mels=80, xscaling=False,
                        quants=True, lengths=12),
}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    check_features()
    for index, (name, spec) in enumerate(SPECS.items()):
        if len(sys.argv) > 2 and name not in sys.argv[2:]:
            continue
        spec.update(pieces=len(PIECES), vocab=PIECES)
        normalize = not spec.get("raw")
        model = build(spec)
        randomize(model, 100 + index)
        raw = quantize_some(model, index) if spec.get("quants") else ()
        calibrate(model, [1, 2], normalize)
        extra = []
        if spec.get("hybrid"):
            g = torch.Generator().manual_seed(7)
            w = torch.randn(len(PIECES) + 1, spec["d"], generator=g) * 0.6
            mel, mask = features(signal(3, 160000), spec["mels"], normalize)
            e = encode(model, mel, mask)[0]
            w = w / (w @ (e - e.mean(0)).T).std(1, keepdim=True) * 1.5
            extra = [("ctc_decoder.decoder_layers.0.weight", w), ("ctc_decoder.decoder_layers.0.bias", -(w @ e.mean(0)))]
        write_gguf(model, folder / f"{name}.gguf", name, extra, bank="bank" in spec, normalize=normalize, raw=raw)
        runs = [(spec["head"], lambda enc: greedy(model, enc), True)]
        if spec.get("hybrid"):
            runs.append(("ctc", lambda enc: ctc_greedy(enc[0] @ extra[0][1].T + extra[1][1], len(PIECES)), False))
        blob = b"RSPF" + struct.pack("<I", len(runs))
        print(name)
        for word, decoder, reference in runs:
            model.reference = reference
            blob += struct.pack("<I", len(word)) + word.encode() + expectations(model, decoder, LENGTHS[-spec.get("lengths", 99):], normalize, 1000 * (index + 1), MARGIN, (4,))
        (folder / f"{name}.expect").write_bytes(blob)
        print("   ", (folder / f"{name}.gguf").stat().st_size, (folder / f"{name}.expect").stat().st_size, "bytes")


main()
