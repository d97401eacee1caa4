"""A trained adapter, recordings to give it, and a disk that is nearly full."""

import resource

import numpy as np
import pytest
import soundfile
from calls import RATE, adapt


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other on busy cores cost more than they give to such small models."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def recipe_file(toy_recipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    path.write_text(toy_recipe().dump())
    return path


@pytest.fixture(scope="session")
def trained(recipe_file, tmp_path_factory):
    """An adapter, its run folder, and what training printed."""
    folder = tmp_path_factory.mktemp("trained")
    code, out, err = adapt("train", recipe_file, "--out", folder / "adapter", "--run", folder / "run")
    assert code == 0, err
    return folder / "adapter", folder / "run", out, err


@pytest.fixture(scope="session")
def adapter(trained):
    return trained[0]


@pytest.fixture
def take(tmp_path):
    """Write a recording below ``tmp_path``: name, seconds, sample rate, channels -> its path."""

    def write(name="take.wav", seconds=1.0, rate=RATE, channels=1):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), channels)), rate)
        return path

    return write


@pytest.fixture
def full_disk():
    """Let no file of this process grow beyond a number of bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
