"""Make synthetic speech: many sentences, many voices, rates and pitches.

usage: synthesize.py NAME HOURS SEED ENGINES TEXT_FILE...
       synthesize.py --heldout TEXT_FILE...

Appends to cache/NAME.{pcm,tsv}; --heldout writes cache/synthetic_heldout with
the voices set aside below, which are never used otherwise.  ENGINES is a
comma-separated list to draw from (espeak, accents, flite, festival, rhvoice;
repeat for more weight); flite's and festival's phone times are kept.  accents
is espeak with other sounds in place of some, as people say them whose first
language lacks those, or who come from elsewhere.  rhvoice needs
RHVoice-test on the PATH and the voices below (Debian 13 has rhvoice and
rhvoice-english; ksp, Indian English, is the project's own).  Text files hold
one sentence a line (a "raw|normalised" line counts as its second field).
Sentences spoken in a held-out recording are never used for training.
"""
import concurrent.futures
import glob
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile

import numpy as np
import soundfile
import soxr

import grammar
from store import RATE, Store, Writer, base_directory
from text import normalise

# Voices set aside: at least one per synthesiser.
HELDOUT = {"flite": ["rms"], "festival": ["ked_diphone"],
           "espeak": ["Andrea", "Michael", "david", "grandma", "steph2", "victor", "f4", "m6"]}
HELDOUT_ACCENT = "en-gb-scotland"

