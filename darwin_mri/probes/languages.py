"""Language codes that probe texts may carry."""

from __future__ import annotations

import difflib

# ISO 639-1, whole; three-letter codes (ISO 639-3) are 7,000 and taken by their form.
_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et"
    " eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk"
    " kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny"
    " oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk"
    " tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
ISO_639_1 = frozenset(_CODES.split())
NO_LANGUAGE = "code"  # texts of the domain code may say that they are in no language


def language_fault(code: object) -> str:
    """What is wrong with a language code, in words; empty when nothing is."""
    if code == NO_LANGUAGE or (isinstance(code, str) and code in ISO_639_1):
        return ""
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isalpha() and code.islower():
        return ""
    near = difflib.get_close_matches(code.lower(), ISO_639_1, 1) if isinstance(code, str) else []
    hint = f": did you mean {near[0]!r}?" if near else ": use a code such as ko or en"
    return f"language {code!r} is no ISO 639 code{hint}"
