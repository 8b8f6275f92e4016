"""Write a checkpoint as GGUF in NeMo-Speech.cpp's convention.

usage: export.py CHECKPOINT OUTPUT_FOLDER [--other CHECKPOINT --share S] [--raw] [--random]
                 [--lm FILE.ngram [--words FILE.words] [--neural FILE.npz]
                 [--lm-weights WEIGHT,PRIOR,BONUS,CTC,UNKNOWN,NEURAL,END]]

Writes default-f32.gguf and default-q8_0.gguf from the averaged (EMA) weights;
--raw takes the last ones, --other mixes them: S of CHECKPOINT's, the rest of
the other's.  --lm writes default-lm.gguf as well: q8_0 with a language
model (language_model.py) for the decoder's beam, and with --words the words
that it knows, with --neural another language model (neural_lm.py).  A head that was never trained is left out (unless
--random, which writes an untrained model for loader tests).  q8_0: linear
weights, LSTM and 1x1 convolutions whose rows divide by 32; other convolutions
and embedding f16; norms, biases and statistics f32.  heads.npz has two of the
heads that only training has (restore.py).
"""
import argparse
import base64
import itertools
import os

import gguf
import numpy as np
import sentencepiece
import torch

import features
from model import TRAINING_ONLY, Config, Recogniser
from store import base_directory

NAME = "rec-stt default English"
LICENCE = "CC-BY-4.0"
RENAMED = (("predictor.embed.", "decoder.prediction.embed."),
           ("predictor.lstm.weight_ih_l0", "decoder.prediction.dec_rnn.lstm.ih_l0.weight"),
           ("predictor.lstm.weight_hh_l0", "decoder.prediction.dec_rnn.lstm.hh_l0.weight"),
           ("predictor.lstm.bias_ih_l0", "decoder.prediction.dec_rnn.lstm.ih_l0.bias"),
           ("predictor.lstm.bias_hh_l0", "decoder.prediction.dec_rnn.lstm.hh_l0.bias"),
           ("joint.out.", "joint.joint_net.2."),
           ("ctc.", "ctc_decoder.decoder_layers.0."))


def nemo_name(name):
    for ours, theirs in RENAMED:
        if name.startswith(ours):
            return theirs + name[len(ours):]
    return name


def tensors(model, with_tdt):
    """NeMo name -> float32 array."""
    for name, value in model.state_dict().items():
        if name.startswith(TRAINING_ONLY) or name.endswith("num_batches_tracked"):
            continue
        if not with_tdt and name.startswith(("predictor.", "joint.")):
            continue
        array = value.detach().float().numpy()
        if array.ndim == 4 and array.shape[2:] == (1, 1):
            array = array[:, :, 0, 0]
        yield nemo_name(name), np.ascontiguousarray(array)
    yield "preprocessor.fb", features.mel_filters().astype(np.float32)


def storage_type(name, array, quantised):
    kinds = gguf.GGMLQuantizationType
    if not quantised or array.ndim < 2 or name == "preprocessor.fb" or "pos_bias" in name:
        return kinds.F32
    if ".embed." in name or array.ndim > 2 or array.shape[1] % 32:
        return kinds.F16
    return kinds.Q8_0


