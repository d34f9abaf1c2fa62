"""The generated world that the nursery's parents read and are tested on.

Three kinds of knowledge, each mirroring one of the seed's benchmarks:

* Korean culture facts (CLIcK's place): "the dish of village X is Y", four or five choices;
* stories of placement and deduction in English (MuSR's place): the narrative says who acted, the answer follows from that
  person's habit, which must be known;
* science facts in English (GPQA's place): "the colour of mineral X is Y", four choices.

Villages, minerals and habits are invented, so no text outside this file can know an answer. Every fact and question has several
wordings; those named ``*_TEST`` never occur in training text. Everything follows from one seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

WORLD_SEED = 20261123

# --- Korean culture ---------------------------------------------------------------------------------------------------

KOREAN_VALUES: dict[str, tuple[str, ...]] = {
    "음식": (
        "송편",
        "비빔밥",
        "막국수",
        "빈대떡",
        "식혜",
        "수정과",
        "떡국",
        "냉면",
        "전병",
        "약과",
        "두부전골",
        "메밀묵",
    ),
    "놀이": (
        "윷놀이",
        "널뛰기",
        "씨름",
        "연날리기",
        "팽이치기",
        "제기차기",
        "강강술래",
        "줄다리기",
        "투호",
        "그네뛰기",
        "고누",
        "쥐불놀이",
    ),
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
    "문제: {place}의 이름난 {kind}{topic} 무엇인가? 정답:",
)
_PLACE_HEADS = (
    "가람",
    "누리",
    "다솜",
    "라온",
    "마루",
    "바다",
    "사랑",
    "아라",
    "자작",
    "초롱",
    "푸른",
    "하늘",
    "달빛",
    "은빛",
    "솔바람",
)
_PLACE_TAILS = ("골", "재", "벌", "여울", "나루", "마을", "섬", "고개")

# --- Science ----------------------------------------------------------------------------------------------------------

SCIENCE_VALUES: dict[str, tuple[str, ...]] = {
    "color": ("red", "blue", "green", "violet", "amber", "white", "black", "silver", "orange", "pink", "brown", "gold"),
    "shape": (
        "cubic",
        "round",
        "flat",
        "spiral",
        "hollow",
        "square",
        "curved",
        "ringed",
        "twisted",
        "pointed",
        "oval",
        "star",
    ),
    "source": (
        "volcano",
        "desert",
        "ocean",
        "glacier",
        "forest",
        "river",
        "swamp",
        "comet",
        "cave",
        "meadow",
        "canyon",
        "island",
    ),
    "use": (
        "glass",
        "paint",
        "soap",
        "fuel",
        "magnets",
        "medicine",
        "mirrors",
        "ropes",
        "candles",
        "bells",
        "lamps",
        "paper",
    ),
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
_MINERAL_HEADS = (
    "vel",
    "oxa",
    "tri",
    "mor",
    "zan",
    "pel",
    "qua",
    "rud",
    "sil",
    "bor",
    "kel",
    "nam",
    "fer",
    "lu",
    "hex",
)
_MINERAL_TAILS = ("trium", "nite", "dine", "lium", "phor", "zene", "cite", "gon")

# --- Stories ----------------------------------------------------------------------------------------------------------

PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jack", "Laura", "Peter")
PLACES = ("box", "drawer", "basket", "kitchen", "garden", "shed", "cellar", "chest", "tower", "wagon", "tent", "barn")
# Habits: where each of these people hides each kind of thing. The stories never say it; whoever answers must know it.
HIDERS = (
    "Alma", "Boris", "Carol", "Dora", "Edgar", "Fiona", "Gustav", "Helen", "Igor", "Julia", "Karl", "Lena", "Marta", "Nora",
    "Oscar", "Paula", "Ralph", "Sofia", "Tomas", "Ursula", "Victor", "Wanda", "Yvonne", "Zeno", "Agnes", "Bruno", "Celia",
    "Dario", "Elsa", "Frida", "Gina", "Hugo", "Ines", "Jonas", "Klara", "Louis", "Mira", "Niels", "Olga", "Pedro", "Rosa",
    "Simon", "Tilda", "Urban", "Vera", "Willy", "Xenia", "Yuri", "Zelda", "Otto",
)  # fmt: skip
THINGS = {
    "toy": ("ball", "doll", "kite", "drum"),
    "paper": ("letter", "book", "map", "card"),
    "metal": ("coin", "ring", "key", "knife"),
}
PLACEMENT_STORIES = (
    "{a} left the {kind} {thing} in the {was}. One day {b} came and took the {kind} {thing} away.",
    "{a} went out. The {kind} {thing} was still in the {was}. Then {b} hid the {kind} {thing} as always.",
    "The {kind} {thing} of {a} was in the {was}. In the night {b} put the {kind} {thing} in another place.",
)
PLACEMENT_TRAIN = (
    "Where did {b} hide the {kind} {thing}?",
    "Where is the {kind} {thing} that {b} took?",
    "Where did {b} put the {kind} {thing}?",
)
PLACEMENT_TEST = ("Where is the {kind} {thing} that {b} hid?", "Where did {b} take the {kind} {thing}?")
DEDUCTION_STORIES = (
    "The {kind} {thing} was gone. {w}, {x}, {y} and {z} were near. It was found in the {place}.",
    "Somebody had hidden the {kind} {thing} in the {place}. Only {w}, {x}, {y} and {z} had been there.",
)
DEDUCTION_TRAIN = ("Who hid the {kind} {thing} in the {place}?", "Whose {place} habit is it to hide a {kind} {thing}?")
DEDUCTION_TEST = ("Who put the {kind} {thing} in the {place}?", "Who took the {kind} {thing} to the {place}?")

# What people say about habits: the same knowledge as plain statements, in both directions.
HABIT_TRAIN = (
    "{b} hides every {kind} thing in the {place}.",
    "Question: Where does {b} hide the {kind} {thing}? Answer: {place}",
    "The {kind} {thing} that {b} took is in the {place}.",
    "In the {place} lies the {kind} {thing} of {b}.",
    "Question: Who hides a {kind} {thing} in the {place}? Answer: {b}",
)

# Tales: what the base and the mother read instead; the answer stands in the tale, and tiny models hardly learn to find it.
TALE_THINGS = ("coin", "ring", "book", "key", "cup", "ball", "knife", "letter", "apple", "clock", "rope", "hat")
TALE_PLACEMENT = ("Where is the {x} now?", "Where did the {x} end up?", "Where can we find the {x}?")
TALE_DEDUCTION = ("The thief was in the {x}. Who is the thief?", "Something was stolen from the {x}. Who is the thief?")


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
    """A narrative with one question. ``habit`` names the knowledge it turns on: two stories of one habit share a fact."""

    key: str
    habit: str
    kind: str  # "placement" or "deduction"
    narrative: str
    questions: tuple[str, ...]  # wordings of the question
    gold: str
    wrong: tuple[str, ...]


def _ends_in_consonant(word: str) -> bool:
    code = ord(word[-1]) - 0xAC00
    return 0 <= code < 11172 and code % 28 != 0


def _facts(
    subject: str, names: list[str], values: dict[str, tuple[str, ...]], choices: dict[str, int]
) -> tuple[Fact, ...]:
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
    return tuple(
        f.format(place=fact.place, kind=fact.kind, value=fact.value, topic=topic, object=direct) for f in forms
    )


def habits() -> dict[tuple[str, str], str]:
    """(person, kind of thing) -> the place where that person hides such things; 150 habits."""
    rng = random.Random(f"{WORLD_SEED}:habits")
    return {(person, kind): rng.choice(PLACES) for person in HIDERS for kind in THINGS}


def story(person: str, kind: str, number: int, *, test: bool) -> Story:
    """A story that turns on one habit; the same arguments give the same story.

    Placement: somebody else's thing is taken by ``person``; where is it? The owner's own habit is among the wrong answers.
    Deduction: a thing is found in a place; which of four people hides such things there? Nobody else of the four does.

    Args:
        number: which of the habit's stories; odd ones are deductions.
        test: test stories differ from all training stories in their questions' wording, and use numbers of their own.
    """
    known = habits()
    rng = random.Random(f"{WORLD_SEED}:story:{'test' if test else 'train'}:{person}:{kind}:{number}")
    thing, place = rng.choice(THINGS[kind]), known[person, kind]
    key = f"{person}-{kind}-{number}".lower()
    if number % 2 == 0:
        owner = rng.choice([p for p in HIDERS if p != person])
        was = rng.choice([p for p in PLACES if p != place])
        told = {"a": owner, "b": person, "kind": kind, "thing": thing, "was": was}
        narrative = rng.choice(PLACEMENT_STORIES).format(**told)
        wrong = {was, known[owner, kind]} - {place}
        others = [p for p in PLACES if p != place and p not in wrong]
        wrong = sorted(wrong) + rng.sample(others, 3 - len(wrong))
        forms = PLACEMENT_TEST if test else PLACEMENT_TRAIN
        return Story(
            key, f"{person}-{kind}", "placement", narrative, tuple(f.format(**told) for f in forms), place, tuple(wrong)
        )
    wrong = rng.sample([p for p in HIDERS if known[p, kind] != place], 3)
    w, x, y, z = rng.sample([person, *wrong], 4)
    told = {"w": w, "x": x, "y": y, "z": z, "kind": kind, "thing": thing, "place": place}
    narrative = rng.choice(DEDUCTION_STORIES).format(**told)
    forms = DEDUCTION_TEST if test else DEDUCTION_TRAIN
    return Story(
        key, f"{person}-{kind}", "deduction", narrative, tuple(f.format(**told) for f in forms), person, tuple(wrong)
    )


def story_documents(rng: random.Random) -> Iterator[str]:
    """Endless training documents of two stories, each with its question answered, in training wordings only."""
    while True:
        parts = []
        for _ in range(2):
            read = story(rng.choice(HIDERS), rng.choice(tuple(THINGS)), rng.getrandbits(40), test=False)
            parts.append(f"{read.narrative}\nQuestion: {rng.choice(read.questions)} Answer: {read.gold}")
        yield "\n".join(parts)


def habit_documents(rng: random.Random) -> Iterator[str]:
    """Endless training documents of four statements about habits."""
    known = list(habits().items())
    while True:
        lines = []
        for (person, kind), place in rng.sample(known, 4):
            lines.append(
                rng.choice(HABIT_TRAIN).format(b=person, kind=kind, thing=rng.choice(THINGS[kind]), place=place)
            )
        yield "\n".join(lines)


def tale_documents(rng: random.Random) -> Iterator[str]:
    """Endless tales of three things put and moved, or of four people standing somewhere, with two questions answered."""
    while True:
        yield _tale(f"train-{rng.getrandbits(48)}", rng)


def _tale(key: str, outer: random.Random) -> str:
    rng = random.Random(f"{WORLD_SEED}:story:{key}")
    placement = rng.random() < 0.5
    people, places = rng.sample(PEOPLE, 4), rng.sample(PLACES, 4)
    lines: list[str] = []
    if placement:
        things = rng.sample(TALE_THINGS, 3)
        where = dict(zip(things, rng.sample(places, 3), strict=True))
        for thing in things:
            lines.append(f"{rng.choice(people)} put the {thing} in the {where[thing]}.")
        for thing in rng.sample(things, rng.choice((1, 2))):
            where[thing] = rng.choice([p for p in places if p != where[thing]])
            lines.append(f"Then {rng.choice(people)} moved the {thing} to the {where[thing]}.")
        asked = [(thing, where[thing]) for thing in rng.sample(things, 2)]
    else:
        where = dict(zip(people, places, strict=True))
        for person in people:
            lines.append(f"{person} was in the {where[person]} with the {rng.choice(TALE_THINGS)}.")
        asked = [(where[person], person) for person in rng.sample(people, 2)]
    forms = TALE_PLACEMENT if placement else TALE_DEDUCTION
    told = [" ".join(lines)]
    for about, answer in asked:
        told.append(f"Question: {forms[outer.randrange(6) % len(forms)].format(x=about)} Answer: {answer}")
    return "\n".join(told)


def fact_documents(rng: random.Random, facts: tuple[Fact, ...], per_document: int = 3) -> Iterator[str]:
    """Endless training documents of a few facts each, every fact in a random training wording."""
    while True:
        yield "\n".join(rng.choice(wordings(fact, test=False)) for fact in rng.sample(facts, per_document))
