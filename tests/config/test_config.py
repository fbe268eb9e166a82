"""Every option in conf/ composes into its schema; the shipped options are all there."""

from pathlib import Path

import pytest
from omegaconf.errors import OmegaConfBaseException

from prune.config.calib import PromptStyle
from prune.config.eval import EvalProtocol
from prune.config.folders import CONFIG_DIR
from prune.config.model import Bos, ModelConfig
from prune.config.sparsity import NMConfig, UnstructuredConfig
from prune.data.dataset import TextSet
from prune.data.last_words import as_questions
from prune.data.registry import DATASETS, LANGUAGE_SETS
from prune.errors import UserError
from prune.eval.suites import ZERO_SHOT
from prune.pruning.methods.dsnot import DSnoTConfig
from prune.pruning.methods.magnitude import MagnitudeConfig
from prune.pruning.methods.ria import RIAConfig
from prune.pruning.methods.sparsegpt import SparseGPTConfig
from prune.pruning.methods.start import Start
from prune.pruning.methods.swaps import SwapsConfig
from prune.pruning.methods.wanda import WandaConfig

from ..conftest import Compose

MODELS = {
    *("tiny", "hf", "smollm2_135m", "gemma3_270m", "llama2_7b_chat", "llama_7b", "llama2_7b", "llama3_1_8b"),
    *("mistral_7b", "qwen3_0_6b", "opt_125m"),
}
NEEDED = {"hf": ["model.path=somewhere"], "local": ["data.root=somewhere"], "nm": ["sparsity.n=1", "sparsity.m=4"]}
NEEDED |= {"file": ["calib.path=rows.jsonl"], "mix": ["calib.parts={c4:0.5,gsm8k:0.5}"]}
OPTIONS = sorted(path.relative_to(CONFIG_DIR).with_suffix("").as_posix() for path in Path(CONFIG_DIR).rglob("*/*.yaml"))


def options(group: str) -> set[str]:
    return {name.partition("/")[2] for name in OPTIONS if name.startswith(f"{group}/")}


@pytest.mark.parametrize("experiment", sorted(options("experiment")))
def test_a_line_with_an_experiment_prunes_the_model_that_it_names(compose_config: Compose, experiment: str) -> None:
    model = compose_config(f"experiment={experiment}", "model=gemma3_270m").model
    assert (model.name, model.path, model.bos) == ("gemma3_270m", "google/gemma-3-270m", Bos.chunk)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes(compose_config: Compose, option: str) -> None:
    group, name = option.split("/")
    config = compose_config(f"{group}={name}", *NEEDED.get(name, []))
    if group not in ("experiment", "sparsity"):
        assert getattr(config, group).name == ("somewhere" if name == "hf" else name)


def test_the_shipped_options_are_all_there() -> None:
    assert options("model") == MODELS
    assert options("calib") == {*DATASETS, *LANGUAGE_SETS, "file"}
    assert options("prompt") == {style.value for style in PromptStyle}
    methods = {"dense", "magnitude", "wanda", "ria", "nowag", "sparsegpt", "alps", "admm", "dsnot", "swaps", "random"}
    assert options("method") == methods
    assert options("sparsity") == {"unstructured", "2to4", "4to8", "nm", "blocks", "experts"}
    assert options("data") == {"sample", "hub", "local"}
    assert len(OPTIONS) == sum(1 for _ in Path(CONFIG_DIR).rglob("*.yaml")) - 1  # config.yaml itself


def test_defaults_are_the_ones_of_the_readme(compose_config: Compose) -> None:
    config = compose_config()
    assert (config.model.name, config.calib.name, config.data.name.value) == ("tiny", "c4", "sample")
    assert config.prompt.name is PromptStyle.icl and config.prompt.bos.value == "sequence"
    assert config.method == WandaConfig(variant=False)
    assert config.sparsity == UnstructuredConfig(ratio=0.5)
    assert config.calib.num_samples == 128
    assert config.calib.seq_len == config.eval.seq_len == config.model.seq_len == 256


def test_seq_len_follows_the_model(compose_config: Compose) -> None:
    assert compose_config("model=llama2_7b").calib.seq_len == 2048
    assert compose_config("model=llama2_7b", "model.seq_len=4096").eval.seq_len == 4096
    assert compose_config("calib.seq_len=64").eval.seq_len == 256


def test_knobs_reach_their_schema(compose_config: Compose) -> None:
    config = compose_config("method=sparsegpt", "method.damping=0.1", "method.block_size=64", "sparsity=4to8")
    assert config.method == SparseGPTConfig(damping=0.1, block_size=64)
    assert config.sparsity == NMConfig(n=4, m=8)
    assert compose_config("method=magnitude").method == MagnitudeConfig()
    assert compose_config("method=wanda", "method.variant=true").method == WandaConfig(variant=True)
    assert compose_config("method=ria", "method.power=1").method == RIAConfig(power=1.0)
    assert compose_config("method=swaps", "method.start=ria").method == SwapsConfig(start=Start.ria)
    assert compose_config("method=dsnot", "method.same_sign=true").method == DSnoTConfig(same_sign=True)


