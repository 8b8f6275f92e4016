"""Train the BPE tokenizer: tokenizer.py VOCABULARY TEXT_FILE..."""
import os
import random
import sys

import sentencepiece

import grammar
from store import Store, base_directory
from text import normalise


def main():
    real = Store(os.path.join(base_directory(), "cache", "real"))
    corpus = os.path.join(base_directory(), "work", "tokenizer.txt")
    rng = random.Random(3)
    with open(corpus, "w", encoding="utf-8") as out:
        for item in real.items:
            if item[3] == "train":
                out.write(item[5] + "\n")
        for path in sys.argv[2:]:
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    out.write(normalise(line.strip().split("|")[-1]) + "\n")
        for _ in range(8000):
            out.write(grammar.sentence(rng)[0] + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=corpus, model_prefix=os.path.join(base_directory(), "tokenizer"), vocab_size=int(sys.argv[1]),
        model_type="bpe", character_coverage=1.0, bos_id=-1, eos_id=-1, pad_id=-1, unk_id=0,
        normalization_rule_name="identity", max_sentence_length=10000, minloglevel=1)


if __name__ == "__main__":
    main()
