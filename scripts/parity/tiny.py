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

import numpy as np
import torch

from common import (PIECES, build, calibrate, check_features, ctc_greedy, encode, features, generated, greedy, randomize, signal, write_gguf)

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
}


def sampled(t, keep):
    flat = t.reshape(-1).numpy().astype(np.float32)
    stride = max(1, -(-len(flat) // keep))
    if stride > 1 and stride % 2 == 0:
        stride += 1                             # odd, so that it walks over all columns
    got = flat[::stride]
    return struct.pack("<IIIf", len(flat), stride, len(got), np.abs(flat).max()) + got.tobytes()


def run(model, decoder, normalize, start):
    """All inputs of one decoder; a seed whose decoding has a near tie is passed over for the next."""
    out, tried, total, kinds, durations = [], 0, 0, set(), {}
    seed = start
    for i, n in enumerate(LENGTHS):
        while True:
            seed += 1
            tried += 1
            assert tried < 2000, "almost every input has a near tie: change the gains"
            mel, mask = features(signal(seed, n), model.spec["mels"], normalize)
            hidden = []
            enc = encode(model, mel, mask, hidden)
            steps, margin = decoder(enc)
            if margin < (MARGIN if n < 100000 else MARGIN / 8):
                continue
            ids, timed = generated(model, mel, mask) if model.reference else ([s[0] for s in steps], None)
            if timed is not None and [s[:3] for s in steps] != timed and model.spec["head"] == "tdt":
                continue                        # HF has no limit of ten symbols for TDT
            assert ids == [s[0] for s in steps], (ids, steps)
            break
        v = int(mask.sum())
        stages = [mel[0, :v]] + hidden
        blob = struct.pack("<5I", seed, n, v, enc.shape[1], len(stages))
        for j, t in enumerate(stages):
            blob += sampled(t, 4096 if i == 4 else (61 if j == 0 else 41))
        blob += struct.pack("<I", len(steps))
        for k, t, d, p in steps:
            blob += struct.pack("<IIIf", k, t, d, p)
            kinds.add(k)
            durations[d] = durations.get(d, 0) + 1
        total += len(steps)
        out.append(blob)
    print(f"    {len(out)} inputs from {tried} seeds, {total} tokens, {len(kinds)} kinds, durations {sorted(durations.items())}")
    return struct.pack("<I", len(out)) + b"".join(out)


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
        calibrate(model, [1, 2], normalize)
        extra = []
        if spec.get("hybrid"):
            g = torch.Generator().manual_seed(7)
            w = torch.randn(len(PIECES) + 1, spec["d"], generator=g) * 0.6
            mel, mask = features(signal(3, 160000), spec["mels"], normalize)
            e = encode(model, mel, mask)[0]
            w = w / (w @ (e - e.mean(0)).T).std(1, keepdim=True) * 1.5
            extra = [("ctc_decoder.decoder_layers.0.weight", w), ("ctc_decoder.decoder_layers.0.bias", -(w @ e.mean(0)))]
        write_gguf(model, folder / f"{name}.gguf", name, extra, bank="bank" in spec, normalize=normalize)
        runs = [(spec["head"], lambda enc: greedy(model, enc), True)]
        if spec.get("hybrid"):
            runs.append(("ctc", lambda enc: ctc_greedy(enc[0] @ extra[0][1].T + extra[1][1], len(PIECES)), False))
        blob = b"RSPF" + struct.pack("<I", len(runs))
        print(name)
        for word, decoder, reference in runs:
            model.reference = reference
            blob += struct.pack("<I", len(word)) + word.encode() + run(model, decoder, normalize, 1000 * (index + 1))
        (folder / f"{name}.expect").write_bytes(blob)
        print("   ", (folder / f"{name}.gguf").stat().st_size, (folder / f"{name}.expect").stat().st_size, "bytes")


main()
