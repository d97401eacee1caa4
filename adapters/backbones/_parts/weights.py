"""Weights of backbones: tensors and JSON from a local folder or the Hugging Face Hub. Code in a checkpoint is never run."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from etude.adapters.errors import UserError, nearest

FILES = ("model.safetensors", "pytorch_model.bin")
RANDOM = "random:"
PACKAGED = Path(__file__).parent.parent
"""Weights that come with the package: each folder here is known by its name."""
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def load_tensors(
    weights: str, revision: str | None = None, prefixes: Sequence[str] = ("",)
) -> tuple[dict[str, Tensor], str | None]:
    """The tensors under the first of ``prefixes`` that any tensor has, without it; and the Hub's commit hash, if any.

    ``weights`` is a name of :func:`packaged_weights`, a local folder or a Hub name. Safetensors is preferred, of which only the
    selected tensors are read; a ``pytorch_model.bin`` is opened with ``weights_only=True``. Raises :class:`UserError` for a
    folder or Hub repository that does not exist or has no weights, a file that cannot be read, or no network.
    """
    path = _fetch(weights, FILES, revision)
    if path is None:
        raise UserError(f"has no {' or '.join(FILES)}", where=weights, fix="give a folder or Hub name that holds weights")
    try:
        tensors = _read(path, prefixes)
    # A damaged or hostile file can raise nearly anything; torch's own message would advise to load it unsafely.
    except Exception as error:
        raise UserError(
            f"cannot be read as weights ({type(error).__name__})",
            where=str(path),
            fix="download it again from a source you trust",
        ) from None
    if not tensors:
        raise UserError("holds no tensors", where=str(path), fix="give a checkpoint that holds weights")
    return tensors, _commit(path)


def load_config(weights: str, revision: str | None = None, name: str = "config.json") -> dict[str, Any] | None:
    """The JSON file ``name`` of a local folder or Hub repository, None when it has none. Raises :class:`UserError`."""
    path = _fetch(weights, (name,), revision)
    if path is None:
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"is not valid JSON: {error}", where=str(path), fix="download it again") from None
    if not isinstance(config, dict):
        raise UserError("is not a JSON object", where=str(path), fix="download it again")
    return config


def load_preprocessor(weights: str, revision: str | None = None) -> dict[str, Any]:
    """How audio is prepared for ``weights`` (``preprocessor_config.json``), empty where nothing says so.

    Raises :class:`UserError` for a file of a folder that cannot be read.
    """
    try:
        return load_config(weights, revision, "preprocessor_config.json") or {}
    except UserError:
        if Path(weights).is_dir():
            raise
        return {}  # offline, and the rest was cached without it


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], weights: str) -> None:
    """Give ``model`` (it may be on the meta device) its ``tensors``, in the model's precision.

    Raises :class:`UserError` that names a few missing, unexpected and wrongly shaped tensors, if there are any.
    """
    expected = model.state_dict()
    wrong = sorted(name for name in expected.keys() & tensors.keys() if expected[name].shape != tensors[name].shape)
    faults = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - expected.keys()),
        "of the wrong shape": [f"{name} {[*tensors[name].shape]} instead of {[*expected[name].shape]}" for name in wrong],
    }
    if any(faults.values()):
        what = "; ".join(f"{len(names)} tensors {fault} ({_few(names)})" for fault, names in faults.items() if names)
        raise UserError(
            what, where=weights, fix=f"these are not weights for {type(model).__name__}, or its config.json is another's"
        )
    model.load_state_dict({name: tensors[name].to(expected[name].dtype) for name in expected}, assign=True)


def packaged_weights() -> tuple[str, ...]:
    """Names of the weights that come with the package."""
    return tuple(sorted(file.parent.name for file in PACKAGED.glob("*/config.json")))


def find_licence(weights: str, revision: str | None, known: Mapping[str, str]) -> str:
    """The licence of ``weights``: by Hub owner from ``known``, else from the front matter of the ``README.md`` beside them."""
    if weights.startswith(RANDOM):
        return "none (random weights)"
    owner = weights.split("/")[0]
    if owner in known and not Path(weights).is_dir():
        return known[owner]
    try:
        readme = _fetch(weights, ("README.md",), revision)
        front = re.match(r"---\n(.*?)\n---", readme.read_text(encoding="utf-8"), re.DOTALL) if readme else None
        fields = yaml.safe_load(front[1]) if front else None
    except (UserError, ValueError, yaml.YAMLError):  # not cached and offline, or not a model card: then nothing is known
        fields = None
    stated = fields.get("license") if isinstance(fields, dict) else None
    return str(stated) if stated else "unknown: see the source of the weights"


def random_size(weights: str, known: Iterable[str]) -> str | None:
    """The ``SIZE`` of ``random:SIZE``, None for other weights. Raises :class:`UserError` for an unknown size."""
    if not weights.startswith(RANDOM):
        return None
    size = weights.removeprefix(RANDOM)
    if size not in (sizes := list(known)):
        raise UserError(f"unknown size '{size}' of random weights", where="backbone.weights", fix=nearest(size, sizes))
    return size


@contextmanager
def seeded(device: str = "cpu") -> Iterator[None]:
    """Build a model on ``device`` from seed 0, leaving the global random generators as they were."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        # torch.manual_seed would reseed accelerators too.
        torch.default_generator.manual_seed(0)
        yield


