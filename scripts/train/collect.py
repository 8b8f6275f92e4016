"""Collect transcribed recordings that lie in public repositories.

usage: collect.py SPEECH_FOLDER

Clones the repositories named below (about 2.5 GB; needs git and a network) at
the given commits and writes, in the training directory,
  speech/NAME/audio, speech/NAME/data.tsv   file, speaker, transcript: what "extra.py folder" reads
  speech/common_voice_delta/untranscribed   clips on which nobody has voted yet, or whose text is not there
  speech/unlabelled.tsv                     LibriSpeech's lines for SPEECH_FOLDER/librispeech_untranscribed, for
                                            "extra.py voices"
Licences are those of the data sets, whatever else a repository is under.  What
is marked as Common Voice's test split is left out, and so are converted voices.
"""
import collections
import csv
import functools
import os
import re
import sys

from fetch import clone, git, listing
from prepare import HELDOUT_LIBRISPEECH
from store import base_directory

SMALLEST = 1500              # bytes; below it a file is empty or stands for one stored elsewhere


def show(folder, path):
    return git(folder, "show", "FETCH_HEAD:" + path).decode("utf-8")


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


# Each of these functions takes a cloned repository and the tables named with it, and returns a function that tells
# (name, speaker, transcript) of an audio file: None for one to leave out, an empty transcript where none is known.

def common_voice(folder, tables):
    """Common Voice's own tables, or a CSV without speakers; a second one names the clips that were voted down.  Without
    a table nothing is known."""
    known = {}
    for table in tables:
        form = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if table.endswith(".tsv") else {}
        for row in csv.DictReader(show(folder, table).split("\n"), **form):
            name = stem(row.get("path") or row["filename"])
            # Where the speaker is not told, every clip has its own, or ten of release 1's do ("sample-000000").
            speaker = "cv_" + row.get("client_id", name.removeprefix("common_voice_en_"))[:12]
            words = row.get("sentence") or row.get("transcript") or row["text"]
            known[name] = (name, speaker, words) if table == tables[0] else None
    return lambda path: known.get(stem(path), (stem(path), "", "") if len(tables) != 1 else None)


def by_number(texts):
    """LibriSpeech's file names begin with the speaker's number."""
    return lambda path: (stem(path), "ls_" + stem(path).split("-")[0], texts[stem(path)])


def librispeech(folder, tables):
    return by_number(librispeech_texts())


def librispeech_own(folder, tables):
    """With LibriSpeech's own files of transcripts beside the recordings."""
    texts = {}
    for path in listing(folder):
        if path.endswith(".trans.txt"):
            texts.update(line.split(" ", 1) for line in show(folder, path).splitlines() if " " in line)
    return by_number(texts)


def librispeech_by_words(folder, tables):
    """A table of files and words, without LibriSpeech's numbers: the words tell them.  What the lists lack is left
    out."""
    def letters(words):
        return re.sub("[^a-z]", "", words.lower())

    texts = librispeech_texts()
    count = collections.Counter(letters(words) for words in texts.values())
    names = {letters(words): name for name, words in texts.items() if count[letters(words)] == 1}
    rows = [line.split("\t") for line in show(folder, tables[0]).splitlines() if "\t" in line]
    files = collections.Counter(file for file, _ in rows)
    known = {file: names.get(letters(words)) for file, words in rows if files[file] == 1}

    def find(path):
        name = known.get(os.path.basename(path))
        return (name, "ls_" + name.split("-")[0], texts[name]) if name else None
    return find


def speech_commands(folder, tables):
    def find(path):
        word = path.split("/")[-2]
        return word + "_" + stem(path), "sc_" + stem(path).split("_")[0], word
    return find


def lumo(folder, tables):
    """A table of files and words; the folder is the speaker."""
    words = {row["filename"]: row["transcript"] for row in csv.DictReader(show(folder, tables[0]).splitlines())}

    def find(path):
        speaker, file = path.split("/")[-2:]
        return (stem(file), "lumo_" + speaker, words[file]) if file in words else None
    return find


def arctic(folder, tables):
    """CMU ARCTIC; the folder is the speaker."""
    prompts = show(clone("synesthesiam/voice-recorder", "9230784f00426d0e4a13e5630d981bff6f99138c"), "cmuarctic.data")
    texts = dict(re.findall(r'\( (\w+) "(.*)" \)', prompts))

    def find(path):
        speaker, name = path.split("/")[-2], stem(path)
        return speaker + "_" + name, "arctic_" + speaker, texts[name]
    return find


