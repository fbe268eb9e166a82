"""A private Slurm for the tests: real daemons, all nodes on this machine, GPUs that are only names.

It needs root and Debian's packages, which are installed where they are missing, but neither systemd nor cgroups: GPUs and
CPUs are scheduled, and nothing holds a job to its share. Each start is a new cluster whose job ids begin at 1.
"""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.slurm.configuration import (
    SLURMDBD_CONF,
    ClusterError,
    ClusterOptions,
    free_ports,
    gres_conf,
    slurm_conf,
    write_private,
)
from tests.slurm.packages import SEARCH, install

SYSTEM_TABLES = Path("/usr/share/mysql/mysql_system_tables.sql")
HANGS_S = 300
"""After so long something hangs, however busy the machine is."""
MARIADB = ["--no-defaults", "--user=root", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=64M"]
FOREIGN = ("SLURM", "SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_", "MUNGE")
"""How variables begin that Slurm's commands read as options."""


def without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what Slurm's commands would take for options of theirs."""
    return {name: value for name, value in environment.items() if not name.startswith(FOREIGN)}


@dataclass
class Daemon:
    """One process of the cluster, in the foreground of a session of its own."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    offset: int = 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts the process; what it says is added to its log."""
        with self.log.open("ab") as stream:
            self.offset = stream.tell()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.log.parent,
                start_new_session=True,
            )

    def said(self, text: str) -> bool:
        """Whether the log has this text since the last start."""
        return text.encode() in self.log.read_bytes()[self.offset :]

    def stop(self, *, hard: bool = False, patience_s: float = 20) -> None:
        """Ends the process and its group by SIGTERM, or by SIGKILL if it must be hard or takes too long."""
        if self.process is None:
            return
        if not hard:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


