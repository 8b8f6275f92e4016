"""A recurrent language model over the recogniser's pieces, for the decoder's beam (src/asr/recurrent.h has the tensors).

usage: recurrent_model.py TEXT[:WEIGHT]... OUT.npz [--minutes N] [--hidden N] [--rate R] [--threads N]

Texts as language_model.py writes them, one sentence a line; a WEIGHT is the share of the batches' rows that read
that text.  Trains for so many minutes of wall time, the learning rate falling to nothing, and prints the cross entropy of
the held-out transcripts every few minutes.  OUT.npz is what export.py takes; where it is there already (restore.py gets
it out of a model file) training goes on from it, with the optimiser's state of OUT.npz.pt.
"""
import argparse
import os
import time

import numpy as np
import sentencepiece
import torch
from torch.nn import functional as F

from language_model import HELD_OUT, encode
from store import Store, base_directory

ROWS, LENGTH = 64, 64
# What the recogniser writes has no ends of sentences, what the model reads has some: it must know both.
KEPT_STARTS = 0.4


class Recurrence(torch.autograd.Function):
    """An LSTM layer whose input is a table's row for each token.  PyTorch's own multiplies the input, which is nearly all
    zeros here, by a matrix, and keeps books of every small step: half as fast on a CPU."""

    @staticmethod
    def forward(context, tokens, table, weight, before, cell):
        """tokens [time, rows] -> (hidden states [time, rows, hidden], the last cells)"""
        time_steps, hidden = len(tokens), weight.shape[1]
        gates = table[tokens]
        states, cells, bent = (torch.empty(time_steps, tokens.shape[1], hidden) for _ in range(3))
        turned = weight.t().contiguous()
        last, memory = before, cell
        for t in range(time_steps):
            g = gates[t].addmm_(last, turned)
            g[:, :2 * hidden].sigmoid_()
            g[:, 2 * hidden:3 * hidden].tanh_()
            g[:, 3 * hidden:].sigmoid_()
            torch.mul(g[:, hidden:2 * hidden], memory, out=cells[t])
            cells[t].addcmul_(g[:, :hidden], g[:, 2 * hidden:3 * hidden])
            torch.tanh(cells[t], out=bent[t])
            torch.mul(g[:, 3 * hidden:], bent[t], out=states[t])
            last, memory = states[t], cells[t]
        context.save_for_backward(tokens, gates, states, cells, bent, weight, before, cell)
        context.rows = len(table)
        context.mark_non_differentiable(memory)
        return states, memory

    @staticmethod
    def backward(context, wanted, _):
        tokens, gates, states, cells, bent, weight, before, cell = context.saved_tensors
        hidden = weight.shape[1]
        back = torch.empty_like(gates)
        later, memory = torch.zeros_like(before), torch.zeros_like(cell)
        for t in reversed(range(len(tokens))):
            i, f, g, o = gates[t].split(hidden, 1)
            di, df, dg, do = back[t].split(hidden, 1)
            later = later + wanted[t]
            torch.mul(later, bent[t], out=do)
            do.mul_(o).mul_(1 - o)
            memory.addcmul_(later.mul_(o), 1 - bent[t] * bent[t])
            torch.mul(memory, g, out=di)
            di.mul_(i).mul_(1 - i)
            torch.mul(memory, i, out=dg)
            dg.mul_(1 - g * g)
            torch.mul(memory, cells[t - 1] if t else cell, out=df)
            df.mul_(f).mul_(1 - f)
            memory.mul_(f)
            later = back[t] @ weight
        flat = back.flatten(0, 1)
        earlier = torch.cat([before[None], states[:-1]]).flatten(0, 1)
        table = torch.zeros(context.rows, 4 * hidden).index_add_(0, tokens.flatten(), flat)
        return None, table, flat.t() @ earlier, None, None


