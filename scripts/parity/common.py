"""Shared by the parity scripts: test signals, random weights, GGUF writing, reference decoding.

The reference is Hugging Face transformers' Parakeet in f32: its feature extractor, encoder, prediction
network and generate(). Nothing here imports code of this project, so that both sides can disagree.
"""
import math
import struct

import gguf
import numpy as np
import torch
from transformers import (ParakeetCTCConfig, ParakeetEncoderConfig, ParakeetFeatureExtractor, ParakeetForCTC,
                          ParakeetForRNNT, ParakeetForTDT, ParakeetRNNTConfig, ParakeetTDTConfig)

PIECES = ["<unk>", "▁t", "▁the", "▁And", "▁and", "s", "e", "ing", "▁a", "so", ",", ".", "?", "'", "▁", "<0xC3>", "<0xA9>",
          "<|spk0|>", "▁co", "un", "tr", "y", "ell", "ow", "f", "▁my", "▁not", "▁what", "er", "ans", "ic", "▁Amer", "sk",
          "▁you", "▁do", "▁for", "▁can", "é", "▁über", "!"]


def signal(seed, n):
    """A tone that changes pitch and loudness every 1280 samples, with noise: the same arithmetic as signal() in
    tests/unit/test_parity.c. All state is 32-bit integers, so both sides agree to the last bit but sin's."""
    s = seed & 0xffffffff
    out = np.empty(n, dtype=np.float32)
    phase, step, amp, noise = 0, 0, 0.0, 0.0

    def rnd():
        nonlocal s
        s = (s * 1664525 + 1013904223) & 0xffffffff
        return s >> 8
    for i in range(n):
        if i % 1280 == 0:
            step = 5000000 + rnd() * 40
            amp = (rnd() / 16777216.0) ** 2 * 0.6
            noise = 0.003 + (rnd() / 16777216.0) ** 2 * 0.1
        phase = (phase + step) & 0xffffffff
        out[i] = amp * math.sin(phase * (2.0 * math.pi / 4294967296.0)) + noise * (rnd() / 8388608.0 - 1.0)
    return out


def features(x, mels, normalize=True):
    """HF's extractor, in double: in f32 its own rounding reaches 3e-4 where a band holds a single weak bin, more
    than what is to be compared. Returns [1, T, mels] in f32 and the mask. normalize False: NeMo's "NA", the raw
    log-mel of valid frames."""
    fe = ParakeetFeatureExtractor(feature_size=mels)
    fe.mel_filters = fe.mel_filters.double()
    x = x.astype(np.float64)
    y = torch.from_numpy(np.concatenate([x[:1], x[1:] - np.float64(np.float32(0.97)) * x[:-1]]))[None]
    torch.set_default_dtype(torch.float64)
    mel = fe._torch_extract_fbank_features(y)
    torch.set_default_dtype(torch.float32)
    valid = len(x) // 160
    mask = (torch.arange(mel.shape[1]) < valid)[None]
    if normalize:
        mel = (mel - mel[:, :valid].mean(1, keepdim=True)) / (mel[:, :valid].std(1, keepdim=True) + 1e-5)
    return (mel * mask[..., None]).float(), mask


def check_features():
    """The double variant is the extractor's own result but for rounding."""
    x = signal(77, 48000)
    own, _ = features(x, 80)
    theirs = ParakeetFeatureExtractor(feature_size=80)(x, sampling_rate=16000, return_tensors="pt").input_features
    assert float((own - theirs).abs().max()) < 2e-3 and float((own - theirs).abs().mean()) < 2e-6


def build(spec):
    enc = ParakeetEncoderConfig(
        hidden_size=spec["d"], num_hidden_layers=spec["layers"], num_attention_heads=spec["heads"],
        intermediate_size=spec["ff"], attention_bias=spec["bias"], convolution_bias=spec["bias"],
        conv_kernel_size=spec["kernel"], subsampling_conv_channels=spec["channels"], num_mel_bins=spec["mels"],
        scale_input=spec["xscaling"], dropout=0.0, dropout_positions=0.0, layerdrop=0.0, activation_dropout=0.0,
        attention_dropout=0.0)
    pieces = spec["pieces"]
    common = dict(vocab_size=pieces + 1, encoder_config=enc, pad_token_id=pieces)
    if spec["head"] == "ctc":
        model = ParakeetForCTC(ParakeetCTCConfig(**common))
    else:
        common.update(decoder_hidden_size=spec["hidden"], num_decoder_layers=spec["lstm"], blank_token_id=pieces,
                      max_symbols_per_step=10, decoder_start_token_id=pieces)
        if spec["head"] == "rnnt":
            model = ParakeetForRNNT(ParakeetRNNTConfig(**common))
        else:
            model = ParakeetForTDT(ParakeetTDTConfig(durations=[0, 1, 2, 3, 4], **common))
        model.generation_config.decoder_start_token_id = pieces
        model.generation_config.eos_token_id = None
        model.generation_config.bos_token_id = None
        model.generation_config.pad_token_id = pieces
        if spec["head"] == "tdt":               # the duration scores are no tokens
            model.generation_config.suppress_tokens = [pieces + 1 + i for i in range(5)]
    model = model.eval().float()
    model.spec = spec
    if spec.get("local"):
        restrict(model, *spec["local"])
    return model


