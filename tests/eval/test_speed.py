"""Speeds: what identifies them, how they are timed, that they stay apart from quality, and 2:4 on sparse kernels."""

import json
import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_models import make_llama

from prune.cell.cell import Cell, make_cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.errors import UserError
from prune.eval.engine import speed
from prune.eval.engine.speed import Lengths, Speed, cpu_name, had_device, measure_speeds, time_generation
from prune.eval.metric import Metric, are_comparable
from prune.eval.metrics.speed import NUM_GENERATIONS, SpeedSettings
from prune.eval.plan import plan_metrics
from prune.eval.subject import Subject
from prune.models.blocks import named_linears, weights_sha256
from prune.models.device_lock import device_alone, shared_device
from prune.models.semi_structured import is_2_of_4, linears_2_of_4, semi_structured, why_not
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.sparsity import NM
from prune.report.build import build_report
from prune.sweep.launchers.prepare import list_things
from tests.conftest import Compose

DATA = DataConfig(name=DataSource.sample)
SHORT = ("eval.speed=true", "eval.speed_prompt=8", "eval.speed_new=4")
SMALL = ("calib.num_samples=2", "calib.seq_len=32", "eval.perplexity=[c4]", "eval.num_chunks=1", "eval.seq_len=32")
SMALL += ("eval.tasks=[]", "tracker=none", "device=cpu")
LENGTHS = Lengths(batch=2, prompt=6, new=4)


