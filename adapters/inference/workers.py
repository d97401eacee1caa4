"""The same work on many recordings, here or in several processes; what goes wrong with one of them concerns no other."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar, cast

from etude.adapters.errors import Problem, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Start = Callable[[], Callable[[Item], Result]]
"""Makes what works on one item."""
Failed = Callable[[Item, tuple[Problem, ...]], Result]
"""Makes a result of what could not be done."""
Outcome = tuple[Any, tuple[Problem, ...]]
"""A result, or ``None`` and why there is none."""

THREADS = "OMP_NUM_THREADS"
"""What torch and the libraries of numpy take the number of their threads from."""
AHEAD = 64
"""Items per process that are done before one that takes long, whose result comes first: memory does not grow further."""


def each(
    start: Start[Item, Result], items: Iterable[Item], jobs: int, failed: Failed[Item, Result]
) -> Generator[Result, None, None]:
    """The results of ``items`` in their order, of what ``start`` makes once, or once in each of ``jobs`` processes.

    An exception, or the end of its process, makes an item ``failed``; ``str(item)`` is where. For several processes, ``start``,
    items and results are pickled, and each process computes with its share of the cores; all end when the iterator is closed
    or interrupted. Raises :class:`UserError` for processes that cannot be started, and as ``start`` does: here at once, in
    processes when the first result is asked for.
    """
    if jobs < 1:
        raise UserError(f"{jobs} processes are too few", where="jobs", fix="use 1 or more")
    if jobs > 1:
        return _in_processes(start, items, jobs, failed)
    work = start()
    return (_told(item, _outcome(work, item), failed) for item in items)


def _outcome(work: Callable[[Any], Any], item: Any) -> Outcome:
    try:
        return work(item), ()
    except UserError as error:
        return None, error.problems
    except MemoryError:
        return None, (Problem("needs more memory than there is", str(item), "free some, use fewer jobs, or cut the recording"),)
    except OSError as error:
        where = str(error.filename or item)
        return None, (Problem(error.strerror or str(error), where, "free some space, or check its permissions"),)
    except Exception as error:  # of whatever library: the other recordings go on
        frame = extract_tb(error.__traceback__)[-1]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        what = f"failed in {Path(frame.filename).name}, line {frame.lineno}: {reason:.300}"
        return None, (Problem(what, str(item), "convert it to WAV; if that does not help, report it"),)


def _told(item: Item, outcome: Outcome, failed: Failed[Item, Result]) -> Result:
    result, problems = outcome
    return failed(item, problems) if problems else cast(Result, result)


class _Worker:
    """A process that works on one item at a time."""

    def __init__(self, start: bytes, jobs: int) -> None:
        context = get_context("spawn")  # a fork would inherit the locks of torch's threads
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, start), daemon=True)
        with _threads(jobs):
            self.process.start()
        other.close()  # or nobody would notice that the process has ended
        self.ready = False

    def give(self, place: int, item: Any) -> None:
        """Let it work on an item."""
        self.place, self.item = place, item
        with suppress(OSError):  # it has ended, which is noticed when the outcome is read
            self.connection.send(item)

    def read(self) -> list[Outcome]:
        """The outcome, or nothing yet: it says first that it has started. Raises :class:`UserError` where it could not."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            self.end()
            code = self.process.exitcode
            if self.ready:
                fix = "if memory was short, use fewer jobs or cut the recording"
                return [(None, (Problem(f"the process that worked on it ended with code {code}", str(self.item), fix),))]
            fix = "in a script, call it below: if __name__ == '__main__'"
            raise UserError(f"a process ended with code {code} before it began", where="jobs", fix=fix) from None
        if self.ready:
            return [said]
        if said:
            raise UserError(said)
        self.ready = True
        return []

    def end(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _in_processes(
    start: Start[Item, Result], items: Iterable[Item], jobs: int, failed: Failed[Item, Result]
) -> Generator[Result, None, None]:
    rest, packed = enumerate(items), pickle.dumps(start)
    idle: list[_Worker] = []
    busy: dict[Any, _Worker] = {}
    results: dict[int, Result] = {}
    given = told = 0
    try:
        while True:
            while len(busy) < jobs and given - told < AHEAD * jobs and (following := next(rest, None)):
                worker = idle.pop() if idle else _Worker(packed, jobs)
                busy[worker.connection] = worker
                worker.give(*following)
                given += 1
            if not busy:
                return
            for connection in wait(list(busy)):
                worker = busy[connection]
                for outcome in worker.read():
                    results[worker.place] = _told(worker.item, outcome, failed)
                    del busy[connection]
                    idle += [] if worker.connection.closed else [worker]
            while told in results:
                yield results.pop(told)
                told += 1
    finally:
        for worker in (*idle, *busy.values()):
            worker.end()


@contextmanager
def _threads(jobs: int) -> Iterator[None]:
    """Processes that start in the block compute with a share of the cores; libraries read it when they are first imported."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    before = os.environ.get(THREADS)
    allowed = int(before) if before and before.isdecimal() else cores
    os.environ[THREADS] = str(max(1, min(allowed, cores // jobs)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def _serve(connection: Connection, start: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    try:
        work = pickle.loads(start)()
    except UserError as error:
        connection.send(error.problems)
        return
    connection.send(())
    with suppress(EOFError):
        while True:
            connection.send(_outcome(work, connection.recv()))
