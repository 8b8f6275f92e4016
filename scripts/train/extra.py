"""Bring further fetched recordings into the waveform cache.

usage: extra.py librispeech     -> cache/librispeech: four speakers of train-clean-100, with phone times
       extra.py commands        -> cache/commands: spoken orders of more than fifty people
       extra.py voices TABLE    -> cache/voices: the 261 speakers of librispeech_untranscribed; TABLE has their lines
                                   of LibriSpeech's own transcripts, "103-1240-0000<tab>CHAPTER ONE ..." each
                                   (collect.py writes it: speech/unlabelled.tsv)
       extra.py folder NAME FOLDER [HELDOUT PERCENT]
                                -> cache/NAME: a folder with audio and a data.tsv (file, speaker, transcript), so many
                                   percent of the speakers as the held-out set HELDOUT.  A NAME that begins with
                                   "words" has single words, which the trainer draws more rarely.  collect.py
                                   makes such folders; models/TRAINING.md has the names used for them.

The trainer takes in what appears in the cache while it runs.  The orders come with what is wanted (drink, size,
roast ...) instead of words; but they were read from a small grammar, so every sentence of it that says just this is
scored with the CTC head of the current checkpoint, and the best one is the transcript.  Recordings that none
fits well are left out.
"""
import collections
import concurrent.futures
import glob
import hashlib
import itertools
import json
import os
import re
import sys

import numpy as np
import torch
from torch.nn import functional as F

import features
from store import RATE, Store, Writer, base_directory, decode_file
from text import normalise

STARTS = ["brew", "can i get", "can i have", "i want", "get me", "give me", "i'd like", "make me", "may i have", "may i get"]
WORST = 3.6                  # nats per token: above it no sentence fits (silence, something else was said)


def phones_of(path):
    """The phone tier of a TextGrid (Montreal Forced Aligner) in the names of PHONES, "hh:0.281 ax:0.334 ..."."""
    with open(path, encoding="utf-8") as file:
        tier = file.read().split('name = "phones"')[1]
    result = []
    for end, name in re.findall(r'xmax = ([0-9.]+)\s+text = "([^"]*)"', tier):
        phone = {"": "pau", "SIL": "pau", "SP": "pau", "AH0": "ax"}.get(name.upper(), name.lower().rstrip("012"))
        result.append("%s:%s" % (phone, end))
    return " ".join(result)


def librispeech():
    folder = os.path.join(base_directory(), "librispeech")
    writer = Writer(os.path.join(base_directory(), "cache", "librispeech"))
    for table in sorted(glob.glob(os.path.join(folder, "*.trans.txt"))):
        with open(table, encoding="utf-8") as lines:
            for line in lines:
                name, text = line.rstrip("\n").split(" ", 1)
                path, grid = (os.path.join(folder, name + ending) for ending in (".flac", ".TextGrid"))
                if os.path.exists(path):
                    phones = phones_of(grid) if os.path.exists(grid) else ""
                    writer.add(decode_file(path), "ls_" + name.split("-")[0], "train", "librispeech/" + name,
                               normalise(text), phones)
    writer.close()


def voices(table):
    with open(table, encoding="utf-8") as lines:
        texts = dict(line.rstrip("\n").split("\t") for line in lines)
    store = Store(os.path.join(base_directory(), "cache", "real"))
    writer = Writer(os.path.join(base_directory(), "cache", "voices"))
    kept = 0
    for item in store.items:
        name = os.path.splitext(os.path.basename(item[4]))[0]
        if item[3] == "unlabelled" and name in texts:
            writer.add(store.audio(item), item[2], "train", item[4], normalise(texts[name]))
            kept += 1
    writer.close()
    print("%d recordings with their words" % kept)


def folder(name, path, heldout="", percent="0"):
    writer = Writer(os.path.join(base_directory(), "cache", name))
    seconds = collections.Counter()
    with open(os.path.join(path, "data.tsv"), encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for (file, speaker, text), samples in zip(rows, pool.map(lambda row: decode_file(os.path.join(path, row[0])), rows)):
            # By the speaker's name, so that what is held out stays so when the folder grows.
            aside = int(hashlib.sha256(speaker.encode()).hexdigest()[:8], 16) % 100 < int(percent)
            text = normalise(text)
            if text and 0.3 < len(samples) / RATE < 30:
                writer.add(samples, name + "_" + speaker[:16], heldout if aside else "train", name + "/" + file, text)
                seconds[heldout if aside else "train"] += len(samples) / RATE
    writer.close()
    print(", ".join("%s %.2f h" % (split, s / 3600) for split, s in seconds.items()))


def sentences(slots):
    """Every sentence of the orders' grammar that says these slots."""
    first = [slots[k].strip() for k in ("size", "roast", "numberOfShots") if k in slots]
    last = [slots[k].strip() for k in ("milkAmount", "sugarAmount") if k in slots]
    ends = [" with " + " and ".join(order) if order else "" for order in itertools.permutations(last)]
    for start, order, end in itertools.product(STARTS, itertools.permutations(first), ends):
        noun = " ".join([*order, slots["coffeeDrink"].strip()])
        for article in (" ", " an " if noun[0] in "aeiou" else " a ", " the "):
            yield start + article + noun + end


def best_sentence(model, tokenizer, samples, candidates):
    """-> (sentence, CTC loss per token)"""
    mel = features.features(torch.from_numpy(samples.astype(np.float32) / 32768))
    with torch.no_grad():
        encoded, lengths, _ = model(mel[None], torch.tensor([len(mel)]))
        logp = model.ctc(encoded)[0, :lengths[0]].float().log_softmax(-1)
        tokens = [tokenizer.encode(c) for c in candidates]
        counts = torch.tensor([len(t) for t in tokens])
        loss = F.ctc_loss(logp[:, None].expand(-1, len(tokens), -1), torch.tensor(sum(tokens, [])),
                          lengths[:1].expand(len(tokens)), counts, model.config.vocabulary, reduction="none")
    at = int(loss.argmin())
    return candidates[at], float(loss[at] / counts[at])


def commands():
    from reference import load
    base = base_directory()
    model, tokenizer, _ = load(os.path.join(base, "checkpoint.pt"))
    with open(os.path.join(base, "commands", "label.json"), encoding="utf-8") as file:
        labels = json.load(file)
    writer = Writer(os.path.join(base, "cache", "commands"))
    kept = 0
    for name, label in sorted(labels.items()):
        path = os.path.join(base, "commands", name)
        if not os.path.exists(path):
            continue
        samples = decode_file(path)
        sentence, loss = best_sentence(model, tokenizer, samples, list(sentences(label["slots"])))
        print("%.2f %s" % (loss, sentence), flush=True)
        if loss < WORST:
            # Who speaks is not told; four groups give these few words the weight of a few speakers.
            writer.add(samples, "orders_%d" % (int(name[0], 16) // 4), "train", "commands/" + name, sentence)
            kept += 1
    writer.close()
    print("%d of %d recordings kept" % (kept, len(labels)))


if __name__ == "__main__":
    {"librispeech": librispeech, "commands": commands, "voices": voices, "folder": folder}[sys.argv[1]](*sys.argv[2:])
