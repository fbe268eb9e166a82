"""Tokens a second that a model reads (`speed/prefill`) and writes (`speed/decode`), where it runs.

It is no measure of quality: it enters no mean and no verdict, and is compared only with a speed of the same device, type,
threads, batch and lengths, all of which its protocol names. Weights that are 0 are multiplied like others, so a pruned model
is as fast as the dense one unless a kernel skips them; for 2:4 weights PyTorch's semi-structured kernels are timed beside
(`speed/decode_2to4`, `speed/prefill_2to4`), where the GPU has them, else the protocol says why not.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig
from prune.data.dataset import RowSet
from prune.data.sources.source import Source
from prune.errors import UserError
from prune.eval.metric import SPEED, Measured, Metric, PlannedMetric
from prune.eval.overlap import Overlap, Seen
from prune.eval.subject import Subject

if TYPE_CHECKING:
    from prune.eval.engine.speed import Speed


NUM_GENERATIONS = 5
"""Of whose speeds the median counts; one more comes before them, so that everything is warm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedSettings:
    """All that changes a speed, besides the model and where it runs."""

    kind: ClassVar[str] = SPEED
    key: ClassVar[str] = "eval.speed"
    batch: int
    prompt_tokens: int
    new_tokens: int
    device: str | None
    """What the device's name must hold; None: any device, which the protocol names."""

    @property
    def name(self) -> str:
        """The metric's; the others are measured beside it."""
        return f"{self.kind}/decode"

    @property
    def dataset(self) -> str:
        """No set is read."""
        return self.name

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """One measurement, or none."""
        return ["decode"] if config.speed else []

    @classmethod
    def plan(cls, name: str, config: EvalConfig, data: DataConfig) -> list[PlannedMetric]:
        """See `Score.plan`; there are no rows."""
        settings = cls(
            batch=config.speed_batch,
            prompt_tokens=config.speed_prompt,
            new_tokens=config.speed_new,
            device=config.speed_device,
        )
        return [PlannedMetric(settings, {})]

    def reads(self, data: DataConfig) -> list[tuple[RowSet, str]]:
        """Nothing."""
        return []

    def check_rows(self, source: Source) -> int:
        """There are none."""
        return 0

    def overlap(self, seen: Seen, source: Source, tokenizer: Any, skipped: Collection[int]) -> Overlap:
        """Nothing is shared, as there are no items."""
        return Overlap(
            num_items=0, num_shared_rows=0, num_shared_ngrams=0, num_short=0, num_exemplars=0, num_shared_exemplars=0
        )

    def measure(self, subject: Subject, source: Source) -> Measured:
        """Decoding, with prefill and what semi-structured kernels give beside it; an item is one generation.

        Raises:
            UserError: the device is another than was asked for, or the model cannot be timed so.
        """
        from prune.eval.engine.speed import Lengths, describe_place, measure_speeds

        place = describe_place(subject.model)
        if self.device is not None and self.device.lower() not in place["device_name"].lower():
            raise UserError(
                f"{self.name}: eval.speed_device={self.device}, but this runs on {place['device_name']}. Run it on that "
                "device, or leave eval.speed_device out."
            )
        lengths = Lengths(self.batch, self.prompt_tokens, self.new_tokens)
        found = measure_speeds(subject.model, lengths, NUM_GENERATIONS, self.name)
        protocol = {
            "kind": "tokens a second, median",
            **place,
            "batch": self.batch,
            "prompt_tokens": self.prompt_tokens,
            "new_tokens": self.new_tokens,
            "alone": found.alone,
        }
        told = {} if found.why_not is None else {"semi_structured": f"not measured: {found.why_not}"}
        metrics = _metrics(found.plain, {**protocol, **told}, "")
        if found.sparse is not None:
            metrics |= _metrics(found.sparse, {**protocol, "kernels": "semi-structured"}, "_2to4")
        items = [
            {"id": number, "prefill_s": prefill, "decode_s": decode}
            for number, (prefill, decode) in enumerate(zip(found.plain.prefill_s, found.plain.decode_s, strict=True))
        ]
        return Measured(metric=metrics.pop(self.name), items=items, beside=metrics)


SCORE = SpeedSettings


def _metrics(speed: "Speed", protocol: dict[str, Any], suffix: str) -> dict[str, Metric]:
    values = {"decode": speed.decode, "prefill": speed.prefill}
    return {
        f"{SPEED}/{name}{suffix}": Metric(
            value=value,
            stderr=None,
            num_items=len(speed.decode_s),
            higher_is_better=True,
            chance=None,
            protocol=protocol,
            unit="tokens a second",
            decimals=1,
        )
        for name, value in values.items()
    }
