"""Make a cache of recordings that a teacher transcribed.

usage: unheard.py LABELS.tsv[.xz] FOLDER NAME KNOWN MODEL.gguf

LABELS.tsv is teacher.py's (models/rec-stt-default-en-teacher.tsv.xz has those of common_voice_delta), FOLDER has its
recordings, KNOWN is the cache of the same collection in which speakers are known (cv1), MODEL.gguf our own
recogniser.  Writes cache/pseudo_NAME with what is likely right and was not said by a held-out speaker:
  - the teacher is sure, or our own recogniser hears nearly the same;
  - no held-out recording of KNOWN says the same sentence;
  - none is within NEAR of its number: who uploads one clip after the other gets numbers close together (of clips in
    KNOWN less than 100 apart 80 to 98 % are of one speaker, of those further apart less than a sixth);
  - of all recordings in KNOWN the one that sounds most like it is not a held-out one.
"""
import lzma
import os
import re
import sys

import jiwer
import numpy as np
import torch

import features
from pseudo import words
from reference import read_gguf
from store import RATE, Store, Writer, base_directory, decode_file
from text import normalise

SURE, ALIKE, NEAR = -0.45, 0.25, 500


def number(path):
    return int(re.search(r"(\d+)\.\w+$", path).group(1))


def timbre(samples):
    """Mean and deviation of the log-mels in the louder half: [160]."""
    power = features.power_spectrogram(torch.from_numpy(samples.astype(np.float32) / 32768))
    mel = features.log_mel(power).numpy()
    level = mel.mean(1)
    mel = mel[level >= np.median(level)]
    return np.concatenate([mel.mean(0), mel.std(0)])


def discriminant(vectors, speakers):
    """[160, n] projection after which speakers differ and recordings of one do not (linear discriminant analysis)."""
    vectors, speakers = np.asarray(vectors), np.asarray(speakers)
    within = np.concatenate([vectors[speakers == s] - vectors[speakers == s].mean(0) for s in set(speakers)])
    cover = within.T @ within / len(within)
    value, axes = np.linalg.eigh(cover + 0.05 * np.trace(cover) / len(cover) * np.eye(len(cover)))
    white = axes / np.sqrt(value)
    _, _, best = np.linalg.svd((vectors - vectors.mean(0)) @ white, full_matrices=False)
    return white @ best[:60].T


def main():
    labels, folder, name, known, model = sys.argv[1:]
    torch.set_num_threads(1)
    cache = os.path.join(base_directory(), "cache")
    known = Store(os.path.join(cache, known))
    heldout = [item for item in known.items if item[3] != "train"]
    sentences, numbers = {item[5] for item in heldout}, np.array([number(item[4]) for item in heldout])

    vectors = [timbre(known.audio(item)) for item in known.items]
    project = discriminant(vectors, [item[2] for item in known.items])
    centre = np.mean(vectors, 0)

    def place(vector):
        at = (vector - centre) @ project
        return at / np.linalg.norm(at)

    places = np.stack([place(v) for v in vectors])
    aside = np.array([item[3] != "train" for item in known.items])
    owner = np.array([item[2] for item in known.items])
    alike = places @ places.T - 2 * np.eye(len(places))
    print("nearest recording is of the same speaker: %.0f %%" % (100 * (owner[alike.argmax(1)] == owner).mean()))

    raw = Writer(os.path.join(cache, "raw_" + name))
    count = dict.fromkeys(("all", "empty", "sentence", "number", "voice"), 0)
    with (lzma.open if labels.endswith(".xz") else open)(labels, "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    for file, said, score in rows:
        count["all"] += 1
        text = normalise(said)
        if not text or not re.fullmatch(r"[A-Za-z0-9 ,.?!;:$%&'\"\u2019-]+", said) or "..." in said:
            count["empty"] += 1
            continue
        if text in sentences:
            count["sentence"] += 1
            continue
        if np.abs(numbers - number(file)).min() < NEAR:
            count["number"] += 1
            continue
        samples = decode_file(os.path.join(folder, file))
        if not 1 < len(samples) / RATE < 16:
            count["empty"] += 1
            continue
        if aside[(places @ place(timbre(samples))).argmax()]:
            count["voice"] += 1
            continue
        raw.add(samples, file.rsplit(".", 1)[0], "unlabelled", score, text)
    raw.close()
    print(count)

    store = Store(raw.table.name[:-4])
    own = words(model, read_gguf(model)[1], store.base, store.items, "tdt")
    writer = Writer(os.path.join(cache, "pseudo_" + name))
    kept = seconds = 0
    for item, heard in zip(store.items, own):
        apart = jiwer.wer(item[5], heard) if heard else 1
        if (float(item[4]) >= SURE and apart < 0.8) or apart <= ALIKE:
            # Who speaks is not known; neighbours by number are mostly one speaker.
            writer.add(store.audio(item), "cv_%d" % (number(item[2] + ".x") // 30), "train", item[2], item[5])
            kept, seconds = kept + 1, seconds + item[1] / RATE
    writer.close()
    print("%d of %d kept, %.2f h" % (kept, len(store.items), seconds / 3600))


if __name__ == "__main__":
    main()
