"""Why the Hugging Face hub gave nothing, in words and with what to do, for models and for rows alike."""

import os
from collections.abc import Sequence
from typing import Any

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""The variables that keep the hub's clients from asking it."""

_CUT = ("ReadError", "RemoteProtocolError", "IncompleteRead", "ProtocolError")
"""What the HTTP libraries below huggingface_hub call a connection that broke; which of them it is depends on the version."""


def errors_below(error: BaseException) -> list[BaseException]:
    """The error and those that it came from, outermost first."""
    found = [error]
    while (below := found[-1].__cause__ or found[-1].__context__) is not None and below not in found:
        found.append(below)
    return found


def http_errors() -> tuple[type[BaseException], ...]:
    """What the HTTP library below huggingface_hub raises; which library it is depends on the version."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def describe_refusal(error: BaseException, page: str) -> str | None:
    """Why a hub that answers gave nothing, or only a part, and what to do; None when it is for another reason.

    Args:
        page: of the repository, in a browser.
    """
    from huggingface_hub.errors import GatedRepoError

    links = errors_below(error)
    if any(isinstance(link, GatedRepoError) or "is a gated dataset" in str(link) for link in links):
        return (
            f"this repository is gated. Accept its terms on {page}, then log in with `hf auth login` or set HF_TOKEN; where "
            "you are logged in, that account has no access yet"
        )
    response = _response(links)
    status = None if response is None else response.status_code
    if status == 429:
        asked = str(response.headers.get("Retry-After", ""))
        when = f"in {asked} s" if asked.isdigit() and int(asked) else "in a few minutes"
        return (
            f"the hub limits the rate of requests (429). Run the same line again {when}: what was fetched whole is kept. "
            "The limit is higher when you are logged in (`hf auth login`)"
        )
    if status is not None and status >= 500:
        return (
            f"the hub failed with an error of its own ({status}). Run the same line again later: what was fetched whole is "
            "kept"
        )
    return _describe_cut(links)


def _describe_cut(links: Sequence[BaseException]) -> str | None:
    """What to do about a transfer that could not begin, broke off or stood still."""
    if any("xet-read-token" in str(link) or "xet" in type(link).__module__ for link in links):
        reason = one_line(links[-1])
        return f"Xet's storage gives nothing ({reason}). Run the same line again, with HF_HUB_DISABLE_XET=1 before it"
    names = {type(link).__name__ for link in links}
    if "ReadTimeout" in names:
        more = "HF_HUB_ETAG_TIMEOUT=60 HF_HUB_DOWNLOAD_TIMEOUT=60"
        return f"the hub did not answer in time. Run the same line again, with {more} before it"
    if names & set(_CUT) or any("Consistency check failed" in str(link) for link in links):
        reason = one_line(links[-1])
        return f"the transfer broke off ({reason}). Run the same line again: what was fetched whole is kept"
    return None


def describe_unreached(error: BaseException) -> str:
    """Why the hub was not asked, or could not be; that HF_HUB_OFFLINE is set only where somebody has set it."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if any(isinstance(link, OfflineModeIsEnabled) or "OfflineModeIsEnabled" in str(link) for link in errors_below(error)):
        return next((f"{name} is set" for name in OFFLINE if os.environ.get(name)), "no network")
    return one_line(error)


def one_line(error: BaseException) -> str:
    """The message of an error in one line, without the last period."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _response(links: Sequence[BaseException]) -> Any:
    """The answer that refused; None when there was none."""
    found = (getattr(link, "response", None) for link in links)
    return next((response for response in found if response is not None), None)
