"""Train the recogniser.  Resumes from the last checkpoint by itself.

usage: train.py [--threads N] [--stop-step N]

Everything lives in the training directory (REC_STT_TRAIN_DIR):
  cache/real, cache/synth*   waveforms (prepare.py, synthesize.py)
  tokenizer.model            tokenizer.py
  schedule.json              optional overrides of SCHEDULE, read again and again
  checkpoint.pt              model, EMA, optimiser, step (written every few minutes)
  log/train.jsonl            one JSON object per report or evaluation
"""
import argparse
import glob
import json
import math
import os
import signal
import time

import jiwer
import numpy as np
import sentencepiece
import torch
from torch.nn import functional as F

import features
import kernels
from augment import Pipeline, room_bank
from model import Config, Recogniser
from store import HEARD_HOP, HEARD_SIZE, RATE, Store, base_directory
from text import for_scoring

SCHEDULE = {
    "peak": 1.5e-3,           # learning rate after warm-up
    "warmup": 400,            # steps
    "decay_from": 0,          # time (seconds since 1970) at which the learning rate starts to fall linearly
    "decay_to": 0,            # time at which it reaches peak / 50; 0: no decay
    "batch_seconds": 120,     # padded audio per step
    "strength": 1.0,          # how often and how hard examples are distorted
    "ramp": 1500,             # steps until augmentation has that strength
    "dropout": 0.1,
    "middle": 0.3,            # weight of the CTC loss at the middle layer
    "tdt": 0.0,               # weight of the TDT loss
    "longest": 17,            # seconds of the longest recordings that are taken in
    "tdt_cells": 25000,       # lattice size per step, by choosing utterances
    "risk": 0.0,              # weight of the expected word errors among rivals.py's readings
    "risk_cells": 40000,
    "phone": 0.5,             # weight of the phone loss at the middle layer (synthetic speech with known times)
    "distil": 1.0,            # weight of the distance to what a larger recogniser's encoder made of it
    "consistency": 0.2,       # weight of the divergence between the posteriors of an example's two maskings
    "ema": 0.998,
    "weights": {"native": 0.40, "accented": 0.12, "timed": 0.28, "synthetic": 0.16, "none": 0.04, "words": 0.03, "pseudo": 0.0},
    "checkpoint_seconds": 420,
    "evaluate_seconds": 900,
}


def fastest_product(kind):
    """Seconds that a product of the model's usual size takes, at best."""
    x, weight, times = torch.ones(2048, 256, dtype=kind), torch.ones(1024, 256, dtype=kind), []
    for _ in range(20):
        begin = time.perf_counter()
        F.linear(x, weight)
        times.append(time.perf_counter() - begin)
    return min(times)


# Products in bfloat16 where they are faster: with AMX, and on some processors with AVX-512 BF16; on others they take
# twice the time of single precision.
HALF = torch.ops.mkldnn._is_mkldnn_bf16_supported() and fastest_product(torch.bfloat16) < fastest_product(torch.float32)

EVALUATION = {"librispeech": 40, "lj": 20, "heldout": 6, "speechocean": 60, "commonvoice": 60,
              "synthetic_heldout": 60}


# Phones of flite and festival; "pau" is silence, unknown names are not scored.
PHONES = {p: i for i, p in enumerate(
    """pau aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z
    zh""".split())}


