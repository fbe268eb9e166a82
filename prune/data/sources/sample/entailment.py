"""Generated sentence pairs: esnli, anli_r1 to anli_r3 and rte."""

from collections.abc import Callable
from random import Random

from prune.data.sources.sample.words import COUNTRIES, MONTHS, SURNAMES, draw_names, sentence, with_article

SampleRow = dict[str, object]

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2

_SUBJECTS = {
    "a man": "a person", "a woman": "a person", "a boy": "a child", "a girl": "a child", "a dog": "an animal",
    "a horse": "an animal", "an old man": "a man", "a young woman": "a woman", "two men": "two people",
    "two women": "two people", "three boys": "three children", "two girls": "two children", "a brown dog": "a dog",
}  # fmt: skip
_ACTIVITIES = {
    "running": "moving", "walking": "moving", "sleeping": "resting", "sitting on a bench": "sitting",
    "playing with a ball": "playing", "eating an apple": "eating", "drinking water": "drinking",
    "jumping over a wall": "jumping",
    "swimming in a lake": "swimming", "waiting for a train": "waiting", "looking at a bird": "looking at something",
    "lying in the grass": "lying down",
}  # fmt: skip
_PLACES = (
    "in a park",
    "on a beach",
    "near a river",
    "in the snow",
    "behind a house",
    "on a street",
    "in a garden",
    "beside a tree",
)
_UNKNOWN = (
    "for the first time", "before going home", "because of a bet", "on a birthday", "to win a prize", "after a long trip",
    "to please a friend", "as every Sunday",
)  # fmt: skip


def draw_esnli(rng: Random) -> SampleRow:
    """Return a row of ``esnli`` with one explanation; the other two are empty, as in the real training split."""
    subject, activity, place = rng.choice(list(_SUBJECTS)), rng.choice(list(_ACTIVITIES)), rng.choice(_PLACES)
    verb = "are" if subject.startswith(("two", "three")) else "is"
    general, moving = _SUBJECTS[subject], _ACTIVITIES[activity]
    label = rng.randrange(3)
    if label == ENTAILMENT:
        hypothesis, why = rng.choice(
            (
                (f"{general} {verb} {activity}", f"{subject} is {general}"),
                (f"{subject} {verb} {moving}", f"{activity} is {moving}"),
                (f"{general} {verb} {moving}", f"{subject} is {general} and {activity} is {moving}"),
                (f"{subject} {verb} {place}", f"the premise says {place}"),
            )
        )
    elif label == NEUTRAL:
        unknown = rng.choice(_UNKNOWN)
        hypothesis = f"{rng.choice((subject, general))} {verb} {activity} {unknown}"
        why = f"nothing says that it is {unknown}"
    else:
        other = rng.choice([each for each in _ACTIVITIES if _ACTIVITIES[each] != moving])
        hypothesis = f"{rng.choice((subject, general))} {verb} {other}"
        why = f"one cannot be {activity} and {other} at once"
    return {
        "premise": sentence(f"{subject} {verb} {activity} {place}."),
        "hypothesis": sentence(f"{hypothesis}."),
        "label": label,
        "explanation_1": sentence(f"{why}."),
        "explanation_2": "",
        "explanation_3": "",
    }


_JOBS = ("painter", "singer", "teacher", "doctor", "writer", "farmer", "sailor", "baker", "judge", "pilot")
_GENRES = ("comedy", "drama", "musical", "western", "cartoon", "thriller")
_SUBJECT_WORDS = ("river", "house", "island", "garden", "winter", "bridge", "stranger", "mountain")
_OPEN = (
    "has two brothers",
    "likes strong coffee",
    "owns a small boat",
    "never drove a car",
    "sings in the evening",
    "keeps a diary",
)
_OPEN_WORK = (
    "won a prize",
    "was liked by children",
    "cost a lot of money",
    "was made in a hurry",
    "has a sad end",
    "is often quoted",
)

