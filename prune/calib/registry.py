"""Selectors by their configuration class: see prune/calib/selection.py."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Choice:
    """A pool in a selector's order."""

    picks: Sequence[Pick]
    selector: Selector
    seconds: float
    """That the selector took; loading a model is not in it."""

    def describe(self, taken: Collection[int]) -> dict[str, Any]:
        """For the manifest: the size of the pool, and what the selector says of the candidates that were taken."""
        said = self.selector.describe(self.picks, taken)
        return {"num_candidates": len(self.picks)} | ({"selection": dict(said)} if said else {})


def choose(config: SelectConfig, pool: Pool) -> Choice:
    """The pool in the selector's order; in its own where all that it has is needed, as there is nothing to choose then.

    Raises:
        UserError: the pool does not do for the selector.
    """
    selector = build_selector(config)
    assert selector is not None, "the caller has looked"
    if selector.needs_model:
        model = pool.material.dense()
        pool = replace(pool, material=replace(pool.material, dense=lambda: model))
    begin = time.monotonic()
    picks = list(selector.order(pool)) if pool.candidates else []
    seconds = time.monotonic() - begin
    num_candidates = len(pool.candidates)
    if sorted(pick.index for pick in picks) != list(range(num_candidates)):
        raise UserError(f"select={default_name(type(config))} did not order its {num_candidates} candidates, each once.")
    if num_candidates <= pool.num_needed:
        picks.sort(key=lambda pick: pick.index)
    return Choice(picks, selector, seconds)
