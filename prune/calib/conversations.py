"""Sets of the user's own conversations, one per row, as the model's chat template writes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prune.calib.chat import with_system
from prune.calib.draw import Drawn, Packed, shuffled, start_generator
from prune.calib.drawing import Drawing
from prune.calib.material import Material
from prune.calib.questions import check_knobs, count_pieces, max_pieces, pack_pieces, prompt_identity, repeats
from prune.calib.registry import check_selector, select_identity
from prune.calib.selection import Candidate
from prune.config.calib import CalibConfig, PromptConfig, PromptStyle
from prune.config.data import DataConfig
from prune.config.own import BadRows
from prune.config.select import SelectConfig
from prune.data.dataset import TextSet
from prune.data.identity import data_identity
from prune.data.own.definition import conversation
from prune.data.scan import UsableRows, usable_rows
from prune.data.sources.source import Source
from prune.errors import NotApplicableError, UserError
from prune.models.chat import turn_ids


@dataclass(frozen=True)
class Conversations:
    """Whole conversations one after the other until a sequence is full, the last one cut; `prompt.num_shots` of them, and
    the rest padding, where it is given."""

    dataset: TextSet
    calib: CalibConfig
    prompt: PromptConfig
    select: SelectConfig = field(default_factory=SelectConfig)
    piece: ClassVar[str] = "conversation"
    needs_model: ClassVar[bool] = False

    @property
    def splits(self) -> Sequence[tuple[TextSet, str]]:
        """The split that the conversations are drawn from."""
        return [(self.dataset, self.dataset.train_split)]

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse other prompts and knobs of them; with a source, also rows that are no conversations.

        Raises:
            NotApplicableError: another prompt than chat, or a knob that says nothing of a conversation.
            UserError: the pool is too small for the selector; or some rows are bad, and `calib.bad_rows` does not skip them.
        """
        calib, prompt = self.calib, self.prompt
        if prompt.name is not PromptStyle.chat:
            raise NotApplicableError(
                f"calib={calib.name} holds conversations (calib.messages={self.column}), which prompt=chat renders and "
                f"prompt={prompt.name.value} does not. Take prompt=chat, or give columns of text with calib.question and "
                "calib.answer, or with calib.column."
            )
        check_knobs(calib, prompt)
        if prompt.rationale or prompt.num_cot_steps is not None:
            key = "rationale" if prompt.rationale else "num_cot_steps"
            raise NotApplicableError(
                f"prompt.{key} says how questions are answered, but calib={calib.name} takes conversations as they are. "
                "Leave it out."
            )
        if most := max_pieces(prompt):
            check_selector(self.select, self.select.pool * calib.num_samples * most)
        if source is not None and data is not None:
            self._usable(source, data)

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The rows, what selects among them, and what of the prompt can matter."""
        rows = data_identity(self.dataset, [self.dataset.train_split], data)
        used, again = prompt_identity(self.calib, self.prompt), repeats(self.calib, self.prompt)
        return {"repeat": again, "prompt": used, **rows, **select_identity(self.select, data)}

    def draw(self, material: Material) -> Drawn:
        """Sequences of conversations in a drawn order, or in that of the selector.

        Raises:
            NotApplicableError: the tokenizer has no chat template.
            UserError: there are too few conversations, or the template refuses one and `calib.bad_rows` does not skip it.
        """
        calib, usable = self.calib, self._usable(material.source, material.data)
        rows = _Rendered(self, material)
        packed, counts = Drawing(
            calib=calib,
            select=self.select,
            eligible=list(usable),
            comes_again=repeats(calib, self.prompt),
            pieces=lambda again: rows.pieces(usable, again=again),
            pack=self._pack,
            candidates=lambda pieces: [Candidate(rows.decode(ids), ids, len(ids)) for ids in pieces],
            too_few=lambda packed, row_ids: self._too_few(packed, len(set(row_ids) - rows.refused)),
        ).draw(material)
        num_usable = len(usable) - len(rows.refused)
        if max(len(sequence.rows) for sequence in packed) > num_usable:
            raise UserError(self._too_few(packed, num_usable))
        counts = {**counts, "num_refused": len(rows.refused)}
        return Drawn(packed, len(rows), {**usable.counts, **count_pieces(packed, self.prompt), **counts})

    def _pack(self, pieces: Iterator[tuple[int, list[int]]], number: int) -> list[Packed]:
        return pack_pieces(
            pieces,
            lambda conversations: [token for token_ids in conversations for token in token_ids],
            num_samples=number,
            seq_len=self.calib.seq_len,
            max_pieces=max_pieces(self.prompt),
        )

    @property
    def column(self) -> str:
        """The column that holds the conversations."""
        assert self.dataset.own is not None and self.dataset.own.messages is not None, "the recipe has looked"
        return self.dataset.own.messages

    def _usable(self, source: Source, data: DataConfig) -> UsableRows:
        return usable_rows(source, self.dataset, self.dataset.train_split, data, self.calib.bad_rows)

    def _too_few(self, packed: Sequence[Packed], num_usable: int) -> str:
        calib = self.calib
        again = "" if calib.repeat else ", or let rows come again with calib.repeat=true"
        return (
            f"calib={calib.name} prompt=chat: the {num_usable} usable conversations fill {len(packed)} of "
            f"calib.num_samples={calib.num_samples} sequences of {calib.filled} tokens, none twice in one sequence. Lower "
            f"calib.num_samples or calib.seq_len, or give more conversations{again}."
        )


class _Rendered:
    """The tokens of the conversations; those that the template refuses are left out, or an error."""

    def __init__(self, kind: Conversations, material: Material) -> None:
        self._kind, self._tokenizer = kind, material.encoder.tokenizer
        self._rows = material.source.rows(kind.dataset, kind.dataset.train_split)
        self._known: dict[int, list[int]] = {}
        self.refused: set[int] = set()
        """The rows that the template has refused so far."""

    def __len__(self) -> int:
        return len(self._rows)

    def pieces(self, usable: UsableRows, *, again: bool) -> Iterator[tuple[int, list[int]]]:
        """(row id, tokens) of the usable rows in the order of the draw; with `again` without end, in new orders."""
        generator = start_generator(self._kind.calib)
        while len(self.refused) < len(usable):
            for row in shuffled(len(self), generator):
                if row in usable and (token_ids := self._token_ids(row)):
                    yield row, token_ids
            if not again:
                return

    def decode(self, token_ids: list[int]) -> str:
        """The text of a conversation, roles among it, without special tokens."""
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))

    def _token_ids(self, row: int) -> list[int]:
        """The tokens of a row; none where the template refuses it."""
        if row not in self._known and row not in self.refused:
            turns = conversation(self._kind.column, self._rows[row])
            try:
                self._known[row] = turn_ids(self._tokenizer, with_system(turns, self._kind.prompt.system))
            except NotApplicableError as error:
                if getattr(self._tokenizer, "chat_template", None) is None:
                    raise
                self._refuse(row, error)
        return self._known.get(row, [])

    def _refuse(self, row: int, error: NotApplicableError) -> None:
        calib = self._kind.calib
        if calib.bad_rows is not BadRows.skip:
            raise UserError(
                f"calib={calib.name}, row {row}: {error} Correct the row, or leave such rows out with calib.bad_rows=skip."
            ) from None
        self.refused.add(row)
