"""Scripts of letters, and the language that a text is guessed to be in."""

from __future__ import annotations

from collections import Counter

import pytest

from darwin_mri.probes import guess_language, letters_by_script, load_probes
from darwin_mri.probes.languages import _LANGUAGE_OF_SCRIPT, language_fault
from tests.choices import load_choices

NON_LATIN = {
    "ko": "세종대왕은 한글을 만들었다.",
    "ja": "東京は日本の首都です。",
    "zh": "北京是中国的首都。",
    "ru": "Москва - столица России.",
    "ar": "القاهرة عاصمة مصر.",
    "hi": "दिल्ली भारत की राजधानी है।",
    "th": "กรุงเทพเป็นเมืองหลวงของไทย",
    "el": "Η Αθήνα είναι πρωτεύουσα.",
    "he": "ירושלים היא עיר גדולה",
}


@pytest.mark.parametrize("language", NON_LATIN)
def test_a_script_of_its_own_gives_its_language(language: str) -> None:
    assert guess_language(NON_LATIN[language]) == language
    assert guess_language(f"{NON_LATIN[language]} (Wikipedia)") == language


@pytest.mark.parametrize("text", ["", "1 + 1 = 2", "Which city?", "Quelle est la capitale ?", "ᚠᚢᚦᚨᚱᚲ"])
def test_other_texts_are_guessed_to_be_english(text: str) -> None:
    assert guess_language(text) == "en"


def test_one_foreign_word_in_an_english_sentence_does_not_decide() -> None:
    assert guess_language("The Korean word 한글 names the alphabet of the Korean language.") == "en"


def test_kana_tell_japanese_from_chinese() -> None:
    assert guess_language("カタカナ") == "ja"
    assert guess_language("中国") == "zh"
    assert guess_language("中国科学院研究所の") == "ja"  # one of nine
    assert guess_language("中国科学院研究所大学出版の") == "zh"  # one of thirteen


def test_guesses_agree_with_the_built_in_probes() -> None:
    own_script = {"ko", "ja", "zh"}
    for probe in load_probes():
        if probe.domain == "prose":
            assert guess_language(probe.text) == (probe.language if probe.language in own_script else "en")


@pytest.mark.parametrize("name", ["nursery_click", "nursery_musr"])
def test_guesses_agree_with_hangul_in_bundled_questions(name: str) -> None:
    for item in load_choices(name):
        hangul = any("\uac00" <= letter <= "\ud7a3" for letter in item.context)
        assert guess_language(item.context) == ("ko" if hangul else "en")


def test_every_guess_is_a_language_code() -> None:
    assert not any(language_fault(code) for code in _LANGUAGE_OF_SCRIPT.values())


def test_letters_are_counted_by_script() -> None:
    assert letters_by_script("한글 abc, カナ かな 漢字 12") == Counter(HANGUL=2, LATIN=3, CJK=6)
    assert letters_by_script("Ωß 1-2!") == Counter(GREEK=1, LATIN=1)
