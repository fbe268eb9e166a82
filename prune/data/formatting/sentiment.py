"""What the sets of reviews share: two labels, and the form of their questions."""

import re

from prune.data.dataset import Example, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import label_name

SENTIMENTS = ("negative", "positive")
"""In the order in which every set here counts them, from 0."""

_BREAK = re.compile(r"(?:<br\s*/?>|\\n|\s)+")
r"""What stands for a line break in copies of IMDB (`<br />`) and Yelp (`\n` as two characters), and spaces."""


def review_example(row: Row, column: str = "text") -> Example:
    """The review in a column, on one line, answered by its sentiment; in cloze form it is the same, as labels are words."""
    sentiment = label_name(row["label"], SENTIMENTS)
    review = _BREAK.sub(" ", column_text(row, column)).strip()
    return Example(question=f"Review: {review}\nSentiment:", answer=sentiment, target=sentiment, choices=SENTIMENTS)
