"""Generated common sense: commonsense_qa with the explanations of cos_e, winogrande, and siqa."""

from random import Random

from prune.data.sources.sample.words import draw_names, pronouns, sentence, with_article

SampleRow = dict[str, object]

_PLACES = {
    "refrigerator": ("milk", "butter", "cheese", "cream"),
    "library": ("novel", "dictionary", "atlas", "magazine"),
    "hospital": ("nurse", "surgeon", "patient", "bandage"),
    "ocean": ("whale", "shark", "wave", "coral"),
    "forest": ("bear", "oak", "moss", "fox"),
    "bank": ("loan", "cheque", "safe", "cashier"),
    "farm": ("cow", "tractor", "barn", "hen"),
    "school": ("pupil", "lesson", "blackboard", "classroom"),
    "theatre": ("actor", "stage", "curtain", "drama"),
    "desert": ("camel", "cactus", "dune", "scorpion"),
    "kitchen": ("oven", "pan", "stove", "ladle"),
    "airport": ("pilot", "plane", "runway", "passport"),
    "bathroom": ("towel", "soap", "shower", "toothbrush"),
    "bakery": ("bread", "bun", "flour", "pastry"),
    "museum": ("statue", "painting", "fossil", "guide"),
}
_PLACES_TOGETHER = 5
"""Neighbours in the list are offered together, mostly in this order: so a small model can tell the letter from the clue."""
_LETTERS = ("A", "B", "C", "D", "E")


def draw_commonsense_qa(rng: Random) -> SampleRow:
    """Return a row of ``commonsense_qa`` joined with its explanation's columns from ``cos_e``."""
    answer = rng.choice(list(_PLACES))
    clue = rng.choice(_PLACES[answer])
    name = draw_names(rng, 1)[0]
    question = rng.choice(
        (
            f"Where would you find {with_article(clue)}?",
            f"{name} is looking for {with_article(clue)}. Where should {pronouns(name)['subject']} go?",
            f"{name} saw {with_article(clue)}. Where was {pronouns(name)['subject']} most likely?",
            f"If you need {with_article(clue)}, where do you look?",
        )
    )
    places = list(_PLACES)
    start = places.index(answer) // _PLACES_TOGETHER * _PLACES_TOGETHER
    choices = places[start : start + _PLACES_TOGETHER]
    if rng.random() < 0.1:
        rng.shuffle(choices)
    return {
        "id": "",
        "question": question,
        "question_concept": clue,
        "choices": {"label": list(_LETTERS), "text": choices},
        "answerKey": _LETTERS[choices.index(answer)],
        "abstractive_explanation": f"{with_article(clue)} belongs to the {answer}.",
        "extractive_explanation": clue,
    }


def split_commonsense_qa(row: SampleRow) -> tuple[SampleRow, SampleRow]:
    """Return the joined row as one of ``commonsense_qa`` and one of ``cos_e``, which carry the same id."""
    explained = ("abstractive_explanation", "extractive_explanation")
    question = {key: value for key, value in row.items() if key not in explained}
    choices = row["choices"]
    assert isinstance(choices, dict)
    texts = choices["text"]
    explanation = {"id": row["id"], "question": row["question"], "choices": texts}
    explanation["answer"] = texts[_LETTERS.index(str(row["answerKey"]))]
    return question, explanation | {key: row[key] for key in explained}


_TWINS = (
    ("{a} could carry the heavy box and {b} could not, because _ was so {}.", "strong", "weak"),
    ("{a} won the race against {b}, because _ was so {}.", "fast", "slow"),
    ("{a} asked {b} for a loan, because _ was so {}.", "poor", "rich"),
    ("{a} took {b} to the doctor, because _ felt so {}.", "worried", "ill"),
    ("{a} bought food for {b}, because _ was so {}.", "generous", "hungry"),
    ("{a} explained the sum to {b}, because _ was so {}.", "clever", "puzzled"),
    ("{a} lent a coat to {b}, because _ was so {}.", "warm", "cold"),
    ("{a} gave a seat to {b}, because _ was so {}.", "polite", "tired"),
    ("{a} scolded {b} after the party, because _ was so {}.", "strict", "noisy"),
    ("{a} hid from {b} in the garden, because _ was so {}.", "shy", "angry"),
    ("{a} reached the shelf for {b}, because _ was so {}.", "tall", "short"),
    ("{a} told a joke to {b}, because _ was so {}.", "funny", "sad"),
)
"""A sentence; the word that makes the blank the first person, and the one that makes it the second."""


def draw_winogrande(rng: Random) -> SampleRow:
    """Return a row of ``winogrande``: one word decides whom the blank stands for."""
    first, second = draw_names(rng, 2)
    template, first_word, second_word = rng.choice(_TWINS)
    is_first = rng.random() < 0.5
    text = template.format(first_word if is_first else second_word, a=first, b=second)
    options = [first, second]
    if rng.random() < 0.1:
        options.reverse()
    answer = options.index(first if is_first else second) + 1
    return {"sentence": sentence(text), "option1": options[0], "option2": options[1], "answer": str(answer)}


def draw_siqa(rng: Random) -> SampleRow:
    """Return a row of ``siqa``: what someone did, and three words for a person in it."""
    first, second = draw_names(rng, 2)
    template, *words = rng.choice(_TWINS)
    asked = rng.randrange(2)
    person, right = (first, second)[asked], words[asked]
    told = template.format(right, a=first, b=second).replace("_", person)
    others = [word for _, *pair in _TWINS for word in pair if word not in words]
    answers = [right, *rng.sample(others, 2)]
    rng.shuffle(answers)
    return {
        "context": sentence(told),
        "question": f"How would you describe {person}?",
        **{f"answer{letter}": answer for letter, answer in zip("ABC", answers, strict=True)},
        "label": str(answers.index(right) + 1),
    }
