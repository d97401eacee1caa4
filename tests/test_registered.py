"""What every backbone, method, head, data set and recipe must do, found by its folder: a newcomer is tested by being there."""

import numpy as np
import pytest
import torch
from excerpts import excerpt_of
from registered import BACKBONES, WITH_BLOCKS, build, configure

from etude.adapters import registry
from etude.adapters.annotations import Annotation, kind_of
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.backbones import INPUT
from etude.adapters.datasets import Dataset
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, FrameGrid
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.recipe.pretraining import load_pretrain_recipe
from etude.adapters.recipe.reading import read_recipe, task_of
from etude.adapters.recipe.schema import load_recipe
from etude.recipes import packaged

HEADS = registry.names("heads")
LABELS = ("a", "b")
ANNOTATED = {"notes": (Note(0.1, 0.4, 60, "a"), Note(0.5, 0.9, 62, "a")), "tags": (Tag("a"),)}
"""Records of every kind, of class ``a``."""


def audio(backbone, count=2):
    values = 0.1 * torch.randn(count, backbone.window_samples, generator=torch.Generator().manual_seed(0))
    return values, torch.full((count,), backbone.window_samples)


@pytest.fixture(scope="module")
def backbones():
    return {name: build("backbones", name) for name in BACKBONES}


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_what_it_says_and_frozen(backbones, name):
    backbone = backbones[name]
    prepared = backbone.prepare(*audio(backbone))
    assert prepared.shape[1:] == backbone.prepared_shape
    states = [backbone.next_state(INPUT, prepared)]
    for index in range(backbone.num_blocks):
        states.append(backbone.next_state(index, states[-1]))
    for state in states:
        assert state.shape == (2, backbone.tokens_per_window, backbone.hidden_size)
        assert backbone.readout(state).shape == (2, backbone.frames_per_window, backbone.hidden_size)
    assert not any(module.training for module in backbone.train().modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert backbone.fingerprint() == build("backbones", name).fingerprint()
    assert backbone.window_samples * backbone.frame_rate == backbone.frames_per_window * backbone.sample_rate
    assert backbone.licence
    for site, path in backbone.sites.items():
        block = int(site.split(".")[1])
        assert 0 <= block < backbone.num_blocks
        assert isinstance(backbone.model.get_submodule(path), torch.nn.Linear), site
    assert backbone.preparation()["sample_rate"] == backbone.sample_rate


@pytest.mark.parametrize("name", registry.names("methods"))
@pytest.mark.parametrize("on", BACKBONES)
def test_a_method_trains_what_it_says_from_the_block_it_says(name, on):
    """On every backbone, unless it refuses one in a line: everything it trains has a gradient, nothing of the backbone has."""
    backbone, tags = build("backbones", on), registry.find("heads", "tags")
    method = build("methods", name)
    head = tags(tags.Config(hidden=0), LABELS, backbone.hidden_size, {})
    fingerprint = backbone.fingerprint()
    try:
        model = AdaptedModel(backbone, method, {"tags": head}, None).train()
    except UserError:
        if on in WITH_BLOCKS:
            raise
        return
    assert INPUT <= model.first_block <= backbone.num_blocks
    with torch.no_grad():  # the identity at step 0 may have zeros that let no gradient pass
        for parameter in (p for name, p in model.named_trainable() if not name.startswith(("mix.", "heads."))):
            parameter.add_(0.05 * torch.randn(parameter.shape))
    model(model.frozen_states(*audio(backbone))).logits["tags"]["tags"].square().sum().backward()
    trained = dict(model.named_trainable())
    silent = [key for key, parameter in trained.items() if parameter.grad is None or not parameter.grad.abs().sum() > 0]
    assert silent in ([], ["mix.weights"] if len(model.mix.layers) == 1 else [])
    chosen = {id(parameter) for parameter in trained.values()}
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters() if id(parameter) not in chosen)
    assert backbone.fingerprint() == fingerprint
    state = model.trainable_state()
    assert all(state[key].shape == value.shape for key, value in trained.items())


