"""Collect the free texts and the film dialogue, and check the speech folders.

usage: fetch.py SPEECH_FOLDER

Clones the repositories named below (needs git and a network) at the given
commits, writes text/*.txt and film/ in the training directory, and compares a
digest of every speech folder with digests.json beside this file ("--record"
as second argument writes it instead).
"""
import hashlib
import json
import os
import subprocess
import sys

from store import base_directory

CLONES = "https://github.com/%s.git"
# Repository, commit, licence of what is used, files -> where they go.
SOURCES = [
    ("mozilla/voice-web", "e0bfbc4be9eb6a97f7dd92eb938200f09f04ba96", "CC0", "text/commonvoice.txt",
     ["server/data/en/%s.txt" % name for name in (
         "sentence-collector jf99 DNGros ajaydee elleo harvsents est31 pro.gadget bavencope tww.id.au.proverbs "
         "reinhart1010 mlennox thehowl tlcoles james_fortune").split()]),
    ("antirez/qwen-asr", "b00b789b17051aea61e9717458171100662318a4", "public domain (film of 1968)", "film/",
     ["samples/night_of_the_living_dead_1968"]),
    ("Jenny-Smolensky/LibriSpeechFilesParser", "ffd91057493367281266af400119f64ab4cd81ab", "CC BY 4.0 (LibriSpeech)",
     "librispeech/", ["sample_data_libriSpeech/audio", "sample_data_libriSpeech/alignment"]),
    ("Picovoice/speech-to-intent-benchmark", "47b1ca63afe4f08cb83e1f70fec16764879bd130", "Apache-2.0", "commands/",
     ["data/speech/clean", "data/label/label.json"]),
]


def git(folder, *arguments):
    return subprocess.run(["git", "-C", folder, *arguments], check=True, stdout=subprocess.PIPE).stdout


def clone(repository, commit):
    """-> a clone whose FETCH_HEAD is that commit."""
    folder = os.path.join(base_directory(), "work", repository.replace("/", "+"))
    if not os.path.isdir(folder):
        os.makedirs(folder)
        git(folder, "init", "-q")
    there = ["git", "-C", folder, "cat-file", "-e", commit + "^{commit}"]
    if subprocess.run(there, stderr=subprocess.DEVNULL, check=False).returncode:
        git(folder, "fetch", "-q", "--depth", "1", CLONES % repository, commit)
    else:
        with open(os.path.join(folder, ".git", "FETCH_HEAD"), "w", encoding="ascii") as file:
            file.write(commit + "\n")
    return folder


def listing(folder, *paths):
    """Names of a clone's files, all or those below the paths."""
    return git(folder, "ls-tree", "-r", "--name-only", "FETCH_HEAD", *paths).decode().splitlines()


def digest(folder):
    """One SHA-256 over the sorted names and contents of a folder."""
    total = hashlib.sha256()
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(root, name)
            with open(path, "rb") as file:
                inner = hashlib.sha256(file.read()).hexdigest()
            total.update(("%s %s\n" % (inner, os.path.relpath(path, folder))).encode())
    return total.hexdigest()


def main():
    speech = sys.argv[1]
    expected = os.path.join(os.path.dirname(os.path.abspath(__file__)), "digests.json")
    found = {name: digest(os.path.join(speech, name)) for name in sorted(os.listdir(speech))}
    if sys.argv[2:] == ["--record"]:
        with open(expected, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
            file.write("\n")
        return
    with open(expected, encoding="utf-8") as file:
        for name, value in json.load(file).items():
            print("%-24s %s" % (name, "as expected" if found.get(name) == value else "differs or is missing"))
    for repository, commit, licence, target, files in SOURCES:
        folder = clone(repository, commit)
        print("%s: %s" % (repository, licence))
        for path in files:
            for name in listing(folder, path):
                out = os.path.join(base_directory(), target)
                if target.endswith("/"):
                    out = os.path.join(out, os.path.basename(name))
                os.makedirs(os.path.dirname(out), exist_ok=True)
                with open(out, "wb" if target.endswith("/") or path == files[0] else "ab") as file:
                    file.write(git(folder, "show", "FETCH_HEAD:" + name))


if __name__ == "__main__":
    main()
