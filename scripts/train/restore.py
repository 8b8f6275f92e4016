"""Make a checkpoint from a model file that export.py wrote, where the training directory was lost.

usage: restore.py MODEL.gguf [HEADS.npz]

Writes tokenizer.model, checkpoint.pt and, where the file has a language model, lm.ngram, lm.words and lm.npz into the training
directory (an existing checkpoint is left alone).  Two heads that only training has (middle CTC, phones) come from HEADS.npz, which
export.py writes; without it they begin anew, and what they learn at first harms the layers below.  The third, for what
distil.py writes, always begins anew (train.py lets it settle first), and so does the optimiser's state.
"""
import base64
import os
import re
import sys

import gguf
import numpy as np
import torch

from export import RENAMED
from model import TRAINING_ONLY, Config, Recogniser
from store import base_directory
from train import Optimiser, save

LANGUAGE_MODEL = {"lm.ngrams": "lm.ngram", "lm.words": "lm.words"}       # tensor: file
NEURAL = "lm.neural."                                                     # tensors of neural_lm.py


def our_name(name):
    for ours, theirs in RENAMED:
        if name.startswith(theirs):
            return ours + name[len(theirs):]
    return name


def main():
    reader = gguf.GGUFReader(sys.argv[1])
    base = base_directory()
    path = os.path.join(base, "checkpoint.pt")
    if os.path.exists(path):
        sys.exit("restore.py: %s is there already" % path)
    os.makedirs(base, exist_ok=True)

    def number(key):
        return int(reader.fields[key].contents())

    with open(os.path.join(base, "tokenizer.model"), "wb") as file:
        file.write(base64.b64decode(reader.fields["asr.tokenizer.spm_model"].contents()))
    config = Config(mels=number("asr.encoder.feat_in"), width=number("asr.encoder.d_model"),
                    layers=number("asr.encoder.n_layers"), heads=number("asr.encoder.n_heads"),
                    channels=number("asr.encoder.subsampling_conv_channels"),
                    kernel=number("asr.encoder.conv_kernel_size"), vocabulary=number("asr.ctc.num_classes"),
                    predictor=number("asr.rnnt.pred_hidden"), joint=number("asr.rnnt.joint_dim"))
    model = Recogniser(config)
    state = model.state_dict()
    missing, neural = set(state), {}
    for tensor in reader.tensors:
        if tensor.name in LANGUAGE_MODEL:
            tensor.data.tofile(os.path.join(base, LANGUAGE_MODEL[tensor.name]))
        name = our_name(tensor.name)
        if name not in state and not name.startswith(NEURAL):
            continue
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if name.startswith(NEURAL):
            neural[name.removeprefix(NEURAL)] = values
        else:
            state[name].copy_(torch.from_numpy(values).reshape(state[name].shape))
            missing.discard(name)
    if len(sys.argv) > 2:
        for name, values in np.load(sys.argv[2]).items():
            state[name].copy_(torch.from_numpy(values.astype(np.float32)))
    if neural:
        np.savez(os.path.join(base, "lm.npz"), **neural)
    for name in sorted(missing):
        if not name.startswith(TRAINING_ONLY) and not name.endswith("num_batches_tracked"):
            sys.exit("restore.py: %s lacks %s" % (sys.argv[1], name))
    model.load_state_dict(state)
    state = {name: values for name, values in state.items() if not name.startswith("heard.")}
    steps = int(re.search(r"(\d+) training steps", reader.fields["general.description"].contents()).group(1))
    save(path, model=state, average=state, optimiser=Optimiser(model).state_dict(),
         step=steps, seconds=0.0, tdt_steps=steps, config=vars(config))
    print("%s: step %d" % (path, steps))


if __name__ == "__main__":
    main()