def minds14(folder, tables):
    """A table of files and words.  The words were heard by a recogniser (Google's) and not checked.  A number behind a
    call's name counts its recordings; other names tell nothing of the speaker."""
    known = {}
    for row in csv.DictReader(show(folder, tables[0]).splitlines()):
        words, seconds = row["transcript"], float(row["duration"])
        # Fewer words: much silence, or something was not heard.
        if 1 <= len(words.split()) / seconds <= 5:
            name = stem(row["file_name"])
            call = re.fullmatch(r"(CA.*)_\d+", stem(row["source_path"]))
            known[row["file_name"]] = (name, "minds_" + (call.group(1)[-10:] if call else name), words)
    return lambda path: known.get(os.path.basename(path))


def vctk(folder, tables):
    """All sentences are in the lists of VITS; the first 24 are the same for every speaker."""
    texts, shared = {}, collections.defaultdict(collections.Counter)
    lists = clone("jaywalnut310/vits", "2e561ba58618d021b5b8323d3765880f7e0ecfdb")
    for part in "train", "val", "test":
        for line in show(lists, "filelists/vctk_audio_sid_text_%s_filelist.txt" % part).splitlines():
            path, _, text = line.split("|", 2)
            speaker, number = stem(path).split("_")
            texts[speaker, number] = text.strip()
            if int(number) <= 24:
                shared[number][text.strip()] += 1

    def find(path):
        match = re.search(r"(?:^|[/_!])(p\d{3})_(\d{3})(_mic\d)?\.(wav|flac|mp3)$", path)
        if not match:
            return None
        speaker, number = match.group(1, 2)
        text = texts.get((speaker, number)) or max(shared[number], key=shared[number].get, default="")
        return (speaker + "_" + number, "vctk_" + speaker, text) if text else None
    return find


