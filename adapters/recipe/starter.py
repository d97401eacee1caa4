"""A recipe for a folder of recordings, as it is found: which data set reads it, and heads that fit its labels."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from etude.adapters import registry
from etude.adapters.datasets import Dataset, Track
from etude.adapters.datasets._parts.pairing import files_in, paired
from etude.adapters.datasets.folder import Folder
from etude.adapters.datasets.notes import Notes
from etude.adapters.errors import UserError
from etude.recipes import packaged

MANIFEST, NOTES = "manifest.csv", "notes.csv"
BASES = {"notes": "my-recordings", "tags": "instrument-notes"}
"""Kind of annotation -> the packaged recipe whose backbone, head and training serve it."""
INSTRUMENTS = frozenset(
    re.findall(
        r"\w+",
        """accordion banjo bass bassoon bugle cello celesta clarinet contrabassoon cornet cymbals dizi dulcimer erhu euphonium
        flute glockenspiel guitar guzheng harmonica harp harpsichord horn kalimba koto lute mandolin marimba oboe ocarina organ
        piano piccolo pipa recorder saxophone shakuhachi shamisen sitar timpani trombone trumpet tuba ukulele vibraphone viola
        violin voice xylophone zither""",
    )
)
"""Words by which folders of notes are known to be instruments rather than techniques."""


@dataclass(frozen=True)
class Starter:
    """The fields of a recipe, the first lines of its file, and its data set, which has been read."""

    recipe: dict[str, Any]
    header: str
    dataset: Dataset

    @property
    def name(self) -> str:
        """That of the recipe."""
        return str(self.recipe["name"])

    def text(self, place: Path | None = None) -> str:
        """The recipe as YAML; one that is to lie in the folder ``place`` finds its data from there."""
        data = self.recipe["data"]
        field = "notes" if "notes" in data else "root"
        if place is not None and not os.path.isabs(data[field]):
            data = {**data, field: Path(os.path.relpath(data[field], place)).as_posix()}
        return self.header + yaml.safe_dump({**self.recipe, "data": data}, sort_keys=False, allow_unicode=True)

    def rows(self) -> list[dict[str, str]]:
        """What stands in the folder, as the rows of a manifest or of a table of notes."""
        assert isinstance(self.dataset, Folder | Notes)
        return self.dataset.listing()


def data_section(folder: Path) -> dict[str, Any]:
    """The section ``data`` that reads ``folder``: a manifest or a table of notes in it, else what :func:`found_in` it.

    Raises :class:`UserError` for a folder that holds none of these.
    """
    if (folder / MANIFEST).is_file():
        return {"name": "manifest", "root": str(folder)}
    if (folder / NOTES).is_file():
        return {"name": "notes", "notes": str(folder / NOTES), "label": _label(folder / NOTES)}
    return found_in(folder)


def section_of(path: Path, classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The section ``data`` that reads a manifest CSV or a folder, with ``classes`` (by kind of annotation) in that order.

    Raises :class:`UserError` for a folder of anything else.
    """
    own = {kind: list(names) for kind, names in classes.items()}
    section = data_section(path) if path.is_dir() else {"name": "manifest", "root": str(path.parent), "file": path.name}
    if section["name"] == "notes":
        return {**section, "classes": own.get("tags") or own.get("notes")}
    return {**section, "techniques": own.get("notes"), "tags": own.get("tags")}


def found_in(folder: Path, group: str | None = None) -> dict[str, Any]:
    """The section ``data`` that reads the files in ``folder``: recordings with annotation files, or notes in a folder for each
    class. ``group`` as in the data set ``folder``. Raises :class:`UserError` for anything else."""
    audio, notes = files_in(folder)
    pairs, _ = paired(folder, audio, notes)
    if pairs or not any(path.parent != folder for path in audio):
        return {"name": "folder", "root": str(folder), **({"group": group} if group else {})}
    if len({path.parent for path in audio}) < 2:
        what = "holds recordings, but neither annotation files of their names nor a folder for each class"
        raise UserError(what, where=str(folder), fix="put 'take.csv' beside 'take.wav', or sort the notes into folders")
    words = [frozenset(re.split(r"[^a-z]+", path.parent.name.lower())) for path in audio]
    label = "instrument" if 2 * sum(map(bool, map(INSTRUMENTS.intersection, words))) > len(words) else "technique"
    return {"name": "notes", "notes": str(folder), "label": label, **({"group": group} if group else {})}


def starter(folder: Path, data: dict[str, Any] | None = None) -> Starter:
    """The recipe for ``folder``, with ``data`` or what :func:`data_section` finds. Raises :class:`UserError` for its faults."""
    data = data or data_section(folder)
    kind = registry.find("datasets", data["name"])
    dataset: Dataset = kind(kind.Config(**data))
    tracks, problems = dataset.check()
    if problems:
        raise UserError(problems)
    # Of isolated notes the events are known as well, but what they are told apart by are the tags.
    kinds = [name for name in BASES if dataset.classes.get(name) and not (name == "notes" and data["name"] == "notes")]
    recipes = [yaml.safe_load(packaged()[BASES[name]].read_text(encoding="utf-8")) for name in kinds]
    heads = {name: head for recipe in recipes for name, head in recipe["heads"].items()}
    if "technique" in heads:
        heads["technique"]["pitch"] = any(note.pitch is not None for track in tracks for note in track.annotation.notes)
    if "tags" in heads and not all(len(track.annotation.tags) == 1 for track in tracks):
        heads["tags"] |= {"activation": "sigmoid", "label_smoothing": 0.0}
    name = recipe_name(folder)
    recipe = {**recipes[0], "name": name, "data": data, "heads": heads}
    header = f"# {_found(tracks)} in {folder.name}: a recipe to start from.\n#\n#   adapt train {name}.yaml\n#\n"
    return Starter(recipe, header, dataset)


def recipe_name(data: Path) -> str:
    """What a recipe for the folder or file ``data`` is called."""
    name = data.absolute().stem if data.is_file() else data.absolute().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "mine"


def _found(tracks: list[Track]) -> str:
    minutes = sum(track.info.duration for track in tracks) / 60
    return f"{len(tracks)} recordings ({minutes:.1f} minutes)"


def _label(table: Path) -> str:
    from etude.adapters.formats.csv import read_table

    rows, _ = read_table(table, ("path", "split"))
    return "technique" if len({row.get("technique", "") for _, row in rows}) > 1 else "instrument"
