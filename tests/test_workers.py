"""Work in several processes: order, processes that end, interruption, and how much is done ahead."""

import itertools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from etude.adapters.errors import UserError
from etude.adapters.inference import workers
from etude.adapters.inference.workers import each

# What the processes do; they find it by its name, ``test_workers`` being importable in the tests' folder.


def start_work(folder, refuse=False):
    if refuse:
        raise UserError("there is no such thing", where="somewhere", fix="look elsewhere")
    (folder / f"{os.getpid()}.started").touch()
    return partial(do, folder)


def do(folder, item):
    number, action = item
    if action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "memory":
        raise MemoryError
    if action == "fail":
        raise RuntimeError("an assertion\nof a library")
    if action == "user":
        raise UserError("is no audio", where="x.wav", fix="convert it")
    if action == "sleep":
        time.sleep(1.0)
    if action == "for ever":
        (folder / f"{os.getpid()}.waits").touch()
        time.sleep(600)
    return number, os.getpid(), threads() if action == "threads" else 0


def threads():
    import torch

    return torch.get_num_threads()


def failed(item, problems):
    return item[0], str(problems[0])


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Processes import this file as this one did, by the path of the tests."""
    import test_workers

    monkeypatch.setattr(sys.modules[__name__], "start_work", test_workers.start_work)
    monkeypatch.setattr(sys.modules[__name__], "do", test_workers.do)


def run(folder, *actions, jobs=2):
    return list(each(partial(start_work, folder), enumerate(actions), jobs, failed))


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_bad_item_spoils_no_other(tmp_path, jobs):
    results = run(tmp_path, "", "memory", "", "fail", "user", "", jobs=jobs)
    assert [result[0] for result in results] == list(range(6))
    told = [re.sub(r"line \d+", "line N", result[1]) for result in results if isinstance(result[1], str)]
    assert told == [
        "(1, 'memory'): needs more memory than there is (free some, use fewer jobs, or cut the recording)",
        "(3, 'fail'): failed in test_workers.py, line N: RuntimeError: an assertion of a library "
        "(convert it to WAV; if that does not help, report it)",
        "x.wav: is no audio (convert it)",
    ]


def test_results_keep_the_order_of_the_items_and_each_process_starts_once(tmp_path):
    results = run(tmp_path, "sleep", "", "", "sleep", "", "")
    assert [result[0] for result in results] == list(range(6))
    assert {result[1] for result in results} == {int(path.stem) for path in tmp_path.glob("*.started")}
    assert len({result[1] for result in results} - {os.getpid()}) == 2
    assert not multiprocessing.active_children()


def test_processes_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    jobs = max(2, len(os.sched_getaffinity(0)))
    assert [result[2] for result in run(tmp_path, "threads", jobs=jobs)] == [1]
    assert os.environ["OMP_NUM_THREADS"] == "64"


def test_a_process_that_ends_costs_its_item_only(tmp_path):
    results = run(tmp_path, "", "die", "", "die", "", "")
    assert [result[0] for result in results] == list(range(6))
    ends = [result[1] for result in results if isinstance(result[1], str)]
    assert ends == [
        f"({place}, 'die'): the process that worked on it ended with code -9 "
        "(if memory was short, use fewer jobs or cut the recording)"
        for place in (1, 3)
    ]


def test_processes_that_cannot_start_say_why(tmp_path):
    with pytest.raises(UserError, match="somewhere: there is no such thing"):
        list(each(partial(start_work, tmp_path, refuse=True), enumerate(["", ""]), 2, failed))
    assert not multiprocessing.active_children()
    with pytest.raises(UserError, match="0 processes are too few"):
        each(partial(start_work, tmp_path), [], 0, failed)


def test_no_more_processes_than_items(tmp_path):
    run(tmp_path, "", jobs=8)
    assert len(list(tmp_path.glob("*.started"))) == 1


def test_no_more_is_done_ahead_than_a_bound(tmp_path, monkeypatch):
    """The first item takes long; the endless others wait for it."""
    monkeypatch.setattr(workers, "AHEAD", 3)
    asked = []
    endless = ((number, "" if number else "sleep") for number in itertools.count() if not asked.append(number))
    results = each(partial(start_work, tmp_path), endless, 2, failed)
    assert next(results)[0] == 0
    assert len(asked) <= 7
    assert [next(results)[0] for _ in range(4)] == [1, 2, 3, 4]
    results.close()
    assert not multiprocessing.active_children()


SCRIPT = """
import sys
from functools import partial
from pathlib import Path

import test_workers
from etude.adapters.inference.workers import each

if __name__ == "__main__":
    start = partial(test_workers.start_work, Path(sys.argv[1]))
    list(each(start, enumerate(["for ever"] * 4), 2, test_workers.failed))
"""


def test_ctrl_c_ends_all_at_once_and_quietly(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, script, tmp_path], env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        while len(list(tmp_path.glob("*.waits"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        began = time.monotonic()
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert time.monotonic() - began < 5
    assert process.returncode != 0
    assert said.count("Traceback") == 1  # that of the script itself
    for path in tmp_path.glob("*.waits"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.stem), 0)
