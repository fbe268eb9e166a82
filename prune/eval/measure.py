"""One planned metric -> its value and its items."""

from dataclasses import replace

from prune.data.sources.source import Source
from prune.eval.metric import Measured, Metric, PlannedMetric
from prune.eval.subject import Subject


def measure(planned: PlannedMetric, subject: Subject, source: Source) -> Measured:
    """The score of `subject` on `planned`, with one item for each chunk or question.

    Raises:
        UserError: whatever the kind of score or the source has to say about the model or its rows.
    """

    def with_data(metric: Metric) -> Metric:
        return replace(metric, protocol={**metric.protocol, "data": dict(planned.data)})

    measured = planned.settings.measure(subject, source)
    beside = {name: with_data(metric) for name, metric in measured.beside.items()}
    return replace(measured, metric=with_data(measured.metric), beside=beside)