class Cluster:
    """A Slurm whose configuration and logs are in `folder`; what else it writes goes when it stops."""

    def __init__(self, folder: Path, options: ClusterOptions | None = None) -> None:
        self.options = options or ClusterOptions()
        self.config = folder / "etc" / "slurm.conf"
        self.log_folder = folder / "log"
        self._daemons: dict[str, Daemon] = {}
        self._work: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which Slurm's commands find this cluster."""
        return {"SLURM_CONF": str(self.config)}

    @property
    def pids(self) -> dict[str, int]:
        """Daemon -> process id, of those that run."""
        return {name: daemon.process.pid for name, daemon in self._daemons.items() if daemon.process and daemon.running}

    def start(self) -> None:
        """Starts a new cluster, and returns when its nodes are idle."""
        if self._work is not None:
            raise ClusterError("The cluster is up; stop() it first.")
        if (blind := self.options.blind_folder) and blind in self.config.parents:
            raise ClusterError(f"The node cannot be blind to {blind}, which has the cluster's own folder.")
        install()
        # Sockets are here: their paths must be short.
        self._work = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._work.chmod(0o755)
        atexit.register(self.stop)
        try:
            self._configure(self._work)
            self._launch("munged", lambda: Path(self._work or "", "munge").exists())
            if self.options.accounting:
                self._start_database()
                self.start_accounting()
            self.start_controller()
            for node in self.options.nodes:
                self._daemons[node].start()
            for node in self.options.nodes:
                self.start_node(node)
            if self.options.enforce_accounts:  # only now, since root's own account comes with the controller's first call
                self.run("sacctmgr", "--immediate", "add", "account", "lab")
                self.run("sacctmgr", "--immediate", "add", "user", "root", "account=lab")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Cancels all jobs and ends every process of the cluster and of its jobs."""
        if self._work is None:
            return
        try:
            if "slurmctld" in self.pids:
                self._cancel_all()
        except ClusterError:
            pass  # the jobs are killed below
        finally:
            for daemon in reversed(self._daemons.values()):
                daemon.stop(hard=True)  # nothing of what they would save is kept
            kill_all(self._job_processes())
        self._daemons = {}
        shutil.rmtree(self._work)
        self._work = None
        atexit.unregister(self.stop)

    def stop_controller(self) -> None:
        """Ends the controller; jobs go on, and commands fail."""
        self._daemons["slurmctld"].stop()

    def start_controller(self) -> None:
        """Starts the controller where it stopped, and returns when it answers."""
        self._launch("slurmctld", self._controller_answers)

    def stop_accounting(self) -> None:
        """Ends slurmdbd, so that sacct fails; the controller keeps what it has to tell until it is back."""
        self._daemons["slurmdbd"].stop()

    def start_accounting(self) -> None:
        """Starts slurmdbd with what it knew."""
        self._launch("slurmdbd", lambda: self._daemons["slurmdbd"].said(" started"))

    def stop_node(self, node: str) -> None:
        """Loses a node with all that runs there, and tells the controller, which would only see it after minutes."""
        self._daemons[node].stop(hard=True)
        kill_all(self._job_processes(node))
        if self._daemons["slurmctld"].running:
            self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=power")
            self.wait_for(lambda: self.node_states()[node].startswith("down"), f"Node {node} is down")

    def start_node(self, node: str) -> None:
        """Starts a node, and returns when it takes jobs."""
        usable = ("idle", "mixed", "allocated", "completing")
        self._launch(node, lambda: self.node_states().get(node) in usable)

    def restore(self) -> None:
        """Cancels all jobs and brings back all daemons and nodes; quick where nothing happened."""
        stopped = [name for name, daemon in self._daemons.items() if not daemon.running]
        for name, start in (("slurmdbd", self.start_accounting), ("slurmctld", self.start_controller)):
            if name in stopped:
                start()
        self._cancel_all()
        for node, state in self.node_states().items():
            if state.startswith(("drain", "down")) and node not in stopped:
                self.run("scontrol", "update", f"nodename={node}", "state=resume")
            if state != "idle":
                self.start_node(node)
        self.wait_for(lambda: set(self.node_states().values()) == {"idle"}, "All nodes are idle")

    def run(self, *command: str, timeout_s: float = HANGS_S) -> str:
        """What a command of Slurm prints; its failure is a ClusterError with what it said."""
        environment = without_slurm(os.environ) | self.environment
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False)
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{' '.join(command)} did not end within {timeout_s:g} s.\n{self.logs()}") from error
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def node_states(self) -> dict[str, str]:
        """Node -> state as sinfo names it, with a `*` where the node does not answer."""
        return dict(line.split() for line in self.run("sinfo", "-h", "-N", "-o", "%N %T").splitlines())

    def job_states(self, job: str) -> dict[str, str]:
        """Job or element of an array -> state as squeue names it; empty where the controller knows none."""
        try:
            lines = self.run("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%i %T")
        except ClusterError as error:
            if "Invalid job id" in str(error):
                return {}
            raise
        return dict(line.split() for line in lines.splitlines())

    def wait_for_job(self, job: str, *states: str, timeout_s: float = HANGS_S) -> None:
        """Returns when the job, or each element of the array, is in one of the states."""

        def reached() -> bool:
            now = self.job_states(job)
            return bool(now) and set(now.values()) <= set(states)

        self.wait_for(reached, f"Job {job} is {' or '.join(states)}", timeout_s=timeout_s)

    def wait_for(self, holds: Callable[[], bool], what: str, *, timeout_s: float = HANGS_S) -> None:
        """Returns when `holds` says so; `what` names it in the error."""
        end = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > end:
                raise ClusterError(f"{what}: not so within {timeout_s:g} s.\n{self.logs()}")
            time.sleep(0.05)

    def logs(self, num_lines: int = 8) -> str:
        """The end of each log."""
        ends = [
            "\n".join([f"--- {path.stem}", *path.read_text(errors="replace").splitlines()[-num_lines:]])
            for path in sorted(self.log_folder.glob("*.log"))
        ]
        return "\n".join(ends)

    def _launch(self, name: str, ready: Callable[[], bool]) -> None:
        daemon = self._daemons[name]
        if not daemon.running:
            daemon.start()

        def up() -> bool:
            if not daemon.running:
                raise ClusterError(f"{name} ended at once.\n{self.logs()}")
            return ready()

        self.wait_for(up, f"{name} is ready")

    def _controller_answers(self) -> bool:
        with suppress(ClusterError):
            return "is UP" in self.run("scontrol", "ping")
        return False

    def _cancel_all(self) -> None:
        def jobs() -> list[str]:
            return sorted(set(self.run("squeue", "-h", "-o", "%F").split()))

        def gone() -> bool:
            # Processes that ignore SIGTERM would live for kill_wait_s.
            kill_all(self._job_processes())
            return not jobs()

        if waiting := jobs():
            self.run("scancel", "--quiet", *waiting)
            self.wait_for(gone, "All jobs are cancelled")

    def _job_processes(self, node: str | None = None) -> list[int]:
        """The processes of our jobs, and those of Slurm that look after them; on one node, or on all."""
        ours = f"SLURM_CONF={self.config}"
        daemons = set(self.pids.values())
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                variables = (process / "environ").read_bytes().decode(errors="replace").split("\0")
                there = [value.partition("=")[2] for value in variables if value.startswith("SLURMD_NODENAME=")]
                if ours in variables and there and node in (None, *there) and int(process.name) not in daemons:
                    found.append(int(process.name))
        return found

    def _start_database(self) -> None:
        data = f"--datadir={self._work}/database"
        Path(f"{self._work}/database").mkdir()
        script = "create database slurm_acct_db;\n"
        if self.options.enforce_accounts:  # that takes a stored procedure, for which the system's tables must be there
            script += f"create database mysql;\nuse mysql;\n{SYSTEM_TABLES.read_text()}"
        bootstrap = [shutil.which("mariadbd", path=SEARCH) or "mariadbd", *MARIADB, data, "--bootstrap"]
        done = subprocess.run(bootstrap, input=script, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"The database could not be made:\n{done.stderr[-2000:]}")
        self._launch("mariadbd", lambda: self._daemons["mariadbd"].said("ready for connections"))

    def _configure(self, work: Path) -> None:
        """Writes the configuration into an empty folder, and says how each daemon is started."""
        for folder in (self.config.parent, self.log_folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        ports = free_ports(3 + len(self.options.nodes), self.options.port_base)
        write_private(self.config.parent / "munge.key", os.urandom(128))
        self.config.write_text(slurm_conf(self.options, work, ports))
        write_private(self.config.parent / "slurmdbd.conf", SLURMDBD_CONF.format(work=work, ports=ports))
        (self.config.parent / "gres.conf").write_text(gres_conf(self.options, work))
        for node in self.options.nodes:
            (work / "spool" / node).mkdir(parents=True)
        own = [f"--socket={work}/munge", f"--pid-file={work}/munged.pid", f"--seed-file={work}/seed"]
        self._prepare("munged", *own, f"--key-file={self.config.parent}/munge.key", "--force", "--foreground")
        own = [f"--datadir={work}/database", f"--socket={work}/mysql", f"--pid-file={work}/mysql.pid", f"--port={ports[2]}"]
        self._prepare("mariadbd", *MARIADB, *own, "--bind-address=127.0.0.1", "--skip-grant-tables", "--skip-name-resolve")
        self._prepare("slurmdbd", "-D")
        self._prepare("slurmctld", "-D")
        for node in self.options.nodes:
            self._prepare("slurmd", "-D", "-N", node, node=node)

    def _prepare(self, program: str, *arguments: str, node: str | None = None) -> None:
        environment = {"PATH": SEARCH, "LANG": "C.UTF-8"} | self.environment | ({"SLURMD_NODENAME": node} if node else {})
        command = [shutil.which(program, path=SEARCH) or program, *arguments]
        if node == "blind":
            hide = 'mount -t tmpfs none "$0" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", hide, str(self.options.blind_folder), *command]
        name = node or program
        self._daemons[name] = Daemon(command, self.log_folder / f"{name}.log", environment)


def kill_all(pids: Iterable[int]) -> None:
    """Kills the processes that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
