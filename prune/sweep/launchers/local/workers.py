"""Runs the cells of a sweep in several processes of this machine, each one cell at a time and one GPU.

A worker (see worker.py) runs several cells, which share a loaded model. This process records their results, one cell after
another. What a worker prints goes into an unnamed file; when it dies, what it printed during its cell is added to the cell's
run.log.

Submitit's local executor would run the very job that Slurm runs, but starts a process for each cell (four times the
processor time on small cells), shows no stages, and says of a killed process neither the signal nor its last line.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Pipe, wait
from pathlib import Path

from rich.console import Console

import prune
from prune.cell.cell import Cell
from prune.cell.failure import Failure
from prune.config.config import Device
from prune.errors import UserError
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.launchers.local.worker import STOP_SECONDS, Message
from prune.sweep.output.progress import WorkersWatcher, watch_workers
from prune.sweep.recorder import Recorder

WORKER = "prune.sweep.launchers.local.worker"
"""The module of a worker's program."""

POLL_SECONDS = 0.5
"""How often dead workers are looked for; as a rule the end of their connection shows at once."""

KILL_SECONDS = STOP_SECONDS + 2.0
"""How long a worker may take to end before it is killed."""

MAX_OUTPUT = 16_384
"""Bytes that are read from the end of what a dead worker printed."""


def run_in_workers(cells: Sequence[Cell], launcher: LocalLauncherConfig, recorder: Recorder, console: Console) -> None:
    """Run and record each of `cells`; a cell that fails, or whose worker dies, does not stop the others.

    Raises:
        UserError: the dense cell of the only model failed by wrong use, which every other cell would meet too: those at work
            were interrupted; or there are too few GPUs.
        KeyboardInterrupt: all workers have ended then.
    """
    if not cells:
        return
    gpus = choose_gpus(cells, launcher, os.environ)
    num_cores = len(os.sched_getaffinity(0))
    places = range(min(launcher.num_processes, len(cells)))
    environments = [worker_environment(place, launcher, gpus, os.environ, num_cores) for place in places]
    with watch_workers(console, len(cells), len(environments)) as watcher:
        pool = WorkerPool(cells, environments, recorder, watcher)
        try:
            pool.run()
        finally:
            pool.end()


