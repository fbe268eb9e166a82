"""What each expert of a mixture is worth on a calibration set; the lowest are dropped first.

Criteria, for an expert p, the real tokens t that the router sends to it, its output A_pt without the gate, and its gate
g_pt: usage, the number of them; norm, the sum of |A_pt| (EAN of MC-Suite, arXiv 2504.05586, whose best is the lowest
norm); reap, the mean of g_pt |A_pt| (arXiv 2510.13999); entropy, the sum over channels of log of the deviation of A_p
(EAE); router, the norm of its row of the router (RWN); exact, the set of experts without which the mixture's outputs
change least (arXiv 2402.14800; Lucky-Lance/Expert_Sparsity adds up the norms of the batches' changes, here it is the norm
over all tokens).

An expert's output is asked of the model's own experts, one expert at a time with a gate of 1, so every layout is served.

Shapes: B sequences, L tokens, T tokens in all, K experts per token, E experts, H hidden.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prune.config.drop import Criterion
from prune.errors import UserError
from prune.models.ragged import batches, fill_up
from prune.pruning.mixtures import Mixture, rerouted

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet

MAX_SETS = 2000
"""Sets of experts that criterion=exact tries in each mixture."""


class ExpertStatistic:
    """Sums over the tokens that reach each expert of a mixture, in float64."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture
        number = mixture.num_experts
        self.num_tokens_E = torch.zeros(number, dtype=torch.int64)
        self.norms_E = torch.zeros(number, dtype=torch.float64)
        self.gated_norms_E = torch.zeros(number, dtype=torch.float64)
        self._moments: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, hidden_TH: Tensor, index_TK: Tensor, gate_TK: Tensor, real_T: Tensor) -> None:
        """Take in the tokens of a batch, of which the real ones count."""
        for expert in range(self._mixture.num_experts):
            here_TK = (index_TK == expert) & real_T[:, None].to(index_TK.device)
            tokens_N, places_N = here_TK.nonzero(as_tuple=True)
            if len(tokens_N):
                self._add_expert(expert, hidden_TH[tokens_N], gate_TK[tokens_N, places_N].double())

    def _add_expert(self, expert: int, hidden_NH: Tensor, gate_N: Tensor) -> None:
        index_N1 = torch.full((len(hidden_NH), 1), expert, device=hidden_NH.device)
        ones_N1 = torch.ones_like(index_N1, dtype=hidden_NH.dtype)
        output_NH = self._mixture.experts.forward(hidden_NH, index_N1, ones_N1).double()
        norm_N = output_NH.norm(dim=1)
        self.num_tokens_E[expert] += len(hidden_NH)
        self.norms_E[expert] += norm_N.sum().cpu()
        self.gated_norms_E[expert] += (gate_N * norm_N).sum().cpu()
        sums = (output_NH.sum(dim=0), output_NH.square().sum(dim=0))
        before = self._moments.get(expert)
        self._moments[expert] = sums if before is None else (before[0] + sums[0], before[1] + sums[1])

    def entropies(self) -> list[float]:
        """The sum over channels of the logarithm of the deviation; minus infinity where a channel never changes."""
        return [self._entropy(expert) for expert in range(self._mixture.num_experts)]

    def _entropy(self, expert: int) -> float:
        if expert not in self._moments:
            return -math.inf
        sum_H, squares_H = (each / int(self.num_tokens_E[expert]) for each in self._moments[expert])
        return float(0.5 * (squares_H - sum_H.square()).clamp(min=0).log().sum())


def scores_of(statistic: ExpertStatistic, criterion: Criterion) -> list[float]:
    """The score of each expert by what was measured of it."""
    if criterion is Criterion.entropy:
        return statistic.entropies()
    measured = {
        Criterion.usage: statistic.num_tokens_E,
        Criterion.norm: statistic.norms_E,
        Criterion.reap: statistic.gated_norms_E / statistic.num_tokens_E.clamp(min=1),
    }
    return [float(score) for score in measured[criterion]]


class ExactErrors:
    """The squared change of a mixture's outputs without each set of experts, summed over all real tokens, in float64."""

    def __init__(self, mixture: Mixture, num: int, num_groups: int) -> None:
        """Of all sets of `num` experts, as many in each group of the router.

        Raises:
            UserError: there are too many, or the mixture is not a module of its own.
        """
        number = mixture.num_experts
        size, each = number // num_groups, num // num_groups
        num_sets = math.comb(size, each) ** num_groups
        if num_sets > MAX_SETS:
            raise UserError(
                f"sparsity.criterion=exact would try {num_sets:,} sets of {num} of {number} experts in each mixture, and "
                f"at most {MAX_SETS:,} are allowed. Give another criterion, as in sparsity.criterion=reap, or drop fewer, "
                "as in "
                "sparsity.num=1."
            )
        if "." not in mixture.name:
            raise UserError(
                f"sparsity.criterion=exact: block {mixture.name} holds its experts and router itself, so the output of the "
                "mixture alone cannot be seen. Give another criterion, as in sparsity.criterion=reap."
            )
        of_groups = (itertools.combinations(range(group * size, (group + 1) * size), each) for group in range(num_groups))
        sets = [tuple(itertools.chain(*chosen)) for chosen in itertools.product(*of_groups)]
        kept = {dropped: [expert for expert in range(number) if expert not in dropped] for dropped in sets}
        self._smaller = {dropped: rerouted(mixture, places) for dropped, places in kept.items()}
        self.errors = dict.fromkeys(sets, 0.0)
        self.squares = 0.0

    def add(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, real_T: Tensor) -> None:
        """Take in one call of the mixture."""
        output_TH = _real_rows(output, real_T)
        self.squares += float(output_TH.square().sum())
        for dropped, module in self._smaller.items():
            self.errors[dropped] += float((_real_rows(module(*args, **kwargs), real_T) - output_TH).square().sum())

    def best(self) -> tuple[int, ...]:
        """The set without which the outputs change least; of equal ones the first."""
        return min(self.errors, key=self.errors.__getitem__)


