"""Autograd wrappers of kernels.c, fused.c, half.c and recurrent.c, compiled on first use."""
import ctypes
import hashlib
import os
import subprocess

import torch

from store import base_directory

_library = None


def library():
    global _library
    if _library is None:
        folder = os.path.dirname(os.path.abspath(__file__))
        sources, digest = [os.path.join(folder, name) for name in ("kernels.c", "fused.c", "half.c", "recurrent.c")], hashlib.sha256()
        for source in [*sources, os.path.join(folder, "bf16.h"), os.path.join(folder, "sigmoid.h")]:
            with open(source, "rb") as file:
                digest.update(file.read())
        path = os.path.join(base_directory(), "work", "kernels-%s.so" % digest.hexdigest()[:12])
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            scratch = "%s.%d" % (path, os.getpid())
            subprocess.run([os.environ.get("CC", "cc"), "-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared",
                            "-mprefer-vector-width=512", "-fPIC", "-o", scratch, *sources, "-lm"], check=True)
            os.replace(scratch, path)
        _library = ctypes.CDLL(path)
    return _library


def call(name, tensors, *sizes):
    """Calls a kernel; the argument list keeps temporary tensors alive."""
    getattr(library(), name)(*[ctypes.c_void_p(t.data_ptr()) for t in tensors], *sizes)


def _taps(weight):
    """[C, 1, 3, 3] -> [9, C] float32."""
    return weight.detach().float().reshape(weight.shape[0], 9).t().contiguous()


def _untaps(gradient, weight):
    return gradient.t().reshape(weight.shape)


