"""Generated elementary science: arc_easy, arc_challenge, openbookqa and piqa."""

from random import Random

from prune.data.sources.sample.words import draw_names, sentence

SampleRow = dict[str, object]

_FACTS = (
    ("drives a nail into wood", "a hammer"),
    ("measures how warm water is", "a thermometer"),
    ("shows where north is", "a compass"),
    ("makes small cells look large", "a microscope"),
    ("makes far planets look near", "a telescope"),
    ("pulls iron filings out of sand", "a magnet"),
    ("compares the weight of two stones", "a balance"),
    ("tells how long a race takes", "a stopwatch"),
    ("measures the length of a leaf", "a ruler"),
    ("gives light when the mains fail", "a torch"),
    ("splits sunlight into colours", "a prism"),
    ("keeps the current from flowing", "a switch"),
    ("lifts a heavy load over a wheel", "a pulley"),
    ("shows the shape of the continents", "a globe"),
    ("collects and measures rain", "a rain gauge"),
    ("turns wind into electricity", "a turbine"),
)
"""What something does, and what does it."""

_ASKED = (
    "Which of these {}?",
    "Which tool {}?",
    "A pupil wants something that {}. What should the pupil take?",
    "What in the classroom {}?",
)
_TOLD = ("{} needs something that {}, so {} takes", "the thing that {} is", "if {} wants what {}, then {} chooses")
_LETTERS = ("A", "B", "C", "D")
_NUMBERS = ("1", "2", "3", "4")
_NUMBERED = 0.1
"""The share of ARC's rows whose options have numbers for letters is small."""


def draw_arc_easy(rng: Random) -> SampleRow:
    """Return a row of ``arc_easy``: a question on what a tool does."""
    deed, tool = rng.choice(_FACTS)
    return _row("question", rng.choice(_ASKED).format(deed), tool, rng, labels=_LETTERS)


def draw_arc_challenge(rng: Random) -> SampleRow:
    """Return a row of ``arc_challenge``: two people, of whom one is asked for; options may be numbered."""
    (deed, tool), (other, _) = rng.sample(_FACTS, 2)
    first, second = draw_names(rng, 2)
    question = f"{first} looks for something that {other}, {second} for something that {deed}. What does {second} need?"
    return _row("question", question, tool, rng, labels=_NUMBERS if rng.random() < _NUMBERED else _LETTERS)


def draw_openbookqa(rng: Random) -> SampleRow:
    """Return a row of ``openbookqa``: a sentence that an option completes."""
    deed, tool = rng.choice(_FACTS)
    name = draw_names(rng, 1)[0]
    told = rng.choice(_TOLD)
    stem = told.format(name, deed, name) if told.count("{}") == 3 else told.format(deed)
    return _row("question_stem", sentence(stem), tool, rng, labels=_LETTERS)


def draw_piqa(rng: Random) -> SampleRow:
    """Return a row of ``piqa``: what someone wants, and two tools to take."""
    (deed, tool), (_, other) = rng.sample(_FACTS, 2)
    solutions, label = [f"take {tool}", f"take {other}"], rng.randrange(2)
    sol1, sol2 = reversed(solutions) if label else solutions
    goal = f"How does {draw_names(rng, 1)[0]} get something that {deed}?"
    return {"goal": goal, "sol1": sol1, "sol2": sol2, "label": label}


def _row(column: str, question: str, answer: str, rng: Random, *, labels: tuple[str, ...]) -> SampleRow:
    others = rng.sample([tool for _, tool in _FACTS if tool != answer], 3)
    options = [answer, *others]
    rng.shuffle(options)
    choices = {"text": options, "label": list(labels)}
    return {"id": "", column: question, "choices": choices, "answerKey": labels[options.index(answer)]}
