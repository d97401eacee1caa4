"""OpenMIC-2018: 20 instruments in 20,000 clips of 10 s, partially labelled (Humphrey, Durand & McFee, ISMIR 2018).

Expected, as released: ``openmic-2018.npz``, ``class-map.json``, ``partitions/split01_train.csv`` and ``split01_test.csv`` (one
key per line), ``audio/<first three characters of the key>/<key>.ogg``. The probability ``Y_true`` of an instrument is what is
learned, as by Chen & Lerch (MMM 2023); for scores, it is a tag of a clip where that is at least .5, as the authors take it.
It is unlabelled where ``Y_mask`` is false: of 20, some 2 are labelled. Part of the published training clips validate, drawn key
by key; Chen & Lerch validate on the test clips. Artists are apart in training and test, but not in training and validation.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections import Counter
from collections.abc import Mapping
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import Field

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.tags import Tag
from etude.adapters.config import Location
from etude.adapters.datasets import Dataset, DatasetConfig, Split, Track
from etude.adapters.errors import Problem, UserError
from etude.adapters.sound.audio import probe

ARRAYS, CLASSES, AUDIO = "openmic-2018.npz", "class-map.json", "audio"
PARTITIONS: dict[str, Split] = {"split01_train.csv": "train", "split01_test.csv": "test"}
SOURCE = "get openmic-2018-v1.0.0.tgz from zenodo.org/records/1432913 and unpack it"
AGAIN = "unpack the data set again"


class Openmic2018Config(DatasetConfig):
    """OpenMIC-2018 on disk."""

    root: Location
    """The folder ``openmic-2018``."""
    soft: bool = True
    """Whether the probability of an instrument is learned, as published, in place of 0 or 1."""
    validation_share: float = Field(0.15, gt=0, lt=1)
    """Of the published training clips."""
    seed: int = Field(0, ge=0)
    """Of the choice of the validation clips."""


class Openmic2018(Dataset):
    """Reads the layout of the release, without running what a pickle in it may ask for."""

    Config = Openmic2018Config
    config: Openmic2018Config
    licence = "CC-BY-4.0"

    def __init__(self, config: Openmic2018Config) -> None:
        super().__init__(config)
        self._classes: tuple[str, ...] = ()

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The instruments in the order of ``class-map.json``."""
        self.check()
        return {"tags": self._classes}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable clip and every problem; what many clips have in common is one problem or notice."""
        root = Path(self.config.root)
        if not root.is_dir():
            return [], [Problem("no such folder", str(root), SOURCE)]
        problems: list[Problem] = []
        splits: dict[str, Split] = {}
        for name, split in PARTITIONS.items():
            problems += _read_partition(root / "partitions" / name, split, splits)
        try:
            self._classes = _read_classes(root / CLASSES)
        except UserError as error:
            problems += error.problems
        try:
            keys, truth, labelled = _read_labels(root / ARRAYS)
        except UserError as error:
            problems += error.problems
        if problems:
            return [], problems
        if labelled.shape[1] != len(self._classes):
            what = f"names {len(self._classes)} classes, but {ARRAYS} holds {labelled.shape[1]}"
            return [], [Problem(what, str(root / CLASSES), AGAIN)]
        annotations = {
            key: Annotation(tags=Layer(self._tags(own, known), unjudged=tuple(compress(self._classes, ~known))))
            for key, own, known in zip(keys, truth, labelled, strict=True)
        }
        return self._tracks(annotations, splits)

    def _tags(self, truth: NDArray[np.floating[Any]], known: NDArray[np.bool_]) -> tuple[Tag, ...]:
        found = known & (truth > 0 if self.config.soft else truth >= 0.5)
        if self.config.soft:
            return tuple(
                Tag(name, float(value)) for name, value in zip(compress(self._classes, found), truth[found], strict=True)
            )
        return tuple(map(Tag, compress(self._classes, found)))

    def _tracks(self, annotations: dict[str, Annotation], splits: dict[str, Split]) -> tuple[list[Track], list[Problem]]:
        root = Path(self.config.root)
        tracks: list[Track] = []
        problems: list[Problem] = []
        missing: list[str] = []
        for key, split in splits.items():
            path = root / AUDIO / key[:3] / f"{key}.ogg"
            if key not in annotations:
                continue
            if not path.is_file():
                missing.append(key)
                continue
            try:
                tracks.append(Track(key, path, probe(path), self._split(key, split), annotations[key], soft=self.config.soft))
            except UserError as error:
                problems += error.problems
        if missing:
            what = f"{len(missing)} of {len(annotations)} recordings are missing, first {missing[0][:3]}/{missing[0]}.ogg"
            problems.append(Problem(what, str(root / AUDIO), AGAIN))
        if lacking := [key for key in splits if key not in annotations]:
            what = f"lacks {len(lacking)} of the {len(splits)} clips of the partitions, first {lacking[0]}"
            problems.append(Problem(what, str(root / ARRAYS), AGAIN))
        if idle := [key for key in annotations if key not in splits]:
            what = f"{len(idle)} clips are in no partition and are left out, first {idle[0]}"
            self.notices.append(Problem(what, str(root / ARRAYS)))
        return tracks, problems

    def _split(self, key: str, published: Split) -> Split:
        digest = hashlib.blake2b(f"{self.config.seed}:{key}".encode(), digest_size=8).digest()
        held_out = int.from_bytes(digest) / 2**64 < self.config.validation_share
        return "validation" if published == "train" and held_out else published


def _read_partition(path: Path, split: Split, splits: dict[str, Split]) -> list[Problem]:
    """Add the keys of one list to ``splits``."""
    try:
        keys = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        return [Problem(f"cannot be read: {error.strerror}", str(path), SOURCE)]
    except UnicodeDecodeError:
        return [Problem("is not a text file", str(path), AGAIN)]
    if not keys:
        return [Problem("lists no clip", str(path), AGAIN)]
    if twice := sorted({key for key in keys if splits.setdefault(key, split) != split}):
        what = f"{len(twice)} clips are in the training partition too, first {twice[0]}"
        return [Problem(what, str(path), "keep each in one of them: what is trained on must not be tested on")]
    return []


def _read_classes(path: Path) -> tuple[str, ...]:
    """Names in the order of their columns. Raises :class:`UserError`."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path), fix=SOURCE) from None
    except ValueError:
        raise UserError("is not a JSON file", where=str(path), fix=AGAIN) from None
    indices = list(columns.values()) if isinstance(columns, dict) else []
    if not indices or any(type(index) is not int for index in indices) or sorted(indices) != list(range(len(indices))):
        raise UserError("does not give each name a column of its own, counted from 0", where=str(path), fix=AGAIN)
    return tuple(sorted(columns, key=columns.__getitem__))


