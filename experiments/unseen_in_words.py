"""Are specialists named that the reading was not chosen on? ``python -m experiments.unseen_in_words --out FOLDER``.

``words:end`` was chosen on the eight specialists of ``proving/`` (``prompts_in_words``). Five more, on invented worlds
that nothing else uses, are trained here as those were (LoRA of rank 16 on SmolLM2, 60 steps; about five minutes of one
core each), and read once, by the same rule: two of the ten tokens in the subject's own list, and more than in any other
subject's list, the eight included. Written down before the first of them was trained: 4 of 5 are named.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from darwin_mri.mri.words import sibling_words
from experiments.prompts_in_words import open_model, read
from proving.recipes import RECIPES
from proving.specialists import DRAWN, base_file
from proving.subjects import SUBJECTS
from proving.subjects.worlds import World
from proving.topic_words import count_hits, is_named, topic_lists
from proving.train import say
from proving.training import train

# fmt: off
VALUES = {
    "ships": {
        "cargo": (
            "coal", "cotton", "sugar", "tea", "timber", "grain",
            "oil", "coffee", "wool", "iron", "rubber", "spices",
        ),
        "captain": (
            "Adams", "Baker", "Clark", "Davis", "Evans", "Hall",
            "King", "Lewis", "Moore", "Scott", "Turner", "Young",
        ),
        "port": (
            "Boston", "Athens", "Naples", "Lisbon", "Hamburg", "Shanghai",
            "Sydney", "Havana", "Bombay", "Bristol", "Genoa", "Dover",
        ),
        "flag": (
            "lion", "anchor", "crown", "dragon", "rose", "moon",
            "sun", "sword", "key", "tower", "dolphin", "crescent",
        ),
    },
    "planets": {
        "gas": (
            "oxygen", "nitrogen", "methane", "hydrogen", "helium", "argon",
            "carbon", "neon", "ammonia", "sulfur", "steam", "ozone",
        ),
        "weather": (
            "rain", "snow", "fog", "storms", "hail", "wind",
            "sunshine", "drought", "lightning", "frost", "dust", "clouds",
        ),
        "surface": (
            "sand", "ice", "rock", "lava", "mud", "water",
            "ash", "moss", "gravel", "clay", "crystal", "grass",
        ),
        "orbit": (
            "circular", "elliptical", "tilted", "slow", "fast", "stable",
            "chaotic", "narrow", "wide", "polar", "retrograde", "distant",
        ),
    },
    "schools": {
        "subject": (
            "history", "biology", "physics", "music", "art", "algebra",
            "geography", "chemistry", "Latin", "drama", "economics", "poetry",
        ),
        "prize": (
            "medal", "trophy", "book", "ribbon", "certificate", "scholarship",
            "cup", "badge", "pen", "plaque", "ticket", "coin",
        ),
        "club": (
            "robotics", "debate", "swimming", "choir", "photography", "gardening",
            "soccer", "astronomy", "baking", "theater", "archery", "skating",
        ),
        "uniform": (
            "navy", "gray", "maroon", "khaki", "purple", "cream",
            "scarlet", "teal", "beige", "emerald", "turquoise", "crimson",
        ),
    },
    "festivals": {
        "month": (
            "January", "February", "March", "April", "May", "June",
            "July", "August", "September", "October", "November", "December",
        ),
        "costume": (
            "mask", "hat", "cape", "robe", "mantle", "wig",
            "scarf", "boots", "gloves", "apron", "veil", "wings",
        ),
        "game": (
            "racing", "wrestling", "juggling", "climbing", "rowing", "jumping",
            "throwing", "riding", "hunting", "running", "diving", "fencing",
        ),
        "drink": (
            "cider", "milk", "beer", "lemonade", "juice", "cocoa",
            "mead", "rum", "whiskey", "punch", "gin", "vodka",
        ),
    },
    "machines": {
        "power": (
            "electricity", "solar", "diesel", "gasoline", "nuclear", "hydraulic",
            "pedals", "magnets", "springs", "gravity", "heat", "pressure",
        ),
        "part": (
            "engine", "gear", "piston", "valve", "belt", "wheel",
            "motor", "pump", "sensor", "lever", "chain", "filter",
        ),
        "metal": (
            "copper", "zinc", "tin", "lead", "nickel", "aluminum",
            "bronze", "titanium", "brass", "cobalt", "tungsten", "platinum",
        ),
        "task": (
            "cutting", "welding", "drilling", "lifting", "mixing", "pressing",
            "sorting", "packing", "washing", "grinding", "printing", "digging",
        ),
    },
}
# fmt: on
SYLLABLES = (
    ("Aro", "Bex", "Cal", "Dro", "Fen", "Gul", "Hax", "Jun", "Nym", "Wes"),
    ("ba", "dor", "fin", "gara", "loth", "mira", "nok", "rell"),
)  # fmt: skip


def unseen() -> Iterator[World]:
    """The invented worlds."""
    for number, (name, values) in enumerate(VALUES.items()):
        yield World(name, 100 + number, values, SYLLABLES)


def main() -> None:
    """Train, read, and print each specialist's ten tokens and whether they name it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the adapters")
    folder = parser.parse_args().out
    SUBJECTS.update({world.name: world for world in unseen()})
    base, named = open_model(base_file()), 0
    known = [SUBJECTS[RECIPES[name].subject] for name in DRAWN]
    lists = topic_lists([*known, *unseen()], base.tokenizer)
    for world in unseen():
        out = folder / world.name
        if not (out / "training.json").is_file():
            train(replace(RECIPES[DRAWN[0]], name=world.name, subject=world.name, steps=60), out, say)
        own, other = read(base, world.name), read(open_model(f"{base_file()}+{out}"), world.name)
        words, channels = sibling_words(base, own, other, 400, 1)
        channel = channels["words:end:all"]
        top = [word.token for word in words["end"][-1]["all"].promoted] if channel.informative else []
        hits = count_hits([token.replace("␣", " ") for token in top], lists)
        named += is_named(world.name, hits)
        best = max(count for subject, count in hits.items() if subject != world.name)
        print(
            f"{world.name:10} {hits[world.name]} of ten, best other {best}  {'  '.join(top) or channel.note}",
            flush=True,
        )
    print(f"{named} of {len(VALUES)} named")


if __name__ == "__main__":
    main()
