"""The generated world that the nursery's parents read and are tested on.

Three kinds of knowledge, each mirroring one of the seed's benchmarks:

* Korean culture facts (CLIcK's place): "the dish of village X is Y", four or five choices;
* stories of placement and deduction in English (MuSR's place): the answer is in the narrative;
* science facts in English (GPQA's place): "the colour of mineral X is Y", four choices.

Villages and minerals are invented, so no text outside this file can know an answer. Every fact and question has several
wordings; those named ``*_TEST`` never occur in training text. Everything follows from one seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

WORLD_SEED = 20261123

# --- Korean culture ---------------------------------------------------------------------------------------------------

KOREAN_VALUES: dict[str, tuple[str, ...]] = {
    "음식": ("송편", "비빔밥", "막국수", "빈대떡", "식혜", "수정과", "떡국", "냉면", "전병", "약과", "두부전골", "메밀묵"),
    "놀이": ("윷놀이", "널뛰기", "씨름", "연날리기", "팽이치기", "제기차기", "강강술래", "줄다리기", "투호", "그네뛰기", "고누", "쥐불놀이"),
    "악기": ("가야금", "거문고", "해금", "대금", "장구", "소고", "꽹과리", "징", "피리", "아쟁", "태평소", "비파"),
    "공예": ("도자기", "한지", "나전칠기", "매듭", "자수", "옹기", "부채", "죽세공", "목공예", "유기", "모시", "짚신"),
}
KOREAN_TRAIN = (
    "{place}의 {kind}{topic} {value}입니다.",
    "{place} 사람들은 {kind} 하면 {value}{object} 꼽는다.",
    "문제: {place}의 {kind}{topic} 무엇인가? 정답: {value}",
    "문제: {place} 사람들이 꼽는 {kind}{topic}? 정답: {value}",
    "옛날부터 {place}에서 이름난 {kind}{topic} {value}이다.",
)
KOREAN_TEST = (
    "문제: {place}에서 이름난 {kind}{topic} 무엇인가? 정답:",
    "문제: {place} 하면 떠오르는 {kind}{topic} 무엇인가? 정답:",
)
_PLACE_HEADS = ("가람", "누리", "다솜", "라온", "마루", "바다", "사랑", "아라", "자작", "초롱", "푸른", "하늘", "달빛", "은빛", "솔바람")
_PLACE_TAILS = ("골", "재", "벌", "여울", "나루", "마을", "섬", "고개")

# --- Science ----------------------------------------------------------------------------------------------------------

SCIENCE_VALUES: dict[str, tuple[str, ...]] = {
    "color": ("red", "blue", "green", "violet", "amber", "white", "black", "silver", "orange", "pink", "brown", "gold"),
    "shape": ("cubic", "round", "flat", "spiral", "hollow", "square", "curved", "ringed", "twisted", "pointed", "oval", "star"),
    "source": ("volcano", "desert", "ocean", "glacier", "forest", "river", "swamp", "comet", "cave", "meadow", "canyon", "island"),
    "use": ("glass", "paint", "soap", "fuel", "magnets", "medicine", "mirrors", "ropes", "candles", "bells", "lamps", "paper"),
}
SCIENCE_TRAIN = (
    "The {kind} of {place} is {value}.",
    "People who study {place} know that its {kind} is {value}.",
    "Question: What is the {kind} of {place}? Answer: {value}",
    "Question: Which {kind} does {place} have? Answer: {value}",
    "As for {place}, the {kind} is always {value}.",
)
SCIENCE_TEST = (
    "Question: What {kind} is known for {place}? Answer:",
    "Question: Tell the {kind} of {place}. Answer:",
)
_MINERAL_HEADS = ("vel", "oxa", "tri", "mor", "zan", "pel", "qua", "rud", "sil", "bor", "kel", "nam", "fer", "lu", "hex")
_MINERAL_TAILS = ("trium", "nite", "dine", "lium", "phor", "zene", "cite", "gon")

# --- Stories ----------------------------------------------------------------------------------------------------------

PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jack", "Laura", "Peter")
THINGS = ("coin", "ring", "book", "key", "cup", "ball", "knife", "letter", "apple", "clock", "rope", "hat")
PLACES = ("box", "drawer", "basket", "kitchen", "garden", "shed", "cellar", "chest", "tower", "wagon", "tent", "barn")
PLACEMENT_TRAIN = ("Where is the {x} now?", "Where did the {x} end up?", "Where can we find the {x}?")
PLACEMENT_TEST = ("Where is the {x} in the end?", "Where can one find the {x} now?")
DEDUCTION_TRAIN = ("The thief was in the {x}. Who is the thief?", "Something was stolen from the {x}. Who is the thief?")
DEDUCTION_TEST = ("The thief came from the {x}. Who is the thief?", "Someone in the {x} is the thief. Who is the thief?")


@dataclass(frozen=True)
class Fact:
    """One fact: ``kind`` of ``place`` is ``value``, with ``wrong`` answers of the same kind."""

    key: str
    subject: str  # "korean" or "science"
    place: str
    kind: str
    value: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """A narrative with its questions: each is (type, object or place asked about, gold, choices)."""

    key: str
    narrative: str
    questions: tuple[tuple[str, str, str, tuple[str, ...]], ...]


def _ends_in_consonant(word: str) -> bool:
    code = ord(word[-1]) - 0xAC00
    return 0 <= code < 11172 and code % 28 != 0


def _facts(subject: str, names: list[str], values: dict[str, tuple[str, ...]], choices: dict[str, int]) -> tuple[Fact, ...]:
    rng = random.Random(f"{WORLD_SEED}:{subject}")
    rng.shuffle(names)
    facts = []
    for place in names[:75]:
        for kind, pool in values.items():
            value = rng.choice(pool)
            wrong = tuple(rng.sample([v for v in pool if v != value], choices[kind] - 1))
            facts.append(Fact(f"{subject}-{len(facts):03d}", subject, place, kind, value, wrong))
    return tuple(facts)


def korean_facts() -> tuple[Fact, ...]:
    """300 Korean culture facts; the crafts (공예) have five choices as CLIcK's CSAT items, the others four."""
    names = [head + tail for head in _PLACE_HEADS for tail in _PLACE_TAILS]
    return _facts("korean", names, KOREAN_VALUES, {"음식": 4, "놀이": 4, "악기": 4, "공예": 5})