def _real_rows(output: Any, real_T: Tensor) -> Tensor:
    hidden: Tensor = output if isinstance(output, Tensor) else output[0]
    return hidden.reshape(len(real_T), -1)[real_T.to(hidden.device)].double()


def lowest_experts(scores: Sequence[float], num: int, num_groups: int) -> list[int]:
    """The `num` experts with the lowest scores, as many in each group of the router; of equal ones the first."""
    size = len(scores) // num_groups
    ranked = [
        sorted(range(group * size, (group + 1) * size), key=lambda expert: (scores[expert], expert))
        for group in range(num_groups)
    ]
    return sorted(expert for of_group in ranked for expert in of_group[: num // num_groups])


class Watched:
    """Runs a model over the real tokens of a calibration set, with what watches its mixtures."""

    def __init__(self, model: PreTrainedModel, calibration: CalibrationSet, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        pairs = zip(calibration.tokens_NL, calibration.real_NL, strict=True)
        self._sequences = [ids for ids_L, real_L in pairs if (ids := ids_L[real_L].tolist())]
        self._real_T = torch.zeros(0, dtype=torch.bool)

    def top_k(self, mixture: Mixture) -> int:
        """How many experts a token chooses."""
        seen: list[int] = []
        with (
            torch.inference_mode(),
            self._hooked([(mixture.experts, lambda args, kwargs, out: seen.append(args[1].shape[-1]))]),
        ):
            self._run([self._sequences[0][:2]])
        if not seen:
            raise UserError(
                f"{type(self._model).__name__} never calls the experts of {mixture.name} as a module, so nothing can be "
                "measured of them. Give another model."
            )
        return seen[0]

    def measure(self, mixtures: Sequence[Mixture], on_batch: Callable[[int, int], None]) -> dict[str, ExpertStatistic]:
        """Name of a mixture -> its statistic."""
        found = {mixture.name: ExpertStatistic(mixture) for mixture in mixtures}

        def feed(name: str) -> Callable[..., None]:
            def take(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
                hidden, index, gate = (*args, *kwargs.values())[:3]
                hidden_TH, index_TK, gate_TK = (each.reshape(-1, each.shape[-1]) for each in (hidden, index, gate))
                found[name].add(hidden_TH, index_TK, gate_TK, self._real_T)

            return take

        self._run_all([(mixture.experts, feed(mixture.name)) for mixture in mixtures], on_batch)
        return found

    def measure_sets(
        self, mixtures: Sequence[Mixture], num: int, num_groups: int, on_batch: Callable[[int, int], None]
    ) -> dict[str, ExactErrors]:
        """Name of a mixture -> the changes without each set of `num` experts."""
        found = {mixture.name: ExactErrors(mixture, num, num_groups) for mixture in mixtures}

        def feed(name: str) -> Callable[..., None]:
            return lambda args, kwargs, output: found[name].add(args, kwargs, output, self._real_T)

        self._run_all([(mixture.module, feed(mixture.name)) for mixture in mixtures], on_batch)
        return found

    def _run_all(
        self, watchers: Sequence[tuple[nn.Module, Callable[..., None]]], on_batch: Callable[[int, int], None]
    ) -> None:
        longest, done = max(map(len, self._sequences)), 0
        with torch.inference_mode(), self._hooked(watchers):
            for places in batches(self._sequences, range(len(self._sequences)), self._batch_size * longest):
                self._run([self._sequences[place] for place in places])
                done += len(places)
                on_batch(done, len(self._sequences))

    def _run(self, sequences: Sequence[Sequence[int]]) -> None:
        """The model without its head; short sequences are filled up on the right, where no real token looks."""
        ids_BL = fill_up(sequences).to(self._model.device)
        lengths_B = torch.tensor(list(map(len, sequences)))
        self._real_T = (torch.arange(ids_BL.shape[1]) < lengths_B[:, None]).flatten().to(ids_BL.device)
        self._model.base_model(input_ids=ids_BL, use_cache=False)

    @contextmanager
    def _hooked(self, watchers: Sequence[tuple[nn.Module, Callable[..., None]]]) -> Iterator[None]:
        """Let each watcher see the arguments and the output of every call of its module."""

        def hook(watch: Callable[..., None]) -> Callable[..., None]:
            return lambda module, args, kwargs, output: watch(args, kwargs, output)

        handles = [module.register_forward_hook(hook(watch), with_kwargs=True) for module, watch in watchers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def router_scores(mixtures: Sequence[Mixture]) -> Mapping[str, list[float]]:
    """Name of a mixture -> the norm of each row of its router."""
    return {mixture.name: mixture.router_weight().detach().double().norm(dim=1).tolist() for mixture in mixtures}