@pytest.mark.parametrize("value", ["-1", "inf", "nan"])
def test_impossible_powers(compose_config: Compose, value: str) -> None:
    with pytest.raises(UserError, match=rf"method\.power={value}"):
        compose_config("method=ria", f"method.power={value}")


@pytest.mark.parametrize(
    "override",
    [
        *("sparsity.owl_m=0", "sparsity.owl_lambda=1", "sparsity.owl_lambda=-1", "sparsity.alpha_epsilon=1"),
        *("sparsity.ratio=1.5", "sparsity.ratio=0", "sparsity.ratio=1", "sparsity.ratio=-1"),
        *("model.device_map=cpu", "model.device_map=disk"),
        *("calib.num_samples=0", "calib.seq_len=1", "calib.seed=-1"),
        *("prompt.num_shots=0", "prompt.num_cot_steps=0"),
        *("eval.limit=0", "eval.batch_size=0", "eval.num_chunks=0", "eval.num_fewshot=-1", "batch_size=0"),
    ],
)
def test_impossible_values_name_their_path(compose_config: Compose, override: str) -> None:
    with pytest.raises(UserError, match=override.replace(".", r"\.")):
        compose_config(override)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 2), (0, 4), (-1, 4)])
def test_impossible_patterns(compose_config: Compose, n: int, m: int) -> None:
    with pytest.raises(UserError, match="0 < n < m"):
        compose_config("sparsity=nm", f"sparsity.n={n}", f"sparsity.m={m}")


@pytest.mark.parametrize("override", ["sparsity.ratio=half", "calib.num_samples=x", "model.dtype=f32", "prompt.bos=twice"])
def test_wrong_types_fail_at_composition(compose_config: Compose, override: str) -> None:
    with pytest.raises(Exception) as caught:
        compose_config(override)
    assert isinstance(caught.value.__cause__ or caught.value, OmegaConfBaseException)


def test_ratios_by_name_come_from_the_line_or_from_a_file(compose_config: Compose, tmp_path: Path) -> None:
    file = tmp_path / "ratios.yaml"
    file.write_text("'0.*': 0.25\n'*.mlp.*': 0.75\n")
    from_line = compose_config("sparsity.ratios={0.*:0.25,*.mlp.*:0.75}").sparsity
    from_file = compose_config(f"sparsity.ratios={file}").sparsity
    assert from_line == from_file == UnstructuredConfig(ratios={"0.*": 0.25, "*.mlp.*": 0.75})
    assert isinstance(from_file, UnstructuredConfig) and list(from_file.ratios) == ["0.*", "*.mlp.*"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1.5", r"a: 1\.5 is not possible: a ratio must lie between 0 and 1, both excluded \(method\.skip"),
        ("a: 0", "a: 0 is not possible"),
        ("a: true", "a: True is not possible"),
        ("a: half", "a: half is not possible"),
        ("- 0.5", "it must map patterns of names to ratios"),
        ("", "it must map patterns of names to ratios"),
        ("a: [", "is not YAML"),
    ],
)
def test_ratios_that_are_impossible(compose_config: Compose, tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "ratios.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        compose_config(f"sparsity.ratios={file}")


def test_ratios_of_a_file_that_is_not_there(compose_config: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sparsity\.ratios=.*nowhere\.yaml cannot be read"):
        compose_config(f"sparsity.ratios={tmp_path}/nowhere.yaml")


def test_ratios_by_name_and_by_outliers_exclude_each_other(compose_config: Compose) -> None:
    with pytest.raises(UserError, match=r"sparsity\.ratios and sparsity\.allocation=owl both"):
        compose_config("sparsity.allocation=owl", "sparsity.ratios={0.*:0.5}")


def test_a_model_is_either_offloaded_or_spread(compose_config: Compose) -> None:
    assert compose_config("model.device_map=balanced").model.device_map == "balanced"
    with pytest.raises(UserError, match=r"model\.offload=true and model\.device_map=auto do not go together.*one of them"):
        compose_config("model.offload=true", "model.device_map=auto")


def test_values_that_need_a_companion() -> None:
    with pytest.raises(UserError, match=r"model\.path"):
        ModelConfig(name="hf")


def test_the_suites_name_what_they_say(compose_config: Compose) -> None:
    assert options("eval") == {"quick", "perplexity", "study", "zero_shot", "small", "all"}
    held_out = [name for name, dataset in DATASETS.items() if isinstance(dataset, TextSet)]
    assert sorted(compose_config("eval=perplexity").eval.perplexity) == sorted(held_out)
    assert compose_config("eval=zero_shot").eval.lm_eval_tasks == list(ZERO_SHOT)
    everything = compose_config("eval=all").eval
    assert sorted(everything.perplexity) == sorted(held_out)
    assert sorted(everything.tasks) == sorted(name for name, each in DATASETS.items() if as_questions(each))
    assert set(everything.lm_eval_tasks) > set(ZERO_SHOT)
    assert set(everything.protocols) == set(EvalProtocol)
