"""What ``adapt predict`` writes of each recording. It is done where the recording is computed, in whichever process that is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from etude.adapters.annotations import Annotation
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import export, format_of
from etude.adapters.heads import Activations
from etude.adapters.heads._parts.reach import UNKNOWN
from etude.adapters.inference.bulk import Prediction
from etude.adapters.inference.confident import confident
from etude.adapters.inference.session import Session
from etude.adapters.sound.audio import probe
from etude.adapters.storage.atomic import replace_file
from etude.cli.finders import Finder
from etude.cli.folders import make_folder

NOTHING = "unlabelled"
"""The folder of recordings in which nothing was found."""


class Recording(NamedTuple):
    """A recording, and the name of its results, without suffix; it may begin with folders."""

    path: Path
    name: str

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Done(Prediction):
    """What was found, and the files in a format that were written of it, by adapter."""

    written: dict[str, list[Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outputs:
    """The results of a recording: files in ``out``, and copies or links of it in ``sort_into``. Adapters go by name.

    What is there already is left as it is, unless ``force`` is set; what is less sure than ``min_confidence`` is left out.
    """

    adapters: Mapping[str, Finder]
    out: Path
    plot: bool = False
    activations: bool = False
    sort_into: Path | None = None
    link: bool = False
    force: bool = False
    min_confidence: float = 0.0

    @property
    def filed(self) -> bool:
        """Whether anything goes to ``out``."""
        return self.plot or self.activations or any(own.formats or own.tables for own in self.adapters.values())

    def files(self, recording: Recording, adapter: str) -> list[Path]:
        """Where its results in ``out`` go, those in a format first; of several pages, the first one."""
        suffixes = [format_of(name).suffix for name in self.adapters[adapter].formats]
        suffixes += [".png"] * self.plot + [".activations.npz"] * self.activations
        return [self.out / self.adapters[adapter].folder / f"{recording.name}{suffix}" for suffix in suffixes]

    def existing(self, recording: Recording) -> list[Path]:
        """The results that are there."""
        places = [
            path for adapter in self.adapters for path in (*self.files(recording, adapter), *self._sorted(recording, adapter))
        ]
        return [path for path in places if path.exists()]

    def complete(self, recording: Recording) -> bool:
        """Whether all results are there; sorted it is as soon as it is in one folder."""
        return all(
            all(path.exists() for path in self.files(recording, adapter))
            and (self.sort_into is None or any(path.exists() for path in self._sorted(recording, adapter)))
            for adapter in self.adapters
        )

    def start(
        self, adapters: Sequence[Path], weights: str | None, device: str | None, compile: bool, unknown: bool
    ) -> Callable[[Recording], Done]:
        """What writes the results of a recording. Raises :class:`UserError` for adapters that cannot be loaded."""
        return partial(self.write, Session(*adapters, weights=weights, device=device, compile=compile, unknown=unknown))

    def write(self, session: Session, recording: Recording) -> Done:
        """Predict ``recording`` and write what was found. Raises :class:`UserError` for unreadable audio."""
        duration = probe(recording.path).duration
        heard = session.all_activations(recording.path) if self.activations else {}
        found = {name: session.decode(own, name) for name, own in heard.items()} or session.all(recording.path)
        found = {name: confident(annotation, self.min_confidence) for name, annotation in found.items()}
        problems: list[Problem] = []
        written: dict[str, list[Path]] = {}
        for adapter, annotation in found.items():
            writers = self._writers(session, recording, adapter, annotation, heard.get(adapter, {}), duration)
            for place, (target, write) in enumerate(writers):
                if target.exists() and not self.force:
                    continue
                try:
                    make_folder(target.parent)
                    write(target)
                except UserError as error:
                    problems += error.problems
                else:
                    written.setdefault(adapter, []).extend([target] if place < len(self.adapters[adapter].formats) else [])
        return Done(recording.path, duration, found, tuple(problems), written)

    def _writers(
        self,
        session: Session,
        recording: Recording,
        adapter: str,
        annotation: Annotation,
        heard: Mapping[str, Activations],
        duration: float,
    ) -> Iterator[tuple[Path, Callable[[Path], None]]]:
        finder, targets = self.adapters[adapter], iter(self.files(recording, adapter))
        origin: dict[str, Any] = {"duration": duration, "source": recording.path, "adapter": adapter}
        for name in finder.formats:
            yield next(targets), partial(export, annotation, format=name, **origin)
        if self.plot:
            yield next(targets), partial(_draw, recording.path, annotation, finder.lanes)
        if self.activations:
            yield next(targets), partial(_save_activations, session, adapter, heard)
        found = dict.fromkeys(name for kind, layer in annotation.by_kind() for name in kind.classes(layer))
        for target in self._sorted(recording, adapter, tuple(found) or (NOTHING,)):
            yield target, partial(_put, recording.path, self.link)

    def _sorted(self, recording: Recording, adapter: str, labels: tuple[str, ...] | None = None) -> list[Path]:
        """Its places in the folders of ``labels``, or in all that it can be sorted into."""
        if self.sort_into is None:
            return []
        finder = self.adapters[adapter]
        file = Path(recording.name).with_name(recording.path.name)
        named = dict.fromkeys(map(_folder_name, (*finder.labels, UNKNOWN, NOTHING) if labels is None else labels))
        return [self.sort_into / finder.folder / folder / file for folder in named]


def _folder_name(label: str) -> str:
    """``label``, without what cannot be in the name of a folder on every system."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", label).strip(" .") or "_"


def _put(path: Path, link: bool, target: Path) -> None:
    with replace_file(target) as partial:
        if link:
            partial.symlink_to(path.resolve())
        else:
            shutil.copy2(path, partial)


def _draw(path: Path, annotation: Annotation, lanes: tuple[str, ...], target: Path) -> None:
    from etude.adapters.inference.plot import plot_pages

    plot_pages(path, annotation, target, labels=lanes)


def _save_activations(session: Session, adapter: str, heard: Mapping[str, Activations], target: Path) -> None:
    """Outputs of heads ``[frames, ...]``, the times of their frames in seconds and their labels, as HEAD/OUTPUT and so on."""
    arrays: dict[str, Any] = {}
    for name, head in session.heads(adapter).items():
        arrays |= {f"{name}/{output}": values for output, values in heard[name].items()}
        frames = len(next(iter(heard[name].values())))
        arrays[f"{name}/times"] = np.arange(frames) / head.frame_rate(session.backbone.frame_rate)
        arrays[f"{name}/labels"] = np.array(head.labels, dtype=np.str_)
    with replace_file(target) as partial:
        np.savez(partial, **arrays)