def schedule():
    values = dict(SCHEDULE)
    path = os.path.join(base_directory(), "schedule.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            values.update(json.load(file))
    return values


def learning_rate(step, s):
    rate = s["peak"] * min(1.0, (step + 1) / s["warmup"])
    if s["decay_to"] and time.time() > s["decay_from"]:
        rest = (s["decay_to"] - time.time()) / max(1, s["decay_to"] - s["decay_from"])
        rate *= max(0.02, rest)
    return rate


def log(record):
    record["time"] = time.strftime("%Y-%m-%dT%H:%M:%S")
    path = os.path.join(base_directory(), "log", "train.jsonl")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


class Data(torch.utils.data.IterableDataset):
    """Endless batches of augmented features, made in a worker process."""

    def __init__(self, seed):
        self.seed = seed

    def load(self):
        longest = schedule()["longest"] * RATE
        cache = os.path.join(base_directory(), "cache")
        self.groups = {"native": [], "accented": [], "timed": [], "synthetic": [], "words": [], "pseudo": []}
        for path in sorted(glob.glob(os.path.join(cache, "*.tsv"))):
            name = os.path.basename(path)[:-4]
            if name == "synthetic_heldout":
                continue
            store = Store(path[:-4])
            for item in store.items:
                if item[3] != "train" or not item[5] or item[1] > longest:
                    continue
                group = ("timed" if item[6] else "synthetic") if name.startswith("synth") else \
                    "pseudo" if name.startswith("pseudo") else "words" if name.startswith("words") else "accented" if item[4].startswith("speechocean") else "native"
                self.groups[group].append((store, item))
        self.weights = {}
        for name, items in self.groups.items():
            if not items:
                continue
            # Between flat over utterances and flat over speakers.
            count = {}
            for _, item in items:
                count[item[2]] = count.get(item[2], 0) + 1
            weight = np.array([count[item[2]] ** -0.4 for _, item in items])
            self.weights[name] = np.cumsum(weight / weight.sum())
        self.loaded = time.time()

    def draw(self, rng, group):
        items = self.groups[group]
        store, item = items[min(len(items) - 1, int(np.searchsorted(self.weights[group], rng.random())))]
        return store.audio(item).astype(np.float32) / 32768, item[5], item[6], store.heard(item), store.rivals(item)

    def babble(self, rng):
        """Somebody else who speaks at the same time."""
        accented = self.groups["accented"] and rng.random() > 0.7
        return self.draw(rng, "accented" if accented else "native")[0]

    def one(self, rng, pipeline, s, strength):
        """-> (the features [2, T, 80] under two maskings, tokens, phone labels [T', 2], heard_rows, rivals)."""
        names = [n for n in s["weights"] if n == "none" or self.groups.get(n)]
        weight = np.array([s["weights"][n] for n in names])
        group = names[int(rng.choice(len(names), p=weight / weight.sum()))]
        if group == "none":
            mel, _ = pipeline.features(pipeline.nonspeech(), True, strength, 2)
            return pipeline.views(mel, strength), [], phone_labels([], len(mel), 160), heard_rows([], len(mel), 160), []
        synthetic = group in ("synthetic", "timed")
        x, text, phones, heard, rivals = self.draw(rng, group)
        timed = [(0, phones, heard)]
        if rng.random() < 0.35 * strength and len(x) < 6 * RATE:
            parts, texts = [x], [text]
            limit = rng.uniform(6, 15) * RATE
            while sum(map(len, parts)) < limit and len(parts) < 5:
                other = group if rng.random() < 0.7 else names[int(rng.choice(len(names), p=weight / weight.sum()))]
                if other == "none":
                    break
                y, more, phones, heard, _ = self.draw(rng, other)
                if len(y) + sum(map(len, parts)) > 16 * RATE:
                    break
                parts.append(np.zeros(int(rng.exponential(0.5) * RATE), dtype=np.float32))
                timed.append((sum(map(len, parts)), phones, heard))
                parts.append(y * rng.uniform(0.6, 1.6))
                texts.append(more)
            x, text, rivals = np.concatenate(parts), " ".join(texts), rivals if len(texts) == 1 else []
        tokens = self.tokenizer.encode(text)
        repeats = sum(a == b for a, b in zip(tokens, tokens[1:]))
        limit = len(x) / 1280 / (len(tokens) + repeats + 3)
        x, before = pipeline.distort(x, synthetic, strength)
        mel, hop = pipeline.features(x, synthetic, strength, max(0.8, limit))
        frames = (len(mel) + 7) // 8
        if frames < len(tokens) + repeats + 1:
            return self.one(rng, pipeline, s, strength)
        labels = phone_labels([(before + at, p) for at, p, _ in timed], len(mel), hop)
        rows = heard_rows([(before + at, h) for at, _, h in timed], len(mel), hop)
        return pipeline.views(mel, strength), tokens, labels, rows, [r for r in rivals if len(r[-1]) < frames]

    def __iter__(self):
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng(self.seed + 1000 * (worker.id if worker else 0))
        self.tokenizer = sentencepiece.SentencePieceProcessor(os.path.join(base_directory(), "tokenizer.model"))
        self.load()
        rooms = room_bank(os.path.join(base_directory(), "cache", "rooms.npy"))
        pipeline = Pipeline(rng, rooms, lambda: self.babble(rng))
        step = self.seed
        while True:
            s = schedule()
            if time.time() - self.loaded > 200:
                self.load()
            strength = s["strength"] * min(1.0, 0.15 + 0.85 * step / s["ramp"])
            pool = [self.one(rng, pipeline, s, strength) for _ in range(400)]
            pool.sort(key=lambda p: p[0].shape[1])
            batches, batch = [], []
            for sample in pool:
                if batch and sample[0].shape[1] * 2 * (len(batch) + 1) > s["batch_seconds"] * 100:
                    batches.append(batch)
                    batch = []
                batch.append(sample)
            batches.append(batch)
            for index in rng.permutation(len(batches)):
                batch = batches[index]
                if batch[-1][0].shape[1] * 2 * len(batch) < s["batch_seconds"] * 30:
                    continue
                step += 1
                yield collate(batch)


def half_frames(frames, hop):
    """The samples a quarter and three quarters into each encoder frame: [T', 2]."""
    return (np.arange((frames + 7) // 8)[:, None] * 8 + np.array([-2, 2])) * hop


def phone_labels(timed, frames, hop):
    """The phones at the half frames, -1 where unknown."""
    at = half_frames(frames, hop)
    labels = np.full(at.shape, -1, dtype=np.int64)
    for start, phones in timed:
        if not phones:
            continue
        ends, names = zip(*((float(p.rsplit(":", 1)[1]), p.rsplit(":", 1)[0]) for p in phones.split()))
        ends = np.array(ends) * RATE + start
        ids = np.array([PHONES.get(name, -1) for name in names])
        inside = (at >= start) & (at < ends[-1])
        labels[inside] = ids[np.searchsorted(ends, at[inside], side="right")]
    return torch.from_numpy(labels)


def heard_rows(timed, frames, hop):
    """What the larger recogniser heard at the half frames: int8 [T', 2, HEARD_SIZE], zeros where unknown."""
    at = half_frames(frames, hop)
    result = np.zeros((*at.shape, HEARD_SIZE), dtype=np.int8)
    for start, rows in timed:
        if rows is not None and len(rows):
            row = (at - start) // HEARD_HOP
            inside = (row >= 0) & (row < len(rows))
            result[inside] = rows[row[inside]]
    return torch.from_numpy(result)


def collate(batch):
    """Tensors of a batch: first every example under its first masking, then every one under its second."""
    lengths = torch.tensor([views.shape[1] for views, *_ in batch])
    # Rounding keeps the number of different shapes small.
    longest = -(-int(lengths.max()) // 32) * 32
    x = torch.zeros(2, len(batch), longest, features.MELS)
    phones = torch.full((len(batch), longest // 8, 2), -1)
    heard = torch.zeros(len(batch), longest // 8, 2, HEARD_SIZE, dtype=torch.int8)
    rivals = [(index + view * len(batch), *reading) for view in range(2) for index, row in enumerate(batch) for reading in row[4]]
    for index, (views, _, labels, rows, _) in enumerate(batch):
        x[:, index, :views.shape[1]] = views
        phones[index, :len(labels)] = labels
        heard[index, :len(rows)] = rows
    targets = torch.tensor([t for _, tokens, *_ in batch for t in tokens], dtype=torch.long)
    target_lengths = torch.tensor([len(tokens) for _, tokens, *_ in batch])
    return (x.flatten(0, 1), lengths.repeat(2), targets.repeat(2), target_lengths.repeat(2),
            phones.repeat(2, 1, 1), heard.repeat(2, 1, 1, 1),
            torch.tensor([(index, outside, errors, words, len(tokens)) for index, outside, errors, words, tokens in rivals]),
            torch.tensor([t for *_, tokens in rivals for t in tokens], dtype=torch.long))


def rivals_of(rows, tokens):
    """What collate() has put into two tensors: for an utterance's index its readings (outside, errors, words, tokens)."""
    result, start = {}, 0
    for index, outside, errors, words, count in rows.tolist():
        result.setdefault(int(index), []).append((outside, errors, words, tokens[start:start + int(count)]))
        start += int(count)
    return result


def ctc(logits, targets, lengths, target_lengths, blank):
    """Mean CTC loss per target token of the batch, and the divergence per token between an example's two views.

    The second is CR-CTC's (Yao et al. 2024): each view's posteriors learn from the other's, frame by frame.
    """
    logp = logits.float().log_softmax(-1)
    loss = F.ctc_loss(logp.transpose(0, 1), targets, lengths, target_lengths, blank, reduction="none",
                      zero_infinity=True)
    other = logp.detach().roll(len(logp) // 2, 0)
    apart = (other.exp() * (other - logp)).sum(-1)
    apart = apart * (torch.arange(apart.shape[1]) < lengths[:, None])
    tokens = max(1, int(target_lengths.sum()))
    return loss.sum() / tokens, apart.sum() / tokens


def heard_unit():
    """[HEARD_SIZE] what a 1 in heard_rows is worth, for a mean square of 1; None: distil.py was not run."""
    path = os.path.join(base_directory(), "cache", "heard.npz")
    if not os.path.exists(path):
        return None
    step = torch.from_numpy(np.load(path)["step"]).float()
    return step / (step * 127 / 4).square().mean().sqrt()


def distillation(told, heard, unit):
    """Mean square between what the head tells [B, T', 2 * HEARD_SIZE] and what the larger recogniser heard."""
    there = heard.any(-1)
    return F.mse_loss(told.float().view(heard.shape)[there], heard[there].float() * unit)


def transducer_losses(model, encoded, frames, pairs):
    """TDT loss of each of the pairs (index of an utterance, its tokens)."""
    chosen, labels = [index for index, _ in pairs], [tokens for _, tokens in pairs]
    blank = model.config.vocabulary
    # The start of a sequence is the blank, whose embedding stays zero.
    padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=blank)
    with torch.autocast("cpu", enabled=False):
        predicted, _ = model.predictor(F.pad(padded, (1, 0), value=blank))
    predicted = model.joint.pred(predicted)
    projected = model.joint.enc(encoded[chosen])
    cellwise = [F.relu(projected[n, :frames[i], None] + predicted[n, None, :len(labels[n]) + 1]).flatten(0, 1)
                for n, i in enumerate(chosen)]
    logits = model.joint.out(torch.cat(cellwise)).float()
    counts = torch.tensor([len(row) for row in labels])
    return kernels.TransducerLoss.apply(logits, frames[chosen].contiguous(), counts, torch.cat(labels), 0.05)


def transducer(model, encoded, frames, targets, target_lengths, cells):
    """TDT loss per token over as many utterances as fit into `cells` lattice points."""
    starts = [0] + target_lengths.cumsum(0).tolist()
    pairs, used = [], 0
    for index in torch.randperm(len(frames)).tolist():
        size = int(frames[index]) * (int(target_lengths[index]) + 1)
        if target_lengths[index] and used + size <= cells:
            pairs.append((index, targets[starts[index]:starts[index + 1]]))
            used += size
    if not pairs:
        return None
    return transducer_losses(model, encoded, frames, pairs).sum() / sum(len(tokens) for _, tokens in pairs)


def risk(model, encoded, frames, rivals, cells):
    """Expected word errors per word over rivals.py's readings, of as many utterances as fit into `cells` lattice points.

    "Minimum word error rate" training (Prabhavalkar et al. 2018, arXiv 1712.01818): a reading's probability among its rivals is made
    of what the transducer and what the rest of the decoder says for it.  -> (something with its gradient, its value), or None.
    """
    pairs, outside, errors, rows, used, words = [], [], [], [], 0, 0
    for index in torch.randperm(len(frames)).tolist():
        readings = rivals.get(index)
        size = sum(int(frames[index]) * (len(tokens) + 1) for *_, tokens in readings) if readings else 0
        if readings and used + size <= cells:
            used += size
            words += readings[0][2]
            rows.append((len(pairs), len(readings)))
            for likely, wrong, _, tokens in readings:
                pairs.append((index, tokens))
                outside.append(likely)
                errors.append(wrong)
    if not pairs:
        return None
    losses = transducer_losses(model, encoded, frames, pairs)
    outside, errors = torch.tensor(outside), torch.tensor(errors)
    factors, expected = torch.zeros(len(pairs)), 0.0
    scores = outside - losses.detach()
    for start, count in rows:
        part = slice(start, start + count)
        p = scores[part].softmax(0)
        mean = (p * errors[part]).sum()
        factors[part] = p * (mean - errors[part])
        expected += float(mean)
    return (factors * losses).sum() / words, expected / words


class Muon:
    """Momentum with orthogonalised updates (Jordan et al. 2024) for stacks of equal matrices.

    Scaled as AdamW's updates usually are (0.2 RMS), so that one learning rate serves both.
    """

    def __init__(self, parameters, momentum=0.95, decay=0.05):
        shapes = {}
        for p in parameters:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self.groups = list(shapes.values())
        self.momenta = [torch.zeros(len(g), *g[0].shape) for g in self.groups]
        self.momentum, self.decay = momentum, decay
        self.product = kernels.products if kernels.half_available() and not HALF else torch.matmul

    @torch.no_grad()
    def step(self, rate):
        for group, momentum in zip(self.groups, self.momenta):
            gradient = torch.stack([p.grad for p in group])
            momentum.lerp_(gradient, 1 - self.momentum)
            x = gradient.lerp_(momentum, self.momentum).to(torch.bfloat16 if HALF else torch.float32)
            tall = x.shape[1] > x.shape[2]
            if tall:
                x = x.mT
            x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
            for _ in range(5):
                a = self.product(x, x.mT)
                a = self.product(a, a).mul_(2.0315).sub_(a, alpha=4.7750)
                a.diagonal(dim1=1, dim2=2).add_(3.4445)
                x = self.product(a, x)
            if tall:
                x = x.mT
            size = rate * 0.2 * max(x.shape[1:]) ** 0.5
            torch._foreach_mul_(group, 1 - rate * self.decay)
            torch._foreach_add_(group, list(x.float().unbind(0)), alpha=-size)
            for p in group:
                p.grad = None

    def state_dict(self):
        return self.momenta

    def load_state_dict(self, state):
        if [m.shape for m in state] == [m.shape for m in self.momenta]:
            self.momenta = state


class Optimiser:
    """Muon for the matrices of the encoder, AdamW for everything else."""

    def __init__(self, model):
        matrices, others = [], []
        for name, p in model.named_parameters():
            inside = name.startswith("encoder.layers") or name == "encoder.pre_encode.out.weight"
            (matrices if p.ndim == 2 and inside and "pos_bias" not in name else others).append(p)
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(others, lr=1e-3, weight_decay=0.01, betas=(0.9, 0.98), fused=True)

    def step(self, rate):
        self.muon.step(rate)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def state_dict(self):
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state):
        """A changed model keeps its weights and starts the optimiser afresh."""
        self.muon.load_state_dict(state["muon"])
        try:
            self.adam.load_state_dict(state["adam"])
        except ValueError as error:
            log({"event": "optimiser reset", "why": str(error)})


def save(path, **content):
    torch.save(content, path + ".new")
    os.replace(path + ".new", path)


def evaluate(model, tokenizer, counts=None):
    """Greedy CTC word error rate per held-out set (a fixed sample)."""
    model.eval()
    cache = os.path.join(base_directory(), "cache")
    result = {}
    stores = [Store(os.path.join(cache, name)) for name in ("real", "cv1", "synthetic_heldout")]
    for split, count in (counts or EVALUATION).items():
        items = [(s, i) for s in stores for i in s.items if i[3] == split and i[1] < 20 * RATE]
        items = items[::max(1, len(items) // count)][:count]
        references, hypotheses = [], []
        for store, item in items:
            mel = features.features(torch.from_numpy(store.audio(item).astype(np.float32) / 32768))
            with torch.no_grad():
                encoded, lengths, _ = model(mel[None], torch.tensor([len(mel)]))
            references.append(for_scoring(item[5]))
            hypotheses.append(for_scoring(tokenizer.decode(model.decode_ctc(encoded, lengths)[0])))
        result[split] = round(100 * jiwer.wer(references, hypotheses), 2)
        result["example_" + split] = [references[1], hypotheses[1]]
    model.train()
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stop-step", type=int, default=10 ** 9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = base_directory()
    tokenizer = sentencepiece.SentencePieceProcessor(os.path.join(base, "tokenizer.model"))
    path = os.path.join(base, "checkpoint.pt")
    state = torch.load(path, map_location="cpu", weights_only=False) if os.path.exists(path) else None
    config = Config(**state["config"]) if state else \
        Config(width=256, layers=8, heads=4, channels=64, vocabulary=tokenizer.get_piece_size())
    torch.manual_seed(1)
    model, average = Recogniser(config), Recogniser(config)
    average.load_state_dict(model.state_dict())
    optimiser = Optimiser(model)
    step, seconds, tdt_steps, settled = 0, 0.0, 0, 0
    if state:
        model.load_state_dict(state["model"], strict=False)
        average.load_state_dict(state["average"], strict=False)
        if isinstance(state["optimiser"], dict):
            optimiser.load_state_dict(state["optimiser"])
        step, seconds, tdt_steps = state["step"], state["seconds"], state.get("tdt_steps", 0)
        settled = 0 if "heard.weight" in state["model"] else step + 150
    # An optimiser that knows nothing yet (restore.py, grow.py) is warmed up as that of a first run.
    fresh = 0 if optimiser.adam.state else step
    log({"event": "start", "step": step, "parameters": sum(p.numel() for p in model.parameters()),
         "config": vars(config), "schedule": schedule()})
    loader = torch.utils.data.DataLoader(Data(step), batch_size=None, num_workers=1, prefetch_factor=8)
    model.train()
    blank, taps = config.vocabulary, (config.layers // 2 - 1, config.layers * 3 // 4 - 1)
    s = schedule()
    unit = heard_unit()
    started = saved = evaluated = reported = time.time()
    sums, phone_sum, tdt_sum, distil_sum, risk_sum = np.zeros(4), np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2)
    counted, spent = 0, 0.0
    ending = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))       # a checkpoint first
    source = list(average.state_dict().values())
    floats = [(a, m) for a, m in zip(source, model.state_dict().values()) if a.is_floating_point()]
    for x, lengths, targets, target_lengths, phones, heard, *rivals in loader:
        for module in model.modules():
            if hasattr(module, "dropout"):
                module.dropout = s["dropout"]
        with torch.autocast("cpu", torch.bfloat16, enabled=HALF):
            encoded, frames, (tap, late) = model(x, lengths, taps)
            tdt = transducer(model, encoded, frames, targets, target_lengths, s["tdt_cells"]) if s["tdt"] else None
            wrong = risk(model, encoded, frames, rivals_of(*rivals), s["risk_cells"]) if s["risk"] and len(rivals[1]) else None
            logits, middle_logits, phone_logits = model.ctc(encoded), model.middle_ctc(tap), model.phones(tap)
            # A head that begins anew must not harm the layers below.
            told = model.heard(late.detach() if step < settled else late)
        loss, apart = ctc(logits, targets, frames, target_lengths, blank)
        side, side_apart = ctc(middle_logits, targets, frames, target_lengths, blank)
        total = (1 - s["middle"]) * (loss + s["consistency"] * apart) + \
            s["middle"] * (side + s["consistency"] * side_apart)
        if tdt is not None:
            total = total + s["tdt"] * tdt
            tdt_sum += np.array([float(tdt.detach()), 1])
            tdt_steps += 1
        if wrong is not None:
            total = total + s["risk"] * wrong[0]
            risk_sum += [wrong[1], 1]
        known = int((phones >= 0).sum())
        if known and s["phone"]:
            spoken = F.cross_entropy(phone_logits.float().view(-1, len(PHONES)), phones.view(-1), ignore_index=-1)
            total = total + s["phone"] * min(1.0, known / 500) * spoken
            phone_sum += np.array([float(spoken.detach()), 1])
        if unit is not None and heard.any():
            short = distillation(told, heard, unit)
            total = total + s["distil"] * short
            distil_sum += [float(short.detach()), 1]
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        if not math.isfinite(float(norm)):
            for p in model.parameters():
                p.grad = None
            log({"event": "skipped", "step": step})
            continue
        rate = learning_rate(step - fresh, s)
        optimiser.step(rate)
        step += 1
        decay = min(s["ema"], (1 + step) / (20 + step))
        with torch.no_grad():
            torch._foreach_lerp_([a for a, _ in floats], [m for _, m in floats], 1 - decay)
        sums += [float(v.detach()) for v in (loss, side, norm, apart)]
        counted += 1
        spent += float(lengths.sum()) / 100
        if step % 25 == 0:
            now = time.time()
            seconds += spent
            log({"event": "train", "step": step, "loss": round(sums[0] / counted, 4),
                 "middle": round(sums[1] / counted, 4), "tdt": round(tdt_sum[0] / max(1, tdt_sum[1]), 4),
                 "apart": round(sums[3] / counted, 4), "phone": round(phone_sum[0] / max(1, phone_sum[1]), 4),
                 "distil": round(distil_sum[0] / max(1, distil_sum[1]), 4),
                 "risk": round(risk_sum[0] / max(1, risk_sum[1]), 4), "norm": round(sums[2] / counted, 3),
                 "rate": round(rate, 7), "hours": round(seconds / 3600, 2),
                 "speed": round(spent / (now - reported), 1)})
            sums, phone_sum, tdt_sum, distil_sum, risk_sum = np.zeros(4), np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2)
            counted, spent, reported = 0, 0.0, now
            s, unit = schedule(), heard_unit()
        now = time.time()
        if now - saved > s["checkpoint_seconds"] or step >= options.stop_step or ending:
            save(path, model=model.state_dict(), average=average.state_dict(), optimiser=optimiser.state_dict(),
                 step=step, seconds=seconds, tdt_steps=tdt_steps, config=vars(config))
            saved = now
        if now - evaluated > s["evaluate_seconds"]:
            log({"event": "evaluate", "step": step, "hours": round(seconds / 3600, 2),
                 **evaluate(average, tokenizer)})
            evaluated = reported = time.time()
        if step >= options.stop_step or ending:
            break


if __name__ == "__main__":
    main()
