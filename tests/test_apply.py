"""A saved mask on a dense model: the weights that were scored, or one message about what does not fit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from prune.apply import apply_mask, main
from prune.config.model import DType, ModelConfig
from prune.errors import UserError
from prune.models.blocks import named_linears, weights_sha256
from prune.models.load import load_model
from prune.pruning.saved import MASK_FILE, MaskKeeper, save_mask
from prune.tiny import FOLDER

from .conftest import Said

Say = Callable[..., Said]
TINY = ModelConfig(name="tiny", seq_len=2)
EVAL = ["eval.perplexity=[wikitext2]", "eval.num_chunks=2", "eval.tasks=[]", "tracker=none"]
CALIB = ["calib=c4", "calib.num_samples=4", "calib.seq_len=64"]


def only_result(folder: Path) -> tuple[dict[str, Any], Path]:
    """The result of the pruned cell, or of the only one, and its folder."""
    found = [(json.loads(path.read_text()), path.parent) for path in folder.glob("outputs/cells/*/result.json")]
    pruned = [pair for pair in found if pair[0]["axes"]["method"] != "dense"] or found
    assert len(pruned) == 1
    return pruned[0]


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask file of the embedded model: the first input of each output goes."""
    path, kept = tmp_path_factory.mktemp("masks") / MASK_FILE, MaskKeeper()
    for name, linear in named_linears(load_model(TINY, "cpu").model).items():
        block, _, inner = name.partition(".")
        mask_OI = linear.weight.isnan()
        mask_OI[:, 0] = True
        kept(int(block), inner, mask_OI)
    save_mask(
        path, kept, {"cell": "abc", "name": "tiny/first", "method": "first", "weights_sha256": "0" * 64, "dtype": "float32"}
    )
    return path


def test_a_mask_saved_applied_and_scored_gives_the_same_perplexity(
    say: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = say(*EVAL, *CALIB, "method=wanda", "save=mask")
    assert said.code == 0, said.err
    pruned, cell = only_result(tmp_path)
    main([str(cell), "tiny", str(tmp_path / "applied")])
    out = capsys.readouterr().out
    assert f"These are the weights of {pruned['cell']} (tiny/c4/wanda/50%/s0), bit for bit." in out
    assert "(50%)" in out
    shutil.move(tmp_path / "outputs", tmp_path / "earlier")
    scored = say(*EVAL, "model=hf", f"model.path={tmp_path}/applied", "model.seq_len=256", "method=dense")
    assert scored.code == 0, scored.err
    result, _ = only_result(tmp_path)
    assert result["metrics"]["ppl/wikitext2"]["value"] == pruned["metrics"]["ppl/wikitext2"]["value"]
    assert result["weights_sha256"] == pruned["weights_sha256"]
    card = (tmp_path / "applied" / "README.md").read_text()
    assert pruned["cell"] in card and pruned["weights_sha256"] in card and str(tmp_path) not in card


def test_a_saved_model_is_loaded_by_transformers_and_says_what_it_is(say: Say, tmp_path: Path) -> None:
    said = say(*EVAL, *CALIB, "method=sparsegpt", "save=model", "method.skip=[0.*]")
    assert said.code == 0, said.err
    result, cell = only_result(tmp_path)
    assert weights_sha256(AutoModelForCausalLM.from_pretrained(cell / "model")) == result["weights_sha256"]
    card = (cell / "model" / "README.md").read_text()
    for part in (
        "| dense model | tiny |",
        "| method | sparsegpt (damping=0.01, block_size=128, skip=['0.*']) |",
        "| sparsity asked | 50% (ratio=0.5) |",
        f"| sparsity reached | {result['sparsity']['num_zero']:,} of {result['sparsity']['num_weights']:,} weights are 0 in "
        f"{result['linears']['num_pruned']} linear layers of the blocks, {len(result['linears']['skipped'])} left dense |",
        f"| calibration | c4, 4 x 64 tokens, seed 0, sample rows, sha256 {result['calib']['tokens_sha256']} |",
        f"| weights | sha256 {result['weights_sha256']} |",
    ):
        assert part in card
    assert "base_model" not in card and str(tmp_path) not in card


def test_the_weights_are_the_dense_ones_without_the_masked(masks: Path, tmp_path: Path) -> None:
    said = apply_mask(masks, TINY, tmp_path / "out")
    assert "not the weights of abc (tiny/first): its method (first) also changes weights that stay" in said
    dense = named_linears(load_model(TINY, "cpu").model)
    for name, linear in named_linears(AutoModelForCausalLM.from_pretrained(tmp_path / "out")).items():
        assert not linear.weight[:, 0].any()
        assert bool((linear.weight[:, 1:] == dense[name].weight[:, 1:]).all())


def test_another_type_than_the_cells_is_said(masks: Path, tmp_path: Path) -> None:
    said = apply_mask(masks, ModelConfig(name="tiny", seq_len=2, dtype=DType.bfloat16), tmp_path / "out")
    assert "had its weights in float32, these are bfloat16; to compare them give --dtype float32." in said


def small_model(folder: Path, **changes: Any) -> ModelConfig:
    """A dense model like the embedded one but for some keys of its configuration, with random weights."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "model.safetensors"))
    settings = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(settings))
    kind = type(load_model(TINY, "cpu").model)
    kind(kind.config_class(**settings)).save_pretrained(folder)
    return ModelConfig(name="hf", path=str(folder), seq_len=2)


def test_a_mask_of_other_shapes_is_refused_by_name(masks: Path, tmp_path: Path) -> None:
    intermediate = json.loads((FOLDER / "config.json").read_text())["intermediate_size"]
    model = small_model(tmp_path / "narrow", intermediate_size=intermediate // 2)
    sizes = rf"0\.mlp\.gate_proj \({intermediate} x \d+ in the mask, {intermediate // 2} x \d+ in the model\)"
    with pytest.raises(UserError, match=rf"{sizes}.* abc \(tiny/first\)"):
        apply_mask(masks, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mask_of_other_names_is_refused_by_name(masks: Path, tmp_path: Path) -> None:
    model = small_model(tmp_path / "shallow", num_hidden_layers=1)
    with pytest.raises(UserError, match=r"model shallow does not have: 1\.mlp.* and \d+ more\. It has 0\.self_attn"):
        apply_mask(masks, model, tmp_path / "out")


def test_files_that_are_no_masks(masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"mask\.safetensors is not there.*save=mask"):
        apply_mask(tmp_path, TINY, tmp_path / "out")
    (tmp_path / MASK_FILE).write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged, or is not a mask file"):
        apply_mask(tmp_path, TINY, tmp_path / "out")
    with pytest.raises(UserError, match="is there already"):
        apply_mask(masks, TINY, tmp_path)
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path / "nothing"), "tiny", str(tmp_path / "out")])
    assert left.value.code == 2 and "is not there" in capsys.readouterr().err


def test_a_mask_of_before_shapes_were_kept(masks: Path, tmp_path: Path) -> None:
    from prune.pruning.saved import load_mask

    saved = load_mask(masks)
    assert saved is not None
    save_file(dict(saved.packed), tmp_path / MASK_FILE)
    assert "does not say which weights" in apply_mask(tmp_path, TINY, tmp_path / "out")
    model = small_model(tmp_path / "narrow", intermediate_size=32)
    with pytest.raises(UserError, match=r"0\.mlp\.gate_proj \(\d+ weights in the mask, 32 x \d+ in .* an unknown cell"):
        apply_mask(tmp_path, model, tmp_path / "other")
