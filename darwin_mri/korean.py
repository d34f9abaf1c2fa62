"""Korean particles, whose form depends on the sound before them: a catalogue writes both, ``은(는)``, a page one."""

from __future__ import annotations

import re

# As written in the catalogue -> (after a consonant, after a vowel).
PARTICLES = {
    "은(는)": ("은", "는"),
    "이(가)": ("이", "가"),
    "을(를)": ("을", "를"),
    "과(와)": ("과", "와"),
    "(으)로": ("으로", "로"),
}
_PLACES = re.compile(r"""([A-Z]+|[\w%])([)\]'"”’»]*)(""" + "|".join(map(re.escape, PARTICLES)) + ")")
_FIRST, _LAST, _ENDINGS = ord("가"), ord("힣"), 28
_RIEUL = 8  # the ending ㄹ, after which (으)로 is 로
_DIGITS = (21, _RIEUL, 0, 16, 0, 0, 1, _RIEUL, _RIEUL, 0)  # endings of the digits as they are read: 영, 일, 이 ...

_LETTERS = {"L": _RIEUL, "M": 16, "N": 4, "R": _RIEUL}  # 엘, 엠, 엔, 알; the names of all others end with a vowel


def choose_particles(text: str) -> str:
    """The text with each particle in the form that the word before it asks for; after other scripts both stay."""
    return _PLACES.sub(lambda place: place[1] + place[2] + _form(place[1], place[3]), text)


def _form(before: str, particle: str) -> str:
    ending = _ending(before)
    if ending is None:
        return particle
    if particle == "(으)로" and ending == _RIEUL:
        return "로"
    return PARTICLES[particle][0 if ending else 1]


def _ending(before: str) -> int | None:
    """Number of the consonant that a syllable, digit or acronym ends with, 0 for none; None where it is not known."""
    if len(before) > 1:
        return _LETTERS.get(before[-1], 0)
    character = before
    if _FIRST <= ord(character) <= _LAST:
        return (ord(character) - _FIRST) % _ENDINGS
    if character.isdecimal() and character.isascii():
        return _DIGITS[int(character)]
    return 0 if character == "%" else None  # 퍼센트
