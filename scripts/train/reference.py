"""Load an exported GGUF back into PyTorch and decode files: the yardstick for the C engine.

usage: reference.py MODEL.gguf [--head ctc|tdt] [--dump FOLDER] AUDIO...

Prints one JSON object per file: file, text, tokens and, for TDT, frames and
durations.  --dump writes NAME.mel.f32 and NAME.encoded.f32 (row-major float32).
"""
import argparse
import json
import os

import gguf
import numpy as np
import sentencepiece
import torch

import features
from export import RENAMED
from model import Config, Recogniser
from store import base_directory, decode_file


class Pieces:
    """Detokenises ids as the engine does."""

    def __init__(self, pieces):
        self.pieces = pieces

    def decode(self, ids):
        return "".join(self.pieces[i] for i in ids).replace("\u2581", " ").strip()


def read_gguf(path):
    """-> (model, pieces, head type)."""
    reader = gguf.GGUFReader(path)

    def value(key):
        return reader.fields[key].contents()

    arrays = {}
    for t in reader.tensors:
        if t.name.startswith("lm."):             # the decoder's n-grams: bytes
            continue
        data = gguf.quants.dequantize(t.data, t.tensor_type)
        arrays[t.name] = torch.from_numpy(np.array(data, dtype=np.float32).reshape([int(n) for n in t.shape][::-1]))
    pieces = value("asr.tokenizer.vocab")
    tdt = "joint.enc.weight" in arrays
    config = Config(mels=value("asr.encoder.feat_in"), width=value("asr.encoder.d_model"),
                    layers=value("asr.encoder.n_layers"), heads=value("asr.encoder.n_heads"),
                    channels=value("asr.encoder.subsampling_conv_channels"),
                    kernel=value("asr.encoder.conv_kernel_size"), vocabulary=len(pieces),
                    predictor=value("asr.rnnt.pred_hidden") if tdt else 256,
                    joint=value("asr.rnnt.joint_dim") if tdt else 256)
    model = Recogniser(config)
    state = model.state_dict()
    for name in state:
        theirs = name
        for ours, exported in RENAMED:
            if name.startswith(ours):
                theirs = exported + name[len(ours):]
        if theirs in arrays:
            state[name] = arrays[theirs].reshape(state[name].shape)
    model.load_state_dict(state)
    return model.eval(), Pieces(pieces), "tdt" if tdt else "ctc"


def load(path):
    """An exported model or a checkpoint's averaged weights -> (model, pieces, head)."""
    if path.endswith(".gguf"):
        return read_gguf(path)
    state = torch.load(path, map_location="cpu", weights_only=False)
    model = Recogniser(Config(**state["config"]))
    model.load_state_dict(state["average"], strict=False)
    tokenizer = sentencepiece.SentencePieceProcessor(os.path.join(base_directory(), "tokenizer.model"))
    return model.eval(), tokenizer, "tdt" if state.get("tdt_steps") else "ctc"


@torch.no_grad()
def transcribe(model, samples, head):
    """samples int16 -> (tokens, frames, durations, mel, encoded)."""
    mel = features.features(torch.from_numpy(samples.astype(np.float32) / 32768))
    encoded, lengths, _ = model(mel[None], torch.tensor([len(mel)]))
    if head == "ctc":
        return model.decode_ctc(encoded, lengths)[0], None, None, mel, encoded[0]
    steps = model.decode_tdt(encoded[0], int(lengths[0]))
    tokens, frames, durations = (list(part) for part in zip(*steps)) if steps else ([], [], [])
    return tokens, frames, durations, mel, encoded[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--head")
    parser.add_argument("--dump")
    parser.add_argument("audio", nargs="+")
    options = parser.parse_args()
    model, pieces, head = read_gguf(options.model)
    for path in options.audio:
        tokens, frames, durations, mel, encoded = transcribe(model, decode_file(path), options.head or head)
        record = {"file": path, "text": pieces.decode(tokens), "tokens": tokens}
        if frames is not None:
            record.update(frames=frames, durations=durations)
        print(json.dumps(record))
        if options.dump:
            os.makedirs(options.dump, exist_ok=True)
            stem = os.path.join(options.dump, os.path.splitext(os.path.basename(path))[0])
            mel.numpy().tofile(stem + ".mel.f32")
            encoded.numpy().tofile(stem + ".encoded.f32")


if __name__ == "__main__":
    main()
