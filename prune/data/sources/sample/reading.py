"""Generated reading comprehension: race and boolq."""

from random import Random

from prune.data.sources.sample.words import COUNTRIES, DAYS, SURNAMES, draw_names, pronouns, with_article

SampleRow = dict[str, object]

_ERRANDS = {
    "the market": "bought some fruit", "the river": "caught a fish", "the station": "met an old friend",
    "the park": "fed the birds", "the museum": "saw a painting", "the lake": "went for a swim",
    "the village": "heard some music", "the library": "read a book",
}  # fmt: skip
_WEATHER = ("sunny", "cold", "rainy", "windy")


def draw_race(rng: Random) -> SampleRow:
    """Return a row of ``race``: a diary of three days, a question about one of them, four options."""
    name = draw_names(rng, 1)[0]
    days, places = rng.sample(DAYS, 3), rng.sample(list(_ERRANDS), 3)
    lines = [
        f"On {day} it was {rng.choice(_WEATHER)}. {name} went to {place} and {_ERRANDS[place]}."
        for day, place in zip(days, places, strict=True)
    ]
    asked = rng.randrange(3)
    elsewhere = rng.choice([place for place in _ERRANDS if place not in places])
    options = [*places, elsewhere]
    rng.shuffle(options)
    question = rng.choice((f"Where did {name} go on {days[asked]}?", f"On {days[asked]}, where was {name}?"))
    return {
        "example_id": "",
        "article": f"{name} kept a diary for {pronouns(name)['possessive']} friends. " + " ".join(lines),
        "question": question,
        "options": options,
        "answer": "ABCD"[options.index(places[asked])],
    }


_KINDS = ("bridge", "tower", "castle", "school", "harbour", "theatre", "garden", "museum")
_STATES = {
    "open to visitors": "closed to visitors",
    "made of stone": "made of wood",
    "owned by the city": "owned by a family",
    "used all year": "used only in summer",
}


def draw_boolq(rng: Random) -> SampleRow:
    """Return a row of ``boolq``: a short article on a building, and a question that is answered by yes or no."""
    kind, name, country = rng.choice(_KINDS), rng.choice(SURNAMES), rng.choice(COUNTRIES)
    facts = [rng.choice(pair) for pair in _STATES.items()]
    opposite = dict(_STATES) | {value: key for key, value in _STATES.items()}
    rng.shuffle(facts)
    passage = (
        f"The {name} {kind} is {with_article(kind)} in {country}. It is {facts[0]} and {facts[1]}. Today it is {facts[2]}."
    )
    answer = rng.random() < 0.5
    claims = [*facts[:3], f"in {country}"]
    asked = rng.choice(claims)
    if not answer:
        asked = opposite[asked] if asked in opposite else f"in {rng.choice([each for each in COUNTRIES if each != country])}"
    return {"question": f"is the {name} {kind} {asked}".lower(), "answer": answer, "passage": passage}
