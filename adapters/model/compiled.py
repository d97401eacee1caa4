"""Compiling a backbone block by block."""

from __future__ import annotations

from posixpath import commonpath

import torch._dynamo

from etude.adapters.backbones import Backbone

STRUCTURES = 64
"""Compilations of a layer (per structure and use: no adapter, one, one per row) before torch gives up and runs it as it is."""


def compile_blocks(backbone: Backbone) -> None:
    """Let every transformer layer be compiled when it is first used; layers of one structure share one compilation."""
    torch._dynamo.config.recompile_limit = max(STRUCTURES, torch._dynamo.config.recompile_limit)
    sites: dict[str, list[str]] = {}
    for site, path in backbone.sites.items():
        sites.setdefault(site.split(".")[1], []).append(path.replace(".", "/"))
    for paths in sites.values():
        layer = backbone.model.get_submodule(commonpath(paths).replace("/", "."))
        layer.compile(dynamic=False)
