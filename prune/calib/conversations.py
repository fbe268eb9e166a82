"""Sets of the user's own conversations, one a row, as the model's chat template writes them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.calib.chat import with_system
from prune.calib.draw import Drawn, Packed, shuffled, start_generator
from prune.calib.encoder import Encoder
from prune.calib.questions import check_knobs, count_pieces, max_pieces, pack_pieces, prompt_identity, repeats
from prune.config.calib import CalibConfig, PromptConfig, PromptStyle
from prune.config.data import DataConfig
from prune.config.own import BadRows
from prune.data.dataset import Row, TextSet
from prune.data.identity import data_identity
from prune.data.own.definition import conversation
from prune.data.scan import UsableRows, usable_rows
from prune.data.sources.source import Source
from prune.errors import NotApplicableError, UserError
from prune.models.chat import turn_ids


@dataclass(frozen=True)
class Conversations:
    """Whole conversations one behind the other until a sequence is full, the last one cut; `prompt.num_shots` of them, and
    the rest padding, where it is given."""

    dataset: TextSet
    calib: CalibConfig
    prompt: PromptConfig
    piece: ClassVar[str] = "conversation"

    @property
    def splits(self) -> Sequence[tuple[TextSet, str]]:
        """The split that the conversations are drawn from."""
        return [(self.dataset, self.dataset.train_split)]

    def check(self, source: Source | None = None, data: DataConfig | None = None) -> None:
        """Refuse other prompts and knobs of them; with a source, also rows that are no conversations.

        Raises:
            NotApplicableError: another prompt than chat, or a knob that says nothing of a conversation.
            UserError: some rows are bad, and `calib.bad_rows` does not skip them.
        """
        calib, prompt = self.calib, self.prompt
        if prompt.name is not PromptStyle.chat:
            raise NotApplicableError(
                f"calib={calib.name} holds conversations (calib.messages={self._column}), which prompt=chat renders and "
                f"prompt={prompt.name.value} does not. Take prompt=chat, or give columns of text with calib.question and "
                "calib.answer, or with calib.column."
            )
        check_knobs(calib, prompt)
        if prompt.rationale or prompt.num_cot_steps is not None:
            key = "rationale" if prompt.rationale else "num_cot_steps"
            raise NotApplicableError(
                f"prompt.{key} says how questions are answered, and calib={calib.name} holds conversations as they are. "
                "Leave it out."
            )
        if source is not None and data is not None:
            self._usable(source, data)

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The rows, and what of the prompt can matter."""
        rows = data_identity(self.dataset, [self.dataset.train_split], data)
        prompt = prompt_identity(self.calib, self.prompt)
        return {"repeat": repeats(self.calib, self.prompt), "prompt": prompt, **rows}

    def draw(self, source: Source, encoder: Encoder, data: DataConfig) -> Drawn:
        """Sequences of conversations in a drawn order.

        Raises:
            NotApplicableError: the tokenizer has no chat template.
            UserError: there are too few conversations, or the template refuses one and `calib.bad_rows` does not skip it.
        """
        calib, usable = self.calib, self._usable(source, data)
        rows = source.rows(self.dataset, self.dataset.train_split)
        pieces = _Drawing(self, rows, usable, encoder)
        packed = pack_pieces(
            iter(pieces),
            lambda conversations: [token for token_ids in conversations for token in token_ids],
            num_samples=calib.num_samples,
            seq_len=calib.seq_len,
            max_pieces=max_pieces(self.prompt),
        )
        num_usable = len(usable) - len(pieces.refused)
        if len(packed) < calib.num_samples or max(len(sequence.rows) for sequence in packed) > num_usable:
            raise UserError(self._too_few_rows(packed, num_usable))
        counts = {**usable.counts, "num_refused": len(pieces.refused), **count_pieces(packed, self.prompt)}
        return Drawn(packed, len(rows), counts)

    @property
    def _column(self) -> str:
        assert self.dataset.own is not None and self.dataset.own.messages is not None, "the recipe has looked"
        return self.dataset.own.messages

    def _usable(self, source: Source, data: DataConfig) -> UsableRows:
        return usable_rows(source, self.dataset, self.dataset.train_split, data, self.calib.bad_rows)

    def _too_few_rows(self, packed: Sequence[Packed], num_usable: int) -> str:
        calib = self.calib
        again = "" if calib.repeat else ", or let rows come again with calib.repeat=true"
        return (
            f"calib={calib.name} prompt=chat: the {num_usable} usable conversations fill {len(packed)} of "
            f"calib.num_samples={calib.num_samples} sequences of {calib.filled} tokens, none twice in one sequence. Lower "
            f"calib.num_samples or calib.seq_len, or give more conversations{again}."
        )


class _Drawing:
    """The tokens of the usable conversations in a drawn order; those that the template refuses are left out, or an error."""

    def __init__(self, kind: Conversations, rows: Sequence[Row], usable: UsableRows, encoder: Encoder) -> None:
        self._kind, self._rows, self._usable, self._tokenizer = kind, rows, usable, encoder.tokenizer
        self._known: dict[int, list[int]] = {}
        self.refused: set[int] = set()
        """The rows that the template has refused so far."""

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        generator = start_generator(self._kind.calib)
        while len(self.refused) < len(self._usable):
            for row in shuffled(len(self._rows), generator):
                if row in self._usable and row not in self.refused and (token_ids := self._token_ids(row)):
                    yield row, token_ids
            if not repeats(self._kind.calib, self._kind.prompt):
                return

    def _token_ids(self, row: int) -> list[int]:
        """The tokens of a row; none where the template refuses it."""
        if row not in self._known:
            turns: Sequence[Mapping[str, str]] = conversation(self._kind._column, self._rows[row])
            try:
                self._known[row] = turn_ids(self._tokenizer, with_system(turns, self._kind.prompt.system))
            except NotApplicableError as error:
                if getattr(self._tokenizer, "chat_template", None) is None:
                    raise
                if self._kind.calib.bad_rows is not BadRows.skip:
                    raise UserError(
                        f"calib={self._kind.calib.name}, row {row}: {error} Mend the row, or leave such rows out with "
                        "calib.bad_rows=skip."
                    ) from None
                self.refused.add(row)
        return self._known.get(row, [])
