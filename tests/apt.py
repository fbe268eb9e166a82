"""Installing Debian packages that tests need, where the tests may."""

import os
import shutil
import subprocess
from collections.abc import Sequence


class AptError(Exception):
    """The packages could not be installed, or must not be."""


def install(packages: Sequence[str]) -> None:
    """Installs Debian packages.

    Raises:
        AptError: Not root, no apt-get, or apt-get failed.
    """
    if os.geteuid() != 0:
        raise AptError(f"{' '.join(packages)} is not installed, and only root can install it")
    if shutil.which("apt-get") is None:
        raise AptError(f"{' '.join(packages)} is not installed, and there is no apt-get to install it")
    options = ["-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-unsafe-io"]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])  # where dpkg looks for its tools
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": path}
    for step in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        line = ["apt-get", *options, *step]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, input="", check=False)
        if done.returncode != 0:
            raise AptError(f"{' '.join(line)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
