"""How the head for tags pools the frames of a clip, against brute force."""

import socket

import numpy as np
import pytest
import torch
from made_tags_head import LABELS, RATE, make_head, statistics_by_hand, tagged, targets

from etude.adapters.heads import Context
from etude.adapters.heads._parts.statistics_pooling import StatisticsPooling


def test_statistics_by_hand():
    pooling, features = StatisticsPooling(4), torch.rand(2, 7, 4)
    real = torch.tensor([[1.0] * 7, [1.0] * 3 + [0.0] * 4])
    found = pooling(features, real).detach().numpy()
    np.testing.assert_allclose(found[0], statistics_by_hand(features[0].double().numpy()), atol=1e-5)
    np.testing.assert_allclose(found[1], statistics_by_hand(features[1, :3].double().numpy()), atol=1e-5)
    assert torch.isfinite(pooling(features, torch.zeros(2, 7))).all()


def gradients_on_two_processes(rank, port, file):
    """One clip on each process; those of the first are kept."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    head = make_head(pooling="statistics", hidden=4, dropout=0.0)
    wrapped = torch.nn.parallel.DistributedDataParallel(head)
    states = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(3))[rank : rank + 1]
    head.loss(wrapped(Context(states)), targets(head, [tagged(LABELS[rank])]))["clip"].backward()
    if rank == 0:
        torch.save([p.grad for p in head.parameters()], file)
    torch.distributed.barrier()  # one that is left alone with a connection would abort
    torch.distributed.destroy_process_group()


def test_two_processes_learn_the_pooled_layer_together(tmp_path):
    """It is read in the loss, outside the forward pass that the processes agree on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(gradients_on_two_processes, (port, tmp_path / "gradients"), nprocs=2)
    head = make_head(pooling="statistics", hidden=4, dropout=0.0)
    states = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(3))
    head.loss(head(Context(states)), targets(head, [tagged("cel"), tagged("cla")]))["clip"].backward()
    for found, parameter in zip(torch.load(tmp_path / "gradients"), head.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad)


def brute_force(logits, rate, seconds, activation):
    """Windows of ``seconds``, half of it apart, the last one ending with the recording."""
    length, hop = max(1, round(seconds * rate)), max(1, round(seconds / 2 * rate))
    starts, start = [], 0
    while start + length < len(logits):
        starts.append(start)
        start += hop
    starts.append(max(0, len(logits) - length))
    rows = []
    for start in starts:
        mean = torch.from_numpy(logits[start : start + length].astype(np.float64)).mean(dim=0)
        rows.append(mean.sigmoid() if activation == "sigmoid" else mean.softmax(dim=0))
    return torch.stack(rows).mean(dim=0).numpy()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("frames", [1, 10, 49, 50, 51, 74, 75, 76, 100, 237])
@pytest.mark.parametrize("seconds", [1.0, 0.4, 0.01])
def test_pooling_is_the_mean_over_overlapping_windows(activation, frames, seconds):
    head = make_head(activation=activation, clip_seconds=seconds)
    logits = (np.random.default_rng(frames).normal(size=(frames, 3)) * 3).astype(np.float16)
    pooled = head.pool({"tags": logits}, RATE)["tags"]
    assert pooled.shape == (1, 3)
    np.testing.assert_allclose(pooled[0], brute_force(logits, RATE, seconds, activation), rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 30, 75, 237])
def test_statistics_are_of_the_same_windows(frames):
    head = make_head(pooling="statistics", hidden=4, activation="softmax").eval()
    features = torch.rand(frames, 4, generator=torch.Generator().manual_seed(frames)).half().numpy()
    last = head.last[1]
    weight, bias = last.weight.detach().double().numpy(), last.bias.detach().double().numpy()
    starts = [*range(0, frames - 50, 25), max(0, frames - 50)]
    pooled = [statistics_by_hand(features[start : start + 50].astype(np.float64)) for start in starts]
    expected = torch.from_numpy(np.stack(pooled) @ weight.T + bias).softmax(dim=1).mean(dim=0).numpy()
    np.testing.assert_allclose(head.pool({"tags": features}, RATE)["tags"][0], expected, rtol=1e-4)


def test_activations_are_logits_that_half_precision_holds():
    head = make_head()
    logits = torch.tensor([[[30.0, -30.0, 0.0]]])
    kept = head.activations({"tags": logits})["tags"].half().numpy()[0]
    assert head.pool({"tags": kept}, RATE)["tags"][0] == pytest.approx([1, 0, 0.5], abs=1e-6)
