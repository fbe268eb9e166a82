"""What the tests of W&B share: no trace of the user's own W&B, a service that ends with each test, a server of our own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from prune.track import wandb as edge

from .wandb_server import KEY, WandbServer

NAMES = ("PROJECT", "ENTITY", "MODE", "API_KEY", "DIR", "BASE_URL", "SILENT", "RUN_GROUP", "NAME", "TAGS", "RUN_ID")


@pytest.fixture(autouse=True)
def no_wandb_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in NAMES:
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_CACHE_DIR", "")  # so that what the tracker makes of it is undone
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home/netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home/config"))
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server on the loopback, and the environment that leads to it; waiting is cut short."""
    running = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", running.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(edge, "INIT_TIMEOUT_S", 3.0)
    monkeypatch.setattr(edge, "FINISH_TIMEOUT_S", 3.0)
    monkeypatch.setattr(edge, "NUM_RETRIES", 1)
    monkeypatch.setattr(edge, "RETRY_WAIT_S", (0.05, 0.1))
    yield running
    wandb.teardown()
    running.close()