def _fetch(weights: str, names: Sequence[str], revision: str | None) -> Path | None:
    """The first of ``names`` in the folder or Hub repository ``weights``, None when it has none of them."""
    packaged = PACKAGED / weights
    folder = packaged if weights in packaged_weights() else Path(weights)
    if folder.is_dir():
        return next((folder / name for name in names if (folder / name).is_file()), None)
    if folder.is_file():
        raise UserError("is a file", where=weights, fix=f"give its folder; the file must be called {' or '.join(FILES)}")
    if not HUB_NAME.fullmatch(weights):
        known = ", ".join(packaged_weights())
        fix = f"check the path, or give a Hub name such as owner/name, or what comes with etude ({known})"
        raise UserError("no such folder of weights", where=weights, fix=fix)
    from huggingface_hub import errors, hf_hub_download

    unreachable = False
    for name in names:
        try:
            return Path(hf_hub_download(weights, name, revision=revision))
        except errors.LocalEntryNotFoundError:
            unreachable = True  # offline and not in the cache; the next name may be
        except errors.EntryNotFoundError:
            continue
        except errors.GatedRepoError:
            fix = f"accept its terms on https://huggingface.co/{weights}, then run 'hf auth login'"
            raise UserError("access to these weights must be requested", where=weights, fix=fix) from None
        except (errors.RepositoryNotFoundError, errors.HFValidationError):
            fix = "check the name; for a private repository run 'hf auth login'"
            raise UserError("neither a local folder nor a Hub repository", where=weights, fix=fix) from None
        except errors.RevisionNotFoundError:
            raise UserError(
                f"has no revision '{revision}'", where=weights, fix="give a branch, tag or commit hash of it"
            ) from None
        except Exception as error:  # disk, or the HTTP library under the Hub client, which differs between releases
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"download of {name} failed: {reason}", where=weights, fix="check network and disk, try again"
            ) from None
    if unreachable:
        fix = "connect to the network once, or download the repository and give its folder"
        raise UserError("neither a local folder nor in the Hub cache, and the Hub cannot be reached", where=weights, fix=fix)
    return None


def _read(path: Path, prefixes: Sequence[str]) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            return {short: file.get_tensor(name) for short, name in _select(file.keys(), prefixes).items()}
    # The format of torch before 1.6 is not a zip archive and cannot be memory-mapped.
    stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    tensors = {name: value for name, value in stored.items() if isinstance(value, Tensor)}
    return {short: tensors[name] for short, name in _select(tensors, prefixes).items()}


def _select(names: Iterable[str], prefixes: Sequence[str]) -> dict[str, str]:
    names = list(names)
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in names)), None)
    return {} if prefix is None else {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}


def _commit(path: Path) -> str | None:
    """The commit hash in a path of the Hub's cache, ``.../snapshots/HASH/...``."""
    found = re.search(r"[/\\]snapshots[/\\]([0-9a-f]{40})[/\\]", str(path))
    return found[1] if found else None


def _few(names: Sequence[str]) -> str:
    return ", ".join([*islice(names, 3), *(["..."] if len(names) > 3 else [])])
