"""Check the kernels of kernels.py on this processor: values and gradients against PyTorch's own operations in double
precision, on small random inputs.

usage: check_kernels.py           a line for each; status 1 where one is further away than bfloat16's rounding explains
"""
import sys

import torch
from torch.nn import functional as F

import kernels

FAR = 0.012                    # of the norm


def random(*shape, scale=1.0):
    return torch.randn(*shape) * scale


def first():
    x, valid = random(2, 33, 80), torch.tensor([33, 20])
    weight, bias = random(64, 1, 3, 3, scale=0.3), random(64, scale=0.3)
    rows = torch.arange(17)[None] < ((valid + 1) // 2)[:, None]

    def expected(weight, bias):
        y = F.relu(F.conv2d(x.double()[:, None], weight, bias, stride=2, padding=1))
        return (y * rows[:, None, :, None]).permute(0, 2, 3, 1)
    return lambda w, b: kernels.First.apply(x, w, b, (valid + 1) // 2), expected, [weight, bias]


def depthwise():
    x, weight, bias = random(2, 17, 40, 64), random(64, 1, 3, 3, scale=0.3), random(64, scale=0.3)
    return (lambda x, w, b: kernels.Depthwise.apply(x.bfloat16(), w, b),
            lambda x, w, b: F.conv2d(x.permute(0, 3, 1, 2), w, b, stride=2, padding=1, groups=64).permute(0, 2, 3, 1), [x, weight, bias])


def silu():
    mask = (torch.rand(3, 1, 64) > 0.1) / 0.9
    return lambda x: kernels.Silu.apply(x, mask), lambda x: F.silu(x) * mask.double(), [random(3, 11, 64)]


def glu_convolution():
    valid, norm = torch.tensor([19, 12]), torch.nn.BatchNorm1d(32)
    inputs = [random(2, 19, 64), random(32, 1, 9, scale=0.3), random(32, scale=0.3), 1 + random(32, scale=0.1), random(32, scale=0.1)]
    there = (torch.arange(19)[None] < valid[:, None])[:, :, None]

    def expected(x, weight, bias, gamma, beta):
        v = F.glu(x, 2) * there
        y = F.conv1d(v.transpose(1, 2), weight, bias, padding=4, groups=32)
        return F.silu(F.batch_norm(y, None, None, gamma, beta, training=True, eps=norm.eps)).transpose(1, 2)
    return lambda x, *rest: kernels.GluConvolution.apply(x, valid, *rest, norm), expected, inputs


def linear():
    x, weight, bias = random(3, 50, 256), random(512, 256, scale=0.06), random(512)
    return kernels.linear, F.linear, [x, weight, bias]


def lstm():
    pieces, h, c = torch.randint(0, 30, (9, 32)), random(32, 64).bfloat16(), random(32, 64)

    def expected(said, weight):
        below, memory, rows = h.double(), c.double(), []
        for t in range(len(pieces)):
            i, f, g, o = (said[pieces[t]] + below @ weight.t()).chunk(4, 1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            below = o.sigmoid() * memory.tanh()
            rows.append(below)
        return torch.stack(rows)
    return lambda said, weight: kernels.Lstm.apply(said, pieces, weight, h, c)[0], expected, [random(30, 256), random(256, 64, scale=0.15)]


def transducer():
    """Two utterances; the second is so long that every duration is taken somewhere."""
    frames, counts, labels, tokens, sigma = torch.tensor([4, 9]), torch.tensor([2, 3]), torch.tensor([1, 0, 2, 2, 1]), 4, 0.05

    def cost(x, length, said):
        """x [T, U + 1, tokens + 5]: the sum over all ways, forwards"""
        p, wait = x[..., :tokens].log_softmax(-1) - sigma, x[..., tokens:].log_softmax(-1)
        ways, ends = {(0, 0): torch.zeros((), dtype=x.dtype)}, []
        for t in range(length):
            for u in range(len(said) + 1):
                here = ways.get((t, u))
                for d in range(5 if here is not None else 0):
                    if d:
                        to, score = (t + d, u), here + p[t, u, tokens - 1] + wait[t, u, d]
                        if to == (length, len(said)):
                            ends.append(score)
                        elif t + d < length:
                            ways[to] = torch.logaddexp(ways[to], score) if to in ways else score
                    if u < len(said) and t + d < length:
                        to, score = (t + d, u + 1), here + p[t, u, said[u]] + wait[t, u, d]
                        ways[to] = torch.logaddexp(ways[to], score) if to in ways else score
        return -torch.logsumexp(torch.stack(ends), 0)

    def expected(x):
        parts = x.split([4 * 3, 9 * 4])
        return torch.stack((cost(parts[0].view(4, 3, -1), 4, labels[:2]), cost(parts[1].view(9, 4, -1), 9, labels[2:])))
    return lambda x: kernels.TransducerLoss.apply(x, frames, counts, labels, sigma), expected, [random(4 * 3 + 9 * 4, tokens + 5)]


def main():
    torch.manual_seed(1)
    worst = 0
    for make in (first, depthwise, silu, glu_convolution, linear, lstm, transducer):
        ours, expected, inputs = make()
        inputs = [x.bfloat16().float() for x in inputs]
        a, b = [x.clone().requires_grad_() for x in inputs], [x.double().requires_grad_() for x in inputs]
        y, z = ours(*a), expected(*b)
        upstream = torch.randn_like(z).bfloat16()
        y.backward(upstream.to(y.dtype))
        z.backward(upstream.double())
        pairs = [(y.detach(), z.detach()), *((p.grad, q.grad) for p, q in zip(a, b))]
        errors = [((p.double() - q).norm() / (q.norm() + 1e-3)).item() for p, q in pairs]      # a bias before a norm has no gradient
        worst = max(worst, *errors)
        print("%-16s value %.1e, gradients %s" % (make.__name__, errors[0], " ".join("%.1e" % e for e in errors[1:])))
    sys.exit(worst > FAR)


main()
