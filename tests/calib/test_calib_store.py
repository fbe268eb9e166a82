import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from calib_fakes import LOCAL, MODEL, FakeSource, calib, calibration_id, gsm8k_rows, make_tokenizer, prompt, text_rows
from safetensors.torch import load_file

from prune.calib.calibration_set import CalibrationSet
from prune.calib.questions import short_of_shots
from prune.calib.recipe import Recipe
from prune.calib.store import load, load_or_build
from prune.config.calib import CalibConfig, Compat, PaddingSide, PromptBos, PromptConfig
from prune.config.data import DataConfig, DataSource
from prune.data.dataset import Example
from prune.data.sets.gsm8k import DATASET as GSM8K
from prune.errors import NotApplicableError, UserError
from prune.files import checksum, write_checked_json
from prune.process import own_tag

TOKENIZER = make_tokenizer(bos=True)


def make_source() -> FakeSource:
    lines = [{"text": row["text"] if index % 2 else ""} for index, row in enumerate(text_rows(900, max_words=12))]
    return FakeSource(gsm8k=gsm8k_rows(300), c4=text_rows(200), wikitext2=lines)


def make(
    tmp_path: Path, config: CalibConfig, asked: PromptConfig | None = None, source: Any = None, **kwargs: Any
) -> CalibrationSet:
    tokenizer = kwargs.get("tokenizer", TOKENIZER)
    return load_or_build(Recipe(config, asked or prompt(), LOCAL, MODEL), source or make_source(), tokenizer, tmp_path)


def plain(text: str) -> list[int]:
    return [int(token) for token in TOKENIZER(text, add_special_tokens=False)["input_ids"]]


def pair(row: int, *, rationale: bool = False) -> str:
    example: Example = GSM8K.example(gsm8k_rows(300)[row])
    return example.pair(rationale=rationale)


def test_icl_fills_every_sequence_and_its_row_ids_give_the_text_again(tmp_path: Path) -> None:
    made = make(tmp_path, calib())
    assert made.tokens_NL.shape == made.real_NL.shape == (6, 64)
    assert (made.tokens_NL.dtype, made.real_NL.dtype) == (torch.int64, torch.bool)
    assert made.real_NL.all()
    assert torch.equal(made.weights_NL, torch.ones(6, 64))
    for tokens_L, sequence in zip(made.tokens_NL.tolist(), made.manifest["sequences"], strict=True):
        text = "\n\n".join(pair(row) for row in sequence["rows"])
        assert tokens_L == [0, *plain(text)][:64]
        assert len([0, *plain("\n\n".join(pair(row) for row in sequence["rows"][:-1]))]) < 64
    rows = [row for sequence in made.manifest["sequences"] for row in sequence["rows"]]
    assert len(rows) == len(set(rows)) == made.manifest["num_pieces"]


def test_cot_has_the_rationale(tmp_path: Path) -> None:
    made = make(tmp_path, calib(), prompt("cot", num_cot_steps=3))
    for tokens_L, sequence in zip(made.tokens_NL.tolist(), made.manifest["sequences"], strict=True):
        assert all(row % 4 == 2 for row in sequence["rows"]), "these rows have three steps"
        assert tokens_L == [0, *plain("\n\n".join(pair(row, rationale=True) for row in sequence["rows"]))][:64]


@pytest.mark.parametrize("side", list(PaddingSide))
def test_num_shots_then_padding(tmp_path: Path, side: PaddingSide) -> None:
    made = make(tmp_path, calib(seq_len=200), prompt(num_shots=2, padding_side=side))
    assert all(len(sequence["rows"]) == 2 for sequence in made.manifest["sequences"])
    for tokens_L, real_L, sequence in zip(made.tokens_NL, made.real_NL, made.manifest["sequences"], strict=True):
        real = [0, *plain("\n\n".join(pair(row) for row in sequence["rows"]))]
        padding = [2] * (200 - len(real))
        assert padding, "the rows are short enough"
        assert tokens_L.tolist() == (padding + real if side is PaddingSide.left else real + padding)
        assert tokens_L[real_L].tolist() == real
        assert sequence["num_real_tokens"] == len(real)
    assert made.manifest["num_real_tokens"] == int(made.real_NL.sum()) < made.manifest["num_tokens"] == 1200
    assert (made.manifest["num_cut"], made.manifest["num_short"]) == (0, 0)


