"""Draw log/train.jsonl as SVG: curves.py OUTPUT.svg [TIME]         (from that time on, as the log writes it)"""
import json
import os
import sys

import matplotlib
matplotlib.use("svg")
from matplotlib import pyplot as plot

from store import base_directory

SETS = {"librispeech": "LibriSpeech, 3 speakers", "lj": "LJSpeech", "heldout": "heldout",
        "speechocean": "speechocean762 test", "commonvoice": "Common Voice", "synthetic_heldout": "synthetic voices"}


def main():
    with open(os.path.join(base_directory(), "log", "train.jsonl"), encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [r for r in rows if r["time"] > (sys.argv[2] if len(sys.argv) > 2 else "")]
    # Steps that were done again after a stop count once.
    train = [r for _, r in sorted({r["step"]: r for r in rows if r["event"] == "train"}.items())]
    tests = [r for r in rows if r["event"] == "evaluate"]
    matplotlib.rcParams["svg.hashsalt"] = "rec-stt"
    # A run may have been tested only when it was over.
    figure, axes = plot.subplots(1, 2 if tests else 1, figsize=(11 if tests else 7, 4), squeeze=False)
    left = axes[0, 0]
    for name, label in (("loss", "CTC per token"), ("phone", "phones per half frame"), ("tdt", "TDT per token"),
                        ("apart", "divergence of two maskings per token"), ("risk", "expected wrong words per word"),
                        ("distil", "distance to the larger encoder")):
        known = [r for r in train if r.get(name)]
        if known:
            left.plot([r["hours"] for r in known], [r[name] for r in known], label=label)
    left.set(xlabel="hours of audio trained on", ylabel="training loss")
    left.set_ylim(bottom=0)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    if tests:
        right = axes[0, 1]
        for name, label in SETS.items():
            had = [r for r in tests if name in r]     # a run may have got a set later
            if had:
                right.plot([r["hours"] for r in had], [r[name] for r in had], marker="o", label=label)
        right.set(xlabel="hours of audio trained on", ylabel="word error rate, % (CTC greedy)", ylim=(0, 100))
        right.legend()
    for one in axes.flat:
        one.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(sys.argv[1], metadata={"Date": None})


if __name__ == "__main__":
    main()