class First(torch.autograd.Function):
    """x [B, H, W] -> ReLU(conv), rows beyond valid zero: [B, H/2, W/2, C] bfloat16."""

    @staticmethod
    def forward(ctx, x, weight, bias, valid):
        b, h, w = x.shape
        c = weight.shape[0]
        x = x.float().contiguous()
        y = torch.empty(b, (h - 1) // 2 + 1, (w - 1) // 2 + 1, c, dtype=torch.bfloat16)
        call("first_forward", [x, _taps(weight), bias.detach(), valid, y], b, h, w, c)
        ctx.save_for_backward(x, weight, y)
        return y

    @staticmethod
    def backward(ctx, gradient):
        x, weight, y = ctx.saved_tensors
        b, h, w = x.shape
        c = weight.shape[0]
        gw, gb = torch.zeros(9, c), torch.zeros(c)
        call("first_backward", [x, y, gradient.bfloat16().contiguous(), gw, gb], b, h, w, c)
        return None, _untaps(gw, weight), gb, None


class Depthwise(torch.autograd.Function):
    """x [B, H, W, C] bfloat16, stride 2."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        b, h, w, c = x.shape
        x = x.contiguous()
        y = torch.empty(b, (h - 1) // 2 + 1, (w - 1) // 2 + 1, c, dtype=torch.bfloat16)
        call("depthwise_forward", [x, _taps(weight), bias.detach(), y], b, h, w, c)
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        b, h, w, c = x.shape
        gx, gw, gb = torch.empty_like(x), torch.zeros(9, c), torch.zeros(c)
        call("depthwise_backward",
             [x, _taps(weight), gradient.bfloat16().contiguous(), gx, gw, gb], b, h, w, c)
        return gx, _untaps(gw, weight), gb


class Silu(torch.autograd.Function):
    """x [B, T, C] -> silu(x) * mask, mask [B, 1, C]."""

    @staticmethod
    def forward(ctx, x, mask):
        x = x.contiguous()
        y = torch.empty_like(x)
        call("silu_forward", [x, mask, y], *x.shape, x.dtype == torch.bfloat16)
        ctx.save_for_backward(x, mask)
        return y

    @staticmethod
    def backward(ctx, gradient):
        x, mask = ctx.saved_tensors
        gx = torch.empty_like(x)
        call("silu_backward", [x, mask, gradient.to(x.dtype).contiguous(), gx], *x.shape, x.dtype == torch.bfloat16)
        return gx, None


class GluConvolution(torch.autograd.Function):
    """x [B, T, 2C] -> silu(norm(convolution(glu(x)))) [B, T, C], glu(x) zero from valid[b] on.

    convolution: weight [C, 1, 9], bias [C]. norm: an nn.BatchNorm1d in training, with weight `gamma` and bias `beta`.
    """

    @staticmethod
    def forward(ctx, x, valid, weight, bias, gamma, beta, norm):
        x, half = x.contiguous(), x.dtype == torch.bfloat16
        b, t, c = x.shape[0], x.shape[1], x.shape[2] // 2
        y, moments = torch.empty(b, t, c), torch.zeros(2, c, dtype=torch.float64)
        taps = weight.detach().float().view(c, -1).t().contiguous()
        call("glu_convolution_forward", [x, valid, taps, bias.detach(), y, moments], b, t, c, half)
        mean = moments[0] / (b * t)
        variance = moments[1] / (b * t) - mean * mean
        norm.running_mean.lerp_(mean.float(), norm.momentum)
        norm.running_var.lerp_((variance * b * t / (b * t - 1)).float(), norm.momentum)
        norm.num_batches_tracked += 1
        inverse = (variance + norm.eps).rsqrt()
        scale = (gamma.detach() * inverse).float()
        shift = (beta.detach() - mean * scale).float()
        z = x.new_empty(b, t, c)
        call("scaled_silu_forward", [y, scale, shift, z], b * t, c, half)
        ctx.save_for_backward(x, valid, taps, y, mean, inverse, scale, shift)
        return z

    @staticmethod
    def backward(ctx, gradient):
        x, valid, taps, y, mean, inverse, scale, shift = ctx.saved_tensors
        b, t, c, half = *y.shape, x.dtype == torch.bfloat16
        gv, sums = torch.empty_like(y), torch.zeros(2, c, dtype=torch.float64)
        call("scaled_silu_backward", [y, scale, shift, gradient.to(x.dtype).contiguous(), gv, sums], b * t, c, half)
        of_beta, of_gamma = sums[0], (sums[1] - mean * sums[0]) * inverse
        slope = (-scale * inverse * of_gamma / (b * t)).float()
        constant = (-scale * of_beta / (b * t) - slope * mean).float()
        gx, gw, gb = torch.empty_like(x), torch.zeros_like(taps), torch.zeros(c)
        call("glu_convolution_backward", [x, valid, taps, y, gv, scale, slope, constant, gx, gw, gb], b, t, c, half)
        return gx, None, gw.t().reshape(c, 1, -1), gb, of_gamma.float(), of_beta.float(), None


def half_available():
    """Whether this processor has AVX512-FP16, and so products() at twice the speed of single precision at best."""
    return bool(library().half_available())


def products(a, b, bias=None):
    """a [n, M, K] @ b [n, K, N] + bias in half precision; see half.c."""
    def layout(x):
        turned = x.stride(2) != 1
        return (ctypes.c_void_p(x.data_ptr()), ctypes.c_long(x.stride(0)), ctypes.c_long(x.stride(1 + turned)), turned)

    c = torch.empty(*a.shape[:2], b.shape[2])
    if library().half_products(len(a), *layout(a), *layout(b), ctypes.c_void_p(0 if bias is None else bias.data_ptr()),
                               ctypes.c_void_p(c.data_ptr()), *c.shape[1:], a.shape[2]):
        raise MemoryError("no memory for a product of %s and %s" % (tuple(a.shape), tuple(b.shape)))
    return c


def product(a, b, bias=None):
    """The same of two matrices."""
    return products(a[None], b[None], bias)[0]


class HalfLinear(torch.autograd.Function):
    """F.linear() with its three products in half precision."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return product(x.flatten(0, -2), weight.t(), bias).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        rows = gradient.flatten(0, -2)
        return (product(rows, weight).view(x.shape) if ctx.needs_input_grad[0] else None,
                product(rows.t(), x.flatten(0, -2)), rows.sum(0) if ctx.biased else None)


def linear(x, weight, bias):
    """F.linear() of a model in training: in half precision where nothing else was chosen and the processor is fast at it."""
    if half_available() and not torch.is_autocast_enabled("cpu"):
        return HalfLinear.apply(x, weight, bias)
    return torch.nn.functional.linear(x, weight, bias)


class TransducerLoss(torch.autograd.Function):
    """Each utterance's TDT loss; logits [rows, K + 5] float32 as tdt_loss() describes."""

    @staticmethod
    def forward(ctx, logits, frames, counts, labels, sigma):
        gradient = logits.detach().float().clone()
        loss = torch.zeros(len(frames))
        function = library().tdt_loss
        function(ctypes.c_void_p(gradient.data_ptr()), ctypes.c_void_p(frames.data_ptr()),
                 ctypes.c_void_p(counts.data_ptr()), ctypes.c_void_p(labels.data_ptr()), ctypes.c_float(sigma),
                 ctypes.c_void_p(loss.data_ptr()), len(frames), logits.shape[1] - 5)
        ctx.save_for_backward(gradient, frames * (counts + 1))
        return loss

    @staticmethod
    def backward(ctx, upstream):
        gradient, rows = ctx.saved_tensors
        return gradient * upstream.repeat_interleave(rows)[:, None], None, None, None, None


class Lstm(torch.autograd.Function):
    """said [pieces, 4H] (W_ih and biases of every piece), pieces [T, B], W_hh [4H, H], h [B, H] bfloat16 and c [B, H] before
    -> h [T, B, H] bfloat16 and the last c, which has no gradient.  Products in bfloat16."""

    @staticmethod
    def forward(ctx, said, pieces, weight, h, c):
        steps, rows = pieces.shape
        size = h.shape[1]
        assert size <= 2048, "recurrent.c has room for no more"
        turned = weight.detach().t().bfloat16().contiguous()
        recalled, gates = torch.empty(rows, 4 * size, dtype=torch.bfloat16), torch.empty(steps, rows, 4 * size, dtype=torch.bfloat16)
        cells, said_h = torch.empty(steps + 1, rows, size), torch.empty(steps + 1, rows, size, dtype=torch.bfloat16)
        cells[0], said_h[0], pieces = c, h, pieces.contiguous()
        said = said.detach().contiguous()
        for t in range(steps):
            torch.mm(said_h[t], turned, out=recalled)
            call("lstm_forward", [recalled, said, pieces[t], cells[t], gates[t], cells[t + 1], said_h[t + 1]], rows, size)
        ctx.save_for_backward(said, pieces, weight, gates, cells, said_h)
        ctx.mark_non_differentiable(last := cells[steps].clone())
        return said_h[1:], last

    @staticmethod
    def backward(ctx, gradient, _):
        said, pieces, weight, gates, cells, said_h = ctx.saved_tensors
        steps, rows, four = gates.shape
        weight = weight.detach().bfloat16()
        gradient, below = gradient.bfloat16().contiguous(), torch.empty_like(gates)
        after, dc = torch.zeros(rows, four // 4, dtype=torch.bfloat16), torch.zeros(rows, four // 4)
        for t in reversed(range(steps)):
            call("lstm_backward", [gradient[t], after, gates[t], cells[t], cells[t + 1], dc, below[t]], rows, four // 4)
            torch.mm(below[t], weight, out=after)
        said_gradient = torch.zeros_like(said)
        call("add_by_piece", [below, pieces, said_gradient], steps * rows, four)
        flat = below.reshape(-1, four)
        return said_gradient, None, (flat.t() @ said_h[:-1].reshape(-1, four // 4)).float(), None, None
