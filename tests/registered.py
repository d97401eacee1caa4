"""Everything that is registered, in its smallest form, for tests that loop over a folder and know no names."""

from etude.adapters import registry


def configure(folder, name, **fields):
    """The class of a thing, and a config of it: its example, a place for each field that must name one, and ``fields``."""
    kind = registry.find(folder, name)
    known = kind.Config.model_fields
    named = {"name": name} if "name" in known else {}
    places = {field: "DIR" for field, about in known.items() if about.is_required() and about.annotation is str}
    return kind, kind.Config(**{**places, **named, **kind.Config.example, **fields})


def build(folder, name, **fields):
    """A thing as its config says."""
    kind, config = configure(folder, name, **fields)
    return kind(config)


BACKBONES = registry.names("backbones")
WITH_BLOCKS = [name for name in BACKBONES if build("backbones", name).num_blocks]
"""Backbones that methods can change the inside of."""