def test_shots_that_do_not_fit_are_cut_and_counted(tmp_path: Path) -> None:
    made = make(tmp_path, calib(seq_len=64), prompt(num_shots=25))
    assert made.real_NL.all()
    assert made.manifest["num_short"] == 6
    assert 5 <= made.manifest["num_cut"] <= 6
    told = "prompt.num_shots=25: 6 of 6 sequences of 64 tokens have room for fewer"
    assert str(short_of_shots(made.manifest)).startswith(told)


@pytest.mark.parametrize(("style", "shots"), [("icl", None), ("single", None), ("icl", 1)])
def test_no_shot_is_missing_where_none_was_asked_or_all_fit(tmp_path: Path, style: str, shots: int | None) -> None:
    made = make(tmp_path, calib(seq_len=200), prompt(style, num_shots=shots))
    assert short_of_shots(made.manifest) is None


def test_single_and_zero_shot_hold_one_row(tmp_path: Path) -> None:
    single = make(tmp_path, calib(seq_len=200), prompt("single"))
    zero = make(tmp_path, calib(seq_len=200), prompt("zero_shot"))
    assert [one["rows"] for one in single.manifest["sequences"]] == [one["rows"] for one in zero.manifest["sequences"]]
    for sample, sequence in enumerate(single.manifest["sequences"]):
        (row,) = sequence["rows"]
        question = GSM8K.example(gsm8k_rows(300)[row]).question
        assert single.tokens_NL[sample][single.real_NL[sample]].tolist() == [0, *plain(pair(row))]
        assert zero.tokens_NL[sample][zero.real_NL[sample]].tolist() == [0, *plain(question)]
    cut = make(tmp_path, calib(seq_len=12), prompt("single"))
    assert cut.real_NL.all() and cut.manifest["num_cut"] == 6


def test_text_windows_can_be_cut_again_from_the_manifest(tmp_path: Path) -> None:
    made = make(tmp_path, calib("c4"))
    assert made.manifest["prompt"] is None
    assert made.real_NL.all()
    for tokens_L, sequence in zip(made.tokens_NL.tolist(), made.manifest["sequences"], strict=True):
        (row,) = sequence["rows"]
        ids = plain(text_rows(200)[row]["text"])
        assert len(ids) > 64
        assert tokens_L == [0, *ids[sequence["offset"] : sequence["offset"] + 63]]
    lines = make(tmp_path, calib("wikitext2"))
    assert all(len(sequence["rows"]) > 1 for sequence in lines.manifest["sequences"])


def test_controls_read_no_rows(tmp_path: Path) -> None:
    source = make_source()
    made = [make(tmp_path, calib(name), source=source) for name in ("random", "ellipses")]
    assert source.num_reads == 0
    assert all(one.real_NL.all() and one.tokens_NL.shape == (6, 64) for one in made)
    assert made[0].manifest["data"]["source"] is None
    assert set(TOKENIZER.decode(made[1].tokens_NL[0, 1:])) == {"."}


def test_bos_policies(tmp_path: Path) -> None:
    def first_tokens(config: CalibConfig, asked: PromptConfig) -> tuple[CalibrationSet, int]:
        made = make(tmp_path, config, asked)
        return made, int((made.tokens_NL == 0).sum())

    made, num_bos = first_tokens(calib(), prompt())
    assert num_bos == 6 and made.manifest["bos"] == {"id": 0, "in_every": "sequence"}
    made, num_bos = first_tokens(calib(), prompt(bos=PromptBos.none))
    assert num_bos == 0 and made.manifest["bos"] == {"id": None, "in_every": None}
    made, num_bos = first_tokens(calib(compat=Compat.study), prompt())
    assert num_bos >= made.manifest["num_pieces"] - 6 > 6
    assert made.manifest["bos"]["in_every"] == "pair"
    assert torch.equal(made.weights_NL, torch.ones(6, 64))


def test_study_keeps_the_mask_honest(tmp_path: Path) -> None:
    made = make(tmp_path, calib(seq_len=200, compat=Compat.study), prompt("single"))
    assert made.attended().all() and torch.equal(made.weights_NL, torch.ones(6, 200))
    assert 0 < int(made.real_NL.sum()) < made.real_NL.numel()


def test_a_tokenizer_without_the_habit_has_no_bos(tmp_path: Path) -> None:
    made = make(tmp_path, calib(), tokenizer=make_tokenizer(bos=False))
    assert made.manifest["bos"]["id"] is None
    assert not (made.tokens_NL == 0).any()


