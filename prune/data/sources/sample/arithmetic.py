"""Generated word problems: gsm8k, svamp and mawps. Sums are small, so that a small model can learn them."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from prune.data.sources.sample.words import CONTAINERS, THINGS, draw_names, pronouns

SampleRow = dict[str, object]


@dataclass(frozen=True, slots=True)
class Story:
    """A word problem: what is told, what is asked, and the sum that answers it."""

    told: str
    asked: str
    left: int
    sign: str
    right: int
    kind: str
    thing: str
    says: str
    """A sentence with ``{sum}`` where the calculation belongs."""

    @property
    def result(self) -> int:
        """The value of the sum."""
        return compute(self.left, self.sign, self.right)


def compute(left: int, sign: str, right: int) -> int:
    """Return the value of ``left sign right``; a division comes out even."""
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    assert sign == "/" and left % right == 0, "generated divisions come out even"
    return left // right


def _gain(rng: Random, most: int) -> Story:
    left, right = rng.randint(2, most), rng.randint(2, most)
    name, other = draw_names(rng, 2)
    thing, he = rng.choice(THINGS), pronouns(name)
    told = rng.choice(
        (
            f"{name} has {left} {thing}. {other} gives {he['object']} {right} more {thing}.",
            f"{name} found {left} {thing} in the morning and {right} {thing} in the evening.",
            f"{name} has {left} {thing} and {other} has {right} {thing}.",
            f"{name} bought {left} {thing} on Monday. On Tuesday {he['subject']} bought {right} {thing}.",
        )
    )
    asked = f"How many {thing} are there altogether?" if " and " in told else f"How many {thing} does {name} have now?"
    return Story(told, asked, left, "+", right, "Addition", thing, f"Altogether there are {{sum}} {thing}")


def _loss(rng: Random, most: int) -> Story:
    left = rng.randint(4, most + 4)
    right = rng.randint(2, left - 1)
    name, other = draw_names(rng, 2)
    thing, he = rng.choice(THINGS), pronouns(name)
    told = rng.choice(
        (
            f"{name} had {left} {thing}. {he['subject'].capitalize()} gave {right} of them to {other}.",
            f"There were {left} {thing} on the table. {name} took {right} of the {thing} away.",
            f"{name} bought {left} {thing} and lost {right} of them on the way home.",
            f"{name} made {left} {thing} and sold {right} of them at the market.",
        )
    )
    return Story(
        told, f"How many {thing} are left?", left, "-", right, "Subtraction", thing, f"There are {{sum}} {thing} left"
    )


def _difference(rng: Random, most: int) -> Story:
    left = rng.randint(4, most + 4)
    right = rng.randint(2, left - 1)
    name, other = draw_names(rng, 2)
    thing = rng.choice(THINGS)
    told = rng.choice(
        (
            f"{name} has {left} {thing} and {other} has only {right} {thing}.",
            f"{name} counted {left} {thing}, but {other} counted only {right} {thing}.",
        )
    )
    asked = rng.choice(
        (f"How many more {thing} than {other} does {name} have?", f"How many fewer {thing} does {other} have?")
    )
    return Story(told, asked, left, "-", right, "Subtraction", thing, f"The difference is {{sum}} {thing}")


def _groups(rng: Random, most: int) -> Story:
    left, right = rng.randint(2, min(most, 5)), rng.randint(2, min(most, 9))
    name = draw_names(rng, 1)[0]
    thing, container = rng.choice(THINGS), rng.choice(CONTAINERS)
    told = rng.choice(
        (
            f"{name} has {left} {container}. There are {right} {thing} in each of the {container}.",
            f"There are {left} {container} with {right} {thing} in each.",
            f"{name} filled {left} {container} and put {right} {thing} in each.",
        )
    )
    asked = f"How many {thing} are in the {container}?"
    return Story(told, asked, left, "*", right, "Multiplication", thing, f"In the {container} there are {{sum}} {thing}")


def _shares(rng: Random, most: int) -> Story:
    right, share = rng.randint(2, min(most, 5)), rng.randint(2, min(most, 9))
    name = draw_names(rng, 1)[0]
    thing, container = rng.choice(THINGS), rng.choice(CONTAINERS)
    told = rng.choice(
        (
            f"{name} put {right * share} {thing} into {right} {container}, the same number in each.",
            f"{name} has {right * share} {thing} to share among {right} {container}.",
        )
    )
    asked = f"How many {thing} go into each of the {container}?"
    return Story(told, asked, right * share, "/", right, "Common-Division", thing, f"Each gets {{sum}} {thing}")


_STORIES: tuple[Callable[[Random, int], Story], ...] = (_gain, _loss, _difference, _groups, _shares)


def draw_gsm8k(rng: Random) -> SampleRow:
    """Return a row of ``gsm8k``: one step, or a second small one; the calculator's annotations in << >>."""
    if rng.random() < 0.85:
        story = rng.choice(_STORIES)(rng, 6)
        return {"question": f"{story.told} {story.asked}", "answer": _solution(story.says, [_step(story)], story.result)}
    story, more = rng.choice((_gain, _loss))(rng, 4), rng.randint(1, 3)
    result = story.result + more
    question = f"{story.told} Then {more} more {story.thing} come in. {story.asked}"
    step = f"{story.result} + {more} = <<{story.result}+{more}={result}>>{result}"
    return {"question": question, "answer": _solution(story.says, [_step(story), step], result)}


def _step(story: Story) -> str:
    plain = f"{story.left} {story.sign} {story.right}"
    return f"{plain} = <<{plain.replace(' ', '')}={story.result}>>{story.result}"


def _solution(says: str, steps: list[str], result: int) -> str:
    lines = [says.format(sum=steps[0]) + "."]
    lines += [f"With the others it is {step}." for step in steps[1:]]
    return "\n".join(lines) + f"\n#### {result}"


def draw_svamp(rng: Random) -> SampleRow:
    """Return a row of ``svamp``, some with a number that does not matter."""
    story = rng.choice(_STORIES)(rng, 30)
    told = story.told
    if rng.random() < 0.2:
        told = f"It is {rng.randint(2, 30)} days since the last visit. {told}"
    return {
        "ID": "",
        "Body": told,
        "Question": story.asked,
        "Equation": f"( {story.left:.1f} {story.sign} {story.right:.1f} )",
        "Answer": str(story.result),
        "Type": story.kind,
        "question_concat": f"{told} {story.asked}",
    }


def draw_mawps(rng: Random) -> SampleRow:
    """Return a row of ``mawps`` in the layout of Calc-MAWPS, with its chain of calculator calls."""
    story = rng.choice(_STORIES)(rng, 40)
    expression = f"{story.left} {story.sign} {story.right}"
    chain = (
        f'<gadget id="calculator">{expression}</gadget>\n<output>{story.result}</output>\n\n<result>{story.result}</result>'
    )
    return {
        "id": "",
        "question": f"{story.told} {story.asked}",
        "chain": chain,
        "result": str(story.result),
        "result_float": float(story.result),
        "equation": f"x = {expression}",
        "expression": expression,
    }
