"""What a line lacks, and the line that fetches it."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.messages.hub_words import errors_below
from prune.models.fetch import missing_files

_LAUNCHER_OVERRIDE = re.compile(r"[+~]*(hydra[/.])?launcher([@/.=].*)?")


def prepare_line(overrides: Sequence[str]) -> str:
    """The command line that prepares what `overrides` ask for, quoted for a shell; their own launcher is left out."""
    kept = [override for override in overrides if not _LAUNCHER_OVERRIDE.fullmatch(override)]
    return shlex.join(["python", "-m", "prune.main", "-m", *kept, "launcher=prepare"])


def explain_missing(error: BaseException, overrides: Sequence[str], model: ModelConfig | None = None) -> UserError | None:
    """The error with the line that prepares what is missing; None when it is not about something missing from the cache.

    `model` is looked up in the cache as well: transformers does not always say that a file is missing only here.
    """
    from huggingface_hub import is_offline_mode

    if not isinstance(error, UserError):
        return None
    missing = missing_files(model) if model is not None and is_offline_mode() else None
    if not missing and not any(_says_missing(link) for link in errors_below(error)):
        return None
    lines = [str(error), missing, f"This line fetches it, where there is a network: {prepare_line(overrides)}"]
    return UserError("\n".join(line for line in lines if line))


@contextmanager
def fetching(overrides: Sequence[str]) -> Iterator[None]:
    """Adds to what is missing in the cache the line that fetches it."""
    try:
        yield
    except UserError as error:
        raise explain_missing(error, overrides) or error from None


def _says_missing(error: BaseException) -> bool:
    """Whether the libraries mean that something is not in the cache and cannot be fetched."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    kinds = (OfflineModeIsEnabled, LocalEntryNotFoundError, ConnectionError, TimeoutError)
    return isinstance(error, kinds) or (isinstance(error, ValueError) and "Couldn't find cache" in str(error))
