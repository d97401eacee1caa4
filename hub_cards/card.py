"""The model card of an adapter: what the Hub shows, filled from the manifest, the scores and the recipe.

The card states only what these hold. Paths of the machine that trained the adapter do not appear in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from etude.adapters.annotations import Kind
from etude.adapters.annotations._parts.shown import absent_line, calibration_line, part_rows, reliability_rows
from etude.adapters.artifact import HELD_OUT, Manifest
from etude.adapters.datasets._parts.groups import is_unseen, measured_on, some_of, unseen_first
from etude.adapters.heads._parts.labels import head_kind

PERMISSIVE = ("cc0-1.0", "unlicense", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0", "cc-by-3.0", "cc-by-4.0")
"""Licences (Hub identifiers) that ask for no more than notice and credit, the least demanding first."""
NO_WORK = "none"
"""Of random weights: there is no work to license."""
TERMS = {
    "nc": "no commercial use",
    "nd": "adapted material may not be shared; whether a trained adapter is adapted material is unsettled, "
    "so ask the rights holder before you publish one",
    "sa": "adapted material must be shared under the same licence",
    "by": "credit the authors",
    "gpl": "derived software must be shared under the same licence",
}
CLASS_COLUMNS = {"f1": "{} F1", "precision": "{} precision", "recall": "{} recall", "ref": "{}s annotated", "est": "{}s found"}
_PATH = re.compile(r"(?<![\w./~-])(?:file://)?(?:(?:[A-Za-z]:)?[\\/][\w.+-]+|~)(?:[\\/]+[\w.+-]+)+")


def render_card(manifest: Manifest, metrics: Mapping[str, Any], recipe_text: str) -> str:
    """``README.md`` of an artifact: YAML front matter and Markdown.

    ``metrics`` is split -> head -> scores, where scores are flat numbers beside ``per_class`` and ``before`` (the same numbers
    before post-processing), and what :mod:`leave_one_group_out` measured; whatever is missing is left out.
    """
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["cell"] = _cell
    manifest = Manifest.model_validate(_without_paths(manifest.model_dump()))
    backbone = manifest.backbone
    groups = manifest.groups or {}
    splits = {split: metrics[split] for split in ("validation", "test") if metrics.get(split)}
    tested = next(reversed(splits), None)
    splits = {split: splits[split] for split in unseen_first(groups, splits)}
    held_out: Mapping[str, Any] = metrics.get(HELD_OUT) or {}
    card = environment.from_string(files("etude.hub_cards").joinpath("card.md.jinja").read_text(encoding="utf-8")).render(
        front_matter=_front_matter(manifest, {**({HELD_OUT: held_out["mean"]} if held_out else {}), **splits}).to_yaml(),
        manifest=manifest,
        kinds=_kinds(manifest),
        base=_last(backbone.id),
        on_hub=_on_hub(backbone.id),
        recipe=yaml.safe_dump(_without_paths(yaml.safe_load(recipe_text)), sort_keys=False, allow_unicode=True).strip(),
        held_out={head: _held_out_table(held_out, head) for head in manifest.labels if held_out},
        measured={split: measured_on(groups.get("train"), groups.get(split, ())) for split in splits} if groups else {},
        elsewhere=bool(held_out) or is_unseen(groups.get("train"), groups.get(tested or "", ())),
        tables={head: _score_table(splits, head) for head in manifest.labels},
        classes={head: _class_table(splits[tested].get(head, {})) for head in manifest.labels} if tested else {},
        parts={head: part_rows(splits[tested].get(head, {}), head_kind(head).scores) for head in manifest.labels}
        if tested
        else {},
        absent={head: absent_line(splits[tested].get(head, {})) for head in manifest.labels} if tested else {},
        calibration={head: _calibration(splits[tested].get(head, {}), head) for head in manifest.labels} if tested else {},
        tested=tested,
        terms={"Base model": terms(backbone.licence), "Training data": terms(manifest.data_licence)},
        licence=adapter_licence(backbone.licence, manifest.data_licence),
    )
    return _PATH.sub(lambda found: _last(found[0]), card)


def _kinds(manifest: Manifest) -> list[Kind]:
    """What the adapter's heads find, each kind once."""
    return list(dict.fromkeys(map(head_kind, manifest.labels)))


def terms(licence: str) -> list[str]:
    """What a licence, or several joined by ``AND``, asks for in plain words."""
    found: dict[str, None] = {}
    for slug in _slugs(licence):
        words = set(re.split(r"[-.]", slug.replace("non-commercial", "nc").replace("noncommercial", "nc")))
        if slug in (NO_WORK, "cc0-1.0", "unlicense"):
            found["no conditions"] = None
        elif words & {"cc", "nc", "gpl"}:
            found |= {text: None for word, text in TERMS.items() if word in words}
        elif slug in PERMISSIVE:
            found["keep the licence notice"] = None
        else:
            found["not known to this tool: read its terms before you share or sell anything made with it"] = None
    return list(found)


def adapter_licence(base: str, data: str) -> dict[str, str]:
    """The Hub's licence fields: the most demanding where all are permissive, else ``other`` with all names."""
    slugs = list(dict.fromkeys(slug for slug in (*_slugs(base), *_slugs(data)) if slug != NO_WORK))
    if slugs and all(slug in PERMISSIVE for slug in slugs):
        return {"license": max(slugs, key=PERMISSIVE.index)}
    return {"license": "other", "license_name": "-and-".join(slugs) or "not-stated"}


