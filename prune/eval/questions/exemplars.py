"""Which rows stand before a question as exemplars."""

from itertools import islice

from prune.data.dataset import Example, QuestionSet
from prune.data.sources.source import Source, examples
from prune.errors import UserError
from prune.eval.questions.prompt import QuestionSettings


def choose_exemplars(settings: QuestionSettings, dataset: QuestionSet, source: Source) -> dict[int, Example]:
    """The first rows of the training split, by their index; with rationales, the first that have one.

    Raises:
        UserError: there are too few, or whatever the source has to say about its rows.
    """
    if settings.num_fewshot == 0:
        return {}
    rows = examples(source, dataset, settings.exemplar_split)
    usable = ((row, one) for row, one in enumerate(rows) if one.rationale is not None or not settings.rationale)
    chosen = dict(islice(usable, settings.num_fewshot))
    if len(chosen) < settings.num_fewshot:
        raise UserError(
            f"{settings.name}: eval.num_fewshot={settings.num_fewshot}, but the {settings.exemplar_split} split "
            f"(data={source.name}) has {len(chosen)} rows{' with a rationale' if settings.rationale else ''}. "
            f"Ask for at most {len(chosen)}."
        )
    return chosen
