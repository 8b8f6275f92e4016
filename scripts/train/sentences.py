"""Collect everyday English sentences for the language model.

usage: sentences.py

Clones the repositories named below at the given commits (needs git and a network) and writes, in the training
directory, text/tatoeba.txt, text/slurp.txt and text/snips.txt, one sentence a line, for "language_model.py text".
"""
import io
import json
import os
import re
import zipfile

from fetch import clone, git, listing
from store import base_directory

LONGEST = 400                # characters


def paired(data):
    """The first column of a table of translations, from a zip or as it is."""
    if data[:2] == b"PK":
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = [n for n in archive.namelist() if n.endswith(".txt") and "MACOSX" not in n and "_about" not in n]
        data = b"\n".join(archive.read(n) for n in names)
    return [line.split("\t")[0] for line in data.decode("utf-8", "replace").split("\n")]


def lists(data):
    """The strings of a JSON object of lists."""
    return [text for texts in json.loads(data).values() for text in texts]


def intents(data):
    """SNIPS: {intent: [{"data": [{"text": ...}, ...]}, ...]}"""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return ["".join(part["text"] for part in said["data"]) for all_said in json.loads(text).values() for said in all_said]


# Name -> repository, commit, files, reader.  Tatoeba's sentences are under CC BY 2.0 FR (for the translations so it says
# beside them, in _about.txt or the README), SLURP's text under CC BY 4.0, SNIPS's under CC0.
SOURCES = {
    "tatoeba": [
        ("genimind/seq2seq", "4f3f8eb0adde54fcc8b89394336b002e7961244c", r"fra-eng\.zip", paired),
        ("modelexlab/data", "adddaf33ac35572bcfeb421efec29435e7ea9332", r"fra-eng\.zip", paired),
        ("jhamburg/dats6450_nlp", "fc38d83c4353d753fb9b34d98e945cbc5fab2811", r"deu-eng\.zip", paired),
        ("Hoangduc212001/hoang", "2cfd26f9551f5c2d614e8000500891801840a438", r"(spa|vie)-eng\.zip", paired),
        ("kosuke1990/pytranslate", "d9642070dd919c9845d1291b33349a1a53e3ab07", r"jpn-eng\.zip", paired),
        ("BMKessels/lstm_lecture", "2ef6fb5a6e851a258e29f348bc8c54a4dc04a530", r"nld-eng\.zip", paired),
        ("fh3355/MLexp7", "fc8e41449c8ad7d66cfb304fcfb771d9618e4a67", r"data/cmn\.txt", paired),
        ("z00logist/rust-vs-python-lstm", "4dc6924ab47a35eb613207202df67e91169f7b04", r"data/en-ru-25k\.tsv", paired),
        ("pjIowa/Babel", "c90bee84527593cb9c87e7659ff134808574ebde", r"fra-eng/eng\.txt", paired),
        ("koichincom/process-tatoeba", "d033d6984e91cabacc2cccada7a6e728c18c6a7a", r"output/[_gjklnoquvwxyz]\.json", lists),
        ("facebookresearch/LASER", "74bc6ae7ffb7cba670fe0f428d0ede9f666fb821", r"data/tatoeba/v1/.*-eng\.eng", paired)
    ],
    "slurp": [
        ("pswietojanski/slurp", "8eb16545762be97ace75334109d73824217311f1", r"dataset/lm/lm\.txt", paired)],
    "snips": [
        ("sonos/nlu-benchmark", "b86ac7f1577868c42158d0dec77db50956046696",
         r"2017-06-custom-intent-engines/.*/(train|validate).*\.json", intents)],
}


def usable(text):
    letters = [c for c in text if c.isalpha()]
    return letters and len(text) <= LONGEST and "\ufffd" not in text and sum(map(str.isascii, letters)) >= 0.9 * len(letters)


def main():
    os.makedirs(os.path.join(base_directory(), "text"), exist_ok=True)
    for name, sources in SOURCES.items():
        found = {}
        for repository, commit, pattern, read in sources:
            folder = clone(repository, commit)
            for path in listing(folder):
                if re.fullmatch(pattern, path):
                    for text in read(git(folder, "show", "FETCH_HEAD:" + path)):
                        text = " ".join(text.replace("\ufeff", "").split())
                        if usable(text):
                            found[text] = True
        with open(os.path.join(base_directory(), "text", name + ".txt"), "w", encoding="utf-8") as out:
            out.writelines(text + "\n" for text in found)
        print("%s: %d sentences" % (name, len(found)))


if __name__ == "__main__":
    main()
