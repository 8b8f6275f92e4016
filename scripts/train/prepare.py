"""Decode the speech folders into the waveform cache and assign the splits.

usage: prepare.py SPEECH_FOLDER [FILM_FOLDER]

SPEECH_FOLDER has one folder per source with audio/ and data.tsv (file,
speaker, transcript[, split]).  Splits: train, or the name of the held-out set
an utterance belongs to; held-out utterances never reach training.
"""
import concurrent.futures
import os
import sys

from store import Writer, base_directory, decode_file
from text import normalise

HELDOUT_LIBRISPEECH = {"ls_1272", "ls_2412", "ls_777"}


def split_of(source, name, speaker, column):
    """Which set an utterance belongs to (see models/MODEL_CARD.md)."""
    stem = os.path.splitext(os.path.basename(name))[0]
    if source == "heldout":
        return "heldout"
    if source == "librispeech_devclean":
        return "librispeech" if speaker in HELDOUT_LIBRISPEECH else "train"
    if source == "speechocean762":
        return "train" if column == "train" else "speechocean"
    if stem.startswith("LJ002-") and 161 <= int(stem[6:10]) <= 200:
        return "lj"
    if source == "librispeech_untranscribed":
        return "unlabelled"
    return "train"


def read_table(folder, source):
    table = os.path.join(folder, "data.tsv")
    if not os.path.exists(table):
        for name in sorted(os.listdir(os.path.join(folder, "audio"))):
            yield "audio/" + name, "lsu_" + name.split("-")[0], "", ""
        return
    with open(table, encoding="utf-8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) < 3:
                raise ValueError("%s: line without three fields: %r" % (source, line))
            yield fields[0], fields[1], fields[2], fields[3] if len(fields) > 3 else ""


def main():
    speech = sys.argv[1]
    cache = os.path.join(base_directory(), "cache")
    os.makedirs(cache, exist_ok=True)
    writer = Writer(os.path.join(cache, "real"))
    pool = concurrent.futures.ThreadPoolExecutor(3)
    totals = {}
    for source in sorted(os.listdir(speech)):
        folder = os.path.join(speech, source)
        rows = list(read_table(folder, source))
        paths = [os.path.join(folder, row[0]) for row in rows]
        for (name, speaker, text, column), samples in zip(rows, pool.map(decode_file, paths)):
            split = split_of(source, name, speaker, column)
            if len(samples) < 1600:
                continue
            writer.add(samples, speaker, split, source + "/" + name, normalise(text))
            totals[source, split] = totals.get((source, split), 0) + len(samples)
    if len(sys.argv) > 2:
        for name in sorted(os.listdir(sys.argv[2])):
            if not name.endswith(".wav"):
                continue
            path = os.path.join(sys.argv[2], name)
            with open(path[:-4] + ".txt", encoding="utf-8") as text:
                writer.add(decode_file(path), "film", "film", "film/" + name, normalise(text.read()))
    writer.close()
    for key in sorted(totals):
        print("%-28s %-12s %6.2f h" % (*key, totals[key] / 16000 / 3600))


if __name__ == "__main__":
    main()