def restrict(model, left, right):
    """Local attention, which HF lacks: NeMo's band i-left <= j <= i+right as a mask on the same scores."""
    for layer in model.encoder.layers:
        inner = layer.self_attn.forward

        def forward(hidden_states, attention_mask=None, inner=inner, **kw):
            n = hidden_states.shape[1]
            i, j = torch.arange(n)[:, None], torch.arange(n)[None]
            band = ((j >= i - left) & (j <= i + right))[None, None]
            return inner(hidden_states=hidden_states, attention_mask=attention_mask & band, **kw)
        layer.self_attn.forward = forward


@torch.no_grad()
def randomize(model, seed):
    """Gains chosen so that every block matters and activations stay near one."""
    g = torch.Generator().manual_seed(seed)

    def normal(t, std):
        t.copy_(torch.randn(t.shape, generator=g) * std)
    for name, p in list(model.named_parameters()) + list(model.named_buffers()):
        if "num_batches" in name or "inv_freq" in name:
            continue
        fan = p[0].numel() if p.ndim > 1 else 1
        if name.endswith("running_var"):
            p.copy_(0.5 + torch.rand(p.shape, generator=g))
        elif "norm" in name and name.endswith("weight"):
            p.copy_(1 + 0.1 * torch.randn(p.shape, generator=g))
        elif p.ndim == 1:
            normal(p, 0.1)
        elif "bias_u" in name or "bias_v" in name:
            normal(p, 0.3)
        elif "embedding" in name:
            normal(p, 1.5)
            p[-1] = 0                           # NeMo's padding row: the start of sequence is a zero vector
        elif "subsampling.linear" in name:
            normal(p, 3 / math.sqrt(fan))
        elif "q_proj" in name or "k_proj" in name:
            normal(p, 1.5 / math.sqrt(fan))
        elif "lstm" in name:
            normal(p, 2.0 / math.sqrt(fan))
        elif "joint.head" in name or "ctc_head" in name:
            normal(p, 3 / math.sqrt(fan))
        else:
            normal(p, 1.4 / math.sqrt(fan))


@torch.no_grad()
def encode(model, mel, mask, hidden=None):
    """Encoder output over the valid frames; hidden: a list that receives every stage's valid output."""
    hooks, got = [], []
    if hidden is not None:
        take = lambda module, args, out: got.append(out if torch.is_tensor(out) else out[0])
        hooks.append(model.encoder.subsampling.register_forward_hook(take))
        hooks += [layer.register_forward_hook(take) for layer in model.encoder.layers]
    out = model.encoder(mel, attention_mask=mask)
    for h in hooks:
        h.remove()
    n = (int(mask.sum()) + 7) // 8
    if hidden is not None:
        hidden.extend(h[0, :n] for h in got)
    return out.last_hidden_state[:, :n]


