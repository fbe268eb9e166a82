"""The private Slurm that the tests of this folder share, and what each of them leaves behind."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import FOREIGN, Cluster
from tests.slurm.configuration import ClusterOptions
from tests.slurm.packages import InstallError, install, obstacle

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known."""
    config.addinivalue_line("markers", "slurm: runs jobs on a private Slurm, which needs root and Debian's packages")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests of this folder, in time for `-m`."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("slurm")


@pytest.fixture(scope="session")
def installed_slurm() -> None:
    """Slurm's programs; skips where they cannot be had, and fails where CI=true or PRUNE_REQUIRE_SLURM=1 demands them."""
    reason = obstacle()
    if reason is None:
        try:
            install()
        except InstallError as error:
            reason = str(error)
    if reason is not None:
        demanded = os.environ.get("CI") == "true" or os.environ.get("PRUNE_REQUIRE_SLURM") == "1"
        (pytest.fail if demanded else pytest.skip)(reason)


@pytest.fixture(scope="package")
def cluster(installed_slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The shared cluster, which Slurm's commands find as long as the tests of this folder run; it also ends at a SIGTERM."""
    options = ClusterOptions(cpus=4, enforce_accounts=True, blind_folder=tmp_path_factory.mktemp("blind"))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Cluster(tmp_path_factory.mktemp("cluster"), options) as cluster, pytest.MonkeyPatch.context() as patch:
            lead_to(cluster, patch)
            yield cluster
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def start_cluster(
    installed_slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Cluster]]:
    """Starts a cluster of other options, which Slurm's commands then find until the test ends."""
    with ExitStack() as stack:

        def start(**options: Any) -> Cluster:
            started = stack.enter_context(Cluster(tmp_path / f"cluster_{len(options)}", ClusterOptions(**options)))
            lead_to(started, monkeypatch)
            return started

        yield start


@pytest.fixture(autouse=True)
def leave_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test of the shared cluster its jobs are cancelled, and its daemons and nodes are back."""
    shared: Cluster | None = request.getfixturevalue("cluster") if "cluster" in request.fixturenames else None
    yield
    if shared is not None:
        shared.restore()


def lead_to(cluster: Cluster, patch: pytest.MonkeyPatch) -> None:
    """Sets the variables by which commands find the cluster, and none that they would read as options."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        patch.delenv(name)
    for name, value in cluster.environment.items():
        patch.setenv(name, value)
