"""A folder of recordings with annotation files beside them, or below it under the same names, in any format that can be read.

Which recording is in which split is drawn so that those of one session, player or take are in one split, and every class is in
each, as far as that can be; folders called train, validation and test are taken at their word. ``adapt data init`` writes the
same as a manifest, to be corrected by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Split, Track
from etude.adapters.datasets._parts.labelled import LabelledConfig, LabelledFile, LabelledFiles
from etude.adapters.datasets._parts.pairing import files_in, groups, paired
from etude.adapters.datasets._parts.splits import divided, named_splits
from etude.adapters.errors import Problem, UserError


class FolderConfig(LabelledConfig):
    """Where it is, and how it is divided."""

    root: Location
    """The folder."""
    group: str | None = None
    """Regular expression that finds session, player or take in the path of a recording; when omitted, the outermost folder in
    which the recordings differ."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the split."""
    split: Split | None = None
    """The one that all recordings are in, if they are not to be divided."""


class Folder(LabelledFiles):
    """Reads the folder; its files stay as they are."""

    Config = FolderConfig
    config: FolderConfig

    def files(self) -> tuple[list[LabelledFile], list[Problem]]:
        """See :class:`LabelledFiles`; all train until :meth:`assigned`."""
        root = Path(self.config.root)
        try:
            audio, notes = files_in(root)
            pairs, notices = paired(root, audio, notes)
            group = groups(root, list(pairs), self.config.group)
        except UserError as error:
            return [], list(error.problems)
        self.notices += notices
        if not pairs:
            what = "holds no recording with an annotation file of its name" if audio else "holds no recording"
            fix = "put them side by side; of folders of isolated notes, 'adapt data init' makes a data set as well"
            return [], [Problem(what, str(root), fix)]
        return [
            LabelledFile(path.relative_to(root).as_posix(), path, pairs[path], "train", group=group[path]) for path in pairs
        ], []

    def listing(self) -> list[dict[str, str]]:
        """Rows of a manifest that says the same."""
        tracks, root = {track.id: track for track in self.check()[0]}, Path(self.config.root)
        return [
            {
                **{"audio": file.id, "events": file.events.relative_to(root).as_posix() if file.events else ""},
                **{"split": tracks[file.id].split, "group": file.group},
            }
            for file in self.files()[0]
        ]

    def assigned(self, tracks: Sequence[Track]) -> list[Track]:
        """See :class:`LabelledFiles`."""
        if self.config.split:
            return [replace(track, split=self.config.split) for track in tracks]
        found = divided(tracks, self.config.seed)
        if tracks and not named_splits(Path(track.id) for track in tracks):
            self.notices += self._drawbacks(found)
        return found

    def _drawbacks(self, tracks: Sequence[Track]) -> Iterator[Problem]:
        """What splits that were drawn lack."""
        if lost := [name for name in SPLITS if not any(track.split == name for track in tracks)]:
            what = f"of {len(tracks)} recordings there is no {' and no '.join(lost)} split"
            yield Problem(what, self.config.root, "annotate more, or cut them into takes")
        if not any(track.group for track in tracks):
            what = "nothing tells sessions or players apart: scores will say little about another one"
            yield Problem(what, self.config.root, "put each into a folder of its own, or set group")