@torch.no_grad()
def greedy(model, enc):
    """Own greedy loop for margins and confidences; HF's generate() must agree. Returns steps
    (token, frame, duration, confidence, margin)."""
    spec = model.spec
    blank, heads = spec["pieces"], spec["head"]
    if heads == "ctc":
        return ctc_greedy(model.ctc_head(enc)[0], blank)
    e = model.encoder_projector(enc)[0]
    state = None
    x = model.decoder.embedding(torch.tensor([[blank]]))
    out, state = model.decoder.lstm(x, state)
    g = model.decoder.decoder_projector(out)[0, 0]
    t, steps, margin = 0, [], 1e9
    while t < len(e):
        n = 0
        while True:
            logits = model.joint.head(torch.relu(e[t] + g))
            tok = logits[:blank + 1]
            top = tok.topk(2)
            k, m = int(top.indices[0]), float(top.values[0] - top.values[1])
            if heads == "tdt":
                dtop = logits[blank + 1:].topk(2)
                dur = int(dtop.indices[0])
                m = min(m, float(dtop.values[0] - dtop.values[1]))
                if k == blank and dur == 0:
                    dur = 1
            else:
                dur = 1 if k == blank else 0
            margin = min(margin, m)
            if k != blank:
                steps.append((k, t, dur, float(torch.softmax(tok, -1)[k])))
                out, state = model.decoder.lstm(model.decoder.embedding(torch.tensor([[k]])), state)
                g = model.decoder.decoder_projector(out)[0, 0]
                n += 1
            t += dur
            if dur or n == 10:
                break
        if dur == 0:
            t += 1
    return steps, margin


def ctc_greedy(logits, blank):
    """Frames of equal best token are one token: it starts at the first and lasts for the run."""
    p = torch.softmax(logits, -1)
    top = logits.topk(2, -1)
    ids = top.indices[:, 0].tolist()
    margin = float((top.values[:, 0] - top.values[:, 1]).min())
    steps, prev = [], blank
    for t, k in enumerate(ids):
        if k != blank and k == prev:
            last = steps[-1]
            steps[-1] = (k, last[1], last[2] + 1, max(last[3], float(p[t, k])))
        elif k != blank:
            steps.append((k, t, 1, float(p[t, k])))
        prev = k
    return steps, margin


