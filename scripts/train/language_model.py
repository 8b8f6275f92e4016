"""An n-gram model over the recogniser's pieces, for the decoder's beam (src/asr/ngram.h has the format).

usage: language_model.py text OUT.txt SOURCE...   clean sentences, one a line
       language_model.py build TEXT[:WEIGHT]... OUT.ngram [--order N] [--bytes N]
       language_model.py words OUT.words SOURCE...       the set of known words (src/asr/words.h has the format)

text: SOURCE is a folder of plain-text books (Project Gutenberg's marks are cut off) or a file of sentences. Books that
are not English, books and sentences that share eight words in a row with a held-out transcript of the waveform caches,
and sentences that are one, are left out.
build: probabilities by absolute discounting with interpolation (Chen and Goodman, 1999), n-grams chosen by what leaving
them out would cost (Stolcke, "Entropy-based pruning of backoff language models", 1998), until BYTES are full.
words: SOURCE is a list of words or a file of sentences; what recordings in the waveform caches say in training is known
as well.
"""
import argparse
import os
import re
import struct
import sys

import numpy as np
import sentencepiece

from store import Store, base_directory
from synthesize import held_out
from text import normalise

COMMON = set("the of and to in that he was it his is with as for had you not be her on at by which have or from this".split())
RUN = 8
DISCOUNT = 0.8
STEP = 16.0                    # quantisation: nats per STEP
BACKOFF_ZERO = 48              # stored backoffs: log bow = (BACKOFF_ZERO - byte) / STEP
BLOCK = 64


# ---- Text ----

def runs_of(line):
    """Every eight words in a row."""
    words = line.split()
    return (" ".join(words[i:i + RUN]) for i in range(len(words) - RUN + 1))


def body(text):
    """Without Project Gutenberg's front and back matter."""
    begin = re.search(r"\*\*\* ?START OF.*?\*\*\*", text, re.S)
    end = re.search(r"\*\*\* ?END OF", text)
    return text[begin.end() if begin else 0:end.start() if end else len(text)]


def sentences(text):
    text = text.replace("\r", "").replace("_", "").replace("--", " . ").replace("\u2014", " . ")
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.isupper() or len(paragraph) < 20:
            continue
        paragraph = re.sub(r"\[[^\]]{0,200}\]", " ", " ".join(paragraph.split()))
        for sentence in re.split(r"(?<=[.!?;:])[\"'\u201d\u2019)]*\s+", paragraph):
            if re.fullmatch(r"[A-Za-z ,.;:!?\"'\u2019\u2018\u201c\u201d()-]+", sentence) and not re.search(r"\b(Mr|Mrs|Dr|St)\.", sentence):
                spoken = sentence.lower().replace("\u2019", "'").replace("\u2018", "'")
                spoken = re.sub(r"[^a-z']+", " ", spoken)
                spoken = " ".join(re.sub(r"(?<![a-z])'+|'+(?![a-z])", " ", spoken).split())
            else:
                spoken = normalise(sentence)
            if 2 <= spoken.count(" ") <= 60:
                yield spoken


