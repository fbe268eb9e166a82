"""Installing Slurm from Debian's packages, where they are missing."""

import os
import shutil
from pathlib import Path

from tests import apt
from tests.slurm.configuration import ClusterError

PACKAGES = {
    "munge": "munged",
    "slurm-client": "sbatch",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "mariadb-server-core": "mariadbd",
}
"""Debian package -> the program that we need from it."""
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
POLICY = Path("/usr/sbin/policy-rc.d")


class InstallError(ClusterError):
    """The packages could not be installed."""


def obstacle() -> str | None:
    """Why no cluster can run on this machine, or None."""
    if os.geteuid() != 0:
        return "a private Slurm needs root"
    if missing_packages() and shutil.which("apt-get", path=SEARCH) is None:
        return f"Slurm is not installed, and there is no apt-get to install {' '.join(missing_packages())}"
    return None


def missing_packages() -> list[str]:
    """The packages whose program is not found."""
    return [package for package, program in PACKAGES.items() if shutil.which(program, path=SEARCH) is None]


def install() -> None:
    """Installs what is missing, without starting the packages' own daemons."""
    missing = missing_packages()
    if not missing:
        return
    own_policy = not POLICY.exists()
    if own_policy:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        apt.install(missing)
    except apt.AptError as error:
        raise InstallError(str(error)) from error
    finally:
        if own_policy:
            POLICY.unlink()
