"""The words that the generated rows are made of: a small world that a small model can know."""

from random import Random

WOMEN = (
    "Anna",
    "Carla",
    "Dora",
    "Ella",
    "Fiona",
    "Grace",
    "Helen",
    "Iris",
    "Julia",
    "Laura",
    "Maria",
    "Nina",
    "Olga",
    "Paula",
    "Rosa",
)
MEN = (
    "Adam",
    "Ben",
    "Carl",
    "David",
    "Erik",
    "Frank",
    "George",
    "Henry",
    "Ivan",
    "Jack",
    "Karl",
    "Leo",
    "Martin",
    "Nick",
    "Oscar",
)
SHE = {"subject": "she", "object": "her", "possessive": "her"}
HE = {"subject": "he", "object": "him", "possessive": "his"}

SURNAMES = ("Hill", "Stone", "Brook", "Field", "Wood", "Marsh", "Lake", "Ford", "Banks", "Reed", "Frost", "Summer")
COUNTRIES = ("Norway", "Spain", "Italy", "Canada", "Poland", "Japan", "Brazil", "Kenya", "Peru", "Egypt", "Greece", "India")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "March", "April", "June", "July", "August", "October", "November")

THINGS = (
    "apples", "books", "pencils", "coins", "stamps", "marbles", "eggs", "cards", "flowers", "cookies",
    "shells", "stickers", "balloons", "oranges", "tickets", "toys", "pens", "stones", "cakes", "buttons",
)  # fmt: skip
CONTAINERS = ("boxes", "bags", "baskets", "shelves", "drawers", "trays")


def pronouns(name: str) -> dict[str, str]:
    """Return the pronouns of a name of WOMEN or MEN, by their role."""
    return SHE if name in WOMEN else HE


def draw_names(rng: Random, count: int) -> list[str]:
    """Return so many different first names."""
    return rng.sample(WOMEN + MEN, count)


def sentence(text: str) -> str:
    """Return the text with a capital first letter."""
    return text[:1].upper() + text[1:]


def with_article(noun: str) -> str:
    """Return the noun after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