# Folder, licence of what is taken, function for the transcripts, and (repository, commit, audio files, tables ...).
FOLDERS = [
    ("common_voice_delta", "CC0 (Mozilla Common Voice)", common_voice, [
        ("korliu/whisper", "d03c14561ed7e5e354d76259a7606df7b6e68b0c", r"dataset/clips/.*\.mp3",
         "dataset/validated.tsv", "dataset/invalidated.tsv"),
        ("fsta-fo/voice-age-prediction", "566ecc904ed2a057f906d58606703c59ce1ad858", r"mp3_files/.*\.mp3")]),
    ("common_voice", "CC0 (Mozilla Common Voice)", common_voice, [
        ("omnilingo/rsample-100-cv-corpus-6.1-2020-12-11", "6785f863fec9770151abfe50a5e3e3787fd20ba2",
         r"en/clips/.*\.mp3", "en/validated.tsv"),
        ("puri-gagan/speechdataset", "4b7ec8a6084853c3d73b69a418a4394b64c8d988", r"clips/.*\.mp3", "validated.tsv"),
        ("common-voice/common-voice-asr", "958848c4302c4b2c688e0f5ca19e26957c90e3e4",
         # 41920855 is a copy of 42251480 there.
         r"Common-voice-asr/data/raw/mini_cv/.*_(?!41920855)\d+\.mp3", "Common-voice-asr/data/manifest.csv"),
        *[("shubhra-cv/" + name, commit, release + r"/en/validated_clips/.*\.mp3", release + "/en/validated.tsv")
          for name, commit, release in (
              ("17", "c6eb4f89ac49c509366afc829ba503cc93aad8a2", "cv-corpus-20.0-delta-2024-12-06"),
              ("18", "4ca775acc03a0f21aed07c3d2570fcb3e39fabab", "cv-corpus-18.0-delta-2024-06-14"),
              ("19", "497ac20ecec581d1bbb9c700b99ad2750db7aa67", "cv-corpus-19.0-delta-2024-09-13"))]]),
    ("common_voice2", "CC0 (Mozilla Common Voice)", common_voice, [
        ("rigved/rit-engl-682-spring-2021-project", "637c494f0bff9f6e251b92beb2838c2c93819b9a", r"data/.*\.wav",
         "validated.csv")]),
    ("common_voice3", "CC0 (Mozilla Common Voice, the first release's development split)", common_voice, [
        # Three are in common_voice, under other names.
        ("hys89/myrepo", "df4be595b08d930b3b7c2f21cf5b0e57cce5b12d",
         r"asr/cv-valid-dev/sample-(?!001516|002665|003570)\d+\.mp3", "asr/cv-valid-dev.csv")]),
    ("librispeech_deepspeaker", "CC BY 4.0 (LibriSpeech, train-clean-100)", librispeech, [
        ("Walleclipse/Deep_Speaker-speaker_recognition_system", "b975516d368eeac745e8f5270740ef277b88a8af",
         r"audio/LibriSpeechSamples/train-clean-100/.*\.flac")]),
    ("librispeech_dk", "CC BY 4.0 (LibriSpeech, train-clean-100)", librispeech, [
        ("DK2325/asr-finetuning", "736664ec75297f55accd4b9b744c9703c0594ac6",
         r"(train|val|sample_subset_wav)/.*\.wav")]),
    ("librispeech_blend", "CC BY 4.0 (LibriSpeech, train-clean-100)", librispeech_by_words, [
        # The rest is of dev-clean.
        ("Blend06/Speech_to_Text_Converter", "fa417ce65d8fec4fe1af228ea7d1c79ee3f1e54c", r"data/.*\.wav",
         "data/transcripts.txt")]),
    ("librispeech_cyclegan", "CC BY 4.0 (LibriSpeech, train-clean-100)", librispeech, [
        ("kkulesz/Voice_conversion_with_CycleGAN-VC2", "f2d1a1efa4e855f3cd07010af0983b4d38df56eb",
         r"data/LibriSpeech/\w+/\w+/.*\.flac")]),
    ("librispeech_voiceage", "CC BY 4.0 (LibriSpeech, train-clean-100)", librispeech, [
        ("zhangrui0712/Voice-Age", "c13f844098b754edb9c60b8deb1aa586bc461d8a",
         r"LibriSpeech/train-clean-5/.*\.flac")]),
    ("librispeech_knn", "CC BY 4.0 (LibriSpeech, test-clean)", librispeech_own, [
        ("rachelganem/voice_conversion_kNN", "2b0a75a7e40b5e14d66288afe3d09aaa199ad34c",
         r"data/dataset/raw/test-clean/.*\.flac")]),
    ("librispeech_suta", "CC BY 4.0 (LibriSpeech, test-other with noise)", librispeech, [
        ("CheeEn-Yu/Test-time-adaptation-ASR-SUTA", "17c79c29428c7a21699cec22da7ec46a23451fab",
         r"noisy_LibriSpeech/.*\.flac")]),
    ("speech_commands", "CC BY 4.0 (Speech Commands)", speech_commands, [
        ("anshulgupta0803/isolated-speech-commands", "ca8c2c8140f9866f9bb5e02c4c54b9aceb7d24ec",
         r"recipe/audio/\w+/[0-9a-f]{8}_nohash_\d+\.wav")]),
    ("lumo", "CC BY 4.0 (LUMO Multilingual Speech Dataset, M. M. H. Naeem et al.)", lumo, [
        # The second speaker's folder holds Bangla.
        ("mehedinaeem/lumo-speech-dataset", "28f4efced3a238e963fe3eaf740e8da29c637d6b",
         r"dataset/english/.*/eng_\d+\.wav", "metadata.csv")]),
    ("arctic", "CMU's free licence (CMU ARCTIC)", arctic, [
        ("ASzot/voice-conversion", "937e2948d40a70dbf756b61b6b281c7944ebd11c",
         r"phone-voice-conversion/datasets/arctic/(bdl|slt)/.*\.wav")]),
    ("vctk", "CC BY 4.0 (VCTK)", vctk, [
        ("Edresson/YourTTS", "a74087534696806b0bedbf5fd4a4ab8bbb1bbc87",
         r"audios_demo/(GT/VCTK/p\d+|reference|Exp\.6/[^/]+/[^/]+/reference)/.*"),
        ("KimythAnly/AGAIN-VC", "dbf94bf55882f897c312c7760cd892c51c93c9ab", r"data/wav48/.*"),
        ("BrightGu/SingleVC", "928cbeb808ac8393ff6f302e6a8271f824b4c72a",
         r"any2one/demo_page/ConvertedSpeeches/(Source|VCTK/V..)/.*"),
        ("auspicious3000/autovc", "c1827a60e83e6d26030b8953843b2f7cf2bd36db", r"wavs/.*"),
        ("archieb1999/AutoVC-experiments", "e94941c332bea22d4803f3434382045dc9e5a733", r"(audio|to_be_converted)/.*"),
        ("jacky-chan666/jacky-chan666.github.io", "e2457cd1f9c88a2ffd7e3a4bb722c34799f9fdfd", r".*/CLEAN/.*"),
        ("yl4579/StarGANv2-VC", "985df557acad47131587955bfe13ea9b99168f71", r"Demo/VCTK-corpus/.*"),
        ("facebookresearch/denoiser", "8afd7c166699bb3c8b2d95b6dd706f71e1075df0", r"dataset/debug/clean/.*"),
        ("siplabiith/siplabiith.github.io", "857a7cab590f5ead5a8b1ef7131d9907584c8ce0", r"clean/.*"),
        ("mmbluesky/mmbluesky.github.io", "788e4ba54463d73de495a2db170b7b2dd335497d", r"ground_truth/.*"),
        ("Wendison/VQMIVC", "851b4f5ca5bb60c11fea6a618affeb4979b17cf3", r"test_wavs/.*"),
        ("iver56/audiomentations", "73b94488279feda6542a2813c70ed0d00b49ee4f", r"demo/.*")]),
    ("vctk2", "CC BY 4.0 (VCTK with noise of DEMAND)", vctk, [
        ("facebookresearch/denoiser", "8afd7c166699bb3c8b2d95b6dd706f71e1075df0", r"dataset/debug/noisy/.*"),
        ("siplabiith/siplabiith.github.io", "857a7cab590f5ead5a8b1ef7131d9907584c8ce0",
         r"(noisy|nsy|comlex_lstm_noisy)/.*"),
        ("mmbluesky/mmbluesky.github.io", "788e4ba54463d73de495a2db170b7b2dd335497d", r"noisy/.*")]),
    ("minds14", "CC BY 4.0 (MInDS-14, PolyAI)", minds14, [
        ("nadichathu/whisper-banking-asr-optimization", "ec180be2bcf51cb67fcc274169ddc0a616875854",
         r"data/minds14_audio/.*\.wav", "data/minds14_audio/metadata.csv")]),
    ("vctk3", "CC BY 4.0 (VCTK)", vctk, [
        # The rest is of LibriSpeech's dev-clean and test-clean; ten recordings are in vctk.
        ("KennyKN00/IFT7030-Project", "95496a1289b94c934ce94ef640fbeaa0cb90d6c2", r"data/train/audio_train/.*/"
         r"(?!p225_00[579]|p226_022|p227_008|p228_004|p232_0[01]5|p261_005|p294_005).*")]),
    ("vctk6", "CC BY 4.0 (VCTK)", vctk, [
        # An earlier state of the same; 14 recordings are in the folders above and below.
        ("KennyKN00/IFT7030-Project", "9159def083885958240de99a1fa9f45e2fddfd15", r"data/train/preprocessed_data_test/.*/"
         r"(?!p225_(151|334|349)|p227_002|p234_189|p239_(078|131|390)|p246_327|p255_298|p257_247|p269_196|p310_002|p360_355).*")]),
    ("vctk5", "CC BY 4.0 (VCTK)", vctk, [
        # Two speakers at length; what is left out is in the folders above.
        ("avgaydashenko/speech-recognition-hw", "68ae13611fe455889a813d130847129024c44f2b",
         r"data/VCTK-Corpus/wav48/p239/(?!p239_(001|015|016|019|132|198|316|409|462)).*\.wav"),
        ("s194584/dl-speech-enhancement", "1eb400f087a011615e86c952ab97f4615d341450",
         r"AudioDec/corpus/train/clean/"
         r"(?!p225_(00[1-9]|01[016]|019|02[0-4]|038|039|064|166|176|238|281|310|314)).*\.wav")]),
    ("vctk4", "CC BY 4.0 (VCTK)", vctk, [
        # C is converted; three recordings are in vctk, two are cut short.
        ("simyoungjun/Voice-Conversion", "f3d33aa13aa189b5cc49abeb3e6f9ac8faf0e458", r"V8/output/VCTK_57/.*/"
         r"[ST]!(?!p225_023|p227_009|p360_001|p268_097|p283_202).*")]),
]
# The one utterance of train-clean-100 that the lists below lack.
MISSING = {"103-1240-0000": "CHAPTER ONE MISSUS RACHEL LYNDE IS SURPRISED MISSUS RACHEL LYNDE LIVED JUST WHERE THE AVONLEA "
                            "MAIN ROAD DIPPED DOWN INTO A LITTLE HOLLOW FRINGED WITH ALDERS AND LADIES EARDROPS AND "
                            "TRAVERSED BY A BROOK"}


