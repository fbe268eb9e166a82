"""The commit that the revision of a repository with rows means.

A branch or tag means what it meant when it was first fetched, as the hub's local cache remembers: the cells of a sweep stay
comparable when somebody writes to the repository.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prune.data.dataset import Hub

COMMIT = re.compile(r"[0-9a-f]{40}")


def cached_commit(hub: Hub) -> str | None:
    """The commit of a repository's revision, as the local cache knows it; None when it does not."""
    if COMMIT.fullmatch(hub.revision):
        return hub.revision
    from huggingface_hub.constants import HF_HUB_CACHE

    ref = Path(HF_HUB_CACHE) / f"datasets--{hub.path.replace('/', '--')}" / "refs" / hub.revision
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None


def fetch_commit(hub: Hub) -> str:
    """The commit of a repository's revision; where the local cache does not know it, the hub is asked, and it is kept there.

    Raises:
        OSError, huggingface_hub.errors.HfHubHTTPError: the hub cannot be asked, or says no.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if (commit := cached_commit(hub)) is not None:
        return commit
    with suppress(RemoteEntryNotFoundError):  # the commit is kept all the same
        hf_hub_download(hub.path, "README.md", repo_type="dataset", revision=hub.revision)
    commit = cached_commit(hub)
    if commit is None:
        raise ConnectionError(f"the hub does not say which commit {hub.revision} of {hub.path} is")
    return commit


def not_fetched(hubs: Iterable[Hub]) -> list[Hub]:
    """Those of which the local cache does not know the commit, each once."""
    return list({(hub.path, hub.revision): hub for hub in hubs if cached_commit(hub) is None}.values())