def built_head(name, backbones):
    """The head, bound to the first backbone that it can work on, and an annotation to learn from."""
    kind, config = configure("heads", name)
    annotation = Annotation({kind.kind: ANNOTATED[kind.kind]})
    for backbone in backbones.values():
        statistics = kind.measure(config, LABELS, [annotation], backbone.frame_rate)
        head = kind(config, LABELS, backbone.hidden_size, statistics)
        try:
            head.bind(backbone)
        except UserError:
            continue
        return head, backbone, annotation
    raise AssertionError(f"no backbone fits the head {name}")


@pytest.mark.parametrize("name", HEADS)
def test_a_head_learns_decodes_and_scores_its_kind(backbones, name):
    head, backbone, annotation = built_head(name, backbones)
    kind_of(head.kind)
    factor, rate = head.averaged_frames(backbone.frame_rate), head.frame_rate(backbone.frame_rate)
    assert rate * factor == pytest.approx(backbone.frame_rate)
    frames = max(2, round(1.0 * rate))
    grid = FrameGrid(0, frames, rate, frames)
    mixed = torch.randn(2, frames, backbone.hidden_size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    extra = {layer: torch.randn(2, frames, backbone.hidden_size) for layer in head.reads if layer != INPUT}
    logits = head(Context(mixed, extra, torch.zeros(2, 1, *backbone.prepared_shape) if INPUT in head.reads else None))
    assert all(values.shape[:2] == (2, frames) for values in logits.values())
    known, nothing = head.targets(excerpt_of(annotation, grid)), head.targets(excerpt_of(Annotation(), grid))
    assert known.keys() == nothing.keys()
    assert any(key.endswith("_mask") for key in known)
    for batch in ([known, known], [known, nothing], [nothing, nothing]):
        terms = head.loss(logits, {key: torch.from_numpy(np.stack([row[key] for row in batch])) for key in known})
        assert all(torch.isfinite(term) and term.ndim == 0 for term in terms.values())
    assert sum(terms.values()).item() == 0, "what nobody annotated is nowhere a negative example"
    sum(head.loss(logits, {key: torch.from_numpy(np.stack([known[key]] * 2)) for key in known}).values()).backward()
    assert mixed.grad.abs().sum() > 0
    said = {key: values[0].detach().half().numpy() for key, values in head.activations(logits).items()}
    pooled = head.pool(said, rate)
    head.tune([annotation], [pooled], rate)
    layer = head.decode(pooled, rate)
    assert Annotation({head.kind: layer})[head.kind] is not None
    scores = head.score([annotation, Annotation()], [pooled, pooled], rate)
    assert set(scores) & set(kind_of(head.kind).scores.headline), "a headline that tables and cards can show"
    assert set(scores["per_class"]) <= set(LABELS)
    assert all(kind_of(head.kind).unit in row for row in scores["per_class"].values())
    assert head.score([], [], rate).keys() == scores.keys()


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_a_data_set_tells_what_is_missing_and_never_raises(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = build("datasets", name)
    assert isinstance(dataset, Dataset)
    tracks, problems = dataset.check()
    assert tracks or problems
    assert all(problem.what for problem in problems)
    for kind, names in dataset.classes.items():
        assert kind in registry.names("annotations")
        assert len(set(names)) == len(names)
    if problems:
        with pytest.raises(UserError):
            dataset.tracks("train")


@pytest.mark.parametrize("name", packaged())
def test_a_packaged_recipe_is_sound(name, monkeypatch):
    monkeypatch.setenv("ETUDE_SHARED", "DIR")
    text = read_recipe(name).text
    load = load_pretrain_recipe if task_of(name) == "pretraining" else load_recipe
    recipe = load(name)
    assert load(name).dump() == recipe.dump()
    assert text.startswith("# ")
    assert f"recipes/{name}.yaml" in text, "the header says how to run it"
