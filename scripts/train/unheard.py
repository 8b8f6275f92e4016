"""Make a cache of recordings that a teacher transcribed.

usage: unheard.py LABELS.tsv[.xz] FOLDER NAME KNOWN MODEL.gguf

LABELS.tsv is teacher.py's (models/rec-stt-default-en-teacher.tsv.xz has those of common_voice_delta), FOLDER has its
recordings, KNOWN is the cache of the same collection in which speakers are known (cv1), MODEL.gguf our own
recogniser.  Writes cache/pseudo_NAME with what is likely right and was not said by a held-out speaker:
  - the teacher is sure, or our own recogniser hears nearly the same;
  - no held-out recording says the same sentence;
  - none of KNOWN is within NEAR of its number: who uploads one clip after the other gets numbers close together (of
    clips in KNOWN less than 100 apart 80 to 98 % are of one speaker, of those further apart less than a sixth);
  - of all recordings in KNOWN the one that sounds most like it is not a held-out one.
"""
import collections
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
from synthesize import held_out
from text import normalise

SURE, ALIKE, NEAR = -0.45, 0.25, 500
SPEAKABLE = re.compile(r"[A-Za-z0-9 ,.?!;:$%&'\"\u2019-]+")


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
    within = np.concatenate([vectors[speakers == s] - vectors[speakers == s].mean(0) for s in set(speakers)])
    cover = within.T @ within / len(within)
    value, axes = np.linalg.eigh(cover + 0.05 * np.trace(cover) / len(cover) * np.eye(len(cover)))
    white = axes / np.sqrt(value)
    _, _, best = np.linalg.svd((vectors - vectors.mean(0)) @ white, full_matrices=False)
    return white @ best[:60].T


def sounds_set_aside(known):
    """-> a function that tells of samples whether the recording most like them is one of a held-out speaker."""
    vectors = np.stack([timbre(known.audio(item)) for item in known.items])
    owner = np.array([item[2] for item in known.items])
    aside = np.array([item[3] != "train" for item in known.items])
    project, centre = discriminant(vectors, owner), vectors.mean(0)

    def place(vector):
        at = (vector - centre) @ project
        return at / np.linalg.norm(at)

    places = np.stack([place(v) for v in vectors])
    alike = places @ places.T - 2 * np.eye(len(places))
    print("nearest recording is of the same speaker: %.0f %%" % (100 * (owner[alike.argmax(1)] == owner).mean()))
    return lambda samples: aside[(places @ place(timbre(samples))).argmax()]


def collect(labels, folder, known, raw):
    """Writes to `raw` what may be trained on; its name column is the teacher's score."""
    set_aside = sounds_set_aside(known)
    sentences = held_out(os.path.join(base_directory(), "cache"))
    numbers = np.array([number(item[4]) for item in known.items if item[3] != "train"])
    count = collections.Counter()
    with (lzma.open if labels.endswith(".xz") else open)(labels, "rt", encoding="utf-8") as lines:
        for line in lines:
            file, said, score = line.rstrip("\n").split("\t")
            text, samples = normalise(said), decode_file(os.path.join(folder, file))
            if not text or not SPEAKABLE.fullmatch(said) or "..." in said or not 1 < len(samples) / RATE < 16:
                why = "unusable"
            elif text in sentences:
                why = "held-out sentence"
            elif np.abs(numbers - number(file)).min() < NEAR:
                why = "near a held-out number"
            elif set_aside(samples):
                why = "like a held-out voice"
            else:
                why = "good"
                raw.add(samples, file, "unlabelled", score, text)
            count[why] += 1
    print(dict(count))


def main():
    labels, folder, name, known, model = sys.argv[1:]
    torch.set_num_threads(1)
    cache = os.path.join(base_directory(), "cache")
    raw = os.path.join(cache, "raw_" + name)
    out = Writer(raw)
    collect(labels, folder, Store(os.path.join(cache, known)), out)
    out.close()

    store = Store(raw)
    own = words(model, read_gguf(model)[1], store.base, store.items, "tdt")
    writer = Writer(os.path.join(cache, "pseudo_" + name))
    kept = seconds = 0
    for item, heard in zip(store.items, own):
        apart = jiwer.wer(item[5], heard) if heard else 1
        if (float(item[4]) >= SURE and apart < 0.8) or apart <= ALIKE:
            # Who speaks is not known; neighbours by number are mostly one speaker.
            writer.add(store.audio(item), "cv_%d" % (number(item[2]) // 30), "train", item[2], item[5])
            kept, seconds = kept + 1, seconds + item[1] / RATE
    writer.close()
    print("%d of %d kept, %.2f h" % (kept, len(store.items), seconds / 3600))


if __name__ == "__main__":
    main()