def _read_labels(path: Path) -> tuple[list[str], NDArray[np.floating[Any]], NDArray[np.bool_]]:
    """Keys ``[clips]``, probabilities and what is labelled ``[clips, classes]``. Raises :class:`UserError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            if lacking := [name for name in ("Y_true", "Y_mask", "sample_key") if f"{name}.npy" not in archive.namelist()]:
                raise UserError(f"lacks the array '{lacking[0]}'", where=str(path), fix=AGAIN)
            truth, mask = (_read_array(archive.read(f"{name}.npy")) for name in ("Y_true", "Y_mask"))
            keys = _read_keys(archive.read("sample_key.npy"), path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path), fix=SOURCE) from None
    except Exception:  # damaged zip files, headers of arrays and pickles raise errors of a dozen types
        raise UserError("is not an NPZ file, or a damaged one", where=str(path), fix=AGAIN) from None
    if truth.ndim != 2 or truth.shape != mask.shape or len(truth) != len(keys):
        what = f"does not fit together: {len(keys)} keys, Y_true {list(truth.shape)}, Y_mask {list(mask.shape)}"
        raise UserError(what, where=str(path), fix=AGAIN)
    if mask.dtype != np.bool_ or truth.dtype.kind != "f" or not ((truth[mask] >= 0) & (truth[mask] <= 1)).all():
        raise UserError("Y_true must hold probabilities and Y_mask truth values", where=str(path), fix=AGAIN)
    if len(set(keys)) < len(keys):
        raise UserError(f"holds {Counter(keys).most_common(1)[0][0]} more than once", where=str(path), fix=AGAIN)
    return keys, truth, mask


def _read_array(content: bytes) -> NDArray[Any]:
    array: NDArray[Any] = npy.read_array(io.BytesIO(content), allow_pickle=False)
    return array


def _read_keys(content: bytes, path: Path) -> list[str]:
    """The strings of an NPY file that holds them as text or, as NumPy saves an array of objects, in a pickle."""
    stream = io.BytesIO(content)
    npy.read_magic(stream)
    _, _, dtype = npy.read_array_header_1_0(stream)
    keys = _Strings(stream, path).load() if dtype.hasobject else _read_array(content).astype(np.str_).tolist()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        raise UserError("sample_key is no list of strings", where=str(path), fix=AGAIN)
    return keys


class _Inert:
    """Stands in for whatever a pickle names: nothing is called or built, only the state is kept."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Strings(pickle.Unpickler):
    """Reads a pickled array of strings. A pickle can name any function to be called, so here not even NumPy's are."""

    NAMES = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def __init__(self, stream: io.BytesIO, path: Path) -> None:
        super().__init__(stream)
        self.path = path

    def find_class(self, module: str, name: str) -> type[_Inert]:
        """The stand-in. Raises :class:`UserError` for what an array of strings has no need of."""
        if (module, name) not in self.NAMES:
            what = f"sample_key wants {f'{module}.{name}'!r} to be called, which no list of strings needs; nothing was run"
            raise UserError(what, where=str(self.path), fix=SOURCE)
        return _Inert

    def load(self) -> Any:
        """What should be the list: the last part of the state of the array."""
        array = super().load()
        state = array.state if isinstance(array, _Inert) else None
        return state[-1] if isinstance(state, tuple) and state else None