class Model(torch.nn.Module):
    def __init__(self, pieces, hidden):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(pieces, 4 * hidden) * 0.1)
        self.weight = torch.nn.Parameter((torch.rand(4 * hidden, hidden) * 2 - 1) * hidden ** -0.5)
        self.output = torch.nn.Linear(hidden, pieces)
        self.table.data[:, hidden:2 * hidden] += 1                       # remember at first

    def forward(self, tokens, state=None):
        """tokens [rows, time] -> (scores [rows, time, pieces], the state to go on from)"""
        state = state or (torch.zeros(len(tokens), self.weight.shape[1]),) * 2
        heard, cell = Recurrence.apply(tokens.t().contiguous(), self.table, self.weight, *state)
        scores = self.output(F.dropout(heard, 0.05, self.training))
        return scores.transpose(0, 1), (heard[-1].detach(), cell)

    def tensors(self):
        table = {"input.weight": self.table, "hidden.weight": self.weight, "output.weight": self.output.weight,
                 "output.bias": self.output.bias}
        return {"lm." + name: value.detach().numpy() for name, value in table.items()}

    def take(self, tensors):
        """What tensors() gave."""
        with torch.no_grad():
            self.table.copy_(torch.from_numpy(tensors["lm.input.weight"]))
            self.weight.copy_(torch.from_numpy(tensors["lm.hidden.weight"]))
            self.output.weight.copy_(torch.from_numpy(tensors["lm.output.weight"]))
            self.output.bias.copy_(torch.from_numpy(tensors["lm.output.bias"]))


def readers(texts, pieces, rng):
    """One endless stream of pieces for each row of a batch: a function that returns the next LENGTH + 1."""
    total = sum(weight for _, weight in texts)
    rows = []
    for path, weight in texts:
        stream = encode(path, pieces)
        stream = stream[(stream != 0) | (rng.random(len(stream)) < KEPT_STARTS)]
        rows += [stream] * max(1, round(ROWS * weight / total))
    rows = (rows + [rows[0]] * ROWS)[:ROWS]
    places = [int(rng.integers(len(stream) - LENGTH)) for stream in rows]

    def batch():
        out = np.empty((ROWS, LENGTH + 1), np.int64)
        for i, stream in enumerate(rows):
            if places[i] + LENGTH + 1 >= len(stream) or rng.random() < 0.002:
                places[i] = int(rng.integers(len(stream) - LENGTH - 1))
            out[i] = stream[places[i]:places[i] + LENGTH + 1]
            places[i] += LENGTH
        return torch.from_numpy(out)
    return batch


def cross_entropy(model, pieces):
    """Nats a piece of each held-out set, every utterance from the start of a sentence."""
    model.eval()
    result = {}
    for cache in ("real", "cv1"):
        items = Store(os.path.join(base_directory(), "cache", cache)).items
        for name in HELD_OUT:
            texts = [[0] + pieces.encode(item[5]) for item in items if item[3] == name][:300]
            if not texts:
                continue
            tokens = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
            weight = torch.zeros(len(texts), tokens.shape[1] - 1)
            for i, text in enumerate(texts):
                tokens[i, :len(text)] = torch.tensor(text)
                weight[i, :len(text) - 1] = 1
            with torch.no_grad():
                scores = model(tokens[:, :-1])[0]
            loss = F.cross_entropy(scores.transpose(1, 2), tokens[:, 1:], reduction="none")
            result[name] = round(float((loss * weight).sum() / weight.sum()), 3)
    model.train()
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pieces = sentencepiece.SentencePieceProcessor(os.path.join(base_directory(), "tokenizer.model"))
    texts = [(path, float(weight or 1)) for path, _, weight in (text.partition(":") for text in options.texts)]
    model = Model(pieces.get_piece_size(), options.hidden)
    optimiser = torch.optim.Adam(model.parameters(), options.rate, betas=(0.9, 0.98))
    checkpoint, read = options.out + ".pt", 0
    if os.path.exists(options.out):
        model.take(np.load(options.out))
    if os.path.exists(checkpoint):
        kept = torch.load(checkpoint)
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        read = kept["read"]
    batch = readers(texts, pieces, np.random.default_rng(read + 1))

    def save():
        torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "read": read}, checkpoint + ".new")
        os.replace(checkpoint + ".new", checkpoint)
        np.savez(options.out, **model.tensors())
        print("%.0f minutes, %.1f million pieces read" % ((time.time() - begin) / 60, read / 1e6),
              cross_entropy(model, pieces), flush=True)

    begin = told = time.time()
    state, steps = None, 0
    while (left := 1 - (time.time() - begin) / (60 * options.minutes)) > 0:
        steps += 1
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, steps / 200) * max(0.003, left)
        tokens = batch()
        scores, state = model(tokens[:, :-1], state)
        loss = F.cross_entropy(scores.reshape(-1, scores.shape[2]), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimiser.step()
        read += ROWS * LENGTH
        if time.time() - told > 240:
            told = time.time()
            save()
    save()


if __name__ == "__main__":
    main()
