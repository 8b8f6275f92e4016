"""Compare the C engine with PyTorch on the held-out sets: tokens, and word errors of the engine.

usage: compare.py MODEL.gguf [--backend NAME] [--decoder ctc|tdt] [--limit N] [--no-reference]

Run in the repository after make: engine_tokens.c is linked with build/librec-stt.a.
"""
import argparse
import json
import os
import subprocess

import jiwer
import torch

from reference import read_gguf, transcribe
from store import Store, base_directory
from text import for_scoring

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SETS = {"heldout": "real", "librispeech": "real", "lj": "real", "speechocean": "real", "film": "real",
        "commonvoice": "cv1", "synthetic_heldout": "synthetic_heldout"}
TOGETHER = {"read by natives": ("heldout", "librispeech", "lj"), "real": [s for s in SETS if s != "synthetic_heldout"],
            "all": list(SETS)}


def build(*instead):
    """The helper program, linked as the executable is; other sources may stand for parts of the library."""
    program = os.path.join(base_directory(), "work", instead[0] if instead else "engine_tokens")
    libraries = subprocess.run(["make", "-s", "-C", ROOT, "--eval", "show-libs: ; @echo $(LIBS)", "show-libs"],
                               check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    subprocess.run(["cc", "-std=gnu11", "-O2", "-I" + os.path.join(ROOT, "src"), "-o", program,
                    *(os.path.join(HERE, name + ".c") for name in ("engine_tokens", *instead)),
                    os.path.join(ROOT, "build", "librec-stt.a"), *libraries], check=True)
    return program


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--decoder", default="ctc")
    parser.add_argument("--limit", type=int, default=10 ** 9)
    parser.add_argument("--no-reference", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, pieces, _ = read_gguf(options.model)
    program = build()
    same = compared = 0
    counts = {}
    for name, cache in SETS.items():
        base = os.path.join(base_directory(), "cache", cache)
        store = Store(base)
        items = [item for item in store.items if item[3] == name]
        items = items[::max(1, len(items) // options.limit)][:options.limit]
        done = subprocess.run([program, options.model, options.backend, options.decoder, base + ".pcm"], check=True,
                              input="".join("%d %d\n" % item[:2] for item in items), stdout=subprocess.PIPE, text=True)
        tokens = [[int(t) for t in line.split()] for line in done.stdout.split("\n")[:len(items)]]
        score = jiwer.process_words([for_scoring(i[5]) for i in items], [for_scoring(pieces.decode(t)) for t in tokens])
        errors = score.substitutions + score.deletions + score.insertions
        counts[name] = errors, score.hits + score.substitutions + score.deletions
        record = {"set": name, "backend": options.backend, "decoder": options.decoder, "utterances": len(items),
                  "words": counts[name][1], "engine_wer": round(100 * score.wer, 2)}
        if not options.no_reference:
            expected = [transcribe(model, store.audio(item), options.decoder)[0] for item in items]
            equal = sum(a == b for a, b in zip(tokens, expected))
            record["same_tokens"] = equal
            same, compared = same + equal, compared + len(items)
        print(json.dumps(record), flush=True)
    for name, sets in TOGETHER.items():
        errors, words = (sum(counts[s][k] for s in sets) for k in (0, 1))
        print(json.dumps({"sets": name, "words": words, "engine_wer": round(100 * errors / words, 2),
                          "mean_of_sets": round(100 * sum(counts[s][0] / counts[s][1] for s in sets) / len(sets), 2)}))
    if compared:
        print("identical tokens in %d of %d (%.2f %%)" % (same, compared, 100 * same / compared))


if __name__ == "__main__":
    main()
