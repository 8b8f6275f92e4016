"""A language model of one LSTM layer over the recogniser's pieces, for the decoder's beam (src/asr/neural_lm.h).

usage: neural_lm.py train TEXT[:SHARE]... OUT.npz [--minutes N] [--hidden N] [--rate R]
       neural_lm.py measure FILE.npz

train: TEXTs are files of clean sentences ("language_model.py text"), SHARE of all that is heard (1). Neighbours follow
each other without a mark now and then, as sentences do in what people say: shuffle a file whose neighbours are alike.
Where OUT.npz is there already, training goes on from it. It is written anew every minute; the learning rate falls on a
line to nothing.
measure: nats for each piece of the held-out transcripts (given that there is one) and for their ends, set by set.
"""
import argparse
import os
import sys
import time

import numpy as np
import sentencepiece
import torch
from torch.nn import functional

from compare import SETS
from kernels import Lstm
from language_model import encoded
from store import Store, base_directory
from text import for_scoring
from train import Muon

PIECES, INPUT = 256, 64
LANES, STEPS = 128, 48          # histories side by side, pieces between two updates
WARMUP = 50                     # updates
JOINED = (0.5, 0.35, 0.15)      # how often one, two and three sentences make one


class NeuralModel(torch.nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embed = torch.nn.Embedding(PIECES, INPUT)
        self.lstm = torch.nn.LSTM(INPUT, hidden)
        self.out = torch.nn.Linear(hidden, PIECES)
        torch.nn.init.normal_(self.embed.weight, std=0.5)
        with torch.no_grad():
            self.lstm.bias_ih_l0[hidden:2 * hidden] = 1       # to begin with, nothing is forgotten
            self.lstm.bias_hh_l0.zero_()
        self.lstm.bias_hh_l0.requires_grad_(False)            # the engine has one bias

    def forward(self, pieces, state=None):
        """[steps, lanes] -> logits [steps, lanes, PIECES], state"""
        said = functional.linear(self.embed.weight, self.lstm.weight_ih_l0, self.lstm.bias_ih_l0)
        h, c = state or (torch.zeros(pieces.shape[1], self.lstm.hidden_size, dtype=torch.bfloat16),
                         torch.zeros(pieces.shape[1], self.lstm.hidden_size))
        y, c = Lstm.apply(said, pieces, self.lstm.weight_hh_l0, h, c)
        return functional.linear(y, self.out.weight.bfloat16(), self.out.bias.bfloat16()).float(), (y[-1].detach(), c)

    def arrays(self):
        """Name in the model file (after "lm.neural.") -> values."""
        named = {"embed.weight": self.embed.weight, "ih.weight": self.lstm.weight_ih_l0, "ih.bias": self.lstm.bias_ih_l0,
                 "hh.weight": self.lstm.weight_hh_l0, "out.weight": self.out.weight, "out.bias": self.out.bias}
        return {name: values.detach().numpy() for name, values in named.items()}


def load(path):
    saved = np.load(path)
    model = NeuralModel(saved["hh.weight"].shape[1])
    for name, values in model.arrays().items():
        values[...] = saved[name]
    return model


class Text:
    """Sentences of one file, drawn at random."""

    def __init__(self, path, draw):
        self.pieces, self.draw = encoded(path), draw
        self.begin = np.flatnonzero(self.pieces == 0)

    def some(self):
        """A 0 and then what follows a random sentence's start: one sentence or more in a row."""
        first = self.draw.integers(len(self.begin))
        after = first + 1 + self.draw.choice(3, p=JOINED)
        part = self.pieces[self.begin[first]:self.begin[after] if after < len(self.begin) else None]
        return np.concatenate([part[:1], part[part != 0]])


class Lanes:
    """Endless rows of pieces, each from the texts by their shares."""

    def __init__(self, texts, shares, draw):
        lengths = [np.mean([len(text.some()) for _ in range(300)]) for text in texts]
        self.odds = np.array(shares) / lengths
        self.odds /= self.odds.sum()
        self.texts, self.draw = texts, draw
        self.rest = [np.zeros(0, np.uint8)] * LANES

    def take(self):
        """[STEPS + 1, LANES]: the last row comes again as the next call's first."""
        columns = []
        for i, rest in enumerate(self.rest):
            while len(rest) <= STEPS:
                rest = np.concatenate([rest, self.texts[self.draw.choice(len(self.texts), p=self.odds)].some()])
            columns.append(rest[:STEPS + 1])
            self.rest[i] = rest[STEPS:]
        return torch.from_numpy(np.stack(columns, 1).astype(np.int64))


def cost(model, pieces, state=None):
    """-> nats for each piece to come, an end (0) included, and the state after them"""
    y, state = model(pieces[:-1], state)
    return functional.cross_entropy(y.flatten(0, 1), pieces[1:].flatten(), reduction="none"), state


def train(options):
    draw = np.random.default_rng()
    named = [text.partition(":") for text in options.text]
    lanes = Lanes([Text(path, draw) for path, _, _ in named], [float(share or 1) for _, _, share in named], draw)
    model = load(options.out) if os.path.exists(options.out) else NeuralModel(options.hidden)
    muon = Muon([model.lstm.weight_hh_l0], decay=0)
    rest = [p for p in model.parameters() if p.requires_grad and p is not model.lstm.weight_hh_l0]
    adam = torch.optim.Adam(rest, betas=(0.9, 0.98))
    start = told = time.time()
    state, updates, losses = None, 0, []
    while (part := (time.time() - start) / 60 / options.minutes) < 1:
        loss, state = cost(model, lanes.take(), state)
        loss.mean().backward()
        if not torch.nn.utils.clip_grad_norm_(model.parameters(), 1).isfinite():
            raise FloatingPointError("the gradient is not finite")
        rate = options.rate * min(1, (updates + 1) / WARMUP) * (1 - part)
        for group in adam.param_groups:
            group["lr"] = rate
        muon.step(rate)
        adam.step()
        model.zero_grad()
        updates += 1
        losses.append(loss.mean().item())
        if time.time() - told > 60:
            told = time.time()
            print("%.0f min, %.1f M pieces: %.3f" % ((told - start) / 60, updates * LANES * STEPS / 1e6, np.mean(losses)), flush=True)
            losses = []
            save(options.out, model)
    save(options.out, model)
    tell(model)


def save(path, model):
    with open(path + ".new", "wb") as file:
        np.savez(file, **model.arrays())
    os.replace(path + ".new", path)


@torch.no_grad()
def tell(model):
    pieces = sentencepiece.SentencePieceProcessor(os.path.join(base_directory(), "tokenizer.model"))
    for name, cache in SETS.items():
        store = Store(os.path.join(base_directory(), "cache", cache))
        said = [[0] + pieces.encode(for_scoring(item[5])) + [0] for item in store.items if item[3] == name]
        rows = torch.zeros(max(map(len, said)), len(said), dtype=torch.long)
        for i, sentence in enumerate(said):
            rows[:len(sentence), i] = torch.tensor(sentence)
        there = torch.arange(1, len(rows))[:, None] < torch.tensor([len(sentence) for sentence in said])
        y = model(rows[:-1])[0]
        ends = functional.log_softmax(y, 2)[:, :, 0]
        goes_on = functional.cross_entropy(y[:, :, 1:].flatten(0, 1), (rows[1:] - 1).clamp(min=0).flatten(), reduction="none").view_as(ends)
        last = there & (rows[1:] == 0)
        print("%s: %.3f a piece, %.3f an end" % (name, goes_on[there & ~last].mean(), -ends[last].mean()))


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("train")
    p.add_argument("text", nargs="+")
    p.add_argument("out")
    p.add_argument("--minutes", type=float, default=40)
    p.add_argument("--hidden", type=int, default=512)
    p.add_argument("--rate", type=float, default=1.2e-2)
    p.set_defaults(run=train)
    p = commands.add_parser("measure")
    p.add_argument("file")
    p.set_defaults(run=lambda options: tell(load(options.file)))
    options = parser.parse_args(sys.argv[1:])
    options.run(options)


if __name__ == "__main__":
    main()
