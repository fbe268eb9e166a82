"""What a score of one of lm-eval's tasks is asked by."""

from dataclasses import dataclass

from prune.config.eval import Bos


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings:
    """All that changes a score of one of lm-eval's tasks, besides the model and the rows."""

    task: str
    metric: str
    """The first metric of its definition; the others are measured beside it."""
    version: str
    definition: str
    """SHA-256 of its definition: prompt template, splits, filters and metrics, and the functions that it calls."""
    num_fewshot: int
    limit: int | None
    """Items; None takes the whole split."""
    bos: Bos
    """Where BOS stands in prompts."""

    @property
    def dataset(self) -> str:
        """What its metrics' names begin with: `lm_eval/<task>`."""
        return f"lm_eval/{self.task}"

    @property
    def name(self) -> str:
        """`lm_eval/<task>/<metric>`."""
        return f"{self.dataset}/{self.metric}"