def english(lines):
    words = " ".join(lines[len(lines) // 3:][:400]).split()
    return len(words) > 200 and sum(w in COMMON for w in words) > 0.2 * len(words)


def overlaps(line, runs):
    return any(run in runs for run in runs_of(line))


def clean(options):
    said = held_out(os.path.join(base_directory(), "cache"))
    runs = {run for line in said for run in runs_of(line)}
    books = dropped = kept = 0
    with open(options.out, "w", encoding="utf-8") as out:
        for source in options.source:
            if os.path.isfile(source):
                for line in open(source, encoding="utf-8"):
                    line = normalise(line.strip().split("|")[-1])
                    if line.count(" ") and line not in said and not overlaps(line, runs):
                        out.write(line + "\n")
                        kept += 1
                continue
            seen = set()
            for folder, _, names in sorted(os.walk(source)):
                for name in sorted(names):
                    if not name.endswith(".txt") or name in seen:
                        continue
                    seen.add(name)
                    with open(os.path.join(folder, name), encoding="utf-8", errors="ignore") as file:
                        lines = list(sentences(body(file.read())))
                    books += 1
                    if not english(lines) or any(overlaps(line, runs) for line in lines):
                        dropped += 1
                        continue
                    lines = [line for line in lines if line not in said]
                    out.write("\n".join(lines) + "\n")
                    kept += len(lines)
    print("%d books, %d of them left out, %d sentences" % (books, dropped, kept))


# ---- Counting ----

def encode(path, pieces):
    """All sentences as piece ids with a 0 before each."""
    parts = []
    with open(path, encoding="utf-8") as file:
        while lines := file.readlines(1 << 24):
            for ids in pieces.encode([line.strip() for line in lines], num_threads=2):
                if ids and 0 not in ids:
                    parts.append(np.array([0] + ids, dtype=np.uint8))
            print("\r%s: %d MB" % (path, file.buffer.tell() >> 20), end="", file=sys.stderr)
    print(file=sys.stderr)
    return np.concatenate(parts)


def encoded(path):
    """The same, kept beside the file."""
    cached = path + ".u8.npy"
    if not os.path.exists(cached) or os.path.getmtime(cached) < os.path.getmtime(path):
        pieces = sentencepiece.SentencePieceProcessor(os.path.join(base_directory(), "tokenizer.model"))
        np.save(cached, encode(path, pieces))
    return np.load(cached)


def count(streams, n):
    """-> (keys, weighted counts, counts) of all n-grams; a 0 stands only at their beginning."""
    keys, weighted, counts = [], [], []
    for stream, weight in streams:
        for at in range(0, len(stream), 1 << 25):
            part = stream[at:at + (1 << 25) + n - 1]
            if len(part) < n:
                continue
            m = len(part) - n + 1
            key, good = part[:m].astype(np.uint64), np.ones(m, bool)
            for i in range(1, n):
                key = (key << np.uint64(8)) | part[i:i + m]
                good &= part[i:i + m] != 0
            if n == 1:
                good &= part[:m] != 0
            k, c = np.unique(key[good], return_counts=True)
            if n > 4:
                k, c = k[c > 1], c[c > 1]
            keys.append(k)
            weighted.append(c * weight)
            counts.append(c)
    order = np.argsort(np.concatenate(keys), kind="stable")
    k = np.concatenate(keys)[order]
    first = np.flatnonzero(np.concatenate([[True], k[1:] != k[:-1]]))
    return k[first], *(np.add.reduceat(np.concatenate(c)[order], first) for c in (weighted, counts))


class Level:
    def __init__(self, n, keys, weighted, counts, lower):
        """What is rare in a text of large weight is rare nevertheless: as large a part of its count is taken off.  A
        context's own count tells how often something too rare to be here came after it, or the end."""
        self.n, self.keys, self.weighted = n, keys, weighted
        taken = weighted * np.maximum(1 - DISCOUNT / counts, 0)
        context = keys >> np.uint64(8)
        first = np.flatnonzero(np.concatenate([[True], context[1:] != context[:-1]]))
        self.group = np.repeat(np.arange(len(first)), np.diff(np.concatenate([first, [len(keys)]])))
        total = np.add.reduceat(weighted, first)
        if n > 1:
            at = np.minimum(np.searchsorted(lower.keys, context[first]), len(lower.keys) - 1)
            total = np.maximum(total, np.where(lower.keys[at] == context[first], lower.weighted[at], 0))
        gamma = (1 - np.add.reduceat(taken, first) / total)[self.group]
        if n == 1:
            self.lower = np.full(len(keys), 1 / 255)
        else:
            self.lower = lower.probability(keys & np.uint64((1 << 8 * (n - 1)) - 1))
        self.p = taken / total[self.group] + gamma * self.lower
        self.gain = weighted * (np.log(self.p) - np.log(gamma * self.lower))
        self.first = first

    def probability(self, keys):
        """For keys that are there; what was cut as too rare gets its lower order's."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found = self.keys[at] == keys
        p = np.where(found, self.p[at], 0)
        if not found.all() and self.n > 1:
            p[~found] = 0.4 * self.below.probability(keys[~found] & np.uint64((1 << 8 * (self.n - 1)) - 1))
        return np.maximum(p, 1e-9)


# ---- Pruning and writing ----

def choose(levels, threshold):
    """The n-grams worth keeping and the contexts they hang on, from the longest down."""
    kept, needed = [None] * len(levels), None
    for i in range(len(levels) - 1, -1, -1):
        level = levels[i]
        keep = level.gain > threshold if level.n > 1 else np.ones(len(level.keys), bool)
        if needed is not None:
            keep |= np.isin(level.keys, needed)
        kept[i] = keep
        needed = np.unique(level.keys[keep] >> np.uint64(8))
    return kept


def size_of(kept):
    counts = [int(k.sum()) for k in kept]
    return sum(4 * n + 4 * (n // BLOCK + 2) for n in counts[:-1]) + 2 * counts[-1], counts


def build(options):
    streams = []
    for text in options.text:
        path, _, weight = text.partition(":")
        streams.append((encoded(path), float(weight or 1)))
        print("%s: %.1f M pieces" % (path, len(streams[-1][0]) / 1e6))
    levels = []
    for n in range(1, options.order + 1):
        keys, weighted, counts = count(streams, n)
        if n > 3:                      # too rare to be chosen
            often = weighted >= (3 if n == 4 else 6)
            keys, weighted, counts = keys[often], weighted[often], counts[often]
        levels.append(Level(n, keys, weighted, counts, levels[-1] if levels else None))
        levels[-1].below = levels[-2] if n > 1 else None
        print("order %d: %d" % (n, len(keys)), flush=True)
    # the start of a sentence is a context, and nothing that is said
    levels[0].keys = np.concatenate([[np.uint64(0)], levels[0].keys])
    levels[0].p = np.concatenate([[1e-9], levels[0].p])
    levels[0].gain = np.concatenate([[1.0], levels[0].gain])
    low, high = 0.0, 1e6
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if size_of(choose(levels, middle))[0] > options.bytes else (low, middle)
    kept = choose(levels, high)
    size, counts = size_of(kept)
    print("threshold %.2f, n-grams %s, %d bytes" % (high, counts, size))
    write(options.out, levels, kept)


def backoffs(levels, kept):
    """log bow of every kept context: what its kept successors leave, over what they leave of the lower order."""
    result = []
    for i in range(len(levels) - 1):
        above, keep = levels[i + 1], kept[i + 1]
        keys = above.keys[keep]
        context = keys >> np.uint64(8)
        mine = levels[i].keys[kept[i]]
        at = np.searchsorted(mine, context)
        used, lower = np.zeros(len(mine)), np.zeros(len(mine))
        np.add.at(used, at, above.p[keep])
        np.add.at(lower, at, above.lower[keep])
        result.append(np.log(np.maximum(1 - used, 1e-4)) - np.log(np.maximum(1 - lower, 1e-4)))
    return result


def quantised(values, zero):
    return np.clip(np.rint(zero - values * STEP), 0, 255).astype(np.uint8)


def write(path, levels, kept):
    counts = [int(k.sum()) for k in kept]
    bow = backoffs(levels, kept)
    with open(path, "wb") as out:
        out.write(struct.pack("<4sII", b"RSNG", 1, len(levels)) + struct.pack("<%dI" % len(levels), *counts))
        for i, (level, keep) in enumerate(zip(levels, kept)):
            keys = level.keys[keep]
            out.write((keys & np.uint64(255)).astype(np.uint8).tobytes())
            out.write(quantised(np.log(level.p[keep]), 0).tobytes())
            if i + 1 == len(levels):
                break
            children = np.bincount(np.searchsorted(keys, levels[i + 1].keys[kept[i + 1]] >> np.uint64(8)), minlength=len(keys))
            assert children.max() < 256
            out.write(quantised(bow[i], BACKOFF_ZERO).tobytes())
            out.write(children.astype(np.uint8).tobytes())
            out.write(b"\0" * (-out.tell() % 4))
            begins = np.concatenate([[0], np.cumsum(children)])[::BLOCK].astype("<u4")
            out.write(begins.tobytes())
    print("%s: %d bytes" % (path, os.path.getsize(path)))


# ---- Words ----

MEMBER_BITS = 8                # of the set for each member: one stranger in fifty is let in
PROBES = 5
FNV_BASIS, FNV_PRIME, BITS64 = 0xcbf29ce484222325, 0x100000001b3, (1 << 64) - 1


def trained():
    """What recordings of the caches say in training."""
    cache = os.path.join(base_directory(), "cache")
    for name in sorted(os.listdir(cache)):
        if name.endswith(".tsv"):
            yield from (item[5] for item in Store(os.path.join(cache, name[:-4])).items if item[3] == "train")


def hashes(words):
    """FNV-1a of all beginnings of the words, and of each with a space after it."""
    found = set()
    for word in words:
        value = FNV_BASIS
        for letter in word.encode() + b" ":
            value = (value ^ letter) * FNV_PRIME & BITS64
            found.add(value)
    return np.array(sorted(found), dtype=np.uint64)


def known_words(options):
    words, said = set(), held_out(os.path.join(base_directory(), "cache"))
    for source in options.source:
        with open(source, encoding="utf-8") as file:
            for line in file:
                text = normalise(line.strip().split("|")[-1])
                if " " not in text or text not in said:         # words alone are a list's
                    words.update(re.findall("[a-z]+", text))
    for text in trained():
        words.update(re.findall("[a-z]+", text))
    members = hashes(words)
    bits = len(members) * MEMBER_BITS // 8 * 8
    low, at = np.uint64(0xffffffff), (members ^ members >> np.uint64(32)) & np.uint64(0xffffffff)
    step = members >> np.uint64(17) & low | np.uint64(1)
    marked = np.zeros(bits, dtype=bool)
    for _ in range(PROBES):
        marked[(at * np.uint64(bits) >> np.uint64(32)).astype(np.int64)] = True
        at = at + step & low
    with open(options.out, "wb") as out:
        out.write(struct.pack("<4sIII", b"RSWD", 1, PROBES, bits) + np.packbits(marked, bitorder="little").tobytes())
    print("%d words, %d members, %d bytes, %.1f %% of the bits" %
          (len(words), len(members), os.path.getsize(options.out), 100 * marked.mean()))


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("text")
    p.add_argument("out")
    p.add_argument("source", nargs="+")
    p.set_defaults(run=clean)
    p = commands.add_parser("build")
    p.add_argument("text", nargs="+")
    p.add_argument("out")
    p.add_argument("--order", type=int, default=7)
    p.add_argument("--bytes", type=int, default=7500000)
    p.set_defaults(run=build)
    p = commands.add_parser("words")
    p.add_argument("out")
    p.add_argument("source", nargs="+")
    p.set_defaults(run=known_words)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
