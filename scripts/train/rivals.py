"""What the recogniser makes of distorted training recordings, right and wrong, for train.py's "risk".

usage: rivals.py MODEL.gguf SHARE CACHE...

Run in the repository after make.  Of SHARE of each cache's training recordings, distorted as train.py does it, the engine tells
all readings that are left in its beam.  CACHE.rivals gets a line for each recording whose readings differ in their errors:
"start<tab>words<tab>outside:errors:tokens|..." with the best four, or the best three and the one with the fewest errors; words is
how many were said, outside what speaks for a reading beside the transducer.
"""
import os
import random
import subprocess
import sys
import tempfile
import threading

import numpy as np
from rapidfuzz.distance import Levenshtein

from augment import Pipeline, room_bank
from compare import build
from reference import read_gguf
from store import RATE, Store, base_directory
from text import for_scoring

LONGEST, KEPT = 16, 4                   # seconds; readings


def distorted(store, items, pipeline, synthetic, file):
    """Writes the recordings; -> lines for the engine."""
    lines, position = [], 0
    for item in items:
        x, _ = pipeline.distort(store.audio(item).astype(np.float32) / 32768, synthetic, 1.0)
        file.write(np.clip(np.rint(x * 32768), -32768, 32767).astype("<i2").tobytes())
        lines.append("%d %d\n" % (position, len(x)))
        position += len(x)
    file.flush()
    return lines


def readings_of(line, said, pieces):
    """Of each wording the best: [(score, outside, errors, tokens)], the best first."""
    best = {}
    for part in line.rstrip("\n").split("|")[1:-1]:
        score, outside, *tokens = part.split()
        words = tuple(for_scoring(pieces.decode([int(t) for t in tokens])).split())
        if words not in best or best[words][0] < float(score):
            best[words] = float(score), float(outside), Levenshtein.distance(said, words), tokens
    return sorted(best.values(), reverse=True)


def main():
    model, share, *names = sys.argv[1:]
    _, pieces, _ = read_gguf(model)
    program = build("engine_readings")
    cache = os.path.join(base_directory(), "cache")
    rng = np.random.default_rng(5)
    voices = Store(os.path.join(cache, "real"))
    speech = [item for item in voices.items if item[3] == "train"]
    pipeline = Pipeline(rng, room_bank(os.path.join(cache, "rooms.npy")),
                        lambda: voices.audio(speech[rng.integers(len(speech))]).astype(np.float32) / 32768)
    for name in names:
        store, chance = Store(os.path.join(cache, name)), random.Random(5)
        items = [i for i in store.items if i[3] == "train" and i[5] and i[1] < LONGEST * RATE and chance.random() < float(share)]
        chosen = fewest = words = 0
        with tempfile.NamedTemporaryFile(suffix=".pcm") as audio, open(os.path.join(cache, name + ".rivals"), "w", encoding="utf-8") as out:
            lines = distorted(store, items, pipeline, name.startswith("synth"), audio)
            engine = subprocess.Popen([program, model, "auto", "tdt", audio.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=lambda: (engine.stdin.writelines(lines), engine.stdin.close())).start()
            for item in items:
                said = tuple(for_scoring(item[5]).split())
                readings = readings_of(engine.stdout.readline(), said, pieces)
                right = min(readings, key=lambda r: r[2])
                chosen, fewest, words = chosen + readings[0][2], fewest + right[2], words + len(said)
                kept = readings[:KEPT]
                if right not in kept:
                    kept[-1] = right
                if said and len({errors for _, _, errors, _ in kept}) > 1:
                    out.write("%d\t%d\t%s\n" % (item[0], len(said), "|".join(
                        "%.2f:%d:%s" % (outside, errors, " ".join(tokens)) for _, outside, errors, tokens in kept)))
        if engine.wait():
            sys.exit("rivals.py: the engine failed on %s" % name)
        print("%s: %d recordings, %.1f %% of the words wrong, at best %.1f" %
              (name, len(items), 100 * chosen / max(1, words), 100 * fewest / max(1, words)), flush=True)


if __name__ == "__main__":
    main()
