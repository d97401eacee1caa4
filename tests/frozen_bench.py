"""A model on toy tracks whose frozen states are counted."""

import torch
from accelerate import Accelerator

from etude.adapters.model.build import build_dataset
from etude.adapters.states.frozen_states import frozen_states
from etude.adapters.states.window_features import WindowFeatures
from etude.adapters.states.window_set import WindowSet
from etude.adapters.training.engine import untrained_model

LORA = "method={name: lora, blocks: last 1}"


class Bench:
    """A model on toy tracks, its windows, and the number of windows whose states it has computed."""

    def __init__(self, recipe, store, split="train", overlap=None, **settings):
        dataset = build_dataset(recipe)
        tracks = dataset.tracks(split)
        self.model = untrained_model(recipe, dataset, dataset.tracks("train"))
        self.windows = WindowSet(tracks, self.model.backbone, overlap, recipe.train.augment)
        self.computed, self.said = 0, []
        real = self.model.frozen_states

        def counted(audio, lengths, **settings):
            self.computed += len(audio)
            return real(audio, lengths, **settings)

        self.model.frozen_states = counted
        source = frozen_states(self.model, self.model.backbone.fingerprint())
        self.states = WindowFeatures(source, self.windows, store, say=self.said.append, **settings)

    def fill(self, check=lambda: None):
        done = []
        self.states.fill(Accelerator(), done.append, check)
        return sum(done)

    @property
    def rows(self):
        return list(range(self.windows.rows))

    def exact(self):
        """The states of all rows, computed here and now."""
        return torch.stack(self.states.source.compute(*self.windows.audio(self.rows)), dim=1)

    def read(self, rows):
        """The states of some rows as the store has them, ``[rows, parts, ...]``."""
        return torch.stack(self.states(rows), dim=1)


def parts(store):
    return sorted(f"{path.parent.name}/{path.stem}" for path in store.root.glob("*/*.rows"))
