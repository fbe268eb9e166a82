"""Selectors by their configuration class: see prune/calib/selection.py."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from prune.calib.selection import Pool, Selector
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


Item = TypeVar("Item")


def ordered(config: SelectConfig, pool: Pool, items: Sequence[Item]) -> list[tuple[Item, Mapping[str, Any]]]:
    """The items behind the candidates in the selector's order, each with the reason."""
    selector = build_selector(config)
    assert selector is not None and len(items) == len(pool.candidates), "the caller has looked"
    picks = selector.order(pool)
    if sorted(pick.index for pick in picks) != list(range(len(items))):
        raise UserError(f"select={default_name(type(config))} did not order its {len(items)} candidates, each once.")
    return [(items[pick.index], pick.why) for pick in picks]