class Watcher:
    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for locks of this test alone, and no look at how busy the machine is."""
    monkeypatch.setattr(speed, "LEAST_SHARE", 0.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def settings(**changes: Any) -> SpeedSettings:
    return SpeedSettings(**{"batch": 2, "prompt_tokens": 6, "new_tokens": 4, "device": None} | changes)


def small_model(vocab_size: int = 64) -> Any:
    return make_llama(vocab_size)


# --- what is timed ---


def test_the_rates_are_tokens_over_the_median() -> None:
    found = Speed(LENGTHS, prefill_s=[1.0, 2.0, 30.0], decode_s=[0.5, 9.0, 3.0])
    assert found.prefill == 2 * 6 / 2.0
    assert found.decode == 2 * 3 / 3.0, "the first token came with the prompt"


def test_each_token_is_one_pass_and_the_first_generation_is_not_counted() -> None:
    model, widths = small_model(), []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    model.generation_config.eos_token_id = list(range(64))  # whatever is written would end the text
    own = model.generation_config
    found = time_generation(model, LENGTHS, 2)
    assert widths == [(2, 6), (2, 1), (2, 1), (2, 1)] * 3
    assert len(found.prefill_s) == len(found.decode_s) == 2 and min(*found.prefill_s, *found.decode_s) > 0
    assert model.generation_config is own


def test_a_window_that_is_too_short_and_a_model_that_writes_nothing_are_named() -> None:
    with pytest.raises(UserError, match=r"speed/decode: eval.speed_prompt=510 and eval.speed_new=4 do not fit .* 512"):
        measure_speeds(small_model(), Lengths(1, 510, 4), 1, "speed/decode")
    with pytest.raises(UserError, match="LlamaModel writes no text"):
        measure_speeds(small_model().model, LENGTHS, 1, "speed/decode")


# --- identity ---


def planned(**changes: Any) -> Any:
    (one,) = plan_metrics(EvalConfig(name="q", seq_len=32, **{"speed": True} | changes), DATA)
    return one


def test_batch_lengths_and_the_asked_device_identify_a_speed() -> None:
    assert not plan_metrics(EvalConfig(name="q", seq_len=32), DATA)
    changes: list[dict[str, Any]] = [
        {},
        {"speed_batch": 4},
        {"speed_prompt": 64},
        {"speed_new": 8},
        {"speed_device": "H100"},
    ]
    assert len({json.dumps(planned(**each).asked, sort_keys=True) for each in changes}) == len(changes)
    assert planned().name == "speed/decode" and planned(batch_size=99).asked == planned().asked


@pytest.mark.parametrize("wrong", [{"speed_batch": 0}, {"speed_prompt": 0}, {"speed_new": 1}])
def test_lengths_without_meaning_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"eval.{next(iter(wrong))}"):
        EvalConfig(name="q", **wrong)


def measured(model: Any = None, **changes: Any) -> dict[str, Metric]:
    found = settings(**changes).measure(Subject(model or small_model(), None, 1), None)  # type: ignore[arg-type]
    assert len(found.items) == NUM_GENERATIONS and found.metric.num_items == NUM_GENERATIONS
    return {"speed/decode": found.metric, **found.beside}


def test_where_it_ran_is_in_the_protocol_and_other_places_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with shared_device("cpu"):
        here = measured()["speed/decode"]
    told = {"device_name": cpu_name(), "threads": torch.get_num_threads(), "weights": "float32", "offload": False}
    assert told.items() <= here.protocol.items() and (here.protocol["batch"], here.protocol["prompt_tokens"]) == (2, 6)
    assert here.higher_is_better and here.unit == "tokens a second" and here.items is None
    for key, other in {"device_name": "NVIDIA H100", "threads": 99, "weights": "bfloat16", "batch": 7}.items():
        there = replace(here, protocol={**here.protocol, key: other})
        assert not are_comparable(here.to_dict(), there.to_dict()), key
    assert are_comparable(here.to_dict(), replace(here, value=1.0).to_dict())


def test_a_device_that_was_not_asked_for_is_named() -> None:
    with pytest.raises(UserError, match=r"eval\.speed_device=H900, but this runs on"):
        measured(device="H900")
    assert measured(device=cpu_name()[:4].lower())


# --- 2:4 ---


def test_2_of_4_by_hand() -> None:
    weight_OI = torch.tensor([[1.0, 0, 0, 2, 0, 0, 0, 5], [0, 3, 4, 0, 1, 1, 0, 0]])
    assert is_2_of_4(weight_OI) and not is_2_of_4(weight_OI[:, :6])
    weight_OI[0, 1] = 9
    assert not is_2_of_4(weight_OI)


def pruned_to_2_of_4() -> Any:
    model = small_model()
    prune_model(model, None, Magnitude(), NM(2, 4))
    return model


def test_a_2_of_4_model_says_why_no_sparse_kernel_was_timed() -> None:
    assert not linears_2_of_4(small_model()) and "semi_structured" not in measured()["speed/decode"].protocol
    model = pruned_to_2_of_4()
    assert linears_2_of_4(model).keys() == named_linears(model).keys()
    with shared_device("cpu"):
        found, dense = measured(model), measured()
    assert found.keys() == {"speed/decode", "speed/prefill"}
    assert found["speed/decode"].protocol["semi_structured"] == (
        "not measured: they run on NVIDIA GPUs alone, and this is a cpu"
    )
    assert are_comparable(found["speed/decode"].to_dict(), dense["speed/decode"].to_dict())


@pytest.mark.parametrize(
    ("capability", "dtype", "reason"),
    [((7, 5), torch.float16, "8.0"), ((9, 0), torch.float32, "float32"), ((9, 0), torch.bfloat16, None)],
)
def test_what_keeps_a_gpu_from_sparse_kernels(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype, reason: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    model = SimpleNamespace(device=torch.device("cuda"), dtype=dtype, modules=list)
    said = why_not(model)
    assert said is None if reason is None else said is not None and reason in said


def test_sparse_kernels_are_timed_beside_and_the_weights_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's format needs a GPU: here a stand-in takes its place."""
    model, converted = pruned_to_2_of_4(), []
    monkeypatch.setattr(speed, "why_not", lambda model: None)
    monkeypatch.setattr("torch.sparse.to_sparse_semi_structured", lambda weight: (converted.append(1), weight.clone())[1])
    before, held = weights_sha256(model), {name: linear.weight for name, linear in linears_2_of_4(model).items()}
    found = measured(model)
    assert found.keys() == {"speed/decode", "speed/prefill", "speed/decode_2to4", "speed/prefill_2to4"}
    assert found["speed/decode_2to4"].protocol["kernels"] == "semi-structured" and len(converted) == len(held)
    assert weights_sha256(model) == before and all(linears_2_of_4(model)[name].weight is held[name] for name in held)
    with pytest.raises(ZeroDivisionError), semi_structured(linears_2_of_4(model)):
        raise ZeroDivisionError
    assert all(linears_2_of_4(model)[name].weight is held[name] for name in held)


def test_a_kernel_that_pytorch_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(weight: Any) -> None:
        raise RuntimeError("Error original_tensor.shape torch.Size([8, 8]) is not supported!\nmore")

    monkeypatch.setattr(speed, "why_not", lambda model: None)
    monkeypatch.setattr("torch.sparse.to_sparse_semi_structured", refuse)
    said = measured(pruned_to_2_of_4())["speed/decode"].protocol["semi_structured"]
    assert said == "not measured: Error original_tensor.shape torch.Size([8, 8]) is not supported!"


# --- alone on the device ---


def work_beside(folder: str, begun: Any, end: Any) -> None:
    import tempfile

    tempfile.tempdir = folder
    with shared_device("cpu"):
        begun.set()
        end.wait()


def test_a_speed_waits_for_cells_on_its_device_and_cells_wait_for_it(temporary: Path) -> None:
    context = multiprocessing.get_context("fork")
    begun, end = context.Event(), context.Event()
    other = context.Process(target=work_beside, args=(str(temporary), begun, end))
    other.start()
    begun.wait()
    seen: list[bool] = []

    def measure() -> None:
        with shared_device("cpu"), device_alone("cpu") as alone:
            seen.append(alone)

    waiting = threading.Thread(target=measure)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive() and not seen
    end.set()
    waiting.join()
    other.join()
    assert seen == [True]


