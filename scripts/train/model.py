"""FastConformer with a CTC and a TDT head; NeMo's graph and tensor names."""
import math

import torch
from torch import nn
from torch.nn import functional as F

import kernels
from store import HEARD_SIZE

DURATIONS = 5
TRAINING_ONLY = ("middle_ctc.", "phones.", "heard.")           # names of the heads that the recogniser does without


class Config:
    """Geometry; stored in every checkpoint."""

    def __init__(self, mels=80, width=256, layers=10, heads=4, channels=128, kernel=9, vocabulary=256,
                 predictor=256, joint=256, dropout=0.1):
        self.mels, self.width, self.layers, self.heads = mels, width, layers, heads
        self.channels, self.kernel, self.vocabulary = channels, kernel, vocabulary
        self.predictor, self.joint, self.dropout = predictor, joint, dropout


class Linear(nn.Linear):
    def forward(self, x):
        return kernels.linear(x, self.weight, self.bias) if self.training else super().forward(x)


def subsampled(lengths):
    return torch.div(lengths - 1, 2, rounding_mode="floor") + 1


def mask_of(x, rate):
    """Dropout's factors for x [B, T, C]: one per utterance and channel, shared over time."""
    return torch.empty(x.shape[0], 1, x.shape[2]).bernoulli_(1 - rate) / (1 - rate)


