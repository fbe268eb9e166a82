"""The table of docs/models.md: for each type the dense walk, two real prunes, and what plain transformers loads again."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel

from prune.calib.calibration_set import CalibrationSet
from prune.cell.cell import make_cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.reconstruct import BlockReconstructConfig
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, weights_sha256
from prune.models.load import LoadedModel, load_model
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.reconstruct import Reconstruction
from prune.pruning.saved import save_model
from prune.pruning.sparsity import NM, Unstructured
from tests.architectures import calibration, calibration_set, save_tokenizer, tiny_model
from tests.cell.test_dense_passes import Watcher
from tests.conftest import TESTS, Compose
from tests.models.kinds import HYBRIDS, IMAGE, MULTIMODAL, PLAIN, REFUSED, VIDEO, mllama
from tests.models.test_odd_models import config

HALF, TWO_OF_FOUR = Unstructured(0.5), NM(2, 4)


@pytest.fixture(scope="module")
def table() -> str:
    return (TESTS.parent / "docs/models.md").read_text()


def text_set(num_samples: int = 5, seq_len: int = 12, padded: bool = True) -> CalibrationSet:
    """Random tokens of which none stands for an image."""
    tokens_NL, real_NL = calibration(num_samples, seq_len, padded)
    tokens_NL[(tokens_NL == IMAGE) | (tokens_NL == VIDEO)] = 7
    return CalibrationSet.of_tokens(tokens_NL, real_NL)


def write(folder: Path, settings: PretrainedConfig, *, whole: bool = False) -> Path:
    """A folder with a random model of that configuration, and a tokenizer."""
    if whole:
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(settings, dtype=torch.float32)
    else:
        model = tiny_model(settings)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def files(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def check_walk(model: PreTrainedModel) -> None:
    """The walk through the dense blocks gives what the model's own forward pass gives, with and without padding."""
    for padded in (False, True):
        given, seen = text_set(padded=padded), list[Tensor]()
        hook = find_blocks(model)[-1].register_forward_hook(
            lambda block, args, out, to=seen: to.append(out if isinstance(out, Tensor) else out[0])
        )
        with torch.no_grad():
            model(input_ids=given.tokens_NL, attention_mask=given.real_NL.long(), use_cache=False)
            hook.remove()
            walk = Walk(model, given, batch_size=2)
            for index in range(len(find_blocks(model))):
                walk.advance(index)
        made_TH, expected_TH = (each[given.real_NL] for each in (walk.hidden_NLH, seen[0]))
        assert expected_TH.std() > 0.001
        assert float((made_TH - expected_TH).abs().max()) <= 1e-5 * float(expected_TH.abs().max())


def left_alone(loaded: LoadedModel) -> list[str]:
    """The parameters of two dimensions or more in the blocks that are not pruned, by their names in the block."""
    found: dict[str, None] = {}
    for block, linears in zip(loaded.blocks, loaded.linears, strict=True):
        pruned = {f"{name}.weight" for name in linears}
        found |= {name: None for name, each in block.named_parameters() if each.dim() >= 2 and name not in pruned}
    return list(found)


def check_kind(folder: Path, *, whole: bool = False) -> LoadedModel:
    """The pruned model after all checks: walk, both methods, refit, save, load by plain transformers."""
    name = config(folder / "dense")
    loaded = load_model(name, "cpu")
    check_walk(loaded.model)
    reports = prune_model(loaded.model, text_set(4), SparseGPT(), TWO_OF_FOUR, batch_size=4)
    check_reached(TWO_OF_FOUR, SparseGPT(), reports)
    again = load_model(name, "cpu")
    knobs = BlockReconstructConfig(rate=1e-3, batch_size=2)

    def refit(pruned: Iterable[str]) -> Reconstruction:
        return Reconstruction(again.model, text_set(4), knobs, pruned)

    reports = prune_model(again.model, text_set(4), Wanda(), HALF, batch_size=4, reconstruction=refit)
    check_reached(HALF, Wanda(), reports)
    assert sum(report.num_zero for report in reports) == sum(report.num_removed for report in reports)
    save_model(folder / "pruned", again, "# card\n")
    before, after = files(folder / "dense"), files(folder / "pruned")
    assert before.keys() == after.keys(), "the names that the hub's files have"
    auto = AutoModelForImageTextToText if whole else AutoModelForCausalLM
    plain = auto.from_pretrained(folder / "pruned")
    given = {"input_ids": text_set(padded=False).tokens_NL, "use_cache": False}
    with torch.no_grad():
        torch.testing.assert_close(plain(**given).logits, again.model(**given).logits, rtol=0, atol=0)
    return again


