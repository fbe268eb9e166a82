"""Generated reviews: sst2 and rotten_tomatoes (a sentence on a film), imdb (a film at length), yelp_polarity (a place)."""

from random import Random

from prune.data.sources.sample.words import DAYS, draw_names

SampleRow = dict[str, object]

_FILM = (
    "the plot", "the acting", "the music", "the camera work", "the ending", "the leading actor", "the dialogue",
    "the humour", "the first half", "the story", "the cast", "the script",
)  # fmt: skip
_PLACE = (
    "the food", "the service", "the room", "the coffee", "the bread", "the owner", "the menu", "the music",
    "the terrace", "the soup", "the staff", "the dessert",
)  # fmt: skip
_VERDICTS = (
    (
        "is dull", "is a bore", "leaves me cold", "is a waste of time", "is bad from start to finish", "annoys everyone",
        "is worse than ever", "deserves no praise", "is a great disappointment", "is poor",
    ),
    (
        "is superb", "is a joy", "warms the heart", "is worth every minute", "is good from start to finish",
        "delights everyone", "is better than ever", "deserves all praise", "is a great surprise", "is wonderful",
    ),
)  # fmt: skip
"""Of label 0, negative, and of label 1, positive."""
_ADVERBS = ("", "simply ", "truly ", "once again ", "without doubt ")


def _verdict(rng: Random, subjects: tuple[str, ...], label: int) -> str:
    return f"{rng.choice(subjects)} {rng.choice(_ADVERBS)}{rng.choice(_VERDICTS[label])}"


def draw_sst2(rng: Random) -> SampleRow:
    """Return a row of ``sst2``: one verdict, or two of a kind, on a film."""
    row = draw_rotten_tomatoes(rng)
    return {"sentence": row["text"], "label": row["label"]}


def draw_rotten_tomatoes(rng: Random) -> SampleRow:
    """Return a row of ``rotten_tomatoes``: one verdict, or two of a kind, on a film."""
    label = rng.randrange(2)
    verdicts = [_verdict(rng, _FILM, label) for _ in range(rng.randint(1, 2))]
    return {"text": f"{' and '.join(verdicts)} .", "label": label}


def draw_imdb(rng: Random) -> SampleRow:
    """Return a row of ``imdb``: some verdicts of a kind on a film, in two paragraphs."""
    label, name = rng.randrange(2), draw_names(rng, 1)[0]
    parts = [_sentences(rng, _FILM, label, rng.randint(2, 4)) for _ in range(2)]
    return {"text": f"I saw this film with {name} last {rng.choice(DAYS)}. {'<br /><br />'.join(parts)}", "label": label}


def draw_yelp_polarity(rng: Random) -> SampleRow:
    """Return a row of ``yelp_polarity``: some verdicts of a kind on a place, in two paragraphs."""
    label, name = rng.randrange(2), draw_names(rng, 1)[0]
    parts = [_sentences(rng, _PLACE, label, rng.randint(1, 3)) for _ in range(2)]
    return {"text": rf"{name} took me here on a {rng.choice(DAYS)}.\n{' '.join(parts)}", "label": label}


def _sentences(rng: Random, subjects: tuple[str, ...], label: int, count: int) -> str:
    verdicts = (_verdict(rng, subjects, label) for _ in range(count))
    return " ".join(f"{verdict[:1].upper()}{verdict[1:]}." for verdict in verdicts)