def choose_gpus(cells: Sequence[Cell], launcher: LocalLauncherConfig, inherited: Mapping[str, str]) -> list[str]:
    """The GPU of each worker as CUDA_VISIBLE_DEVICES names it; empty when they compute on the CPU, or one may choose.

    `launcher.gpus` are numbers as nvidia-smi counts them, whatever CUDA_VISIBLE_DEVICES says. Without them several workers
    take the GPUs that it lists, or else all there are, from the first on.

    Raises:
        UserError: there are fewer GPUs than workers.
    """
    if launcher.gpus:
        return [str(gpu) for gpu in launcher.gpus]
    if launcher.num_processes == 1 or all(cell.config.device is Device.cpu for cell in cells):
        return []
    listed = inherited.get("CUDA_VISIBLE_DEVICES")
    gpus = all_gpus() if listed is None else [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    if 0 < len(gpus) < launcher.num_processes:
        raise UserError(
            f"launcher.num_workers={launcher.num_workers} is more than the GPUs here ({len(gpus)}): a GPU runs one cell "
            "at a time. Lower launcher.num_workers, or compute on the CPU with device=cpu."
        )
    return gpus


def all_gpus() -> list[str]:
    """The numbers of this machine's GPUs; empty when it has none."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in done.stdout.splitlines()))]


def worker_environment(
    place: int, launcher: LocalLauncherConfig, gpus: Sequence[str], inherited: Mapping[str, str], num_cores: int
) -> dict[str, str]:
    """The environment of the worker at `place`: its GPU, its share of the cores, and the `prune` that runs here.

    The number of threads can change the last bits of a result (of a Cholesky factorisation: sparsegpt), so it depends on
    `num_workers` and not on how many cells are left, and OMP_NUM_THREADS stays if it is set.
    """
    environment = dict(inherited)
    root = str(Path(prune.__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(path for path in (root, inherited.get("PYTHONPATH")) if path)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[place]
        if launcher.gpus or "CUDA_VISIBLE_DEVICES" not in inherited:
            environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # nvidia-smi's; CUDA's own begins with the fastest
    if "OMP_NUM_THREADS" not in inherited:
        num_threads = str(max(1, num_cores // launcher.num_processes))
        environment["OMP_NUM_THREADS"] = num_threads
        environment.setdefault("MKL_NUM_THREADS", num_threads)
    return environment


def take_cell(waiting: list[Cell], held: str | None) -> Cell | None:
    """Take the next cell from `waiting`: the first that the model `held` serves (a `Cell.model_key`), else the
    first; None when all are taken."""
    if not waiting:
        return None
    return waiting.pop(next((index for index, cell in enumerate(waiting) if cell.model_key == held), 0))


class Worker:
    """A child process, and the cell that it works on."""

    def __init__(self, place: int, environment: Mapping[str, str]) -> None:
        self.place = place
        self.cell: Cell | None = None
        self.model: str | None = None
        """The key of the model that it has loaded."""
        self.connection, child = Pipe()
        self._sizes = 0, 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `kill`; without a name nobody needs to remove it)
        descriptor = child.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER, str(descriptor)],  # -P: a `prune` in the working folder is not meant
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=environment, pass_fds=[descriptor],
        )  # fmt: skip
        child.close()

    def start_cell(self, cell: Cell) -> None:
        """Let it work on `cell`."""
        self.cell, self.model = cell, cell.model_key
        self._sizes = size_of(self._log.fileno()), size_of(cell.folder() / "run.log")
        with suppress(ConnectionError):  # it died meanwhile: `receive` returns None next
            self.connection.send(cell)

    def receive(self) -> Message | None:
        """The next message, to be called when there is one; None when the connection has ended."""
        try:
            message: Message = self.connection.recv()
        except (EOFError, ConnectionError):
            return None
        return message

    def has_exited(self) -> bool:
        """Whether it is dead; messages that it sent before may still wait to be read."""
        return self._process.poll() is not None

    def disconnect(self) -> None:
        """Give it no more cells, and let it end; one that it works on is interrupted."""
        self.connection.close()

    def end(self, seconds: float = KILL_SECONDS) -> None:
        """Disconnect, wait until it has ended, and kill it if that takes longer than `seconds`."""
        self.disconnect()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """Kill it unless it has ended, and close its log."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def failure_by_death(self) -> Failure:
        """Why the cell of a dead worker has no result; what the worker printed goes into the cell's log."""
        assert self.cell is not None
        log = self.cell.folder() / "run.log"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_SECONDS)
        status = self._process.poll()
        printed, logged = read_from(self._log.fileno(), self._sizes[0]), read_from(log, self._sizes[1])
        # a process that is killed prints nothing about it: the last line that it printed is a library's
        texts = (logged, printed) if status == -signal.SIGKILL else (printed, logged)
        reason = next((line for line in map(last_line, texts) if line), "it printed nothing")
        state = "hung up" if status is None else f"killed by signal {-status}" if status < 0 else f"exited with {status}"
        with suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as stream:
                stream.write(f"{printed}\n{state}\n".lstrip())
        return Failure(state, reason, log)


def size_of(file: int | Path) -> int:
    """The bytes in a file; 0 when there is none."""
    try:
        return os.stat(file).st_size  # noqa: PTH116  (a descriptor has no Path)
    except FileNotFoundError:
        return 0


def read_from(file: int | Path, mark: int) -> str:
    """The text of a file from byte `mark` on, of a long one the end; empty when there is none."""
    try:
        descriptor = os.dup(file) if isinstance(file, int) else os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        size = size_of(descriptor)
        return os.pread(descriptor, MAX_OUTPUT, max(mark, size - MAX_OUTPUT)).decode(errors="replace")
    finally:
        os.close(descriptor)