def test_a_speed_says_that_it_waits_and_goes_on_beside_cells_that_do_not_end(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("prune.models.device_lock.LONGEST_WAIT_S", 0.5)
    context = multiprocessing.get_context("fork")
    begun, end = context.Event(), context.Event()
    other = context.Process(target=work_beside, args=(str(temporary), begun, end))
    other.start()
    begun.wait()
    with caplog.at_level(logging.INFO, "prune"), shared_device("cpu"), device_alone("cpu") as alone:
        assert not alone
    end.set()
    other.join()
    assert [record.message.partition(" ")[0] for record in caplog.records] == ["waits", "other"]


def test_without_a_lock_nothing_waits_and_the_protocol_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with shared_device("cpu"), device_alone("cpu") as alone:
        assert not alone
    assert measured()["speed/decode"].protocol["alone"] is False


def test_other_work_on_the_device_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "LEAST_SHARE", 0.9)
    cpu, gpu, gib = torch.device("cpu"), torch.device("cuda"), 2**30
    assert had_device(cpu, wall_s=2.0, processor_s=1.9) and not had_device(cpu, wall_s=2.0, processor_s=1.0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100 * gib, 140 * gib))
    for reserved, quiet in ((39 * gib, True), (30 * gib, False)):
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device, reserved=reserved: reserved)
        assert had_device(gpu, 1.0, 1.0) is quiet


def test_a_speed_beside_other_work_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "had_device", lambda *_: False)
    with shared_device("cpu"):
        busy = measured()["speed/decode"].to_dict()
    assert busy["protocol"]["alone"] is False and not are_comparable(busy, busy)


# --- cells and pages ---


@pytest.fixture(scope="module")
def resources() -> Resources:
    return Resources()


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speed")


Line = Callable[..., Cell]


@pytest.fixture
def line(compose_config: Compose, module_folder: Path) -> Line:
    return lambda *overrides: make_cell(compose_config(*SMALL, f"output_dir={module_folder}", *overrides))


def test_a_dense_and_two_pruned_cells_have_speeds_that_stay_apart(line: Line, resources: Resources) -> None:
    points = [["method=dense"], ["calib=c4"], ["calib=pile", "sparsity=2to4"]]
    cells = [line(*point, *SHORT) for point in points]
    assert [cell.id for cell in cells] == [line(*point).id for point in points], "a speed is no part of a cell's id"
    dense, half, nm = (run_cell(cell, resources, Watcher()) for cell in cells)
    for result in (dense, half, nm):
        metrics = result["metrics"]
        assert metrics.keys() == {"ppl/c4", "speed/decode", "speed/prefill"} and not result["overlap"].get("speed/decode")
        assert metrics["speed/decode"]["value"] > 0 and metrics["speed/decode"]["protocol"]["alone"] is True
    assert "semi_structured" in nm["metrics"]["speed/decode"]["protocol"]
    report = build_report(Path(cells[0].config.output_dir))
    assert [metric.name for metric in report.metrics] == ["ppl/c4"] and len(report.rows.metrics) == 1
    assert {verdict.metric for verdict in report.verdicts} <= {0}
    assert all(answer.kind == "ppl" for question in report.questions for answer in question.answers)
    speeds = {speed.id: speed for speed in report.speeds}
    assert speeds.keys() == {cell.id for cell in cells}
    ratio = half["metrics"]["speed/decode"]["value"] / dense["metrics"]["speed/decode"]["value"]
    assert speeds[cells[1].id].to_dense["decode"] == pytest.approx(ratio) and not speeds[cells[0].id].to_dense
    assert "not measured" in speeds[cells[2].id].note and cpu_name() in speeds[cells[0].id].device


def test_speeds_of_two_places_make_one_page_without_a_ratio(line: Line, resources: Resources, tmp_path: Path) -> None:
    with moved(resources, "NVIDIA Nowhere"):
        run_cell(line("calib=gsm8k", *SHORT), resources, Watcher())
    run_cell(line("method=dense", *SHORT), resources, Watcher())
    report = build_report(Path(line().config.output_dir))
    there = next(speed for speed in report.speeds if "NVIDIA Nowhere" in speed.device)
    assert there.speeds["decode"] > 0 and not there.to_dense


@contextmanager
def moved(resources: Resources, name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "cpu_name", lambda: name)
        yield


def test_nothing_is_prepared_for_a_speed(line: Line, resources: Resources) -> None:
    things = list_things([line("method=dense", *SHORT)], resources)
    assert not [thing.name for thing in things if "speed" in thing.name]