def test_the_manifest_tells_where_all_came_from(tmp_path: Path) -> None:
    made = make(tmp_path, calib(), prompt())
    manifest = json.loads((tmp_path / "calib" / made.id / "manifest.json").read_text())
    assert manifest.pop("sha256") == checksum(manifest)
    assert manifest == made.manifest
    assert made.id == calibration_id(calib(), prompt(), LOCAL, MODEL) == manifest["id"]
    stored = load_file(tmp_path / "calib" / made.id / "tokens.safetensors")
    digest = hashlib.sha256(stored["tokens_NL"].numpy().tobytes() + stored["real_NL"].numpy().tobytes())
    assert manifest["tokens_sha256"] == digest.hexdigest()
    assert manifest["token_weights_sha256"] == hashlib.sha256(stored["weights_NL"].numpy().tobytes()).hexdigest()
    assert manifest["schema"] == 3
    assert manifest["name"] == "gsm8k" and manifest["num_rows"] == 300 and manifest["seed"] == 0
    assert manifest["num_tokens"] == manifest["num_real_tokens"] == 6 * 64
    assert manifest["prompt"]["name"] == "icl" and manifest["prompt"]["separator"] == "\n\n"
    assert manifest["data"]["split"] == "train" and manifest["data"]["research_data"] is False
    assert "not the research data" in manifest["data"]["note"]
    assert len(manifest["tokenizer"]["sha256"]) == 64
    assert manifest["pad_id"] == 2
    assert manifest["versions"]["transformers"]


def test_hub_and_local_sets_say_so(tmp_path: Path) -> None:
    hub, local = DataConfig(name=DataSource.hub), DataConfig(name=DataSource.local, root=str(tmp_path))
    recipes = [Recipe(calib(), prompt(), data, MODEL) for data in (hub, local)]
    made = [load_or_build(recipe, make_source(), TOKENIZER, tmp_path) for recipe in recipes]
    described = [one.manifest["data"] for one in made]
    assert GSM8K.hub is not None
    assert described[0]["hub"] == {"path": GSM8K.hub.path, "config": "main", "revision": GSM8K.hub.revision}
    assert described[1]["root"] == str(tmp_path.resolve())
    assert all(one["research_data"] for one in described)


