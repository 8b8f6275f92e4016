"""Text normalisation shared by training, synthesis and evaluation.

Output alphabet: a-z, apostrophe, space.  Digits are spelled out as words, a
few symbols are replaced by their spoken names, everything else separates
words.  normalise() is idempotent.
"""
import re
import unicodedata

ONES = ("zero one two three four five six seven eight nine ten eleven twelve "
        "thirteen fourteen fifteen sixteen seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINAL = {"one": "first", "two": "second", "three": "third", "five": "fifth",
           "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
ABBREVIATIONS = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint",
                 "etc": "et cetera", "vs": "versus"}
SYMBOLS = {"%": " percent ", "&": " and ", "@": " at ", "+": " plus ",
           "=": " equals ", "#": " number "}


def cardinal(n):
    """Words of a non-negative integer below 10**12."""
    if n < 20:
        return ONES[n]
    if n < 100:
        tens = TENS[n // 10 - 2]
        return tens if n % 10 == 0 else tens + " " + ONES[n % 10]
    if n < 1000:
        rest = n % 100
        head = ONES[n // 100] + " hundred"
        return head if rest == 0 else head + " " + cardinal(rest)
    for size, name in ((10 ** 9, "billion"), (10 ** 6, "million"), (1000, "thousand")):
        if n >= size:
            rest = n % size
            head = cardinal(n // size) + " " + name
            return head if rest == 0 else head + " " + cardinal(rest)
    raise ValueError(n)


def ordinal(n):
    words = cardinal(n).split()
    last = words[-1]
    if last in ORDINAL:
        words[-1] = ORDINAL[last]
    elif last.endswith("y"):
        words[-1] = last[:-1] + "ieth"
    else:
        words[-1] = last + "th"
    return " ".join(words)


def year(n):
    """A four-digit number as a year is usually read."""
    high, low = divmod(n, 100)
    if n % 1000 < 10:
        return cardinal(n)
    if low == 0:
        return cardinal(high) + " hundred"
    return cardinal(high) + " " + ("oh " + ONES[low] if low < 10 else cardinal(low))


def _number(match):
    text = match.group(0).replace(",", "")
    suffix = re.search(r"(st|nd|rd|th)$", text)
    if suffix and "." not in text:
        return " " + ordinal(int(text[:-2])) + " "
    if "." in text:
        whole, fraction = re.sub(r"[a-z]", "", text).split(".", 1)
        return " " + cardinal(int(whole or 0)) + " point " + " ".join(ONES[int(c)] for c in fraction) + " "
    if len(text) > 11 or (len(text) > 1 and text[0] == "0"):
        return " " + " ".join(ONES[int(c)] for c in text) + " "
    n = int(text)
    if len(text) == 4 and 1100 <= n < 2000 and "," not in match.group(0):
        return " " + year(n) + " "
    return " " + cardinal(n) + " "


def normalise(text):
    """Spoken form of a sentence over a-z, apostrophe and space."""
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in text if not unicodedata.combining(c)).lower()
    text = text.replace("\u2019", "'").replace("\u2018", "'")
    text = re.sub(r"\[[^\]]*\]|\([^)]*\)", lambda m: " " if len(m.group(0)) > 40 else m.group(0), text)
    text = re.sub(r"\$\s?(\d[\d,]*(?:\.\d+)?)", r"\1 dollars", text)
    for symbol, name in SYMBOLS.items():
        text = text.replace(symbol, name)
    text = re.sub(r"\d[\d,]*(?:\.\d+)?(?:st|nd|rd|th)?\b|\d+", _number, text)
    text = re.sub(r"\b([a-z]+)\.", lambda m: ABBREVIATIONS.get(m.group(1), m.group(1)) + " ", text)
    text = re.sub(r"[^a-z']+", " ", text)
    text = re.sub(r"(?<![a-z])'+|'+(?![a-z])", " ", text)
    words = [ABBREVIATIONS.get(w, w) if w in ("mr", "mrs", "dr") else w for w in text.split()]
    return " ".join(words)


# Spelling pairs which a listener cannot hear; both sides of a comparison are
# mapped to the right-hand form before words are counted.
EQUIVALENT = {"okay": "ok", "mister": "mr", "missus": "mrs", "mrs": "mrs", "grey": "gray",
              "colour": "color", "honour": "honor", "favour": "favor", "towards": "toward",
              "labour": "labor", "neighbour": "neighbor", "behaviour": "behavior",
              "theatre": "theater", "centre": "center", "parlour": "parlor", "harbour": "harbor"}


def for_scoring(text):
    """The form in which reference and hypothesis words are compared."""
    return " ".join(EQUIVALENT.get(w, w) for w in normalise(text).split())
