"""One planned metric -> its value and its items."""

from prune.data.sources.source import Source
from prune.eval.metric import Measured, PlannedMetric
from prune.eval.subject import Subject


def measure(planned: PlannedMetric, subject: Subject, source: Source) -> Measured:
    """The score of `subject` on `planned`, with one item for each chunk or question.

    Raises:
        UserError: whatever the kind of score or the source has to say about the model or its rows.
    """
    return planned.settings.measure(subject, source).with_protocol({"data": dict(planned.data)})
