"""Generated scenes with four endings: hellaswag."""

from random import Random

from prune.data.sources.sample.words import draw_names, pronouns, sentence

SampleRow = dict[str, object]

_SCENES = (
    ("Making soup", "is in the kitchen. {} cuts some carrots", "puts them into a pot of hot water."),
    ("Washing the car", "is in the yard with a bucket. {} wets a large sponge", "wipes the dust off the doors."),
    ("Painting a fence", "is in the garden. {} dips a brush into white paint", "covers the first board with it."),
    ("Sailing", "is on a small boat. {} pulls on a rope", "watches the sail fill with wind."),
    ("Playing the piano", "sits down at a piano. {} opens a book of music", "lays both hands on the keys."),
    ("Fixing a bicycle", "has a flat tyre. {} takes the wheel off", "looks for the hole in the tube."),
    ("Baking bread", "is in a bakery. {} kneads the dough", "leaves it to rise beside the oven."),
    ("Planting a tree", "is in a field with a spade. {} digs a deep hole", "sets the roots into the earth."),
    ("Ironing clothes", "stands at a board with a hot iron. {} spreads out a shirt", "presses the sleeves flat."),
    ("Skiing", "stands at the top of a white slope. {} pulls down the goggles", "glides down through the snow."),
    ("Writing a letter", "sits at a desk. {} takes a pen and a sheet of paper", "begins with the name of a friend."),
    ("Feeding hens", "walks into the yard of a farm. {} opens a bag of grain", "throws a handful to the birds."),
)
"""An activity, its beginning, and how it goes on."""

_TIMES = ("early in the morning", "after lunch", "on a quiet evening", "on Sunday", "before a long trip", "late at night")


def draw_hellaswag(rng: Random) -> SampleRow:
    """Return a row of ``hellaswag``: the right ending belongs to the scene, the others to other scenes."""
    name = draw_names(rng, 1)[0]
    subject = pronouns(name)["subject"]
    chosen = rng.sample(_SCENES, 4)
    activity, beginning, right = chosen[0]
    endings = [ending for _, _, ending in chosen]
    rng.shuffle(endings)
    ctx_a = f"{sentence(rng.choice(_TIMES))} {name} {beginning.format(sentence(subject))}."
    ctx_b = f"then {subject}"
    return {
        "ind": _SCENES.index(chosen[0]),
        "activity_label": activity,
        "ctx_a": ctx_a,
        "ctx_b": ctx_b,
        "ctx": f"{ctx_a} {ctx_b}",
        "endings": endings,
        "source_id": "",
        "split": "sample",
        "split_type": "indomain",
        "label": str(endings.index(right)),
    }
