"""Let a larger recogniser write down what is said in recordings that have no words.

usage: teacher.py MODEL_FOLDER FOLDER OUT.tsv

MODEL_FOLDER holds Whisper (base; MIT) in CTranslate2's form: model.bin, config.json, vocabulary.json, tokenizer.json.
OUT.tsv gets a line for each recording, "file<tab>words<tab>mean log-probability", and is continued where it ends.
The window is not 30 s but a little more than the recordings need, which takes a fifth of the time; where that goes
wrong (the words repeat themselves, or the teacher is not sure) a wider one is tried.  unheard.py makes a cache of it.
"""
import glob
import os
import re
import sys
import time

import ctranslate2
import numpy as np
import soundfile
import tokenizers
import torch

import features
from store import RATE, decode_file

BATCH, DOUBTFUL, FASTEST = 16, -0.6, 5.5            # recordings; mean log-probability; words a second
PROMPT = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")


def log_mel(samples, frames, filters, window):
    """int16 samples -> [80, frames] as Whisper sees them (Radford et al. 2022; hop 10 ms, window 25 ms)."""
    x = torch.from_numpy(samples.astype(np.float32) / 32768)[:frames * 160]
    x = torch.nn.functional.pad(x, (0, frames * 160 - len(x)))
    power = torch.stft(x, 400, 160, window=window, return_complex=True)[:, :-1].abs().square()
    level = (filters @ power).clamp(min=1e-10).log10()
    return ((torch.maximum(level, level.max() - 8) + 4) / 4).numpy()


class Teacher:
    def __init__(self, folder):
        self.pieces = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.prompt = [self.pieces.token_to_id(name) for name in PROMPT]
        self.model = ctranslate2.models.Whisper(folder, device="cpu", compute_type="int8", intra_threads=1)
        self.filters = torch.tensor(features.mel_filters(80, fft=400), dtype=torch.float32)
        self.window = torch.hann_window(400)

    def __call__(self, clips, frames):
        """-> [(words, mean log-probability)]"""
        mel = np.stack([log_mel(c, frames, self.filters, self.window) for c in clips])
        results = self.model.generate(ctranslate2.StorageView.from_array(mel), [self.prompt] * len(clips),
                                      beam_size=1, return_scores=True, max_length=64)
        return [(re.sub(r"\s+", " ", self.pieces.decode(r.sequences_ids[0])).strip(), r.scores[0]) for r in results]


def doubtful(words, score, samples):
    return score < DOUBTFUL or words.count(" ") + 1 > FASTEST * len(samples) / RATE


def main():
    model, folder, out = sys.argv[1:]
    torch.set_num_threads(1)
    teacher = Teacher(model)
    done = set()
    if os.path.exists(out):
        with open(out, encoding="utf-8") as lines:
            done = {line.split("\t")[0] for line in lines}
    paths = [p for p in glob.glob(os.path.join(folder, "*")) if os.path.basename(p) not in done]
    paths.sort(key=lambda p: (soundfile.info(p).duration, p))
    started = time.time()
    with open(out, "a", encoding="utf-8") as table:
        for at in range(0, len(paths), BATCH):
            clips = [decode_file(p) for p in paths[at:at + BATCH]]
            frames = max(1000, int(max(map(len, clips)) / 160) + 250)
            answers = teacher(clips, frames)
            again = [i for i, (answer, clip) in enumerate(zip(answers, clips)) if doubtful(*answer, clip)]
            if again:
                for i, answer in zip(again, teacher([clips[i] for i in again], max(1500, frames))):
                    answers[i] = answer
            for path, (words, score) in zip(paths[at:], answers):
                table.write("%s\t%s\t%.3f\n" % (os.path.basename(path), words, score))
            table.flush()
            if at // BATCH % 20 == 0:
                print("%d of %d, %.0f s" % (at, len(paths), time.time() - started), flush=True)


if __name__ == "__main__":
    main()
