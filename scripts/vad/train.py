#!/usr/bin/env python3
"""Trains the voice activity detector: Silero's published graph, our own weights.

    train.py --speech DIR --out FILE.pt [--seconds 300]     trains on, from FILE.pt if it is there
    train.py --speech DIR --out FILE.pt --evaluate          frame AUC on the held-out recordings
    train.py --out FILE.pt --export FILE.gguf               writes the averaged weights

Each example is 4 s: speech pieces at known places, silence between them, noise under all of it at -5 to
40 dB, or noise alone. Runs on the CPU.
"""
import argparse
import os
import time

import numpy as np
import torch
from torch.nn import functional as F

import sounds
from graph import HOP, Detector

HOPS = 125


def speech_pool(root, hours, rng):
    """Utterances as int16 with labels, every folder represented."""
    found = sounds.files(root, False)
    rng.shuffle(found)
    pool, total = [], 0
    for f in found:
        x = sounds.load(f)
        if len(x) < 20 * HOP:
            continue
        x /= np.abs(x).max() + 1e-6
        pool.append(((x * 32767).astype(np.int16), sounds.label(x)))
        total += len(x)
        if total > hours * 3600 * sounds.RATE:
            break
    return pool


def background(rng, bank):
    """One or two of the noises made at the start of this run, turned to another place."""
    n = np.roll(bank[rng.integers(len(bank))], rng.integers(HOPS * HOP))
    if rng.random() < 0.3:
        n = n + rng.uniform(0, 1) * np.roll(bank[rng.integers(len(bank))], rng.integers(HOPS * HOP))
    return n / (n.std() + 1e-6)


def example(rng, pool, bank):
    n = HOPS * HOP
    x, y = np.zeros(n, np.float32), np.zeros(HOPS, np.int8)
    at = 0 if rng.random() < 0.5 else rng.integers(0, 60)
    crowd = rng.random()
    while at < HOPS and crowd > 0.22:
        s, l = pool[rng.integers(len(pool))]
        a = rng.integers(0, len(l)) if rng.random() < 0.6 else 0
        m = min(HOPS - at, len(l) - a, rng.integers(10, HOPS))
        x[at * HOP:(at + m) * HOP] = s[a * HOP:(a + m) * HOP] / 32768.0 * rng.uniform(0.3, 1)
        y[at:at + m] = l[a:a + m]
        at += m + (rng.integers(4, 60) if rng.random() < 0.7 else 0)
    if rng.random() < 0.4 and y.any():
        x = sounds.room(rng, x)
        for _ in range(4):                       # the tail of a room is not judged
            y = np.where((y == 0) & (np.roll(y, 1) != 0) & (np.arange(HOPS) > 0), -1, y)
    rms = np.sqrt(np.mean(x[np.repeat(y == 1, HOP)] ** 2)) if (y == 1).any() else 0.1
    under = background(rng, bank)
    if crowd < 0.04:                             # a crowd of voices is a noise
        under = np.zeros(n, np.float32)
        for _ in range(rng.integers(6, 14)):
            s, _l = pool[rng.integers(len(pool))]
            under += np.resize(np.roll(s, rng.integers(len(s))), n) / 32768.0 * rng.uniform(0.4, 1)
        under /= under.std() + 1e-6
    x = x + under * rms * 10 ** (-rng.uniform(-5, 40) / 20) if rng.random() < 0.9 or crowd < 0.04 else x
    if rng.random() < 0.2:
        x = sounds.narrow(rng, x)
    x *= 10 ** (-rng.uniform(0, 40) / 20) / (np.abs(x).max() + 1e-6)
    if rng.random() < 0.15:                      # a microphone that wakes up: zeros at first
        x[:min(rng.integers(1, 40), np.argmax(y != 0) if y.any() else HOPS) * HOP] = 0
    if rng.random() < 0.1:
        x = np.clip(x * 4, -np.abs(x).max(), np.abs(x).max())
    return x.astype(np.float32) + 1e-5 * rng.standard_normal(n).astype(np.float32) * (rng.random() < 0.8), y


