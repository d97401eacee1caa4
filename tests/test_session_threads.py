"""One session, many threads: each gets, bit for bit, what it would get alone."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from etude.adapters.errors import UserError
from etude.adapters.inference.session import Session

ADAPTERS = {"lora": "lora", "narrow": "lora-last", "dora": "dora", "scaled": "ia3"}
"""Four adapters of different ranks: name -> method."""


@pytest.fixture
def impatient():
    """Threads change places as often as Python lets them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def values_of(activations):
    return [values for outputs in activations.values() for values in outputs.values()]


def test_eight_threads_and_four_adapters_get_the_serial_answers(folders, take, impatient):
    session = Session(*(folders(name, method=method) for name, method in ADAPTERS.items()))
    jobs = [(take(seconds), name) for seconds in (0.5, 1.5, 2.2) for name in ADAPTERS]
    serial = {job: (session.activations(*job), session(*job)) for job in jobs}
    answers = {name: values_of(serial[take(1.5), name][0]) for name in ADAPTERS}
    assert len({values.tobytes() for answer in answers.values() for values in answer[:1]}) == 4, "the adapters differ"
    calls = [jobs[i % len(jobs)] for i in np.random.default_rng(0).permutation(200)]
    together = threading.Barrier(8)

    def call(share):
        together.wait()
        return [(job, session.activations(*job), session(*job)) for job in share]

    with ThreadPoolExecutor(8) as pool:
        results = [item for found in pool.map(call, [calls[i::8] for i in range(8)]) for item in found]
    assert len(results) == 200
    for job, activations, annotation in results:
        expected, events = serial[job]
        assert all(map(np.array_equal, values_of(activations), values_of(expected))), job
        assert annotation == events


def test_loading_and_unloading_beside_running_calls(folders, take, impatient):
    """What is loaded meanwhile changes nobody's answer, even under a name that was another adapter's before."""
    session = Session(folders("lora", method="lora"))
    path = take(2.2)
    expected, stop, wrong = session.activations(path, "lora"), threading.Event(), []

    def call():
        while not stop.is_set():
            if not all(map(np.array_equal, values_of(session.activations(path, "lora")), values_of(expected))):
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for method in ("dora", "ia3", "lora-last") * 3:
        session.load(folders(method, method=method), "guest")
        session(take(0.5), "guest")
        session.unload("guest")
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_adapter_that_is_unloaded_in_the_middle_of_a_call_is_one_line(folders, take, monkeypatch):
    session = Session(folders("lora", method="lora"), folders("dora", method="dora"))
    real = type(session._branches)._parts

    def unloading(self, *arguments):
        if "dora" in session.adapters:
            session.unload("dora")
            session.load(folders("ia3", method="ia3"), "dora")
        return real(self, *arguments)

    monkeypatch.setattr(type(session._branches), "_parts", unloading)
    with pytest.raises(UserError, match="the adapter 'dora' was unloaded while it was in use"):
        session(take(0.5), "dora")
