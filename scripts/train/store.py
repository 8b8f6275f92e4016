"""A flat cache of waveforms: one int16 file plus a table of utterances.

NAME.pcm   16 kHz mono int16 samples, one utterance after the other
NAME.tsv   start sample, samples, speaker, split, name, normalised transcript[, phones]

Phones, known for some synthetic voices, read "hh:0.281 ax:0.334 ..." with end times in seconds.

NAME.heard, where it exists, is distil.py's: what a larger recogniser makes of an utterance, a row each 40 ms.
NAME.rivals, where it exists, is rivals.py's: what the recogniser itself makes of it, right and wrong.
"""
import os

import numpy as np
import soundfile
import soxr

RATE = 16000
HEARD_HOP, HEARD_SIZE = 640, 128        # samples per row of NAME.heard; numbers in it


def base_directory():
    """Where caches, checkpoints and exports live."""
    default = os.path.join(os.path.expanduser("~"), ".cache", "rec-stt-train")
    return os.environ.get("REC_STT_TRAIN_DIR", default)


def decode_file(path):
    """Samples of any audio file as int16 at 16 kHz, mono."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples = samples.mean(axis=1)
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")


def row(start, count, *rest):
    """A line of the table."""
    return "\t".join(map(str, (start, count, *rest))) + "\n"


class Writer:
    """Appends utterances; an interrupted run can be continued."""

    def __init__(self, base, append=False):
        mode = "a" if append else "w"
        self.table = open(base + ".tsv", mode, encoding="utf-8")
        self.pcm = open(base + ".pcm", mode + "b")
        self.position = os.path.getsize(base + ".pcm") // 2 if append else 0
        for about in (".heard", ".rivals"):         # of what was there before: both go by the place in NAME.pcm
            if not append and os.path.exists(base + about):
                os.remove(base + about)

    def add(self, samples, speaker, split, name, text, phones=""):
        samples = np.ascontiguousarray(samples, dtype="<i2")
        self.pcm.write(samples.tobytes())
        self.table.write(row(self.position, len(samples), speaker, split, name, text, phones))
        self.position += len(samples)

    def flush(self):
        self.pcm.flush()
        self.table.flush()

    def close(self):
        self.pcm.close()
        self.table.close()


class Store:
    """Read access; utterances are memory-mapped."""

    def __init__(self, base):
        self.base = base
        self.reload()

    def reload(self):
        """Take in what a writer has added since."""
        size = os.path.getsize(self.base + ".pcm") // 2
        # What was only just begun has nothing to map.
        self.pcm = np.memmap(self.base + ".pcm", dtype="<i2", mode="r", shape=(size,)) if size else np.zeros(0, "<i2")
        self.items = []
        with open(self.base + ".tsv", encoding="utf-8") as table:
            for line in table:
                if not line.endswith("\n"):
                    break
                start, count, *rest = line.rstrip("\n").split("\t")
                if int(start) + int(count) <= size:
                    self.items.append((int(start), int(count), *rest, *[""] * (5 - len(rest))))
        self.readings = {}
        if os.path.exists(self.base + ".rivals"):
            with open(self.base + ".rivals", encoding="utf-8") as file:
                self.readings = {int(start): rest for start, rest in (line.rstrip("\n").split("\t", 1) for line in file)}
        self.row = {item[0]: item[0] // HEARD_HOP + index for index, item in enumerate(self.items)}
        self.rows = None
        if os.path.exists(self.base + ".heard"):
            self.rows = np.memmap(self.base + ".heard", dtype=np.int8, mode="r+").reshape(-1, HEARD_SIZE)

    def make_heard(self):
        """Room for all that a larger recogniser may hear, zeros at first (which take no space)."""
        with open(self.base + ".heard", "ab") as file:
            file.truncate((len(self.pcm) // HEARD_HOP + len(self.items) + 1) * HEARD_SIZE)
        self.reload()

    def heard(self, item):
        """-> int8 [rows, HEARD_SIZE], zeros where nothing is known; may be written to.  None without NAME.heard."""
        if self.rows is None or self.row[item[0]] + item[1] // HEARD_HOP > len(self.rows):
            return None
        return self.rows[self.row[item[0]]:][:item[1] // HEARD_HOP]

    def rivals(self, item):
        """-> its readings: (what speaks for one beside the transducer, wrong words, words of the transcript, tokens)."""
        if item[0] not in self.readings:
            return []
        words, readings = self.readings[item[0]].split("\t")
        parts = (reading.split(":") for reading in readings.split("|"))
        return [(float(outside), int(errors), int(words), [int(t) for t in tokens.split()]) for outside, errors, tokens in parts]

    def audio(self, item):
        return np.array(self.pcm[item[0]:item[0] + item[1]])
