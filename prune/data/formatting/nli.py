"""What the sets of natural language inference share: their labels and the form of their questions."""

from prune.data.dataset import Cloze, Example
from prune.data.formatting.labels import label_name
from prune.data.formatting.rationale import join_steps

NLI_LABELS = ("entailment", "neutral", "contradiction")
NLI_FEWSHOT = 9
"""Exemplars in the study's evaluation of NLI sets."""


CLOZE_ANSWERS = {"entailment": "yes", "neutral": "maybe", "contradiction": "no", "not_entailment": "no"}
"""What each label says in words, to the question whether the hypothesis is true."""


def nli_example(premise: str, hypothesis: str, label: object, labels: tuple[str, ...], reason: str | None = None) -> Example:
    """A premise, a hypothesis and the label that relates them, with the annotator's reason where there is one."""
    name = label_name(label, labels)
    told = f"Premise: {premise.strip()}\nHypothesis: {hypothesis.strip()}"
    return Example(
        question=f"{told}\nLabel:",
        answer=name,
        target=name,
        choices=labels,
        rationale=join_steps((reason or "").splitlines()),
        cluster=premise.strip(),
        cloze=Cloze(
            question=f"{told}\nQuestion: Is the hypothesis true?\nAnswer:",
            choices=tuple(CLOZE_ANSWERS[each] for each in labels),
            answer=CLOZE_ANSWERS[name],
        ),
    )
