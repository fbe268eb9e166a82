"""Text that the dense model writes itself: what it continues, and how it is sampled."""

from dataclasses import dataclass, fields

from prune.config.checks import reject, require_at_least


@dataclass(kw_only=True)
class GeneratedSetConfig:
    """Knobs of calib=generated; the other sets ignore them, so that one line may compare it with these.

    Defaults are those of Ji et al. 2025 (arXiv 2410.17711). No slots, so that it stands beside another base.
    """

    source: str = "wikitext2"
    """The text set whose texts give the prefixes, a shipped or installed one."""
    prefix_tokens: int = 2
    """Tokens of a text that the model goes on from, BOS among them where `model.bos` puts it before a text; 0: from BOS
    alone, as in self-calibration (Williams et al. 2025, arXiv 2410.17170)."""
    temperature: float = 0.6
    """Divides the logits before a token is sampled."""
    top_k: int = 50
    """Samples only from this many of the likeliest tokens; 0: all. 1 is greedy, and the seed then draws only prefixes."""
    top_p: float = 0.95
    """Samples only from the likeliest tokens that together have this probability; 1: all."""
    repetition_penalty: float = 1.2
    """Divides the logits of tokens that the text already has (multiplies them where they are below 0); 1: no penalty."""
    max_new_tokens: int = 2048
    """Tokens that a text may have after its prefix; fewer where it ends by itself."""
    generation_batch: int = 32
    """Texts that grow at once. Not part of what the set is: each text has a random generator of its own."""

    def check_generation(self) -> None:
        """Refuse values that no sampler has.

        Raises:
            UserError: the first of them.
        """
        for name, least in (("prefix_tokens", 0), ("top_k", 0), ("max_new_tokens", 1), ("generation_batch", 1)):
            require_at_least(f"calib.{name}", getattr(self, name), least)
        for name in ("temperature", "repetition_penalty"):
            if not getattr(self, name) > 0:
                reject(f"calib.{name}", getattr(self, name), "it must be a number above 0 (greedy: calib.top_k=1)")
        if not 0 < self.top_p <= 1:
            reject("calib.top_p", self.top_p, "it must be a number above 0 and at most 1")


SAMPLING = tuple(entry.name for entry in fields(GeneratedSetConfig) if entry.name not in ("source", "generation_batch"))
"""The knobs that can change the text of a prefix."""