Facts = tuple[str, dict[str, tuple[str, ...]], dict[str, str], tuple[str, ...]]
"""The one spoken of; slot -> all its values; slot -> its value here; what the text leaves open."""


def _person(rng: Random) -> Facts:
    slots = {"is {}": tuple(map(with_article, _JOBS)), "comes from {}": COUNTRIES, "was born in {}": MONTHS}
    name = f"{draw_names(rng, 1)[0]} {rng.choice(SURNAMES)}"
    return name, slots, {slot: rng.choice(values) for slot, values in slots.items()}, _OPEN


def _film(rng: Random) -> Facts:
    slots = {"is {}": tuple(map(with_article, _GENRES)), "was made in {}": COUNTRIES, "opened in {}": MONTHS}
    name = f"The {rng.choice(_SUBJECT_WORDS)} of {rng.choice(SURNAMES)}"
    return name, slots, {slot: rng.choice(values) for slot, values in slots.items()}, _OPEN_WORK


def _match(rng: Random) -> Facts:
    slots = {
        "moved to {}": COUNTRIES,
        "works as {}": tuple(map(with_article, _JOBS)),
        "will marry in {}": MONTHS,
    }
    name = draw_names(rng, 1)[0]
    return name, slots, {slot: rng.choice(values) for slot, values in slots.items()}, _OPEN


_ROUNDS: dict[str, Callable[[Random], Facts]] = {"anli_r1": _person, "anli_r2": _film, "anli_r3": _match}


def draw_anli(rng: Random, round_name: str) -> SampleRow:
    """Return a row of a round of ``anli``: three facts told of one person or work, and a claim about it."""
    name, slots, facts, unknown = _ROUNDS[round_name](rng)
    told = list(facts)
    rng.shuffle(told)
    premise = f"{name} {told[0].format(facts[told[0]])} and {told[1].format(facts[told[1]])}. "
    premise += f"{name} {told[2].format(facts[told[2]])}."
    label, slot = rng.randrange(3), rng.choice(told)
    if label == ENTAILMENT:
        claim, reason = slot.format(facts[slot]), "the text says so"
    elif label == NEUTRAL:
        claim, reason = rng.choice(unknown), "the text does not speak of it"
    else:
        claim = slot.format(rng.choice([value for value in slots[slot] if value != facts[slot]]))
        reason = f"the text says that {name} {slot.format(facts[slot])}"
    return {
        "uid": "",
        "premise": premise,
        "hypothesis": f"{name} {claim}.",
        "label": label,
        "reason": sentence(f"{reason}."),
    }


_FIRMS = ("Norvik", "Sundel", "Palmar", "Tersa", "Kelvo", "Brandt", "Orlan", "Mivex", "Dorin", "Calder")
_GOODS = ("airline", "newspaper", "bank", "hotel", "brewery", "mill", "port", "theatre")


def draw_rte(rng: Random) -> SampleRow:
    """Return a row of ``rte``: a line of news, and a claim that follows (0) or does not (1)."""
    firm, other, third = rng.sample(_FIRMS, 3)
    good, country, month = rng.choice(_GOODS), rng.choice(COUNTRIES), rng.choice(MONTHS)
    told = rng.choice(
        (
            f"The company {firm} bought the {good} {other} in {country} last {month}.",
            f"Last {month} the {good} {other} in {country} was sold to the company {firm}.",
            f"{firm}, a company from {country}, took over the {good} {other} last {month}.",
        )
    )
    label = rng.randrange(2)
    if label == 0:
        claim = rng.choice((f"{firm} owns {other}.", f"{other} belongs to {firm}.", f"{other} is a {good}."))
    else:
        wrong = rng.choice([each for each in _GOODS if each != good])
        claim = rng.choice((f"{third} owns {other}.", f"{other} belongs to {third}.", f"{other} is a {wrong}."))
    return {"sentence1": told, "sentence2": claim, "label": label, "idx": -1}