class Subsampling(nn.Module):
    def __init__(self, c):
        super().__init__()
        n = c.channels
        self.conv = nn.Sequential(
            nn.Conv2d(1, n, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(n, n, 3, 2, 1, groups=n), nn.Conv2d(n, n, 1), nn.ReLU(),
            nn.Conv2d(n, n, 3, 2, 1, groups=n), nn.Conv2d(n, n, 1), nn.ReLU())
        self.out = Linear(n * (c.mels // 8), c.width)

    def forward(self, x, lengths):
        """x [B, T, F] zero beyond lengths -> [B, T', d], lengths'."""
        if self.training:
            return self.fast(x, lengths)
        x = x.unsqueeze(1).contiguous(memory_format=torch.channels_last)

        def mask(x, lengths):
            valid = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
            return x * valid[:, None, :, None].to(x.dtype)

        for index, module in enumerate(self.conv):
            x = module(x)
            if index in (0, 2, 5):
                lengths = subsampled(lengths)
            if index in (1, 4, 7):
                x = mask(x, lengths)
        b, n, t, f = x.shape
        return self.out(x.permute(0, 2, 1, 3).reshape(b, t, n * f)), lengths


    def fast(self, x, lengths):
        """The same, channels last, with the kernels of kernels.c, which take and give bfloat16."""
        half = torch.is_autocast_enabled("cpu")

        def mask(x, lengths):
            valid = torch.arange(x.shape[1]) < lengths[:, None]
            return x * valid[:, :, None, None].to(x.dtype)

        lengths = subsampled(lengths)
        x = kernels.First.apply(x, self.conv[0].weight, self.conv[0].bias, lengths)
        for deep, flat in ((2, 3), (5, 6)):
            x = kernels.Depthwise.apply(x.bfloat16(), self.conv[deep].weight, self.conv[deep].bias)
            x = x if half else x.float()
            lengths = subsampled(lengths)
            weight = self.conv[flat].weight
            x = F.linear(x, weight[:, :, 0, 0], self.conv[flat].bias)
            x = mask(F.relu(x, inplace=True), lengths)
        b, t, f, n = x.shape
        # The linear layer's input is channel-major: reorder its weight, not the activations.
        weight = self.out.weight.view(-1, n, f).transpose(1, 2).reshape(-1, f * n)
        return kernels.linear(x.view(b, t, f * n), weight, self.out.bias), lengths


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.linear1 = Linear(c.width, 4 * c.width)
        self.linear2 = Linear(4 * c.width, c.width)
        self.dropout = c.dropout

    def forward(self, x):
        x = self.linear1(x)
        return self.linear2(kernels.Silu.apply(x, mask_of(x, self.dropout)) if self.training else F.silu(x))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.dim = c.heads, c.width // c.heads
        for name in ("linear_q", "linear_k", "linear_v", "linear_out"):
            setattr(self, name, Linear(c.width, c.width))
        self.linear_pos = Linear(c.width, c.width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(c.heads, self.dim))
        self.pos_bias_v = nn.Parameter(torch.zeros(c.heads, self.dim))

    def forward(self, x, positions, hidden):
        """positions [2T-1, d]; hidden [B, 1, 1, T] additive mask or None."""
        b, t, d = x.shape
        split = (b, t, self.heads, self.dim)
        of = self.linear_q, self.linear_k, self.linear_v
        linear = kernels.linear if self.training else F.linear
        together = linear(x, torch.cat([m.weight for m in of]), torch.cat([m.bias for m in of]))
        q, k, v = (part.view(split) for part in together.chunk(3, -1))
        p = self.linear_pos(positions).view(1, 2 * t - 1, self.heads, self.dim)
        content = (q + self.pos_bias_u.to(q.dtype)).transpose(1, 2) @ k.permute(0, 2, 3, 1)
        relative = (q + self.pos_bias_v.to(q.dtype)).transpose(1, 2) @ p.permute(0, 2, 3, 1)
        # Row i of `relative` must be read from column t-1-i on.
        relative = F.pad(relative, (1, 0)).view(b, self.heads, 2 * t, t)[:, :, 1:].reshape(
            b, self.heads, t, 2 * t - 1)[..., :t]
        scores = (content + relative).float() * (1 / math.sqrt(self.dim))
        if hidden is not None:
            scores = scores + hidden
        out = scores.softmax(-1).to(v.dtype) @ v.transpose(1, 2)
        return self.linear_out(out.transpose(1, 2).reshape(b, t, d))


class Convolution(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.pointwise_conv1 = Linear(c.width, 2 * c.width)
        self.depthwise_conv = nn.Conv1d(c.width, c.width, c.kernel, padding=(c.kernel - 1) // 2, groups=c.width)
        self.batch_norm = nn.BatchNorm1d(c.width)
        self.pointwise_conv2 = Linear(c.width, c.width)

    def forward(self, x, lengths):
        x = self.pointwise_conv1(x)
        if self.training:
            x = kernels.GluConvolution.apply(x, lengths, self.depthwise_conv.weight, self.depthwise_conv.bias,
                                             self.batch_norm.weight, self.batch_norm.bias, self.batch_norm)
            return self.pointwise_conv2(x)
        x = F.glu(x, -1) * (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, :, None].to(x.dtype)
        x = self.depthwise_conv(x.transpose(1, 2))
        x = F.silu(self.batch_norm(x))
        return self.pointwise_conv2(x.transpose(1, 2))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm_feed_forward1 = nn.LayerNorm(c.width)
        self.feed_forward1 = FeedForward(c)
        self.norm_conv = nn.LayerNorm(c.width)
        self.conv = Convolution(c)
        self.norm_self_att = nn.LayerNorm(c.width)
        self.self_attn = Attention(c)
        self.norm_feed_forward2 = nn.LayerNorm(c.width)
        self.feed_forward2 = FeedForward(c)
        self.norm_out = nn.LayerNorm(c.width)
        self.dropout = c.dropout

    def forward(self, x, positions, hidden, lengths):
        def add(y, part=1):
            return torch.addcmul(x, y, part * mask_of(y, self.dropout)) if self.training else x + part * y
        x = add(self.feed_forward1(self.norm_feed_forward1(x)), 0.5)
        x = add(self.self_attn(self.norm_self_att(x), positions, hidden))
        x = add(self.conv(self.norm_conv(x), lengths))
        x = add(self.feed_forward2(self.norm_feed_forward2(x)), 0.5)
        return self.norm_out(x)


def position_table(t, d):
    position = torch.arange(t - 1, -t, -1, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, d, 2, dtype=torch.float32) * (-math.log(10000.0) / d))
    table = torch.empty(2 * t - 1, d)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)
    return table


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.pre_encode = Subsampling(c)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.dropout = c.dropout

    def forward(self, x, lengths, taps=()):
        """Returns encoded [B, T', d], lengths' and the outputs of the layers with the numbers `taps`."""
        x, lengths = self.pre_encode(x, lengths)
        t = x.shape[1]
        positions = position_table(t, x.shape[2]).to(x.device)
        hidden = None
        if int(lengths.min()) < t:
            inside = torch.arange(t, device=x.device) < lengths[:, None]
            hidden = torch.zeros(inside.shape, device=x.device).masked_fill(~inside, -1e4)[:, None, None]
        if self.training:
            x = x * mask_of(x, self.dropout)
        tapped = []
        for index, layer in enumerate(self.layers):
            x = layer(x, positions, hidden, lengths)
            if index in taps:
                tapped.append(x)
        return x, lengths, tapped


class Predictor(nn.Module):
    """Embedding (row `blank` stays zero) and one LSTM layer."""

    def __init__(self, c):
        super().__init__()
        self.embed = nn.Embedding(c.vocabulary + 1, c.predictor, padding_idx=c.vocabulary)
        self.lstm = nn.LSTM(c.predictor, c.predictor, batch_first=True)

    def forward(self, tokens, state=None):
        return self.lstm(self.embed(tokens), state)


class Joint(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.enc = Linear(c.width, c.joint)
        self.pred = Linear(c.predictor, c.joint)
        self.out = Linear(c.joint, c.vocabulary + 1 + DURATIONS)

    def forward(self, encoded, predicted):
        """Both already projected and broadcastable."""
        return self.out(F.relu(encoded + predicted))


class Recogniser(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.ctc = Linear(config.width, config.vocabulary + 1)
        self.middle_ctc = Linear(config.width, config.vocabulary + 1)   # training only
        self.phones = Linear(config.width, 2 * 41)                       # training only
        self.heard = Linear(config.width, 2 * HEARD_SIZE)                # training only
        self.predictor = Predictor(config)
        self.joint = Joint(config)

    def forward(self, x, lengths, taps=()):
        return self.encoder(x, lengths, taps)

    @torch.no_grad()
    def decode_ctc(self, encoded, lengths):
        best = self.ctc(encoded).argmax(-1)
        blank, result = self.config.vocabulary, []
        for row, n in zip(best, lengths):
            row = torch.unique_consecutive(row[:n])
            result.append(row[row != blank].tolist())
        return result

    @torch.no_grad()
    def decode_tdt(self, encoded, length, max_symbols=10):
        """Greedy TDT of one utterance: [T', d] -> [(token, frame, duration)]."""
        blank, result = self.config.vocabulary, []
        projected = self.joint.enc(encoded[:length])

        def predict(token, state):
            out, state = self.predictor(torch.tensor([[token]]), state)
            return self.joint.pred(out[0, 0]), state

        g, state = predict(blank, None)
        t = 0
        while t < length:
            symbols = 0
            while True:
                logits = self.joint(projected[t], g)
                token = int(logits[:blank + 1].argmax())
                duration = int(logits[blank + 1:].argmax())
                if token != blank:
                    result.append((token, t, duration))
                    g, state = predict(token, state)
                elif duration == 0:
                    duration = 1
                symbols += 1
                t += duration
                if duration or symbols == max_symbols:
                    break
            if not duration:
                t += 1
        return result
