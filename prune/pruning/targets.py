"""Which linears are pruned, and at which ratio, by patterns of their names.

A linear's name is `<number of its block>.<its name in the block>`, as `3.mlp.up_proj`. In a pattern `*` stands for anything,
dots included, `?` for one character and `[ab]` for one of these.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from prune.errors import UserError


def select_targets(names: Sequence[str], targets: Sequence[str], skip: Sequence[str]) -> list[str]:
    """The names that match a pattern of `targets` and none of `skip`, in their order.

    Raises:
        UserError: a pattern matches no name, or no name is left.
    """
    for key, patterns in (("method.targets", targets), ("method.skip", skip)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UserError(f"{key}: {pattern} matches no linear of this model. It has {_describe(names)}.")
    selected = [name for name in names if _matches(name, targets) and not _matches(name, skip)]
    if not selected:
        raise UserError(
            f"method.targets=[{','.join(targets)}] method.skip=[{','.join(skip)}] leave no linear to prune. "
            f"The model has {_describe(names)}."
        )
    return selected


def assign_ratios(names: Sequence[str], ratios: Mapping[str, float], rest: float) -> dict[str, float]:
    """Name -> the ratio of the first pattern that matches it, or `rest`.

    Raises:
        UserError: a pattern decides nothing: it matches no name, or earlier patterns take all that it matches.
    """
    deciding = {name: next((pattern for pattern in ratios if fnmatchcase(name, pattern)), None) for name in names}
    for pattern in ratios:
        if pattern not in deciding.values():
            taken = any(fnmatchcase(name, pattern) for name in names)
            why = "is never used: earlier patterns take all that it matches" if taken else "matches no linear that is pruned"
            raise UserError(f"sparsity.ratios: {pattern} {why}. Pruned are {_describe(names)}.")
    return {name: rest if pattern is None else ratios[pattern] for name, pattern in deciding.items()}


def block_of(name: str) -> int:
    """The number of a linear's block."""
    return int(name.partition(".")[0])


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _describe(names: Sequence[str]) -> str:
    """`blocks 0 to 3 with attn.q, mlp.up`: every name, but not every block's."""
    blocks = sorted({block_of(name) for name in names})
    numbers = f"blocks {blocks[0]} to {blocks[-1]}" if len(blocks) > 1 else f"block {blocks[0]}"
    return f"{numbers} with {', '.join(dict.fromkeys(re.sub(r'^[0-9]+[.]', '', name) for name in names))}"
