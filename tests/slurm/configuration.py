"""What the private Slurm looks like: its options, and the files that its daemons read."""

import os
import socket
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path


class ClusterError(RuntimeError):
    """Slurm did not do what was asked; the message has the end of its logs."""


@dataclass(kw_only=True, frozen=True)
class ClusterOptions:
    """What the cluster looks like."""

    accounting: bool = True
    """Whether there is a slurmdbd, without which sacct fails."""
    enforce_accounts: bool = False
    """Whether only the accounts `root` (the default) and `lab` may be used; any may be named otherwise."""
    num_nodes: int = 2
    """Nodes n1, n2, ... of the partitions `main` and `small`."""
    cpus: int = 2
    """CPUs that each node claims; may be more than there are, like its memory."""
    gpus: int = 2
    memory_mb: int = 256_000
    small_minutes: int = 10
    """Longest time limit in the partition `small`, where a job gets one node at most; what asks for more pends for ever."""
    blind_folder: Path | None = None
    """A folder that node `blind`, alone in the partition `blind`, sees empty; None: there is no such node."""
    max_array_size: int = 1001
    """One more than the highest index of an array."""
    min_job_age_s: int = 300
    """Seconds that squeue remembers a finished job."""
    kill_wait_s: int = 1
    """Seconds between SIGTERM and SIGKILL of a cancelled job."""
    cred_expire_s: int = 5
    """Seconds that a requeued job waits before it may start again."""
    port_base: int | None = None
    """First of the consecutive ports; None looks for free ones."""

    def __post_init__(self) -> None:
        if self.enforce_accounts and not self.accounting:
            raise ValueError("enforce_accounts=True needs accounting=True: slurmdbd knows the accounts.")

    @property
    def nodes(self) -> list[str]:
        """The names of all nodes."""
        return [f"n{number}" for number in range(1, self.num_nodes + 1)] + ["blind"] * (self.blind_folder is not None)


def free_ports(number: int, first: int | None) -> Sequence[int]:
    """Consecutive ports where nobody listens; two clusters that start at the same time look in different places."""
    bases = [16_800 + 100 * ((os.getpid() + turn) % 120) for turn in range(120)] if first is None else [first]
    for base in bases:
        with ExitStack() as probes:
            ports = range(base, base + number)
            if all(probes.enter_context(socket.socket()).connect_ex(("127.0.0.1", port)) != 0 for port in ports):
                return ports
    raise ClusterError(f"No {number} free ports from {bases[0]} on.")


def write_private(path: Path, content: str | bytes) -> None:
    """Writes a file that only its owner may read, as munged and slurmdbd demand."""
    path.touch(mode=0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def gres_conf(options: ClusterOptions, work: Path) -> str:
    """The GPUs of each node. Without a device file a GPU is not counted."""
    lines = []
    for number in range(options.gpus):
        device = work / f"gpu{number}"
        try:
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except OSError:  # a container may not; a plain file does, with a complaint in the log
            device.touch()
        lines += [f"NodeName={node} Name=gpu File={device}\n" for node in options.nodes]
    return "".join(lines)


SLURM_CONF = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={work}/munge,cred_expire={options.cred_expire_s}
CredType=cred/munge
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool/%n
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
EnforcePartLimits=NO
JobRequeue=1
MinJobAge={options.min_job_age_s}
MaxArraySize={options.max_array_size}
KillWait={options.kill_wait_s}
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PartitionName=main Nodes={main} Default=YES MaxTime=INFINITE
PartitionName=small Nodes={main} MaxNodes=1 MaxTime={options.small_minutes}
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_port}
# For slurmdbd this is munge's socket; AuthInfo does not count there.
AccountingStoragePass={work}/munge
AccountingStorageTRES=gres/gpu
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={work}/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports[1]}
SlurmUser=root
PidFile={work}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[2]}
StorageUser=slurm
StorageLoc=slurm_acct_db
"""


def slurm_conf(options: ClusterOptions, work: Path, ports: Sequence[int]) -> str:
    """The configuration that daemons and commands read."""
    main = ",".join(name for name in options.nodes if name != "blind")
    parts = [SLURM_CONF.format(options=options, work=work, controller_port=ports[0], main=main)]
    if options.accounting:
        parts.append(ACCOUNTING.format(work=work, database_port=ports[1]))
    if options.enforce_accounts:
        parts.append("AccountingStorageEnforce=associations,limits\n")
    if options.blind_folder:
        parts.append("PartitionName=blind Nodes=blind\n")
    host = socket.gethostname().partition(".")[0]
    with suppress(OSError):
        if socket.gethostbyname(host).startswith("127."):  # then the daemons can listen there alone
            parts.append("CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n")
    claims = f"CPUs={options.cpus} RealMemory={options.memory_mb}" + f" Gres=gpu:{options.gpus}" * (options.gpus > 0)
    for node, port in zip(options.nodes, ports[3:], strict=True):
        parts.append(f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {claims}\n")
    return "".join(parts)
