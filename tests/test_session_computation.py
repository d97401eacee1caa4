"""What the adapters in a session share is computed once, ahead and compiled."""

import threading

import pytest
import torch
from agreement import same
from torch import nn

from etude.adapters.errors import UserError
from etude.adapters.inference import recordings
from etude.adapters.inference.session import Session


def count_rows(session, monkeypatch):
    """Blocks that run from now on: (index, rows, whether under an adapter)."""
    calls, real = [], session.backbone.block

    def block(index, state):
        calls.append((index, len(state), session._bank._selection.index is not None))
        return real(index, state)

    monkeypatch.setattr(session.backbone, "block", block)
    return calls


def test_the_frozen_prefix_is_computed_once_and_no_block_for_nothing(folders, take, monkeypatch):
    """Three blocks; two windows, in one batch."""
    session = Session(
        folders("last-1", method="lora-last"),
        folders("last-2", method="dora-last"),
        folders("first", method="lora-first", layers=[0, 2]),
    )
    session.load(folders("probe", layers=[1]))
    calls = count_rows(session, monkeypatch)
    session.all(take(1.5))
    trunk, branches = [(0, 2, False), (1, 2, False)], [(0, 2, True), (1, 2, True)]
    assert sorted(calls) == sorted([*trunk, *branches, (2, 4, True)])
    calls.clear()
    session.batch([(take(1.5), "first"), (take(0.5), "last-2"), (take(0.4), "last-1"), (take(0.3), "probe")])
    assert sorted(calls) == sorted([*branches, (0, 1, False), (0, 2, False), (1, 2, False), (2, 2, True)])
    calls.clear()
    session(take(0.5), "probe")
    assert calls == [(0, 1, False)]


def test_audio_is_decoded_while_the_batch_before_is_computed(folders, take, monkeypatch):
    session = Session(folders("lora", method="lora"))
    reads, seen, real, computing = [], [], recordings.read_window, session._branches.__call__

    def read(path, start, *rest):
        reads.append(threading.current_thread())
        if len(reads) > 4:  # the second batch
            ahead.set()
        return real(path, start, *rest)

    def compute(self, *arguments):
        seen.append(ahead.wait(10))
        return computing(*arguments)

    ahead = threading.Event()
    monkeypatch.setattr(recordings, "read_window", read)
    monkeypatch.setattr(type(session._branches), "__call__", compute)
    session(take(5.0))
    assert seen == [True, True]
    assert threading.main_thread() not in reads


def test_compiled_sessions_say_the_same_and_switch_without_compiling(folders, take, monkeypatch):
    graphs, original = [], nn.Module.compile

    def counting(graph, inputs):
        graphs.append([tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor) and value.ndim == 3])
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: original(self, backend=counting, **options))
    torch._dynamo.reset()
    paths = [folders("lora", method="lora"), folders("wide", method="lora", overlap=0.5), folders("probe", layers=[1])]
    session, eager = Session(*paths, compile=True), Session(*paths)
    session.batch([(take(0.4), "lora"), (take(0.4), "wide"), (take(0.4), "probe")])
    count = len(graphs)
    assert count == 2  # without an adapter, and with one; for all blocks
    for path in (take(3.3), take(0.4)):
        for name in (*session.adapters, *session.adapters):
            same(session.activations(path, name), eager.activations(path, name))
    assert len(graphs) == count
    session.batch([(take(0.4), "lora"), (take(0.3), "wide")])  # with one for each row, when a batch first mixes them
    assert len(graphs) <= count + 1
    torch._dynamo.reset()


def test_a_backbone_that_cannot_be_compiled_is_one_line(folders, take, monkeypatch):
    original = nn.Module.compile

    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: original(self, backend=broken, **options))
    torch._dynamo.reset()
    with pytest.raises(UserError, match=r"^cannot compile the backbone here: .*no compiler here.* \(do without compile\)$"):
        Session(folders("lora", method="lora"), compile=True)(take(0.4))
    torch._dynamo.reset()