def last_line(text: str) -> str:
    """The line that says most: that of a crash, which the stack follows, else the last one; empty when there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    crashes = [line for line in lines if line.startswith("Fatal Python error")]
    return next(reversed(crashes or lines), "")


class WorkerPool:
    """The workers of a sweep, and the cells that wait for them."""

    def __init__(
        self, cells: Sequence[Cell], environments: Sequence[Mapping[str, str]], recorder: Recorder, watcher: WorkersWatcher
    ) -> None:
        self._waiting = list(cells)
        self._is_one_model = len({cell.dense_id for cell in cells}) == 1
        self._environments, self._recorder, self._watcher = environments, recorder, watcher
        self._workers: list[Worker] = []

    def run(self) -> None:
        """Start the workers, and read their messages until each cell has ended."""
        for place in range(len(self._environments)):
            if cell := take_cell(self._waiting, None):
                self._start_worker(place).start_cell(cell)
                self._watcher.begin_cell(place, cell.title)
        while busy := {worker.connection: worker for worker in self._workers if worker.cell is not None}:
            dead = {worker for worker in busy.values() if worker.has_exited()}
            readable = wait(list(busy), POLL_SECONDS)
            ready = {worker for connection, worker in busy.items() if connection in readable}
            for worker in ready:
                self._read_message(worker)
            for worker in dead - ready:  # the connection may stay open, held by a child of the dead worker
                self._record_death(worker)

    def end(self) -> None:
        """End all workers; whatever interrupts the waiting, none is left."""
        for worker in self._workers:
            worker.disconnect()
        deadline = time.monotonic() + KILL_SECONDS
        try:
            for worker in self._workers:
                worker.end(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in self._workers:
                worker.kill()

    def _start_worker(self, place: int) -> Worker:
        worker = Worker(place, self._environments[place])
        self._workers.append(worker)
        return worker

    def _read_message(self, worker: Worker) -> None:
        message = worker.receive()
        if message is None:
            self._record_death(worker)
        elif "stage" in message:
            self._watcher.stage(worker.place, message["stage"])
        elif "advance" in message:
            self._watcher.advance(worker.place, *message["advance"])
        else:
            self._end_cell(worker, message)

    def _end_cell(self, worker: Worker, message: Message) -> None:
        if message["ended"] == "held":
            self._record(worker, lambda cell: self._recorder.hold(cell, message["by"]))
        elif message["ended"] == "failed":
            failure: Failure = message["failure"]
            if failure.wrong_use and worker.cell is not None and worker.cell.is_dense:
                self._give_up(worker.cell, failure)
            self._record(worker, lambda cell: self._recorder.fail(cell, failure), stays=not message["exits"])
        else:
            self._record(worker, self._finish)

    def _give_up(self, dense: Cell, failure: Failure) -> None:
        """Fail the waiting cells of a model whose dense cell met a mistake: they would meet it after minutes of pruning.

        Raises:
            UserError: the line has no other model.
        """
        if self._is_one_model:
            raise UserError(failure.reason)
        for cell in [cell for cell in self._waiting if cell.dense_id == dense.id]:
            self._waiting.remove(cell)
            self._recorder.fail(cell, failure)

    def _record_death(self, worker: Worker) -> None:
        failure = worker.failure_by_death()
        self._record(worker, lambda cell: self._recorder.fail(cell, failure), stays=False)

    def _record(self, worker: Worker, keep: Callable[[Cell], str], stays: bool = True) -> None:
        """Record how the worker's cell ended, and give the next cell to it, or to a new worker if it does not stay."""
        cell, worker.cell = worker.cell, None
        assert cell is not None
        following = take_cell(self._waiting, worker.model)
        if not stays:
            worker.end()  # before the next one needs the memory
            self._workers.remove(worker)
            worker = self._start_worker(worker.place) if following else worker
        if following:
            worker.start_cell(following)  # first, so that it need not wait for the tracker
        else:
            worker.disconnect()
        self._watcher.end_cell(worker.place, keep(cell))
        if following:
            self._watcher.begin_cell(worker.place, following.title)

    def _finish(self, cell: Cell) -> str:
        """Keep the result that the worker left in the cell's folder."""
        log = cell.folder() / "run.log"
        try:
            result = cell.files.read_result()
        except UserError as error:
            return self._recorder.fail(cell, Failure.of_exception(error, log))
        if result is None:
            return self._recorder.fail(cell, Failure("failed", f"{cell.folder()}/result.json was removed", log))
        return self._recorder.finish(cell, result)