def train(args):
    rng = np.random.default_rng(int(time.time()))
    pool = speech_pool(args.speech, args.hours, rng)
    bank = [sounds.noise(rng, HOPS * HOP) for _ in range(300)]
    net, step = Detector(), 0
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-3)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    if os.path.exists(args.out):
        saved = torch.load(args.out)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        average, step = saved["average"], saved["step"]
    began, losses, state = time.time(), [], None
    while time.time() - began < args.seconds:
        pairs = [example(rng, pool, bank) for _ in range(24)]
        x, y = torch.tensor(np.stack([p[0] for p in pairs])), torch.tensor(np.stack([p[1] for p in pairs]))
        rate = 1e-3 * min(1, (step + 1) / 100) * 0.5 ** (step / args.halve)
        for group in optimiser.param_groups:
            group["lr"] = rate
        if state is not None:                    # recordings go on for minutes: so does what is remembered
            state = tuple(s.detach() * (torch.rand(1, len(pairs), 1) > 0.25) for s in state)
        logits, state = net.step(x, state)
        loss = F.binary_cross_entropy_with_logits(logits, y.clamp(min=0).float(), (y >= 0) * (1 + 0.5 * (y == 1)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        for k, v in net.state_dict().items():
            average[k].lerp_(v, max(0.005, 1 / (step + 1))) if v.is_floating_point() else None
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step} loss {np.mean(losses[-50:]):.4f} rate {rate:.2e} {time.time() - began:.0f} s", flush=True)
    torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "average": average, "step": step}, args.out)


def auc(score, truth):
    order = np.argsort(score, kind="stable")
    rank = np.empty(len(score))
    rank[order] = np.arange(len(score))
    p = truth.sum()
    return (rank[truth].sum() - p * (p - 1) / 2) / (p * (len(score) - p))


def judged(args, count, snr, gain=1.0):
    """Held-out utterances between silences, in noise at a level under the speech: sound and labels."""
    rng = np.random.default_rng(1)
    found = sounds.files(args.speech, True)
    found = [f for f in found if "speechocean" not in f] + [f for f in found if "speechocean" in f][::60]
    for f in [found[i] for i in rng.permutation(len(found))[:count]]:
        x = sounds.load(f)
        if len(x) < 20 * HOP:
            continue
        y = sounds.label(x)
        pad = HOP * 40
        x, y = np.concatenate([np.zeros(pad), x, np.zeros(pad)]), np.concatenate([np.zeros(40), y, np.zeros(40)])
        rms = np.sqrt(np.mean(x[np.repeat(y == 1, HOP)] ** 2))
        x = x + sounds.noise(rng, len(x)) * rms * 10 ** (-snr / 20)
        yield (x * gain * 0.5 / (np.abs(x).max() + 1e-6)).astype(np.float32), y


def evaluate(args):
    net = Detector()
    net.load_state_dict(torch.load(args.out)["average"])
    net.eval()
    long_noise(net)
    for snr, gain in ((40, 1), (20, 1), (10, 1), (10, 0.03), (5, 1), (0, 1)):
        scores, truths = [], []
        with torch.no_grad():
            for x, y in judged(args, 150, snr, gain):
                p = torch.sigmoid(net(torch.tensor(x)[None]))[0].numpy()
                scores.append(p[y >= 0])
                truths.append(y[y >= 0] == 1)
        s, t = np.concatenate(scores), np.concatenate(truths)
        print(f"SNR {snr} dB, gain {gain}: AUC {auc(s, t):.4f}, at 0.5: hit {np.mean(s[t] >= 0.5):.3f}, "
              f"false {np.mean(s[~t] >= 0.5):.3f}, {len(s)} hops", flush=True)


def long_noise(net):
    """Half an hour of noises without a pause or a word: the share of hops called speech."""
    rng = np.random.default_rng(77)
    x = np.concatenate([sounds.noise(rng, HOP * 312) * 10 ** (-rng.uniform(15, 55) / 20) for _ in range(180)])
    with torch.no_grad():
        p = torch.sigmoid(net(torch.tensor(x.astype(np.float32))[None]))[0].numpy()
    print(f"half an hour of noises alone: false {np.mean(p >= 0.5):.4f}", flush=True)


def export(args):
    """GGUF with the published names: matrices in f16, vectors in f32; the transform's basis is left out."""
    import gguf
    net = Detector()
    net.load_state_dict(torch.load(args.out)["average"])
    w = gguf.GGUFWriter(args.export, "silero-vad")
    w.add_name("rec-stt-vad")
    w.add_license("CC-BY-4.0")
    w.add_uint32("silero-vad.sample_rate", sounds.RATE)
    for name, value in net.tensors().items():
        if name != "stft_conv.weight":
            w.add_tensor(name, (value.half() if value.dim() > 1 else value).numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--speech")
    p.add_argument("--out", required=True)
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--hours", type=float, default=4)
    p.add_argument("--halve", type=float, default=700, help="steps in which the learning rate halves")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--evaluate", action="store_true")
    p.add_argument("--export")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    export(args) if args.export else evaluate(args) if args.evaluate else train(args)


if __name__ == "__main__":
    main()
