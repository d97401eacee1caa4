"""All scores of an adapter in the terminal, those on groups that training did not see first, and what each was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from etude.cli.scores import print_scores

if TYPE_CHECKING:
    from etude.adapters.artifact import Header


def print_all_scores(header: Header, name: str = "") -> None:
    """Tables of what was left out of training and of each split; ``name`` goes before their titles."""
    from etude.adapters.artifact import HELD_OUT
    from etude.adapters.datasets._parts.groups import measured_on, unseen_first

    if held_out := header.metrics.get(HELD_OUT):
        _print_held_out(held_out, name)
    groups = header.manifest.groups or {}
    splits = {split: scores for split, scores in header.metrics.items() if split != HELD_OUT}
    told = {split: measured_on(groups.get("train"), groups.get(split, ())) for split in splits}
    for split, after in pairwise([*unseen_first(groups, splits), ""]):
        print_scores(splits[split], f"{name}{split}")
        if told[split] != told.get(after):
            Console().print(told[split], soft_wrap=True, highlight=False, markup=False)


def _print_held_out(found: Mapping[str, Any], name: str) -> None:
    """A row for each fold, and mean and spread, for every head."""
    from etude.adapters.datasets._parts.groups import some_of
    from etude.adapters.heads._parts.labels import head_kind

    for head, means in found["mean"].items():
        titles = {score: title for score, (title, _) in head_kind(head).scores.headline.items() if score in means}
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("left out", overflow="fold")
        for title in titles.values():
            table.add_column(title, justify="right", no_wrap=True)
        for fold in found["folds"]:
            table.add_row(some_of(fold["groups"]), *(f"{fold['scores'][head][score]:.3f}" for score in titles))
        if spread := found["spread"].get(head):
            for title, row in (("mean", means), ("± spread", spread)):
                table.add_row(title, *(f"{row[score]:.3f}" for score in titles))
        console = Console()
        console.print(f"{name}leave-one-group-out ({head})", style="bold", soft_wrap=True, highlight=False, markup=False)
        console.print(table)
    console.print(
        "each scored after training without it, thresholds and choice of epoch included", soft_wrap=True, highlight=False
    )
