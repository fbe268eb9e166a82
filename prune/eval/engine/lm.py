"""lm-eval's model around a loaded one: greedy, exact, and quick where prompts begin alike (prune/eval/engine/prefix.py).

Tokens are those that lm-eval's HFLM makes of the same texts, whole prompts and (context, continuation) pairs. It serves any
task of lm-eval; requests of one task share their prefix.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from prune.errors import UserError
from prune.eval.engine.choices import count_whole, find_likelihoods
from prune.eval.engine.diagnose import describe_broken
from prune.eval.engine.fallback import generate_alone, likelihood_alone, reuses_prefix
from prune.eval.engine.greedy import generate
from prune.eval.engine.logits import BrokenLogitsError, Likelihood, Tokens
from prune.eval.engine.prefix import common_prefix, count_alike, run_prefix
from prune.models.batching import within_memory
from prune.models.decoding import quick_decoding
from prune.models.losses import MAX_LOGITS, next_token_losses
from prune.models.window import find_window

if TYPE_CHECKING:
    from prune.eval.engine.bos import PromptBos


ROLLING_LENGTH = 2048
"""Tokens of a rolling window where the model has no window, as in lm-eval."""

GREEDY: dict[str, tuple[Any, ...] | None] = {
    "do_sample": (False,),
    "temperature": (0, 0.0),
    "num_beams": (1,),
    "top_p": None,
    "top_k": None,
}
"""Generation settings of a task that are understood, and the values allowed (None: any, since it does not matter)."""

_reuses: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()
"""What reuses_prefix said of the models so far; it depends on the architecture, not on the weights."""


class PrefixLM(TemplateLM):  # type: ignore[misc]
    """A causal language model as lm-eval wants it.

    A batch that does not fit in memory is halved; `smallest_batch_size` is the size that fitted.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        bos: "PromptBos",
        batch_size: int,
        where: str,
        on_batch: Callable[[int], None] = lambda num_done: None,
        *,
        keeps_contexts: bool = False,
    ) -> None:
        """Takes the model as it is, in eval mode.

        Args:
            bos: how prompts get their special tokens.
            batch_size: prompts that are worked on at once.
            where: the task's name in messages.
            on_batch: called with the number of prompts (contexts, for likelihoods) that are done in this call.
            keeps_contexts: whether white space at the end of a context is its own, as where a chat template opens an answer;
                else it counts to what follows, as in lm-eval.
        """
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.smallest_batch_size = batch_size
        self._device = model.device
        self._bos = bos
        self._where = where
        self._on_batch = on_batch
        self._keeps_contexts = keeps_contexts

    @property
    def eot_token_id(self) -> int:
        """The end of a sequence."""
        end: int = self.tokenizer.eos_token_id
        return end

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without context: BOS, and where there is none the end of a sequence."""
        bos_id: int | None = self.tokenizer.bos_token_id
        return self.eot_token_id if bos_id is None else bos_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The tokens of a text; a text that already begins with BOS gets no second one."""
        if add_special_tokens is None:
            add_special_tokens = self._bos.by_tokenizer
            first = self.tokenizer.decode(self.prefix_token_id)
            if first and string.startswith(first):
                add_special_tokens = False
            elif self._bos.text and not string.startswith(self._bos.text):
                string = self._bos.text + string
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
        return ids

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """The tokens of a context and of what follows it, which is all that counts.

        A context that is kept has the tokens that it has alone; where a tokenizer would join it with what follows, that has
        those that it has alone too.
        """
        if not self._keeps_contexts:
            pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return pair
        alone, whole = self.tok_encode(context), self.tok_encode(context + continuation)
        if whole[: len(alone)] == alone:
            return alone, whole[len(alone) :]
        return alone, self.tok_encode(continuation)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """The greedy answer to each request's prompt, without its stop sequence."""
        answers = [""] * len(requests)
        finished = _Count(self._on_batch)
        for places in _group(requests, lambda request: (request.task_name, repr(request.args[1]))):
            prompts = [self.tok_encode(requests[place].args[0]) for place in places]
            until, num_new = self._read_settings(requests[places[0]].args[1])
            self._check_lengths([len(prompt) + num_new for prompt in prompts])

            def deliver(number: int, ids: list[int], places: list[int] = places, until: list[str] = until) -> None:
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                answers[places[number]] = postprocess_generated_text(text, until, None)
                finished.add(1)

            self._generate(prompts, num_new, self._ending(until, num_new), deliver)
        return answers

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """The log-probability of each request's continuation after its context, and whether greedy decoding writes it."""
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        self._scored = _Count(self._on_batch)
        for places in _group(requests, lambda request: request.task_name):
            some = super().loglikelihood([requests[place] for place in places], disable_tqdm=True)
            for place, one in zip(places, some, strict=True):
                found[place] = one
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """The log-probability of each request's text, in windows where it is longer than the model's."""
        length = find_window(self.model) or ROLLING_LENGTH
        windows: list[tuple[int, list[int], list[int]]] = []
        for number, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            for pair in get_rolling_token_windows(ids, self.prefix_token_id, length, context_len=1):
                windows.append((number, *make_disjoint_window(pair)))

        def width(window: tuple[int, list[int], list[int]]) -> int:
            return len(window[1]) + len(window[2])

        sums = [0.0] * len(requests)
        counted = _Count(self._on_batch)
        windows.sort(key=width, reverse=True)

        def attempt(batch_size: int) -> None:
            while windows:
                batch = [window for window in windows[:batch_size] if width(window) == width(windows[0])]
                ids_BL = torch.tensor([[*context, *rest] for _, context, rest in batch], device=self.model.device)
                losses_BL = next_token_losses(self.model, ids_BL)
                is_broken_B = losses_BL.isnan().any(dim=1)
                if is_broken_B.any():
                    raise BrokenLogitsError(ids_BL[int(is_broken_B.nonzero()[0])].tolist())
                for (number, _, rest), losses_L in zip(batch, losses_BL, strict=True):
                    sums[number] -= float(losses_L[-len(rest) :].double().sum())
                del windows[: len(batch)]
                counted.add(len(batch))

        self._within_memory(attempt)
        return sums

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], disable_tqdm: bool = True, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """As loglikelihood, of (anything, context, continuation) in tokens; what is asked twice is computed once."""
        choices: dict[tuple[int, ...], dict[tuple[int, ...], Likelihood]] = {}
        for _, context, continuation in requests:
            if not continuation:
                raise UserError(f"{self._where}: a choice has no tokens of its own after its question: {context[-9:]}.")
            choices.setdefault(tuple(context), {})[tuple(continuation)] = Likelihood()
        self._check_lengths([len(context) + len(continuation) - 1 for _, context, continuation in requests])
        contexts = sorted(choices, key=lambda context: _num_fed(context, choices[context]), reverse=True)

        def deliver(context: tuple[int, ...], likelihoods: list[Likelihood]) -> None:
            choices[context] = dict(zip(choices[context], likelihoods, strict=True))

        self._score(contexts, [list(choices[context]) for context in contexts], deliver)
        found = [choices[tuple(context)][tuple(continuation)] for _, context, continuation in requests]
        return [(likelihood.logprob, likelihood.is_greedy) for likelihood in found]

    def _generate(
        self,
        prompts: Sequence[Tokens],
        num_new: int,
        is_complete: Callable[[list[int]], bool],
        deliver: Callable[[int, list[int]], None],
    ) -> None:
        """Calls `deliver` with (number of the prompt, answer), long prompts first, so that what does not fit fails early."""
        waiting = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
        if not self._reuses_prefix(prompts[0]):
            for number in waiting:
                with self._numbers_only():
                    deliver(number, generate_alone(self.model, prompts[number], num_new, is_complete))
            return
        prefix = common_prefix(prompts)

        def attempt(batch_size: int) -> None:
            asked = list(waiting)

            def finish(place: int, ids: list[int]) -> None:
                waiting.remove(asked[place])
                deliver(asked[place], ids)

            generate(
                self.model,
                run_prefix(self.model, prefix),
                [prompts[number] for number in asked],
                batch_size=batch_size,
                num_new=num_new,
                is_complete=is_complete,
                deliver=finish,
            )

        with quick_decoding(self.model):
            self._within_memory(attempt)

    def _score(
        self,
        contexts: Sequence[tuple[int, ...]],
        choices: Sequence[Sequence[Tokens]],
        deliver: Callable[[tuple[int, ...], list[Likelihood]], None],
    ) -> None:
        """Calls `deliver` with (context, likelihood of each of its choices)."""
        if not self._reuses_prefix(contexts[0]):
            for context, several in zip(contexts, choices, strict=True):
                with self._numbers_only():
                    deliver(context, [likelihood_alone(self.model, context, choice) for choice in several])
                self._scored.add(1)
            return
        prefix = common_prefix(contexts)
        first = 0

        def attempt(batch_size: int) -> None:
            nonlocal first
            kept = run_prefix(self.model, prefix)
            while first < len(contexts):
                window = slice(first, first + batch_size)
                lengths = [_num_fed(*pair) - len(prefix) for pair in zip(contexts[window], choices[window], strict=True)]
                most = count_whole(self.model, choices[window]) or batch_size
                batch = slice(first, first + count_alike(lengths, most))
                found = find_likelihoods(self.model, kept, contexts[batch], choices[batch])
                for context, likelihoods in zip(contexts[batch], found, strict=True):
                    deliver(context, likelihoods)
                first += len(found)
                self._scored.add(len(found))

        self._within_memory(attempt)

    def _within_memory(self, attempt: Callable[[int], None]) -> None:
        """Calls `attempt` with the batch size, halved each time memory runs out."""
        batch_size = max(1, min(self.smallest_batch_size, MAX_LOGITS // self.model.config.get_text_config().vocab_size))
        with torch.inference_mode(), self._numbers_only():
            _, reached = within_memory(attempt, batch_size, self._where, "prompt")
        if reached < batch_size:
            self.smallest_batch_size = reached

    def _reuses_prefix(self, prompt: Tokens) -> bool:
        if self.model not in _reuses:
            with torch.inference_mode():
                _reuses[self.model] = reuses_prefix(self.model, prompt)
        return _reuses[self.model]

    def _read_settings(self, asked: dict[str, Any]) -> tuple[list[str], int]:
        """The stop sequences, EOS among them, and the number of tokens that an answer may have.

        Raises:
            UserError: settings that are not greedy.
        """
        settings = dict(normalize_gen_kwargs(asked))
        until, num_new = settings.pop("until", None), settings.pop("max_gen_toks")
        for name, value in settings.items():
            allowed = GREEDY.get(name, ())
            if allowed is not None and value not in allowed:
                raise UserError(f"{self._where}: the task asks for {name}={value!r}, but answers are decoded greedily here.")
        eos = None if self.eot_token_id is None else self.tokenizer.decode(self.eot_token_id)
        return [stop for stop in handle_stop_sequences(until, eos) if stop], num_new

    def _ending(self, until: Sequence[str], num_new: int) -> Callable[[list[int]], bool]:
        """Whether an answer is complete: it is long enough, or ends the sequence, or contains a stop sequence."""
        own = getattr(self.model.generation_config, "eos_token_id", None)
        ends = {self.eot_token_id, *(own if isinstance(own, list) else [own])}

        def is_complete(ids: list[int]) -> bool:
            if len(ids) >= num_new or ids[-1] in ends:
                return True
            text = self.tokenizer.decode(ids)
            return any(stop in text for stop in until)

        return is_complete

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        window = find_window(self.model)
        if window is not None and max(lengths) > window:
            raise UserError(
                f"{self._where}: {sum(length > window for length in lengths)} of {len(lengths)} requests do not fit the "
                f"model's window of {window} tokens: the longest takes {max(lengths)}. Ask for fewer examples in a prompt."
            )

    @contextmanager
    def _numbers_only(self) -> Iterator[None]:
        try:
            yield
        except BrokenLogitsError as error:
            told = describe_broken(self.model, error.tokens)
            raise UserError(f"{self._where}: the model's logits are not numbers: {told}") from None


def _num_fed(context: Tokens, choices: Collection[Tokens]) -> int:
    """The tokens that go through the model at once: the context's, and those of an only choice but for the last."""
    return len(context) + (len(next(iter(choices))) - 1 if len(choices) == 1 else 0)


class _Count:
    """Counts finished prompts and reports the count."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._num_done = 0

    def add(self, number: int) -> None:
        self._num_done += number
        self._tell(self._num_done)


def _group(requests: Sequence[Any], key: Callable[[Any], Any]) -> list[list[int]]:
    """The places of the requests with equal keys."""
    groups: dict[Any, list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(key(request), []).append(place)
    return list(groups.values())
