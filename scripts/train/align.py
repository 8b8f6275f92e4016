"""Tell when every phone of a recording is said, for the trainer's phone loss.

usage: align.py NAME...        (names of caches; -n NAME... only counts how often known times agree)

A word's phones are flite's (its dictionary, and its rules for what is not in there).  Where they lie is found by the
phone head of the checkpoint, which learned from synthetic speech with known times: the likeliest path through the
phones, with silence allowed between words (Viterbi).  The times go to the seventh column of cache/NAME.tsv.
"""
import os
import re
import subprocess
import sys

import numpy as np
import torch

import features
from reference import load
from store import RATE, Store, base_directory, row
from train import HALF, PHONES, phone_labels

STEP = 0.04                  # seconds of a label: two for each frame of the encoder; the first ends where sound begins
WORST = -2.2                 # mean log probability of a label; below it something else is said
WEAK = {"a": "ax"}           # as a word alone it is the letter's name


def say(words):
    """flite's phones of words said one after the other."""
    done = subprocess.run(["flite", "-voice", "kal16", "-ps", "-t", ". ".join(words) + ".", "-o", "none"], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [p.split() for p in re.split(r"\bpau\b", done.stdout) if p.strip()]


def dictionary(words):
    """-> {word: phones}"""
    known, words = {}, sorted(words)
    for first in range(0, len(words), 40):
        group = words[first:first + 40]
        phones = say(group)
        if len(phones) != len(group):       # one of them became two words, or none
            phones = [sum(say([word]), []) for word in group]
        known.update(zip(group, phones))
    known.update((word, phones.split()) for word, phones in WEAK.items() if word in known)
    return known


def path(logp, words):
    """logp [T, phones], words: lists of phone numbers -> (phone number and end for each, mean log probability)."""
    pau = PHONES["pau"]
    states, optional = [pau], [True]
    for word in words:
        states += [*word, pau]
        optional += [False] * len(word) + [True]
    states, optional = np.array(states), np.array(optional)
    frames, count = len(logp), len(states)
    if frames < count - optional.sum():
        return None, -np.inf
    scores = logp[:, states]
    skips = np.zeros(count, dtype=bool)      # may be entered past the silence before it
    skips[2:] = optional[1:-1]
    best = np.full(count, -np.inf)
    best[:2] = scores[0, :2]
    back = np.zeros((frames, count), dtype=np.int8)
    for t in range(1, frames):
        choices = np.full((3, count), -np.inf)
        choices[0] = best
        choices[1, 1:] = best[:-1]
        choices[2, 2:] = np.where(skips[2:], best[:-2], -np.inf)
        back[t] = choices.argmax(0)
        best = np.take_along_axis(choices, back[t][None].astype(np.int64), 0)[0] + scores[t]
    at = count - 1 if best[-1] >= best[-2] else count - 2
    mean, ends = best[at] / frames, []
    end = frames
    for t in range(frames - 1, 0, -1):
        move = int(back[t, at])
        if move:
            ends.append((int(states[at]), end))
            end, at = t, at - move
    ends.append((int(states[at]), end))
    return ends[::-1], mean


def label_logp(model, recordings):
    """[2 T', phones] for each of a batch of waveforms."""
    mels = [features.features(torch.from_numpy(r.astype(np.float32) / 32768)) for r in recordings]
    lengths = torch.tensor([len(m) for m in mels])
    x = torch.nn.utils.rnn.pad_sequence(mels, batch_first=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=HALF):
        _, frames, (tap,) = model(x, lengths, (model.config.layers // 2 - 1,))
        logits = model.phones(tap).float()
    logits = logits.view(len(mels), -1, 2, len(PHONES)).flatten(1, 2)
    return [row[:2 * n].log_softmax(-1).numpy() for row, n in zip(logits, frames)]


def main():
    check = sys.argv[1] == "-n"
    names, (model, _, _) = sys.argv[1 + check:], load(os.path.join(base_directory(), "checkpoint.pt"))
    del model.encoder.layers[model.config.layers // 2:]
    stores = {name: Store(os.path.join(base_directory(), "cache", name)) for name in names}
    spoken = dictionary({word for s in stores.values() for i in s.items if i[3] == "train" for word in i[5].split()})
    numbers = {word: [PHONES[p] for p in phones if p in PHONES] for word, phones in spoken.items()}
    symbols = {number: phone for phone, number in PHONES.items()}
    for name, store in stores.items():
        found, agree = {}, []
        order = sorted((k for k, i in enumerate(store.items) if i[3] == "train" and i[5] and i[1] < 17 * RATE
                        and bool(i[6]) == check), key=lambda k: store.items[k][1])
        for first in range(0, len(order), 16):
            group = order[first:first + 16]
            for k, logp in zip(group, label_logp(model, [store.audio(store.items[k]) for k in group])):
                ends, mean = path(logp, [numbers[w] for w in store.items[k][5].split()])
                if mean > WORST:
                    found[k] = " ".join("%s:%.2f" % (symbols[n], (end - 1) * STEP) for n, end in ends)
                    if check:
                        frames = 4 * len(logp)
                        ours, theirs = (phone_labels([(0, p)], frames, 160) for p in (found[k], store.items[k][6]))
                        both = (ours >= 0) & (theirs >= 0)
                        agree += (ours[both] == theirs[both]).tolist()
        if check:
            print("%s: %.1f %% of %d labels as known" % (name, 100 * np.mean(agree), len(agree)))
            continue
        base = os.path.join(base_directory(), "cache", name + ".tsv")
        with open(base + ".new", "w", encoding="utf-8") as table:
            for k, item in enumerate(store.items):
                table.write(row(*item[:6], found.get(k, item[6])))
        os.replace(base + ".new", base)
        print("%s: %d of %d" % (name, len(found), len(order)), flush=True)


if __name__ == "__main__":
    main()