def test_a_stored_set_is_reused_byte_for_byte_without_reading_rows(tmp_path: Path) -> None:
    source = make_source()
    first = make(tmp_path, calib(), source=source)
    files = sorted((tmp_path / "calib" / first.id).iterdir())
    before = [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    num_reads = source.num_reads
    second = make(tmp_path, calib(), source=source)
    assert source.num_reads == num_reads > 0
    assert [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in files] == before
    assert torch.equal(first.tokens_NL, second.tokens_NL) and torch.equal(first.real_NL, second.real_NL)
    assert [path.name for path in (tmp_path / "calib").iterdir()] == [first.id], "no draft is left"


def test_two_builds_write_the_same_bytes_and_other_seeds_draw_other_rows(tmp_path: Path) -> None:
    for name in ("gsm8k", "c4", "random"):
        made = [make(tmp_path / place, calib(name)) for place in ("a", "b")]
        for file in ("tokens.safetensors", "manifest.json"):
            contents = {(tmp_path / place / "calib" / made[0].id / file).read_bytes() for place in ("a", "b")}
            assert len(contents) == 1
        other = make(tmp_path, calib(name, seed=1))
        assert not torch.equal(other.tokens_NL, made[0].tokens_NL)


def test_the_draw_does_not_depend_on_pythons_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from test_calib_store import make, calib, prompt; "
        "names = 'gsm8k', 'c4', 'random'; "
        "print(*[make(Path(sys.argv[1]), calib(name), prompt('cot')).manifest['tokens_sha256'] for name in names])"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "123"}
    command = [sys.executable, "-c", code, str(tmp_path / "other")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    here = [make(tmp_path, calib(name), prompt("cot")).manifest["tokens_sha256"] for name in ("gsm8k", "c4", "random")]
    assert run.stdout.split() == here


RACE = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from prune.calib.calibration_set import CalibrationSet
from prune.calib.manifest import tensors_sha256
from prune.calib.store import load, save
tokens_NL = torch.arange(4000).reshape(8, 500)
made = CalibrationSet.of_tokens(tokens_NL)
hashes = {"tokens_sha256": tensors_sha256(tokens_NL, made.real_NL), "token_weights_sha256": tensors_sha256(made.weights_NL)}
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    folder = Path(sys.argv[1]) / "calib" / str(number)
    save(folder, replace(made, manifest={"schema": 3, "id": str(number), **hashes}))
    assert torch.equal(load(folder).tokens_NL, tokens_NL)
"""


def test_two_processes_at_once_both_have_the_whole_set(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert {path.name for path in (tmp_path / "calib").iterdir()} == {str(number) for number in range(60)}


def test_a_set_that_appears_while_ours_is_built_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prune.calib import store

    first = make(tmp_path, calib())
    before = (tmp_path / "calib" / first.id / "manifest.json").stat().st_mtime_ns
    store.save(tmp_path / "calib" / first.id, replace(first, manifest={"id": "ours"}))
    assert (tmp_path / "calib" / first.id / "manifest.json").stat().st_mtime_ns == before
    assert len(list((tmp_path / "calib").iterdir())) == 1


def test_the_draft_of_a_killed_process_goes_with_the_next_set(tmp_path: Path) -> None:
    machine, boot, pid, started = own_tag().split("-")
    dead, living = (f".set.{machine}-{boot}-{pid}-{ticks}.0123abcd.draft" for ticks in (1, started))
    for name in (dead, living):
        (tmp_path / "calib" / name).mkdir(parents=True)
        (tmp_path / "calib" / name / "tokens.safetensors").write_text("half")
    made = make(tmp_path, calib())
    assert {path.name for path in (tmp_path / "calib").iterdir()} == {made.id, living}


def test_a_draft_that_was_left_behind_does_no_harm(tmp_path: Path) -> None:
    set_id = calibration_id(calib(), prompt(), LOCAL, MODEL)
    (tmp_path / "calib" / f".{set_id}.dead").mkdir(parents=True)
    assert make(tmp_path, calib()).real_NL.all()


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "damaged"),
        (lambda folder: write_checked_json(folder / "manifest.json", {"schema": 3, "id": "x"}), "does not belong"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "its sha256 does not fit"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not a JSON object"),
        (lambda folder: change_manifest(folder, "num_tokens", 7), "its sha256 does not fit"),
        (lambda folder: change_manifest(folder, "tokenizer", {}), "its sha256 does not fit"),
    ],
)
def test_a_damaged_set_is_told_and_never_built_anew(tmp_path: Path, harm: Any, what: str) -> None:
    made = make(tmp_path, calib())
    folder = tmp_path / "calib" / made.id
    harm(folder)
    with pytest.raises(UserError, match=what) as caught:
        make(tmp_path, calib())
    assert str(folder) in str(caught.value) and str(caught.value).count("Remove") == 1
    assert "Remove the folder" in str(caught.value)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (flip_byte, "sha256 differs"),
        (lambda tokens: tokens.write_bytes(b"short"), "cannot be read"),
        (lambda tokens: tokens.write_bytes(b""), "cannot be read"),
    ],
)
def test_damaged_tokens_are_told_and_made_again_once_they_are_removed(tmp_path: Path, harm: Any, what: str) -> None:
    made = make(tmp_path, calib())
    tokens = tmp_path / "calib" / made.id / "tokens.safetensors"
    whole = tokens.read_bytes()
    harm(tokens)
    with pytest.raises(UserError, match=what) as caught:
        make(tmp_path, calib())
    assert f"Remove {tokens.name} there" in str(caught.value)
    tokens.unlink()
    assert torch.equal(make(tmp_path, calib()).tokens_NL, made.tokens_NL)
    assert tokens.read_bytes() == whole


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (calib(), prompt(num_shots=2)),
        (calib("c4"), None),
        (calib("random"), None),
        (calib("mix", num_samples=6, parts={"c4": 0.5, "gsm8k": 0.5}), None),
        (calib("c4", reverse=True), None),
    ],
)
def test_a_set_that_lies_without_its_tokens_gets_the_same_again(
    tmp_path: Path, config: CalibConfig, asked: PromptConfig | None
) -> None:
    made = make(tmp_path, config, asked)
    folder = tmp_path / "calib" / made.id
    manifest = (folder / "manifest.json").read_bytes()
    (tmp_path / "archive").mkdir()
    shutil.move(folder, tmp_path / "archive" / made.id)
    shutil.rmtree(tmp_path / "calib")
    shutil.move(tmp_path / "archive" / made.id, folder)
    (folder / "tokens.safetensors").unlink()
    with pytest.raises(UserError, match="lies there without its tokens"):
        load(folder)
    again = make(tmp_path, config, asked)
    assert torch.equal(again.tokens_NL, made.tokens_NL) and torch.equal(again.weights_NL, made.weights_NL)
    assert (folder / "manifest.json").read_bytes() == manifest


def test_a_manifest_takes_no_other_tokens(tmp_path: Path) -> None:
    made = make(tmp_path, calib())
    folder = tmp_path / "calib" / made.id
    (folder / "tokens.safetensors").unlink()
    write_checked_json(folder / "manifest.json", {**made.manifest, "tokens_sha256": "0" * 64})
    with pytest.raises(UserError, match=r"It was made with prune 0.*transformers .*; here are prune") as caught:
        make(tmp_path, calib())
    assert "are others" in str(caught.value) and "output_dir" in str(caught.value)
    assert not (folder / "tokens.safetensors").exists()


def change_manifest(folder: Path, key: str, value: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


def test_another_tokenizer_under_the_same_name_is_told(tmp_path: Path) -> None:
    make(tmp_path, calib())
    with pytest.raises(UserError, match="made with another tokenizer than that of model=tiny"):
        make(tmp_path, calib(), tokenizer=make_tokenizer(bos=True, vocab_size=350))


def test_padding_and_truncation_are_no_part_of_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(bos=True)
    make(tmp_path, calib(), tokenizer=tokenizer)
    tokenizer(["red", "red plum"], padding=True, truncation=True, max_length=3)
    tokenizer.backend_tokenizer.enable_padding()
    tokenizer.backend_tokenizer.enable_truncation(5)
    assert make(tmp_path, calib(), tokenizer=tokenizer).real_NL.all()
    assert (
        make(tmp_path / "other", calib(), tokenizer=tokenizer).manifest["tokens_sha256"]
        == make(tmp_path, calib()).manifest["tokens_sha256"]
    )


def nothing_is_left(tmp_path: Path) -> bool:
    return not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_too_few_pairs(tmp_path: Path) -> None:
    message = (
        r"calib=gsm8k prompt=icl \(data=sample\): the 300 usable rows of its train split fill \d+ of calib.num_samples=500 "
        r"sequences of calib.seq_len=64 tokens; about (\d+) rows would be needed. .* calib.repeat=true"
    )
    with pytest.raises(UserError, match=message) as caught:
        make(tmp_path, calib(num_samples=500, repeat=False))
    assert 300 < int(str(caught.value).split("about ")[1].split()[0]) < 1500
    with pytest.raises(UserError, match=r"fill 300 of calib.num_samples=301 .* about 301 rows"):
        make(tmp_path, calib(num_samples=301, seq_len=300), prompt("single"))
    assert nothing_is_left(tmp_path)


def test_repeat_fills_a_set_that_is_too_small(tmp_path: Path) -> None:
    made = make(tmp_path, calib(num_samples=301, seq_len=300), prompt("icl", num_shots=1))
    rows = [sequence["rows"][0] for sequence in made.manifest["sequences"]]
    assert sorted(rows[:300]) == list(range(300))
    assert (made.manifest["num_pieces"], made.manifest["num_distinct_rows"]) == (301, 300)


def test_no_sequence_needs_a_row_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"One sequence would need a row twice: lower calib.seq_len"):
        make(tmp_path, calib(num_samples=1, seq_len=20000))
    assert nothing_is_left(tmp_path)


def test_no_document_long_enough(tmp_path: Path) -> None:
    message = (
        r"calib=c4 \(data=sample\): 0 of the 200 documents of its train split have more than calib.seq_len=5000 tokens "
        r"\(the longest has \d+\), and calib.num_samples=6 are asked for. Lower calib.seq_len"
    )
    with pytest.raises(UserError, match=message):
        make(tmp_path, calib("c4", seq_len=5000))
    with pytest.raises(UserError, match=r"calib=wikitext2 .* the 900 lines of its train split hold \d+ separate runs"):
        make(tmp_path, calib("wikitext2", num_samples=500))
    assert nothing_is_left(tmp_path)


def test_what_means_nothing_is_refused_before_rows_are_read(tmp_path: Path) -> None:
    source = make_source()
    with pytest.raises(NotApplicableError, match="prompt=cot needs rationales"):
        make(tmp_path, calib("boolq"), prompt("cot"), source)
    with pytest.raises(UserError, match=r"prompt.num_shots=5 means nothing"):
        make(tmp_path, calib(), prompt("single", num_shots=5), source)
    with pytest.raises(UserError, match="gsm8k"):
        make(tmp_path, calib("gsm9k"), prompt(), source)
    assert source.num_reads == 0


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"could not be written: .* output_dir=FOLDER"):
        make(tmp_path / "file", calib())


@pytest.mark.parametrize("call", ["write_bytes", "replace"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(self: Path, *args: object, **kwargs: object) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, full)
        with pytest.raises(UserError, match="the disk is full"):
            make(tmp_path, calib())
    assert list((tmp_path / "calib").iterdir()) == []
    assert make(tmp_path, calib()).real_NL.all()