@functools.cache
def librispeech_texts():
    """LibriSpeech's transcripts (CC BY 4.0) of train-clean-100 and test-other."""
    texts = dict(MISSING)
    folder = clone("proger/flaky-librispeech", "1a9c1e96eb83e8de856c10b72d982982612e11b0")
    for table in git(folder, "ls-tree", "--name-only", "FETCH_HEAD", "spin/").decode().splitlines():
        if table.endswith(".query.txt.spin"):
            for line in show(folder, table).splitlines():
                path, pieces = line.split("\t")
                # "<mark> _THE _IM PORT ANC E", with U+2581 in place of the underscore.
                words = "".join(pieces.split(" ")[1:]).replace("\u2581", " ").strip()
                texts[stem(path)] = words
    folder = clone("facebookresearch/fbai-speech", "43cdb3ca9644a755d5c6cc55cbcc91132f85ed44")
    for line in show(folder, "is21_deep_bias/ref/test-other.biasing_100.tsv").splitlines():
        name, words = line.split("\t")[:2]
        texts[name] = words.upper()
    return texts


def collect(base, licence, transcripts, sources, known=frozenset()):
    """Writes what the sources have to the folder `base`, but for the LibriSpeech recordings that are known."""
    rows, taken = [], set(known)
    for repository, commit, files, *tables in sources:
        folder = clone(repository, commit)
        find = transcripts(folder, tables)
        for entry in git(folder, "ls-tree", "-r", "-l", "-z", "FETCH_HEAD").decode().rstrip("\0").split("\0"):
            details, path = entry.split("\t", 1)
            _, _, blob, size = details.split()
            item = find(path) if re.fullmatch(files, path) and size.isdigit() and int(size) >= SMALLEST else None
            if item is None or taken & {item[0], blob} or item[1] in HELDOUT_LIBRISPEECH:
                continue
            name, speaker, text = item
            taken |= {name, blob}
            file = ("audio/" if text else "untranscribed/") + name + os.path.splitext(path)[1]
            os.makedirs(os.path.dirname(os.path.join(base, file)), exist_ok=True)
            with open(os.path.join(base, file), "wb") as out:
                out.write(git(folder, "cat-file", "blob", blob))
            if text:
                rows.append((file, speaker, " ".join(text.split())))
    with open(os.path.join(base, "data.tsv"), "w", encoding="utf-8") as out:
        out.writelines("\t".join(row) + "\n" for row in sorted(rows))
    speakers = len({row[1] for row in rows})
    print("%s: %d recordings of %d speakers, %s" % (os.path.basename(base), len(rows), speakers, licence))
    return {name for name in taken if re.fullmatch(r"\d+-\d+-\d+", name)}


def main():
    speech = os.path.join(base_directory(), "speech")
    folders = [os.path.join(base_directory(), "librispeech")]
    folders += [os.path.join(sys.argv[1], name, "audio") for name in ("librispeech_untranscribed", "librispeech_devclean")]
    known = {stem(file) for folder in folders for file in os.listdir(folder)}
    for name, licence, transcripts, sources in FOLDERS:
        known |= collect(os.path.join(speech, name), licence, transcripts, sources, known)
    texts = librispeech_texts()
    with open(os.path.join(speech, "unlabelled.tsv"), "w", encoding="utf-8") as out:
        for file in sorted(os.listdir(os.path.join(sys.argv[1], "librispeech_untranscribed", "audio"))):
            if stem(file) in texts:
                out.write("%s\t%s\n" % (stem(file), texts[stem(file)]))


if __name__ == "__main__":
    main()