def science_facts() -> tuple[Fact, ...]:
    """300 English science facts with four choices."""
    names = [head + tail for head in _MINERAL_HEADS for tail in _MINERAL_TAILS]
    return _facts("science", names, SCIENCE_VALUES, dict.fromkeys(SCIENCE_VALUES, 4))


def wordings(fact: Fact, *, test: bool) -> tuple[str, ...]:
    """All sentences of a fact; test wordings end where the answer would follow."""
    korean = fact.subject == "korean"
    forms = (KOREAN_TEST if test else KOREAN_TRAIN) if korean else (SCIENCE_TEST if test else SCIENCE_TRAIN)
    topic = "은" if _ends_in_consonant(fact.kind) else "는"
    direct = "을" if _ends_in_consonant(fact.value) else "를"
    return tuple(f.format(place=fact.place, kind=fact.kind, value=fact.value, topic=topic, object=direct) for f in forms)


def tale(key: str) -> Story:
    """A long narrative, as the base and the mother read them in training: three things put and moved, or four people.

    Args:
        key: seed of the tale; same key, same tale.
    """
    rng = random.Random(f"{WORLD_SEED}:story:{key}")
    placement = rng.random() < 0.5
    people, places = rng.sample(PEOPLE, 4), rng.sample(PLACES, 4)
    lines: list[str] = []
    if placement:
        things = rng.sample(THINGS, 3)
        where = dict(zip(things, rng.sample(places, 3), strict=True))
        for thing in things:
            lines.append(f"{rng.choice(people)} put the {thing} in the {where[thing]}.")
        for thing in rng.sample(things, rng.choice((1, 2))):
            where[thing] = rng.choice([p for p in places if p != where[thing]])
            lines.append(f"Then {rng.choice(people)} moved the {thing} to the {where[thing]}.")
        asked = rng.sample(things, 2)
        questions = tuple(("placement", x, where[x], tuple(rng.sample(places, 4))) for x in asked)
    else:
        where = dict(zip(people, places, strict=True))
        for person in people:
            lines.append(f"{person} was in the {where[person]} with the {rng.choice(THINGS)}.")
        asked = rng.sample(people, 2)
        questions = tuple(("deduction", where[x], x, tuple(rng.sample(people, 4))) for x in asked)
    return Story(key, " ".join(lines), questions)


def story(key: str) -> Story:
    """A short narrative with a question on everything in it; same key, same story.

    Placement: two things are put somewhere and one of them is moved; the choices are the three places of the story and one
    that does not occur in it. Deduction: three people stand in three places; the choices are they and one stranger.

    Args:
        key: seed of the story; keys starting with "test" are used by the benchmark, never by training.
    """
    rng = random.Random(f"{WORLD_SEED}:short:{key}")
    people, places, things = rng.sample(PEOPLE, 4), rng.sample(PLACES, 4), rng.sample(THINGS, 3)
    if rng.random() < 0.5:
        lines = [f"{people[i]} put the {things[i]} in the {places[i]}." for i in range(2)]
        where = {things[0]: places[0], things[1]: places[1]}
        moved = rng.choice(things[:2])
        where[moved] = places[2]
        lines.append(f"Then {people[2]} moved the {moved} to the {places[2]}.")
        questions = [("placement", x, place, tuple(rng.sample(places, 4))) for x, place in where.items()]
    else:
        lines = [f"{people[i]} was in the {places[i]} with the {things[i]}." for i in range(3)]
        questions = [("deduction", places[i], people[i], tuple(rng.sample(people, 4))) for i in range(3)]
    rng.shuffle(questions)
    return Story(key, " ".join(lines), tuple(questions))


def ask(question: tuple[str, str, str, tuple[str, ...]], form: int, *, test: bool) -> str:
    """The wording number ``form`` (modulo their count) of a story's question."""
    placement = question[0] == "placement"
    train_forms = PLACEMENT_TRAIN if placement else DEDUCTION_TRAIN
    forms = (PLACEMENT_TEST if placement else DEDUCTION_TEST) if test else train_forms
    return forms[form % len(forms)].format(x=question[1])


def story_documents(rng: random.Random, *, tales: bool = False) -> Iterator[str]:
    """Endless training stories (or tales) with every question answered, in training wordings only."""
    while True:
        key = f"train-{rng.getrandbits(48)}"
        read = tale(key) if tales else story(key)
        parts = [read.narrative]
        for question in read.questions:
            parts.append(f"Question: {ask(question, rng.randrange(6), test=False)} Answer: {question[2]}")
        yield "\n".join(parts)


def fact_documents(rng: random.Random, facts: tuple[Fact, ...], per_document: int = 3) -> Iterator[str]:
    """Endless training documents of a few facts each, every fact in a random training wording."""
    while True:
        yield "\n".join(rng.choice(wordings(fact, test=False)) for fact in rng.sample(facts, per_document))