def _slugs(licences: str) -> list[str]:
    """Hub identifiers of licences joined by ``AND``; what follows a colon or bracket is a remark."""
    return [
        re.sub(r"[^a-z0-9.]+", "-", re.split(r"[:(]", one.lower())[0]).strip("-.") or "unknown"
        for one in licences.split(" AND ")
    ]


def _on_hub(name: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is not None and not Path(name).exists()


def _last(location: str) -> str:
    """A local path's last folder; hub names and anything else as they are."""
    if _on_hub(location) or not re.search(r"[\\/]", location):
        return location
    return re.split(r"[\\/]+", location.rstrip("\\/"))[-1]


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(item) for item in value]
    # A whole value is cut here, because only here is it known where a path with spaces in it ends.
    return _last(value) if isinstance(value, str) and re.match(r"(file:)?(~|[A-Za-z]:)?[\\/]", value) else value


def _numbers(scores: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in scores.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, value


def _cell(value: Any) -> str:
    """A Markdown table cell: three decimals, whole numbers as they are, a dash for what is not known."""
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "-"
    return "-" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _front_matter(manifest: Manifest, splits: Mapping[str, Any]) -> ModelCardData:
    results = [
        EvalResult(
            task_type="audio-classification",
            task_name=head_kind(head).card.task,
            dataset_type=manifest.dataset,
            dataset_name=manifest.dataset,
            dataset_split=split,
            metric_type="f1" if "f1" in name else name,
            metric_name=f"{head_kind(head).scores.headline[name][1]} ({head})",
            metric_value=round(value, 4),
        )
        for split, heads in splits.items()
        for head, scores in heads.items()
        for name, value in _numbers(scores)
        if name in head_kind(head).scores.headline
    ]
    fields: dict[str, Any] = dict(adapter_licence(manifest.backbone.licence, manifest.data_licence))
    if _on_hub(manifest.backbone.id):
        fields |= {"base_model": manifest.backbone.id, "base_model_relation": "adapter"}
    return ModelCardData(
        library_name="etude",
        tags=["music-information-retrieval", *(kind.card.task.replace(" ", "-") for kind in _kinds(manifest)), manifest.method],
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=manifest.name,
        eval_results=results or None,
        **fields,
    )


def _score_table(splits: Mapping[str, Any], head: str) -> list[list[Any]]:
    """Header and rows of scores by split, before and after post-processing."""
    columns: dict[str, dict[str, float]] = {}
    for split, heads in splits.items():
        scores = heads.get(head, {})
        columns[f"{split}, before post-processing"] = dict(_numbers(scores.get("before") or {}))
        columns[split] = dict(_numbers(scores))
    return _rows_by_score(columns, head)


def _held_out_table(held_out: Mapping[str, Any], head: str) -> list[list[Any]]:
    """Header and rows of scores on groups that were left out of training: mean and spread, and each fold."""
    mean, spread = (dict(_numbers(held_out[name].get(head, {}))) for name in ("mean", "spread"))
    columns: dict[str, Mapping[str, Any]] = {
        "mean ± standard deviation": {name: f"{mean[name]:.3f} ± {value:.3f}" for name, value in spread.items()}
    }
    columns |= {some_of(fold["groups"]): {name: fold["scores"][head].get(name) for name in mean} for fold in held_out["folds"]}
    return _rows_by_score(columns, head)


def _rows_by_score(columns: Mapping[str, Mapping[str, Any]], head: str) -> list[list[Any]]:
    """Header and a row for each score, the headline ones first; ``columns`` are title -> score -> cell."""
    columns = {title: cells for title, cells in columns.items() if cells}
    rows = dict.fromkeys(name for cells in columns.values() for name in cells)
    shown = head_kind(head).scores
    names = {name: long for name, (_, long) in shown.headline.items()}
    others = [name for name in rows if name not in names and not name.startswith(tuple(f"{part}_" for part in shown.parts))]
    known = [name for name in names if name in rows] + others
    body = [
        [names.get(name, name.replace("_", " ").replace("f1", "F1")), *(cells.get(name) for cells in columns.values())]
        for name in known
    ]
    return [["Score", *columns], *body] if body else []


def _calibration(scores: Mapping[str, Any], head: str) -> tuple[str, list[list[Any]]]:
    """The line and the table of one split."""
    return calibration_line(scores), reliability_rows(scores, head_kind(head).plural)


def _class_table(scores: Mapping[str, Any]) -> list[list[Any]]:
    """Header and rows of one split's scores and counts by class."""
    per_class: dict[str, Any] = scores.get("per_class") or {}
    columns = [
        (unit, name)
        for unit in dict.fromkeys(unit for row in per_class.values() for unit in row)
        for name in CLASS_COLUMNS
        if any(name in (row.get(unit) or {}) for row in per_class.values())
    ]
    titles = [CLASS_COLUMNS[name].format(unit) for unit, name in columns]
    body = [[label, *((row.get(unit) or {}).get(name) for unit, name in columns)] for label, row in per_class.items()]
    return [["Class", *titles], *body] if columns else []
