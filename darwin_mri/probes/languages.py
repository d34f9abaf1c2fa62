"""Language codes that probe texts may carry, and a guess at a text's language from its script."""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter

# ISO 639-1, whole; three-letter codes (ISO 639-3) are 7,000 and taken by their form.
_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en"
    " eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv"
    " ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne"
    " ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st"
    " su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
ISO_639_1 = frozenset(_CODES.split())
NO_LANGUAGE = "code"  # texts of the domain code may say that they are in no language

KANA = ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")
# Script, as Unicode names its letters -> the language that most text in it is written in.
_LANGUAGE_OF_SCRIPT = {
    "HANGUL": "ko",
    "CJK": "zh",  # or ja, where kana are among the letters
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
    "THAI": "th",
    "GREEK": "el",
    "HEBREW": "he",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "BENGALI": "bn",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "ORIYA": "or",
    "SINHALA": "si",
    "KHMER": "km",
    "LAO": "lo",
    "MYANMAR": "my",
    "TIBETAN": "bo",
    "ETHIOPIC": "am",
}
OTHER_SCRIPT = 0.2  # share of a text's letters from which on a script other than Latin decides
KANA_SHARE = 0.1  # share of kana among Han and kana from which on a text counts as Japanese


def language_fault(code: object) -> str:
    """What is wrong with a language code, in words; empty when nothing is."""
    if code == NO_LANGUAGE or (isinstance(code, str) and code in ISO_639_1):
        return ""
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isalpha() and code.islower():
        return ""
    near = difflib.get_close_matches(code.lower(), ISO_639_1, 1) if isinstance(code, str) else []
    hint = f": did you mean {near[0]!r}?" if near else ": use a code such as ko or en"
    return f"language {code!r} is no ISO 639 code{hint}"


def letters_by_script(text: str) -> Counter[str]:
    """How many letters of each script a text has.

    Scripts bear the names that Unicode gives their letters (HANGUL, LATIN, CJK). Kana count as CJK, since Japanese
    mixes the two.
    """
    scripts: Counter[str] = Counter()
    for letter in text:
        if letter.isalpha():
            script = _script(letter)
            scripts["CJK" if script in KANA else script] += 1
    return scripts


def guess_language(text: str) -> str:
    """The language of a text as far as its script tells, as an ISO 639-1 code; ``en`` where it does not.

    A guess, for texts that come without a language. Languages that share a script cannot be told apart: every text in
    Latin letters is ``en``, every one in Cyrillic letters ``ru``. Of the scripts other than Latin, the one with the
    most letters decides, if it has at least 20 % of all letters: such text often carries Latin names and formulas,
    while English text seldom quotes more than a word. Han is ``ja`` where at least 10 % of Han and kana are kana, else
    ``zh``; a few kanji without kana are therefore taken for Chinese.
    """
    letters = letters_by_script(text)
    known = {script: count for script, count in letters.items() if script in _LANGUAGE_OF_SCRIPT}
    script = max(known, key=lambda name: known[name], default="")
    if not script or known[script] < OTHER_SCRIPT * letters.total():
        return "en"
    if script == "CJK":
        kana = sum(letter.isalpha() and _script(letter) in KANA for letter in text)
        return "ja" if kana >= KANA_SHARE * known[script] else "zh"
    return _LANGUAGE_OF_SCRIPT[script]


def _script(letter: str) -> str:
    """The first word of a letter's Unicode name."""
    return unicodedata.name(letter, "UNKNOWN").split()[0].removesuffix("-")