@pytest.mark.parametrize("kind", HYBRIDS)
def test_a_hybrid_is_pruned_right_and_what_stays_is_named(tmp_path: Path, table: str, kind: str) -> None:
    about, make = HYBRIDS[kind]
    write(tmp_path / "dense", make())
    loaded = check_kind(tmp_path)
    stays = ", ".join(f"`{name}`" for name in left_alone(loaded)) or "nothing"
    assert f"| `{kind}` | {about} | {stays} |" in table
    watched = [name for name in left_alone(loaded) if "dt_proj" in name]
    assert bool(watched) == any("are never pruned" in note for note in loaded.notes)


@pytest.mark.parametrize("kind", MULTIMODAL)
def test_the_text_blocks_of_a_multimodal_folder_are_pruned_and_the_rest_stays(tmp_path: Path, table: str, kind: str) -> None:
    write(tmp_path / "dense", MULTIMODAL[kind](), whole=True)
    loaded = check_kind(tmp_path, whole=True)
    before, after = files(tmp_path / "dense"), files(tmp_path / "pruned")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == sum(map(len, loaded.linears))
    assert not [name for name in changed if re.search("vision|visual|projector|connector", name)]
    (note,) = loaded.notes
    parts = ", ".join(f"`{part}`" for part in parts_in(note))
    assert "tensors beside the text blocks" in note and "are left as they are" in note
    assert f"| `{kind}` | {parts} |" in table


def parts_in(note: str) -> Iterator[str]:
    """`model.visual.*` of a note."""
    (listed,) = re.findall(r"\((.*?)\)", note)
    return (part.partition(" ")[2] for part in listed.split(", "))


@pytest.mark.parametrize("kind", REFUSED)
def test_a_type_that_cannot_be_done_right_is_refused_for_its_reason(tmp_path: Path, table: str, kind: str) -> None:
    make, reason = REFUSED[kind]
    write(tmp_path / "dense", make())
    with pytest.raises(UserError) as refused:
        prune_model(load_model(config(tmp_path / "dense"), "cpu").model, calibration_set(), Wanda(), HALF, batch_size=4)
    assert reason in str(refused.value)
    assert re.search(rf"\| `{kind}` \| .*{re.escape(reason)}", table)


def test_blocks_that_a_text_does_not_pass_are_refused(tmp_path: Path) -> None:
    write(tmp_path, mllama(), whole=True)
    with pytest.raises(
        UserError, match=r"3 blocks once each in order for a text \(block 1 never, as where it attends to an"
    ):
        prune_model(load_model(config(tmp_path), "cpu").model, calibration_set(), Wanda(), HALF, batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_decoder_needs_nothing_of_its_own(tmp_path: Path, table: str, kind: str) -> None:
    write(tmp_path / "dense", PLAIN[kind]())
    loaded = check_kind(tmp_path)
    assert left_alone(loaded) == [] and loaded.notes == ()
    assert f"`{kind}`" in table


def test_every_linear_of_a_block_is_found_in_towers_of_the_same_depth() -> None:
    """The tower of this llava has as many blocks as the text decoder, and is not taken for it."""
    model = AutoModelForImageTextToText.from_config(MULTIMODAL["llava"]())
    blocks = find_blocks(model)
    assert len(blocks) == 3 and blocks is model.get_decoder().layers
    assert "mlp.gate_proj" in find_linears(blocks[0])


def test_a_cell_of_a_multimodal_folder_says_what_stays_and_saves_all_of_it(tmp_path: Path, compose_config: Compose) -> None:
    folder = write(tmp_path / "dense", MULTIMODAL["qwen2_5_vl"](), whole=True)
    words = ("model=hf", f"model.path={folder}", "model.seq_len=32", "calib.num_samples=2", "tracker=none", "device=cpu")
    scored = ("eval.tasks=[]", "eval.perplexity=[c4]", "eval.num_chunks=1", "save=model", f"output_dir={tmp_path}")
    cell = make_cell(compose_config(*words, *scored))
    result = run_cell(cell, Resources(), Watcher())
    (note,) = result["model"]["notes"]
    assert note.startswith("30 tensors beside the text blocks (30 model.visual.*)") and note in result["warnings"]
    log = (cell.folder() / "run.log").read_text()
    assert log.index("tensors beside the text blocks") < log.index("ppl/c4 ="), "said before anything is pruned or scored"
    assert "AutoModelForImageTextToText.from_pretrained(FOLDER)" in (cell.folder() / "model/README.md").read_text()
    again = load_model(config(cell.folder() / "model"), "cpu")
    assert weights_sha256(again.model) == result["weights_sha256"]
