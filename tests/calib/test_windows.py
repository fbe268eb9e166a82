import random

import pytest
from calib_fakes import LOCAL, FakeSource, calib, make_tokenizer, text_rows

from prune.calib.controls import Controls
from prune.calib.documents import WindowCutter
from prune.calib.draw import shuffled
from prune.calib.encoder import Encoder
from prune.calib.material import Material
from prune.data.dataset import ControlSet
from prune.data.sets.controls import DATASETS as CONTROLS
from prune.errors import UserError

TOKENIZER = make_tokenizer(bos=True)


def cutter(num_samples: int = 5, seq_len: int = 30, **encoder: bool) -> WindowCutter:
    return WindowCutter(Encoder(TOKENIZER, 0, **encoder), random.Random(1), num_samples, seq_len)


def plain(text: str) -> list[int]:
    return [int(token) for token in TOKENIZER(text, add_special_tokens=False)["input_ids"]]


def test_documents_are_windows_of_long_documents_with_bos() -> None:
    texts = [row["text"] for row in text_rows(60)]
    order = shuffled(60, random.Random(0))
    cut = cutter()
    cut.cut_documents(texts, order)
    long = [row for row in order if len(plain(texts[row])) > 30][:5]
    assert [one.rows for one in cut.packed] == [[row] for row in long]
    for one in cut.packed:
        assert one.offset is not None
        window = plain(texts[one.rows[0]])[one.offset : one.offset + 29]
        assert one.token_ids == [0, *window]


def test_a_document_of_exactly_seq_len_tokens_is_too_short_and_one_more_is_enough() -> None:
    exact = "z" * 30
    assert len(plain(exact)) == 30
    cut = cutter(num_samples=1)
    cut.cut_documents([exact], [0])
    assert (cut.packed, cut.longest) == ([], 30)
    cut.cut_documents([exact + "z"], [0])
    assert len(cut.packed) == 1


def test_every_place_of_a_window_occurs() -> None:
    offsets = set()
    for seed in range(60):
        cut = WindowCutter(Encoder(TOKENIZER, None), random.Random(seed), 1, 30)
        cut.cut_documents(["z" * 32], [0])
        offsets.add(cut.packed[0].offset)
    assert offsets == {0, 1, 2}


def test_only_drawn_documents_are_tokenised() -> None:
    class Counting(list[str]):
        num_read = 0

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            Counting.num_read += 1
            return super().__getitem__(index)

    cut = cutter(num_samples=3)
    cut.cut_documents(Counting(["z" * 40] * 1000), list(range(1000)))
    assert len(cut.packed) == 3
    assert Counting.num_read <= 64


def test_study_puts_bos_before_the_document_not_the_window() -> None:
    text = "z" * 3000
    cut = cutter(num_samples=1, bos_in_every_piece=True)
    cut.cut_documents([text], [0])
    one = cut.packed[0]
    assert one.offset is not None and one.offset > 0
    assert one.token_ids == [0, *plain(text)][one.offset : one.offset + 30]


def test_running_text_joins_neighbours_and_uses_no_line_twice() -> None:
    lines = [row["text"] if row["text"].count(" ") % 3 else "" for row in text_rows(400, max_words=8)]
    cut = cutter(num_samples=12)
    cut.cut_running_text(lines, shuffled(400, random.Random(0)), "\n\n")
    assert len(cut.packed) == 12
    rows = [row for one in cut.packed for row in one.rows]
    assert len(rows) == len(set(rows))
    for one in cut.packed:
        first, last = one.rows[0], one.rows[-1]
        assert lines[first].strip()
        assert one.rows == list(range(first, last + 1))
        ids = plain("\n\n".join(lines[first : last + 1]))
        assert len(ids) > 30 and one.offset is not None
        assert one.token_ids == [0, *ids[one.offset : one.offset + 29]]


def test_running_text_passes_over_lines_that_are_kept_back() -> None:
    lines = [f"row {number}: {'plum ' * 6}" for number in range(40)]
    free = [row for row in range(40) if row % 3]
    cut = cutter(num_samples=4)
    cut.cut_running_text(lines, list(reversed(free)), "; ")
    assert len(cut.packed) == 4
    for one in cut.packed:
        assert one.rows == free[free.index(one.rows[0]) :][: len(one.rows)], "the next lines that are free, in order"
        ids = plain("; ".join(lines[row] for row in one.rows))
        assert one.offset is not None and one.token_ids == [0, *ids[one.offset : one.offset + 29]]


def test_running_text_that_is_too_short_gives_fewer() -> None:
    cut = cutter(num_samples=3)
    cut.cut_running_text(["red plum"] * 20, list(range(20)), "\n\n")
    assert 0 < len(cut.packed) < 3


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_controls_fill_every_sequence(control: ControlSet) -> None:
    encoder = Encoder(TOKENIZER, 0)
    packed = (
        Controls(control, calib(control.name, num_samples=4, seq_len=100))
        .draw(Material(FakeSource(), encoder, LOCAL))
        .packed
    )
    assert [len(one.token_ids) for one in packed] == [100] * 4
    assert all(one.token_ids[0] == 0 for one in packed)
    assert len({tuple(one.token_ids) for one in packed}) == (1 if control.name == "ellipses" else 4)


def test_a_control_that_gives_no_tokens_is_an_error() -> None:
    silent = ControlSet(name="silent", text=lambda _seed, _num_chars: "")
    with pytest.raises(UserError, match=r"calib=silent: .* only 0 tokens .* calib.seq_len=8"):
        Controls(silent, calib("silent", num_samples=1, seq_len=8)).draw(
            Material(FakeSource(), Encoder(TOKENIZER, None), LOCAL)
        )


def test_of_an_enormous_document_a_stretch_is_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune.calib.documents.ENORMOUS", 200_000)
    text = "".join(chr(97 + number % 26) for number in range(1_000_000))
    read: list[int] = []
    cut = cutter(num_samples=3, seq_len=30)
    plain, encoder = cut.encoder.plain, cut.encoder
    monkeypatch.setattr(type(encoder), "plain", lambda self, texts: read.extend(map(len, texts)) or plain(texts))
    cut.cut_documents([text, "short", text], [0, 1, 2])
    assert [packed.rows for packed in cut.packed] == [[0], [2]]
    assert max(read) < 70_000
    again = cutter(num_samples=3, seq_len=30)
    again.cut_documents([text, "short", text], [0, 1, 2])
    assert [packed.token_ids for packed in again.packed] == [packed.token_ids for packed in cut.packed]