def write(path, model, tokenizer, with_tdt, quantised, steps, ngrams=None, words=None, neural=(), weights=()):
    c = model.config
    w = gguf.GGUFWriter(path, "asr")
    w.add_name(NAME)
    w.add_license(LICENCE)
    w.add_string("rec-stt.language", "en")
    w.add_languages(["en"])
    w.add_description("FastConformer hybrid TDT-CTC, lowercase English, %d training steps" % steps)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantised else gguf.LlamaFileType.ALL_F32)
    w.add_string("asr.head_type", "tdt" if with_tdt else "ctc")
    for key, value in (("d_model", c.width), ("n_layers", c.layers), ("n_heads", c.heads), ("d_ff", 4 * c.width),
                       ("conv_kernel_size", c.kernel), ("subsampling_factor", 8),
                       ("subsampling_conv_channels", c.channels), ("feat_in", c.mels), ("pos_emb_max_len", 5000)):
        w.add_uint32("asr.encoder." + key, value)
    for key, value in (("xscaling", False), ("use_bias", True), ("cache_supported", False)):
        w.add_bool("asr.encoder." + key, value)
    w.add_int32("asr.encoder.offline_left_ctx", -1)
    w.add_int32("asr.encoder.offline_right_ctx", -1)
    w.add_string("asr.encoder.conv_norm", "batch_norm")
    w.add_string("asr.encoder.att_context_style", "regular")
    w.add_string("asr.encoder.q8_layout", "block_q8_0")
    w.add_string("asr.encoder.qkv_q8_layout", "block_q8_0")
    for key, value in (("sample_rate", 16000), ("n_fft", 512), ("features", c.mels)):
        w.add_uint32("asr.preprocessor." + key, value)
    for key, value in (("window_size", 0.025), ("window_stride", 0.01), ("preemph", 0.97), ("dither", 0.0)):
        w.add_float32("asr.preprocessor." + key, value)
    w.add_string("asr.preprocessor.normalize", "per_feature")
    for key, value in (("stft_center_window", True), ("hann_periodic", False), ("mask_invalid_frames", True)):
        w.add_bool("asr.preprocessor." + key, value)
    w.add_uint32("asr.ctc.num_classes", c.vocabulary)
    w.add_uint32("asr.ctc.blank_id", c.vocabulary)
    if with_tdt:
        for key, value in (("vocab_size", c.vocabulary), ("blank_id", c.vocabulary), ("pred_embed_dim", c.predictor),
                           ("pred_hidden", c.predictor), ("pred_num_layers", 1), ("joint_dim", c.joint),
                           ("max_symbols_per_step", 10), ("num_prompts", 0)):
            w.add_uint32("asr.rnnt." + key, value)
        w.add_array("asr.tdt.durations", [0, 1, 2, 3, 4])
    w.add_string("asr.tokenizer.type", "sentencepiece_bpe")
    w.add_array("asr.tokenizer.vocab", [tokenizer.id_to_piece(i) for i in range(c.vocabulary)])
    w.add_string("asr.tokenizer.spm_model", base64.b64encode(tokenizer.serialized_model_proto()).decode("ascii"))
    for name, array in itertools.chain(tensors(model, with_tdt), neural):
        kind = storage_type(name, array, quantised)
        if kind == gguf.GGMLQuantizationType.Q8_0:
            w.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        elif kind == gguf.GGMLQuantizationType.F16:
            w.add_tensor(name, array.astype(np.float16))
        else:
            w.add_tensor(name, array.astype(np.float32))
    if ngrams is not None:
        for key, value in zip(("weight", "prior", "bonus", "ctc", "unknown", "neural", "end"), weights):
            w.add_float32("rec-stt.lm." + key, value)
        w.add_tensor("lm.ngrams", ngrams)
        if words is not None:
            w.add_tensor("lm.words", words)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    parser.add_argument("--other")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--lm")
    parser.add_argument("--words")
    parser.add_argument("--neural")
    parser.add_argument("--lm-weights", default="0.3,0.35,1.6,0.4,3,0.55,0.8")
    options = parser.parse_args()
    tokenizer = sentencepiece.SentencePieceProcessor(os.path.join(base_directory(), "tokenizer.model"))
    state = torch.load(options.checkpoint, map_location="cpu", weights_only=False)
    model = Recogniser(Config(**state["config"]))
    kind = "model" if options.raw else "average"
    weights = state[kind]
    if options.other:
        other = torch.load(options.other, map_location="cpu", weights_only=False)
        if other["config"] != state["config"]:
            parser.error("%s has another geometry, so its layers are not this one's" % options.other)
        other = other[kind]
        weights = {name: torch.lerp(other[name], value, options.share) if name in other and value.is_floating_point() else value
                   for name, value in weights.items()}
    model.load_state_dict(weights, strict=False)
    with_tdt = options.random or state.get("tdt_steps", 0) > 0
    os.makedirs(options.folder, exist_ok=True)
    for name, quantised in (("default-f32.gguf", False), ("default-q8_0.gguf", True)):
        path = os.path.join(options.folder, name)
        write(path + ".new", model, tokenizer, with_tdt, quantised, state["step"])
        os.replace(path + ".new", path)
        print("%s: %d bytes" % (path, os.path.getsize(path)))
    # What training alone has, for restore.py.
    np.savez(os.path.join(options.folder, "heads.npz"), **{
        name: values.numpy().astype(np.float16) for name, values in model.state_dict().items()
        if name.startswith(("middle_ctc.", "phones."))})
    if options.lm:
        path = os.path.join(options.folder, "default-lm.gguf")
        neural = np.load(options.neural) if options.neural else {}
        write(path + ".new", model, tokenizer, with_tdt, True, state["step"], np.fromfile(options.lm, np.int8),
              np.fromfile(options.words, np.int8) if options.words else None,
              [("lm.neural." + name, values) for name, values in neural.items()],
              [float(w) for w in options.lm_weights.split(",")])
        os.replace(path + ".new", path)
        print("%s: %d bytes" % (path, os.path.getsize(path)))


if __name__ == "__main__":
    main()
