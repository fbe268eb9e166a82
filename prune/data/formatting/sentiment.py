"""What the sets of reviews share: two labels, and the form of their questions."""

import re

from prune.data.dataset import Example
from prune.data.formatting.labels import label_name

SENTIMENTS = ("negative", "positive")
"""In the order in which every set here counts them, from 0."""

_BREAK = re.compile(r"(?:<br\s*/?>|\\n|\s)+")
r"""What stands for a line break in copies of IMDB (`<br />`) and Yelp (`\n` as two characters), and blanks."""


def review_example(text: str, label: object) -> Example:
    """A review on one line, answered by its sentiment; in cloze form it is the same, as the labels are words."""
    sentiment = label_name(label, SENTIMENTS)
    review = _BREAK.sub(" ", text).strip()
    return Example(question=f"Review: {review}\nSentiment:", answer=sentiment, target=sentiment, choices=SENTIMENTS)
