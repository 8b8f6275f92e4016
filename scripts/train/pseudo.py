"""Transcribe recordings that have no words with the model itself, and keep what it is sure of.

usage: pseudo.py MODEL.gguf NAME FOLDER...

Decodes every recording of the folders into cache/raw_NAME (once) and writes cache/pseudo_NAME for the trainer
(its group "pseudo").  Sure is where two rather different decoders agree: the transducer with the language model, whose
words are taken, and the greedy CTC head without one (at most LIMIT of the words differ).
"""
import concurrent.futures
import glob
import os
import subprocess
import sys

import jiwer

from compare import build
from reference import read_gguf
from store import RATE, Store, Writer, base_directory, decode_file

LIMIT = 0.15


def decode_folders(base, folders):
    writer = Writer(base)
    paths = sorted(path for folder in folders for path in glob.glob(os.path.join(folder, "*")))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, samples in zip(paths, pool.map(decode_file, paths)):
            if 1.5 < len(samples) / RATE < 16:
                writer.add(samples, os.path.splitext(os.path.basename(path))[0], "unlabelled", path, "")
    writer.close()


def words(model, pieces, base, items, decoder):
    done = subprocess.run([build(), model, "auto", decoder, base + ".pcm"], check=True, stdout=subprocess.PIPE, text=True,
                          input="".join("%d %d\n" % item[:2] for item in items))
    return [pieces.decode([int(t) for t in line.split()]) for line in done.stdout.split("\n")[:len(items)]]


def main():
    model, name, *folders = sys.argv[1:]
    base = os.path.join(base_directory(), "cache", "raw_" + name)
    if not os.path.exists(base + ".tsv"):
        decode_folders(base, folders)
    store = Store(base)
    pieces = read_gguf(model)[1]
    best = words(model, pieces, base, store.items, "tdt")
    other = words(model, pieces, base, store.items, "ctc")
    writer = Writer(os.path.join(base_directory(), "cache", "pseudo_" + name))
    kept = seconds = 0
    for item, text, greedy in zip(store.items, best, other):
        if text.count(" ") >= 2 and greedy and jiwer.wer(text, greedy) <= LIMIT:
            writer.add(store.audio(item), "pseudo_" + item[2], "train", item[4], text)
            kept, seconds = kept + 1, seconds + item[1] / RATE
    writer.close()
    print("%d of %d recordings kept, %.2f h" % (kept, len(store.items), seconds / 3600))


if __name__ == "__main__":
    main()