@torch.no_grad()
def generated(model, mel, mask):
    """Tokens, frames and durations as HF's generate() gives them."""
    blank = model.spec["pieces"]
    if model.spec["head"] == "ctc":
        ids = model.generate(mel, attention_mask=mask)[0].tolist()
        out, prev = [], blank
        for k in ids:
            if k != blank and k != prev:
                out.append(k)
            prev = k
        return out, None
    r = model.generate(input_features=mel, attention_mask=mask, max_new_tokens=16 * (mel.shape[1] // 8 + 2))
    ids, durs = r.sequences[0].tolist()[1:], r.durations[0].tolist()[1:]
    out, t = [], 0
    for k, d in zip(ids, durs):
        if k != blank:
            out.append((k, t, d))
        t += d
    return [k for k, _, _ in out], out


@torch.no_grad()
def calibrate(model, seeds, normalize):
    """Centres the joint on what the encoder gives and sets the blank and duration biases, so that random
    weights give a lively mix of tokens, blanks and durations."""
    spec, blank = model.spec, model.spec["pieces"]
    encs = []
    for s in seeds:
        mel, mask = features(signal(s, 64000), spec["mels"], normalize)
        encs.append(encode(model, mel, mask))
    allf = torch.cat(encs, 1)
    centre = allf.mean((0, 1))
    if spec["head"] == "ctc":
        head = model.ctc_head
        head.bias.copy_(-(head.weight[:, :, 0] @ centre))
        low, high = -20.0, 20.0
        base = float(head.bias[blank])
        for _ in range(20):
            mid = (low + high) / 2
            head.bias[blank] = base + mid
            frac = float((head(allf)[0].argmax(-1) == blank).float().mean())
            low, high = (mid, high) if frac < 0.45 else (low, mid)
        return
    proj = model.encoder_projector
    spread = (proj.weight @ (allf[0] - centre).T).std(1, keepdim=True)
    proj.weight.mul_(2.0 / spread.clamp_min(1e-3))      # what is heard weighs as much as what was said
    proj.bias.copy_(-(proj.weight @ centre))
    head, low, high = model.joint.head, -20.0, 20.0
    said = model.decoder(torch.arange(blank + 1)[:, None])[:, 0]
    z = torch.relu(proj(allf[0])[:, None] + said[None])
    head.bias.copy_(-(head.weight @ z.mean((0, 1))))    # no token and no duration is ahead by itself
    if spec["head"] == "tdt":
        head.bias[blank + 1] -= 4.0             # duration 0 less often, so that loops end
    base = float(head.bias[blank])
    want = 0.5 if spec["head"] == "rnnt" else 0.35
    for _ in range(14):
        mid = (low + high) / 2
        head.bias[blank] = base + mid
        tokens = sum(len(greedy(model, e)[0]) for e in encs)
        rate = tokens / allf.shape[1]
        low, high = (mid, high) if rate > want else (low, mid)


def nemo_name(name):
    for a, b in (("encoder.subsampling.layers.", "encoder.pre_encode.conv."), ("encoder.subsampling.linear", "encoder.pre_encode.out"),
                 (".conv.norm.", ".conv.batch_norm."), ("self_attn.q_proj", "self_attn.linear_q"),
                 ("self_attn.k_proj", "self_attn.linear_k"), ("self_attn.v_proj", "self_attn.linear_v"),
                 ("self_attn.o_proj", "self_attn.linear_out"), ("self_attn.relative_k_proj", "self_attn.linear_pos"),
                 ("self_attn.bias_u", "self_attn.pos_bias_u"), ("self_attn.bias_v", "self_attn.pos_bias_v"),
                 ("encoder_projector", "joint.enc"), ("decoder.decoder_projector", "joint.pred"), ("joint.head", "joint.joint_net.2"),
                 ("decoder.embedding", "decoder.prediction.embed")):
        name = name.replace(a, b)
    if name.startswith("ctc_head"):
        name = name.replace("ctc_head", "decoder.decoder_layers.0")
    if name.startswith("decoder.lstm."):        # NeMo-Speech.cpp: weight_ih_l0 -> ih_l0.weight
        kind, rest = name[len("decoder.lstm."):].split("_", 1)
        name = f"decoder.prediction.dec_rnn.lstm.{rest}.{kind}"
    return name


@torch.no_grad()
def quantize_some(model, seed):
    """Stores every matrix that can be in one of the quantised formats by turns: random blocks, whose values by the
    gguf package's reference become the model's. Returns {name: (raw rows, type)} for write_gguf."""
    rng, raw, turn = np.random.default_rng(seed), {}, 0
    kinds = ["Q4_K", "Q6_K", "Q5_K", "Q8_0", "Q4_K", "BF16", "Q5_K", "Q4_0", "Q6_K", "F16", "Q5_0"]
    for name, p in model.named_parameters():
        rows, columns = (p.shape[0], p[0].numel()) if p.ndim > 1 else (0, 0)
        if columns == 0 or columns % 256 or "bias_" in name or "norm" in name:
            continue
        kind = getattr(gguf.GGMLQuantizationType, kinds[turn % len(kinds)])
        turn += 1
        std = float(p.std())
        if kind.name.endswith("_K"):
            size, per = {"Q4_K": (144, 256), "Q5_K": (176, 256), "Q6_K": (210, 256)}[kind.name]
            blocks = rng.integers(0, 256, (rows * columns // per, size), dtype=np.uint8)
            if kind.name == "Q6_K":
                blocks[:, 208:210] = np.float16(std / 1400).reshape(1).view(np.uint8)
            else:
                top = 8 if kind.name == "Q4_K" else 16
                blocks[:, 0:2] = np.float16(std / (12 * top)).reshape(1).view(np.uint8)
                blocks[:, 2:4] = np.float16(std / 12).reshape(1).view(np.uint8)
            data = blocks.reshape(rows, -1)
        else:
            data = gguf.quants.quantize(p.reshape(rows, columns).numpy(), kind).view(np.uint8).reshape(rows, -1)
        p.copy_(torch.from_numpy(gguf.quants.dequantize(data, kind).astype(np.float32)).reshape(p.shape))
        raw[name] = (np.ascontiguousarray(data), kind)
    return raw


def write_gguf(model, path, name, extra=(), bank=True, normalize=True, raw=()):
    """NVIDIA NeMo-Speech.cpp's conventions, everything in f32 but what `raw` has (quantize_some)."""
    s = model.spec
    w = gguf.GGUFWriter(path, "asr")
    w.add_name(name)
    w.add_string("asr.head_type", s["head"])
    for k, v in (("d_model", s["d"]), ("n_layers", s["layers"]), ("n_heads", s["heads"]), ("d_ff", s["ff"]),
                 ("conv_kernel_size", s["kernel"]), ("subsampling_factor", 8), ("subsampling_conv_channels", s["channels"]),
                 ("feat_in", s["mels"]), ("pos_emb_max_len", 5000)):
        w.add_uint32("asr.encoder." + k, v)
    w.add_bool("asr.encoder.xscaling", s["xscaling"])
    w.add_bool("asr.encoder.use_bias", s["bias"])
    left, right = s.get("local") or (-1, -1)
    w.add_int32("asr.encoder.offline_left_ctx", left)
    w.add_int32("asr.encoder.offline_right_ctx", right)
    w.add_string("asr.encoder.conv_norm", "batch_norm")
    w.add_string("asr.encoder.att_context_style", "regular")
    w.add_string("asr.encoder.q8_layout", "block_q8_0")
    for k, v in (("sample_rate", 16000), ("n_fft", 512), ("features", s["mels"])):
        w.add_uint32("asr.preprocessor." + k, v)
    for k, v in (("window_size", 0.025), ("window_stride", 0.01), ("preemph", 0.97), ("dither", 1e-5)):
        w.add_float32("asr.preprocessor." + k, v)
    w.add_string("asr.preprocessor.normalize", "per_feature" if normalize else "NA")
    if s["head"] == "ctc":
        w.add_uint32("asr.ctc.num_classes", s["pieces"])
        w.add_uint32("asr.ctc.blank_id", s["pieces"])
    else:
        for k, v in (("vocab_size", s["pieces"]), ("blank_id", s["pieces"]), ("pred_embed_dim", s["hidden"]),
                     ("pred_hidden", s["hidden"]), ("pred_num_layers", s["lstm"]), ("joint_dim", s["hidden"]),
                     ("max_symbols_per_step", 10)):
            w.add_uint32("asr.rnnt." + k, v)
        if s["head"] == "tdt":
            w.add_array("asr.tdt.durations", [0, 1, 2, 3, 4])
    w.add_string("asr.tokenizer.type", "sentencepiece_bpe")
    w.add_array("asr.tokenizer.vocab", s["vocab"])
    if bank:
        w.add_tensor("preprocessor.fb", ParakeetFeatureExtractor(feature_size=s["mels"]).mel_filters.numpy().astype(np.float32))
    tensors = list(model.named_parameters()) + list(model.named_buffers()) + list(extra)
    for n, t in tensors:
        if "num_batches" in n or "inv_freq" in n:
            continue
        if n in raw:
            w.add_tensor(nemo_name(n), raw[n][0], raw_dtype=raw[n][1])
            continue
        a = t.detach().float().numpy()
        if "pointwise" in n or "ctc_" in n:
            a = a.reshape(a.shape[0], -1) if a.ndim > 1 else a
        w.add_tensor(nemo_name(n) if not n.startswith("ctc_decoder") else n, np.ascontiguousarray(a))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def sampled(t, keep):
    flat = t.reshape(-1).numpy().astype(np.float32)
    stride = max(1, -(-len(flat) // keep))
    if stride > 1 and stride % 2 == 0:
        stride += 1                             # odd, so that it walks over all columns
    got = flat[::stride]
    return struct.pack("<IIIf", len(flat), stride, len(got), np.abs(flat).max()) + got.tobytes()


def expectations(model, decoder, lengths, normalize, start, least, whole=()):
    """All inputs of one decoder, as bytes; a seed whose decoding has a near tie (a lead below `least` somewhere) is
    passed over for the next. `whole`: inputs of which more values are kept."""
    out, tried, total, kinds, durations = [], 0, 0, set(), {}
    seed = start
    for i, n in enumerate(lengths):
        while True:
            seed += 1
            tried += 1
            assert tried < 2000, "almost every input has a near tie: change the gains"
            mel, mask = features(signal(seed, n), model.spec["mels"], normalize)
            hidden = []
            enc = encode(model, mel, mask, hidden)
            steps, margin = decoder(enc)
            if margin < (least if n < 100000 else least / 8):
                continue
            ids, timed = generated(model, mel, mask) if model.reference else ([s[0] for s in steps], None)
            if timed is not None and [s[:3] for s in steps] != timed and model.spec["head"] == "tdt":
                continue                        # HF has no limit of ten symbols for TDT
            assert ids == [s[0] for s in steps], (ids, steps)
            break
        v = int(mask.sum())
        stages = [mel[0, :v]] + hidden
        blob = struct.pack("<5I", seed, n, v, enc.shape[1], len(stages))
        for j, t in enumerate(stages):
            blob += sampled(t, 4096 if i in whole else (61 if j == 0 else 41))
        blob += struct.pack("<I", len(steps))
        for k, t, d, p in steps:
            blob += struct.pack("<IIIf", k, t, d, p)
            kinds.add(k)
            durations[d] = durations.get(d, 0) + 1
        total += len(steps)
        out.append(blob)
    print(f"    {len(out)} inputs from {tried} seeds, {total} tokens, {len(kinds)} kinds, durations {sorted(durations.items())}")
    return struct.pack("<I", len(out)) + b"".join(out)
