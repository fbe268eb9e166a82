"""Generated translations, English and French: wmt14, and iwslt2017 with two sentences a row."""

from random import Random

SampleRow = dict[str, object]

_NOUNS = (
    ("house", "maison", "f"), ("garden", "jardin", "m"), ("table", "table", "f"),
    ("book", "livre", "m"), ("car", "voiture", "f"), ("train", "train", "m"),
    ("door", "porte", "f"), ("bridge", "pont", "m"), ("letter", "lettre", "f"),
    ("report", "rapport", "m"), ("city", "ville", "f"), ("country", "pays", "m"),
)  # fmt: skip
_ADJECTIVES = (
    ("big", "grand", "grande"), ("small", "petit", "petite"), ("new", "nouveau", "nouvelle"),
    ("pretty", "joli", "jolie"), ("bad", "mauvais", "mauvaise"), ("good", "bon", "bonne"),
)  # fmt: skip
_PEOPLE = (
    ("the president", "le président"), ("the minister", "le ministre"), ("the committee", "le comité"),
    ("the woman", "la femme"), ("the doctor", "le médecin"), ("the teacher", "le professeur"),
    ("my friend", "mon ami"), ("our council", "notre conseil"),
)  # fmt: skip
_VERBS = (
    ("sees", "voit"), ("wants", "veut"), ("buys", "achète"),
    ("knows", "connaît"), ("sells", "vend"), ("loses", "perd"),
    ("likes", "aime"), ("describes", "décrit"),
)  # fmt: skip
_TIMES = (
    ("today", "aujourd'hui"),
    ("tomorrow", "demain"),
    ("now", "maintenant"),
    ("often", "souvent"),
    ("this year", "cette année"),
)


def draw_wmt14(rng: Random) -> SampleRow:
    """Return a row of ``wmt14``: a sentence in both languages, articles and adjectives agreeing with the noun."""
    english, french = _draw_pair(rng)
    return {"translation": {"en": english, "fr": french}}


def _draw_pair(rng: Random) -> tuple[str, str]:
    """The sentence in English and in French."""
    person_en, person_fr = rng.choice(_PEOPLE)
    verb_en, verb_fr = rng.choice(_VERBS)
    noun_en, noun_fr, gender = rng.choice(_NOUNS)
    adjective_en, masculine, feminine = rng.choice(_ADJECTIVES)
    time_en, time_fr = rng.choice(_TIMES)
    article = "la" if gender == "f" else "le"
    adjective_fr = feminine if gender == "f" else masculine
    english = f"{person_en} {verb_en} the {adjective_en} {noun_en} {time_en}."
    french = f"{person_fr} {verb_fr} {article} {adjective_fr} {noun_fr} {time_fr}."
    return english[:1].upper() + english[1:], french[:1].upper() + french[1:]


def draw_iwslt2017(rng: Random) -> SampleRow:
    """Return a row of ``iwslt2017``: two such sentences, as a speaker says them."""
    (english, french), (more_english, more_french) = _draw_pair(rng), _draw_pair(rng)
    return {"translation": {"en": f"{english} {more_english}", "fr": f"{french} {more_french}"}}
