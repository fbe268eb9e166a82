"""Patterns of names: which linears they choose, and what is said of those that choose nothing."""

import pytest

from prune.errors import UserError
from prune.pruning.targets import assign_ratios, block_of, select_targets

NAMES = [f"{block}.{name}" for block in range(12) for name in ("attn.q", "attn.o", "mlp.up", "mlp.down")]


def test_all_are_targets_by_default() -> None:
    assert select_targets(NAMES, ["*"], []) == NAMES


def test_patterns_choose_by_part_and_by_block() -> None:
    assert select_targets(NAMES, ["*.mlp.*"], []) == [name for name in NAMES if ".mlp." in name]
    assert select_targets(NAMES, ["1.*"], []) == ["1.attn.q", "1.attn.o", "1.mlp.up", "1.mlp.down"]
    assert select_targets(NAMES, ["1[01].attn.?"], []) == ["10.attn.q", "10.attn.o", "11.attn.q", "11.attn.o"]
    assert select_targets(NAMES, ["0.mlp.up", "0.attn.q"], []) == ["0.attn.q", "0.mlp.up"]


def test_skipped_ones_are_taken_out() -> None:
    assert select_targets(NAMES, ["0.*", "1.*"], ["*.mlp.*", "1.attn.q"]) == ["0.attn.q", "0.attn.o", "1.attn.o"]


@pytest.mark.parametrize(
    ("targets", "skip", "message"),
    [
        (
            ["*.MLP.*"],
            [],
            r"method\.targets: \*\.MLP\.\* matches no linear of this model\. It has blocks 0 to 11 with attn\.q, ",
        ),
        (["*"], ["12.*"], r"method\.skip: 12\.\* matches no linear.* attn\.q, attn\.o, mlp\.up, mlp\.down\."),
        (["0.*"], ["0.*"], r"method\.targets=\[0\.\*\] method\.skip=\[0\.\*\] leave no linear to prune"),
        ([], [], "leave no linear to prune"),
    ],
)
def test_patterns_that_choose_nothing(targets: list[str], skip: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        select_targets(NAMES, targets, skip)


def test_the_first_pattern_decides_the_ratio() -> None:
    names = ["0.attn.q", "0.mlp.up", "1.attn.q", "1.mlp.up"]
    ratios = assign_ratios(names, {"0.mlp.*": 0.1, "*.mlp.*": 0.7, "1.*": 0.3}, 0.5)
    assert ratios == {"0.attn.q": 0.5, "0.mlp.up": 0.1, "1.attn.q": 0.3, "1.mlp.up": 0.7}
    assert list(ratios) == names


def test_patterns_that_decide_nothing() -> None:
    with pytest.raises(
        UserError, match=r"sparsity\.ratios: 2\.\* matches no linear that is pruned\. Pruned are blocks 0 to 1 "
    ):
        assign_ratios(["0.mlp.up", "1.mlp.up"], {"2.*": 0.1}, 0.5)
    with pytest.raises(
        UserError, match=r"sparsity\.ratios: 0\.mlp\.up is never used: earlier .* Pruned are block 0 with mlp\.up"
    ):
        assign_ratios(["0.mlp.up"], {"0.*": 0.1, "0.mlp.up": 0.2}, 0.5)


def test_the_block_of_a_name() -> None:
    assert [block_of(name) for name in ("0.attn.q", "17.mlp.0.up")] == [0, 17]