FLITE = ["slt", "awb", "kal16", "kal"]
FESTIVAL = ["kal_diphone", "cmu_us_slt_arctic_hts"]
RHVOICE = ["bdl", "clb", "ksp"]
ACCENTS = ["en-us"] * 6 + ["en-gb", "en-gb-x-rp"] * 2 + ["en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]
# What speakers of an invented accent may say for a phoneme of espeak's, if they do not say it as it is.
INVENTED = 80
ELSEWHERE = {"I": "i: i", "U": "u:", "V": "a 0 @", "eI": "e: E", "oU": "o: O:", "aI": "VI", "aU": "u:", "a": "aa E a:", "0": "O: A:",
             "E": "a e", "O:": "o: 0", "3:": "E e@", "@": "a E V", "@2": "i a", "I#": "i", "I2": "i", "a#": "a", "O2": "0 o:",
             "T": "t s f", "D": "d z", "v": "w b f", "w": "v", "z": "s", "Z": "S", "dZ": "Z tS", "tS": "S", "r": "R **", "r-": "R",
             "t#": "t", "h": "x", "N": "n", "l": "l^", "d": "t", "g": "k", "b": "p"}
DEVOICED = {"d", "g", "b"}                 # these change at the end of a word only
NOT_SPEECH_LIKE = {"Demonic", "Storm", "UniRobot", "anikaRobot", "croak", "Tweaky", "whisper", "whisperf",
                   "robosoft", "robosoft2", "robosoft3", "robosoft4", "robosoft5", "robosoft6",
                   "robosoft7", "robosoft8", "fast", "AnxiousAndy"}


def espeak_variants():
    for folder in ("/usr/lib/x86_64-linux-gnu/espeak-ng-data/voices/!v", "/usr/share/espeak-ng-data/voices/!v"):
        if os.path.isdir(folder):
            return sorted(v for v in os.listdir(folder) if v not in NOT_SPEECH_LIKE and " " not in v)
    raise FileNotFoundError("espeak-ng's voice variants")


def training_variants():
    return [v for v in espeak_variants() if v not in HELDOUT["espeak"]]


def speakable(raw, text):
    """What to hand to a synthesiser so that it says exactly `text`."""
    if re.fullmatch(r"[A-Za-z ',.?!;:\"-]+", raw) and not re.search(r"\b[A-Z]{2,}\b|\b(Mr|Mrs|Dr|St|etc|vs)\b", raw):
        return raw.strip(" '\"-")
    return text


def invented_accent(number):
    """-> {phoneme: what is said in its place}; the same for the same number."""
    rng = random.Random("accent %d" % number)
    changed = rng.sample(sorted(ELSEWHERE), rng.randint(2, 9))
    return {phoneme: rng.choice(ELSEWHERE[phoneme].split()) for phoneme in changed}


def with_accent(spoken, language, accent):
    """espeak's notation of its phonemes with those of the accent: "[[f|'i|k|s t|@2]]"."""
    done = subprocess.run(["espeak-ng", "-v", language, "-x", "-q", "--sep=_", spoken], check=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    words = []
    for word in done.stdout.replace("_:", " ").split():
        phonemes = [re.fullmatch(r"([',]*)(.*)", p).groups() for p in word.split("_") if p]
        said = [stress + (accent.get(p, p) if p not in DEVOICED or at == len(phonemes) - 1 else p)
                for at, (stress, p) in enumerate(phonemes)]
        words.append("|".join(said))
    return "[[%s]]" % " ".join(words)


def synthesise_espeak(spoken, voice, rng, path, plain=False):
    accent, variant = voice
    options = ["-v", accent + "+" + variant]
    if not plain:
        options += ["-s", str(rng.randint(125, 215)), "-p", str(min(99, max(0, int(rng.gauss(50, 22)))))]
        if rng.random() < 0.2:
            options += ["-g", str(rng.randint(1, 4))]
    subprocess.run(["espeak-ng", *options, "-w", path, spoken], check=True, timeout=60,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def synthesise_flite(spoken, voice, rng, path, plain=False):
    options = []
    if not plain:
        options = ["--setf", "duration_stretch=%.2f" % rng.uniform(0.8, 1.25)]
        if voice in ("kal", "kal16"):
            options += ["--setf", "int_f0_target_mean=%d" % rng.randint(75, 150),
                        "--setf", "int_f0_target_stddev=%d" % rng.randint(8, 28)]
        else:
            options += ["--setf", "f0_shift=%.2f" % rng.uniform(0.8, 1.25)]
    done = subprocess.run(["flite", "-voice", voice, *options, "-psdur", "-t", spoken, "-o", path], check=True,
                          timeout=60, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with open(path + ".seg", "w", encoding="ascii") as file:
        file.write(done.stdout)


def synthesise_rhvoice(spoken, voice, rng, path):
    subprocess.run(["RHVoice-test", "-p", voice.capitalize(), "-r", str(rng.randint(80, 125)),
                    "-t", str(rng.randint(80, 120)), "-o", path], check=True, timeout=60, input=spoken, text=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def synthesise_festival(jobs, voice, stretch):
    """One process for many sentences, because the voice loads slowly."""
    script = ["(voice_%s)" % voice, "(Parameter.set 'Duration_Stretch %.2f)" % stretch]
    for spoken, path in jobs:
        quoted = spoken.replace("\\", "").replace('"', "")
        script.append('(set! u (SynthText "%s"))(utt.save.wave u "%s" \'riff)'
                      '(utt.save.segs u "%s.seg")' % (quoted, path, path))
    script[0:0] = ["(define (SynthText text) (utt.synth (eval (list 'Utterance 'Text text))))"]
    with tempfile.NamedTemporaryFile("w", suffix=".scm") as file:
        file.write("\n".join(script))
        file.flush()
        subprocess.run(["festival", "-b", file.name], timeout=600,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def read_phones(path, shift):
    """Phone ends as written by flite ("hh:0.281 ...") or festival ("0.281 100 hh")."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read()
    pairs = re.findall(r"(\S+):([\d.]+)", text) or \
        [(p, t) for t, p in re.findall(r"^([\d.]+) +\d+ +(\S+)", text.replace("\t", " "), re.M)]
    return " ".join("%s:%.3f" % (p, float(t) - shift) for p, t in pairs)


def read_wave(path):
    """(samples at 16 kHz, phones) with the synthesiser's outer silence shortened."""
    if not os.path.exists(path) or os.path.getsize(path) < 2000:
        return None
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    loud = np.nonzero(np.abs(samples) > 0.01 * max(1e-4, np.abs(samples).max()))[0]
    if len(loud) < 1600:
        return None
    start = max(0, loud[0] - 1600)
    samples = samples[start:loud[-1] + 1600]
    peak = np.abs(samples).max()
    return (samples * (0.5 / peak) * 32767).astype("<i2"), read_phones(path + ".seg", start / RATE)


def plausible(samples, text):
    """Whether so long a recording may say that."""
    seconds = len(samples) / RATE
    return 0.3 <= seconds <= 16 and len(text) / seconds < 25


def batch(task):
    """Synthesise one batch of sentences with one synthesiser."""
    seed, engine, sentences, heldout = task
    rng = random.Random(seed)
    result = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for number, (text, spoken) in enumerate(sentences):
            path = os.path.join(folder, "%d.wav" % number)
            try:
                if engine == "espeak":
                    variants = HELDOUT["espeak"] if heldout else training_variants()
                    accents = [HELDOUT_ACCENT, "en-us", "en-gb"] if heldout else ACCENTS
                    voice = (rng.choice(accents), rng.choice(variants))
                    synthesise_espeak(spoken, voice, rng, path, heldout)
                    name = "espeak_" + "_".join(voice)
                elif engine == "accents":
                    language = rng.choice(["en-us", "en-gb"])
                    voice = (language, rng.choice(training_variants()))
                    number = rng.randrange(INVENTED)
                    synthesise_espeak(with_accent(spoken, language, invented_accent(number)), voice, rng, path)
                    name = "espeak_%s_%s_%d" % (*voice, number)
                elif engine == "flite":
                    voice = rng.choice(HELDOUT["flite"] if heldout else FLITE)
                    synthesise_flite(spoken, voice, rng, path, heldout)
                    name = "flite_" + voice
                elif engine == "rhvoice":
                    voice = rng.choice(RHVOICE)
                    synthesise_rhvoice(spoken, voice, rng, path)
                    name = "rhvoice_" + voice
                else:
                    name = None
            except (subprocess.SubprocessError, OSError):
                continue
            jobs.append((text, spoken, path, name))
        if engine == "festival":
            voice = rng.choice(HELDOUT["festival"] if heldout else FESTIVAL)
            try:
                synthesise_festival([(spoken, path) for _, spoken, path, _ in jobs], voice,
                                    1.0 if heldout else rng.uniform(0.85, 1.2))
            except subprocess.SubprocessError:
                pass
            jobs = [(text, spoken, path, "festival_" + voice) for text, spoken, path, _ in jobs]
        for text, _, path, name in jobs:
            wave = read_wave(path)
            if wave is None:
                continue
            samples, phones = wave
            if plausible(samples, text):
                result.append((samples, name, text, phones))
    return result


def read_sentences(paths):
    pool = []
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                raw = line.strip().split("|")[-1]
                text = normalise(raw)
                if 2 <= len(text) <= 200:
                    pool.append((text, speakable(raw, text)))
    return pool


def held_out(cache):
    """What held-out recordings say, those by the voices set aside included."""
    paths = glob.glob(os.path.join(cache, "*.tsv"))
    return {item[5] for path in paths for item in Store(path[:-4]).items if item[3] not in ("train", "unlabelled")}


def sentences(rng, texts, aside=False):
    """Endless (text, what to say): of the text files, the training recordings and the grammar.  What a held-out
    recording says is left out, but for the voices set aside, whose sentences stay what they always were."""
    cache = os.path.join(base_directory(), "cache")
    real = Store(os.path.join(cache, "real")).items
    first = {item[5] for item in real if item[3] != "train"}
    pool = [pair for pair in read_sentences(texts) if pair[0] not in first]
    pool += [(item[5], item[5]) for item in real if item[3] == "train" and "lsu_" not in item[2]]
    forbidden = set() if aside else held_out(cache)
    while True:
        text, spoken = grammar.sentence(rng) if rng.random() < 0.25 else rng.choice(pool)
        if text not in forbidden:
            yield text, spoken


def main():
    heldout = sys.argv[1] == "--heldout"
    if heldout:
        name, hours, seed, texts = "synthetic_heldout", 0.5, 99, sys.argv[2:]
    else:
        name, hours, seed, texts = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[5:]
    rng = random.Random(seed)
    base = os.path.join(base_directory(), "cache", name)
    writer = Writer(base, append=os.path.exists(base + ".tsv") and not heldout)
    engines = ["espeak", "flite", "festival"] if heldout else sys.argv[4].split(",")

    def tasks():
        source = sentences(rng, texts, heldout)
        while True:
            said = list(itertools.islice(source, 40))
            yield rng.getrandbits(32), rng.choice(engines), said, heldout

    wanted, made, source = hours * 3600 * RATE, 0, tasks()
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        pending = [threads.submit(batch, next(source)) for _ in range(4)]
        while made < wanted:
            done = pending.pop(0).result()
            pending.append(threads.submit(batch, next(source)))
            for samples, voice, text, phones in done:
                writer.add(samples, voice, "synthetic_heldout" if heldout else "train", name, text, phones)
                made += len(samples)
            writer.flush()
        for task in pending:
            task.cancel()
    writer.close()


if __name__ == "__main__":
    main()
