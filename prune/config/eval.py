"""The typed configuration of the scores: which are measured, and how."""

from dataclasses import dataclass, field
from enum import Enum

from prune.config.checks import MISSING, FromModel, require_at_least
from prune.errors import UserError


class Bos(str, Enum):
    """Where BOS stands; a text is a calibration sequence, a prompt, or the joined documents of a perplexity."""

    tokenizer = "tokenizer"
    """Before a text where the tokenizer puts it by itself, as in the papers' code."""
    text = "text"
    """Before every text, once."""
    chunk = "chunk"
    """Before every text, and before each chunk of a perplexity."""
    none = "none"
    """Nowhere."""

    @property
    def before_text(self) -> "Bos":
        """The same policy for what is not cut into chunks."""
        return Bos.text if self is Bos.chunk else self


class EvalProtocol(str, Enum):
    """How questions are scored."""

    acc = "acc"
    """An answer is generated, and right or wrong."""
    acc_mc = "acc_mc"
    """The likelihoods of the choices are compared."""
    bpb = "bpb"
    """Bits per byte of the right answer's text; no choices are listed. Of lambada, those of the last words."""
    acc_cf = "acc_cf"
    """The bits per byte of the choices' texts are compared; no choices are listed."""


class TooLong(str, Enum):
    """What happens to items whose prompts do not fit the model's window; the result names those that were left out."""

    error = "error"
    skip = "skip"


@dataclass(kw_only=True, slots=True)
class EvalConfig:
    """Which scores are measured, and how."""

    name: str = MISSING
    perplexity: list[str] = field(default_factory=list)
    """Text sets."""
    tasks: list[str] = field(default_factory=list)
    """Question sets; for bpb also lambada, whose last words are asked."""
    protocols: list[EvalProtocol] = field(default_factory=lambda: [EvalProtocol.acc])
    """How question sets are scored; acc_mc and acc_cf skip those whose answers are open."""
    lm_eval_tasks: list[str] = field(default_factory=list)
    """Tasks, groups or tags of lm-eval, measured by its own definitions."""
    scores: list[str] = field(default_factory=list)
    """Scores of further kinds, as installed packages offer them, by name: `<kind>/<set>`."""
    speed: bool = False
    """Whether the tokens that the model reads and writes in a second are measured where it runs: `speed/prefill` and
    `speed/decode`. They are no measure of quality."""
    speed_batch: int = 1
    """Prompts at once whose speed is measured."""
    speed_prompt: int = 512
    """Tokens of each of them."""
    speed_new: int = 64
    """Tokens that are written after each, the first of which counts to reading the prompt."""
    speed_device: str | None = None
    """What the device's name must hold, as in H100; speeds asked for so are scores of their own. None: wherever the cell
    runs; a speed that is there is not measured again on another device."""
    limit: int | None = None
    """Items per task; None takes all."""
    num_chunks: int | None = None
    """Chunks per perplexity; None takes all."""
    seq_len: FromModel[int] = 2048
    """Tokens in a perplexity chunk; null takes model.seq_len."""
    bos: FromModel[Bos] = Bos.tokenizer
    """Where BOS stands in the texts of perplexities and in prompts; null takes model.bos."""
    num_fewshot: int | None = None
    """Exemplars in a task's prompt; None takes the study's number (3; 9 for NLI), 0 for bpb and acc_cf, and that of the
    definition for lm-eval's tasks."""
    rationale: bool = False
    """Exemplars of acc carry their rationales, and the model reasons before it answers; bpb measures the rationale with the
    answer, on sets that have rationales. acc_mc and acc_cf stay as they are."""
    chat: bool = False
    """Questions are put to the model in its own chat template, exemplars as turns. Such scores have names of their own:
    `acc_chat/gsm8k`. Perplexities and lm-eval's tasks stay as they are."""
    too_long: TooLong = TooLong.error
    """Whether items whose prompts do not fit the model's window stop the run or are left out."""
    batch_size: int = 8
    """Prompts or chunks in one forward pass of the scores; changes speed and memory only."""
    logits_chunk: int | None = None
    """Positions of a perplexity whose logits are held at once; None takes as many as 256 MiB hold."""

    def further(self, kind: str) -> list[str]:
        """The sets that eval.scores names for a kind."""
        return [name.removeprefix(f"{kind}/") for name in self.scores if name.startswith(f"{kind}/")]

    def __post_init__(self) -> None:
        if self.tasks and not self.protocols:
            raise UserError(
                "eval.protocols=[] measures none of eval.tasks. Name one or both, as in eval.protocols=[acc,acc_mc], or no "
                "task with eval.tasks=[]."
            )
        require_at_least("eval.speed_batch", self.speed_batch, 1)
        require_at_least("eval.speed_prompt", self.speed_prompt, 1)
        require_at_least("eval.speed_new", self.speed_new, 2)
        require_at_least("eval.limit", self.limit, 1)
        require_at_least("eval.logits_chunk", self.logits_chunk, 1)
        require_at_least("eval.num_chunks", self.num_chunks, 1)
        require_at_least("eval.seq_len", self.seq_len, 2)
        require_at_least("eval.num_fewshot", self.num_fewshot, 0)
        require_at_least("eval.batch_size", self.batch_size, 1)
