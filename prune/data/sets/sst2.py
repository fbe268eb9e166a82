"""SST-2, sentences and phrases of film reviews (Socher et al. 2013), as in GLUE. Test rows have no label."""

from functools import partial

from prune.data.dataset import AnswerKind, Category, Hub, QuestionSet
from prune.data.formatting.sentiment import review_example

DATASET = QuestionSet(
    name="sst2",
    category=Category.SENTIMENT,
    hub=Hub(path="nyu-mll/glue", config="sst2", revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"),
    example=partial(review_example, column="sentence"),
    columns=("sentence", "label"),
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
