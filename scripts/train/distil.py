"""Let a larger recogniser's encoder hear the real recordings: what train.py's distillation loss wants to be able to tell.

usage: distil.py MODEL_FOLDER NAME...

MODEL_FOLDER as for teacher.py (Whisper base, MIT).  For each cache NAME writes cache/NAME.heard, int8 [rows, SIZE]: the
encoder's output, a row each 40 ms, on its SIZE strongest axes, each axis in units of cache/heard.npz's "step" (which is
made of the first recordings; its "axes" and "mean" are the projection).  Store.heard finds a recording's rows; rows of
zeros were not done yet, and the same command goes on with them.
"""
import os
import random
import sys
import time

import ctranslate2
import numpy as np
import torch

from store import HEARD_HOP, HEARD_SIZE, RATE, Store, base_directory
from teacher import Teacher, log_mel

BATCH, FITTED = 16, 60            # recordings at a time; batches that the projection is made of


def encode(teacher, clips):
    """int16 clips -> float32 [rows, 512] each: the mean over 40 ms."""
    frames = -(-int(max(map(len, clips)) / 160 + 50) // 100) * 100
    mel = np.stack([log_mel(c, frames, teacher.filters, teacher.window) for c in clips])
    out = np.array(teacher.model.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True))
    out = out.reshape(len(clips), frames // 4, 2, -1).mean(2)
    return [o[:len(c) // HEARD_HOP] for o, c in zip(out, clips)]


def fit(path, teacher, batches):
    """Principal components of the standardised outputs."""
    rows = np.concatenate([row for store, items in batches for row in encode(teacher, [store.audio(i) for i in items])])
    mean, deviation = rows.mean(0), rows.std(0)
    values, axes = np.linalg.eigh(np.cov(((rows - mean) / deviation).T))
    axes = axes[:, ::-1][:, :HEARD_SIZE] / deviation[:, None]
    step = ((rows - mean) @ axes).std(0) * 4 / 127
    share = values[-HEARD_SIZE:].sum() / values.sum()
    print("%d of %d axes have %.1f %% of the variance" % (HEARD_SIZE, len(mean), 100 * share))
    np.savez(path, mean=mean, axes=axes.astype(np.float32), step=step)


def main():
    folder, names = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(1)
    cache, teacher, batches = os.path.join(base_directory(), "cache"), Teacher(folder), []
    for name in names:
        store = Store(os.path.join(cache, name))
        store.make_heard()
        todo = sorted((i for i in store.items if i[3] == "train" and RATE // 2 < i[1] < 20 * RATE and
                       not store.heard(i).any()), key=lambda item: item[1])
        batches += [(store, todo[at:at + BATCH]) for at in range(0, len(todo), BATCH)]
    random.Random(1).shuffle(batches)
    path = os.path.join(cache, "heard.npz")
    if not os.path.exists(path):
        fit(path, teacher, batches[:FITTED])
    known, started, seconds = np.load(path), time.time(), 0.0
    for at, (store, items) in enumerate(batches):
        clips = [store.audio(i) for i in items]
        for item, rows in zip(items, encode(teacher, clips)):
            rows = np.rint((rows - known["mean"]) @ known["axes"] / known["step"]).clip(-127, 127)
            store.heard(item)[:len(rows)] = rows.astype(np.int8)
            seconds += item[1] / RATE
        if at % 50 == 0:
            print("%d of %d, %.2f h in %.0f s" % (at, len(batches), seconds / 3600, time.time() - started), flush=True)


if __name__ == "__main__":
    main()
