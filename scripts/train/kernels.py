"""Autograd wrappers of kernels.c, compiled on first use."""
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
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernels.c")
        with open(source, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()[:12]
        path = os.path.join(base_directory(), "work", "kernels-%s.so" % digest)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            scratch = "%s.%d" % (path, os.getpid())
            subprocess.run([os.environ.get("CC", "cc"), "-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared",
                            "-mprefer-vector-width=512", "-fPIC", "-o", scratch, source, "-lm"], check=True)
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


class TransducerLoss(torch.autograd.Function):
    """Summed TDT loss; logits [rows, K + 5] float32 as tdt_loss() describes."""

    @staticmethod
    def forward(ctx, logits, frames, counts, labels, sigma):
        gradient = logits.detach().float().clone()
        loss = torch.zeros(len(frames))
        function = library().tdt_loss
        function(ctypes.c_void_p(gradient.data_ptr()), ctypes.c_void_p(frames.data_ptr()),
                 ctypes.c_void_p(counts.data_ptr()), ctypes.c_void_p(labels.data_ptr()), ctypes.c_float(sigma),
                 ctypes.c_void_p(loss.data_ptr()), len(frames), logits.shape[1] - 5)
        ctx.save_for_backward(gradient)
        return loss.sum()

    @staticmethod
    def backward(ctx, upstream):
        gradient, = ctx.saved_tensors
        return gradient * upstream, None, None, None, None
