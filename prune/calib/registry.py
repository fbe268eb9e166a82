"""Selectors by their configuration class: see prune/calib/selection.py."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prune.calib.perplexity import describe_place
from prune.calib.selection import Pick, Pool, Selector
from prune.config.data import DataConfig
from prune.config.options import Options, default_name, find_options, option_identity, own_knobs
from prune.config.select import SelectConfig
from prune.errors import UserError

SELECTORS: Options[SelectConfig] = {
    SelectConfig: None,
    **find_options("prune.calib.selectors", "prune.selectors", SelectConfig, "selector"),
}
"""Configuration class -> selector, which has the fields of its configuration as parameters; None for random."""


def is_random(config: SelectConfig) -> bool:
    """Whether nothing selects."""
    return SELECTORS[type(config)] is None


def build_selector(config: SelectConfig) -> Selector | None:
    """The selector that a configuration asks for; None for random."""
    selector: Any = SELECTORS[type(config)]
    built: Selector | None = selector and selector(**own_knobs(config, SelectConfig))
    return built


def select_identity(config: SelectConfig, data: DataConfig) -> dict[str, Any]:
    """What identifies the choice; nothing for random."""
    selector = build_selector(config)
    return {} if selector is None else {"select": {**option_identity(config), **selector.identity(data)}}


def check_selector(config: SelectConfig, most_candidates: int) -> None:
    """Make sure that a pool of at most `most_candidates` candidates can suffice for the selector.

    Raises:
        UserError: it does not.
    """
    if (selector := build_selector(config)) is not None:
        selector.check(most_candidates)


@dataclass(frozen=True, slots=True)
class Choice:
    """A pool in a selector's order."""

    picks: Sequence[Pick]
    selector: Selector
    made_on: Mapping[str, Any] = field(default_factory=dict)
    """What the model computed on, where it was asked."""

    def describe(self, taken: Collection[int]) -> dict[str, Any]:
        """For the manifest: the size of the pool, and what the selector says of the candidates that were taken."""
        said = self.selector.describe(self.picks, taken)
        place = {"made_on": dict(self.made_on)} if self.made_on else {}
        return {"num_candidates": len(self.picks)} | ({"selection": dict(said)} if said else {}) | place


def choose(config: SelectConfig, pool: Pool) -> Choice:
    """The pool in the selector's order; in its own where all that it has is needed, as there is nothing to choose then.

    The time that the selector takes is added to that of the material; loading a model is not in it.

    Raises:
        UserError: the selector cannot use the pool.
    """
    selector, num_candidates, seconds = build_selector(config), len(pool.candidates), pool.material.seconds
    assert selector is not None, "the caller has looked"
    selector.check(num_candidates)
    made_on: Mapping[str, Any] = {}
    if selector.needs_model:
        model = pool.material.dense()
        made_on = describe_place(model)
        pool = replace(pool, material=replace(pool.material, dense=lambda: model))
    begin = time.monotonic()
    picks = list(selector.order(pool))
    seconds["select"] = seconds.get("select", 0.0) + time.monotonic() - begin
    if sorted(pick.index for pick in picks) != list(range(num_candidates)):
        raise UserError(f"select={default_name(type(config))} did not order its {num_candidates} candidates, each once.")
    if num_candidates <= pool.num_needed:
        picks.sort(key=lambda pick: pick.index)
    return Choice(picks, selector, made_on)
