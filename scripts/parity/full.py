#!/usr/bin/env python3
"""The parity check at real sizes: writes a random model of the exact shape and what transformers makes of 21
inputs, then runs the C side on both. Usage: full.py FOLDER SHAPE [BACKEND]; SHAPE: 110m, 0.6b-v3, ctc-0.6b, rnnt-0.6b.
Needs about 2.6 GB on disk and 6 GB of memory for a 0.6b; FOLDER/SHAPE.* stay for benchmarks, delete them afterwards.
"""
import struct
import subprocess
import sys
from pathlib import Path

import torch

from common import build, calibrate, ctc_greedy, encode, expectations, features, greedy, randomize, signal, write_gguf

BIG = dict(d=1024, layers=24, heads=8, ff=4096, kernel=9, channels=256)
SHAPES = {
    "110m": dict(BIG, head="tdt", d=512, layers=17, ff=2048, bias=True, mels=80, xscaling=False, hidden=640, lstm=1, pieces=1024, hybrid=True),
    "0.6b-v3": dict(BIG, head="tdt", bias=False, mels=128, xscaling=False, hidden=640, lstm=2, pieces=8192),
    "ctc-0.6b": dict(BIG, head="ctc", bias=True, mels=80, xscaling=True, pieces=1024),
    "rnnt-0.6b": dict(BIG, head="rnnt", bias=True, mels=80, xscaling=True, hidden=640, lstm=2, pieces=1024),
}
LENGTHS = [480 + 1280 * t for t in (0, 1, 2, 3, 4, 5, 7, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39)] + [80000, 240000, 480000]


def main():
    folder, shape = Path(sys.argv[1]), sys.argv[2]
    backend = sys.argv[3] if len(sys.argv) > 3 else "f32-openblas"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    spec = SHAPES[shape]
    spec["vocab"] = [("▁" if i % 3 == 0 else "") + "".join(chr(97 + i // 26 ** k % 26) for k in range(3)) for i in range(spec["pieces"])]
    model = build(spec)
    randomize(model, 4711)
    calibrate(model, [1, 2], True)
    extra, runs = [], [(spec["head"], lambda enc: greedy(model, enc), True)]
    if spec.get("hybrid"):
        mel, mask = features(signal(3, 160000), spec["mels"])
        e = encode(model, mel, mask)[0]
        w = torch.randn(spec["pieces"] + 1, spec["d"], generator=torch.Generator().manual_seed(7))
        w = w / (w @ (e - e.mean(0)).T).std(1, keepdim=True) * 1.5
        bias = -(w @ e.mean(0))
        extra = [("ctc_decoder.decoder_layers.0.weight", w), ("ctc_decoder.decoder_layers.0.bias", bias)]
        runs.append(("ctc", lambda enc: ctc_greedy(enc[0] @ w.T + bias, spec["pieces"]), False))
    write_gguf(model, folder / f"{shape}.gguf", f"random-{shape}", extra, bank=False)
    blob = b"RSPF" + struct.pack("<I", len(runs))
    for word, decoder, model.reference in runs:
        blob += struct.pack("<I", len(word)) + word.encode() + expectations(model, decoder, LENGTHS, True, 100, 3e-4)
    (folder / f"{shape}.expect").write_bytes(blob)
    sys.exit(subprocess.run(["build/tests/test_parity", folder, shape, backend]).returncode)


main()
