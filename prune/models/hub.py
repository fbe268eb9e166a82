"""The edge to the hub: a file of a repository, and what went wrong in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from prune.config.model import ModelConfig
from prune.errors import UserError, interruptions
from prune.messages.hub_words import OFFLINE, describe_refusal, describe_unreached


@contextmanager
def cache_only_without_hub() -> Iterator[str | None]:
    """Gives why the hub cannot be asked, None when it can; then the libraries look into the cache only while this is open.

    Asked for what is there already, they would still try to reach the hub, for half a minute each time.
    """
    reason = _out_of_reach()
    with _offline() if reason else nullcontext():
        yield reason


def _out_of_reach() -> str | None:
    """Why the hub cannot be asked; None when it answers, whatever it says."""
    from huggingface_hub import constants, get_session, is_offline_mode

    if is_offline_mode():
        return next((f"{name} is set" for name in OFFLINE if os.environ.get(name)), "the hub's clients are offline")
    try:
        with interruptions():
            get_session().head(constants.ENDPOINT, timeout=10)
    except Exception as error:  # of whichever HTTP library the client uses; it becomes the reason that is returned
        return f"the hub cannot be reached ({type(error).__name__}: {error})"
    return None


@contextmanager
def _offline() -> Iterator[None]:
    """As if HF_HUB_OFFLINE had been set before the libraries were imported, which is when they read it."""
    import datasets
    from huggingface_hub import constants

    places: tuple[Any, ...] = (constants, datasets.config)
    before = [module.HF_HUB_OFFLINE for module in places]
    try:
        for module in places:
            module.HF_HUB_OFFLINE = True
        yield
    finally:
        for module, value in zip(places, before, strict=True):
            module.HF_HUB_OFFLINE = value


def hub_file(config: ModelConfig, filename: str) -> Path:
    """Return the local copy of one file of a hub repository, fetched when it is not cached.

    Raises UserError when the repository, its revision or the file does not exist, is closed, or cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    assert config.path is not None, "the embedded model is not on the hub"
    cached = try_to_load_from_cache(config.path, filename, revision=config.revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        # hf_hub_download tries six times, half a minute in all, before it reports a missing network; this asks once.
        with passing():
            get_hf_file_metadata(hf_hub_url(config.path, filename, revision=config.revision))
        return Path(hf_hub_download(config.path, filename, revision=config.revision))
    except Exception as error:  # the HTTP library below huggingface_hub, and so its errors, depend on the version
        raise hub_error(error, config, filename) from error


@contextmanager
def passing() -> Iterator[None]:
    """Passes over what may be different the next time, too many requests or a fault of the hub: the next step waits."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        if error.response.status_code != 429 and error.response.status_code < 500:
            raise


def hub_error(error: Exception, config: ModelConfig, filename: str) -> UserError:
    """The message for what the hub's client raised about a file of the model."""
    assert config.path is not None, "the embedded model is not on the hub"
    return UserError(f"{describe_place(config)}: {_hub_problem(error, config.path, filename)}")


def describe_place(config: ModelConfig) -> str:
    """The keys that say which repository is meant, as they are typed."""
    return f"model.path={config.path}" + (f" model.revision={config.revision}" if config.revision else "")


def _hub_problem(error: Exception, repository: str, filename: str) -> str:
    """Return what went wrong on the hub, and what to do."""
    from huggingface_hub import errors

    if refusal := describe_refusal(error, f"https://huggingface.co/{repository}"):
        return f"{refusal}."
    messages: list[tuple[type[Exception], str]] = [
        (errors.RevisionNotFoundError, "the repository has no such revision. Give a branch, tag or commit of it."),
        (
            errors.RepositoryNotFoundError,
            "there is no such folder here, and no such repository on the hub (or it is private: set HF_TOKEN).",
        ),
        (
            errors.RemoteEntryNotFoundError,
            f"the repository has no file {filename}."
            + (" An adapter must be merged into its base model first." if filename == "config.json" else ""),
        ),
        (errors.HfHubHTTPError, f"the hub refused {filename}: {error}"),
        (errors.HFValidationError, f"this is not a hub id: {error}"),
    ]
    for kind, message in messages:
        if isinstance(error, kind):
            return message
    return (
        "there is no such folder here, it is not in the hub's local cache, and the hub cannot be reached "
        f"({describe_unreached(error)}). Fetch it where there is a network (`hf download {repository}`), or give the folder "
        "of a model."
    )
