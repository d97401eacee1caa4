"""Classes of the backbone for classes of the data: which go with which, and a head that has nothing to train."""

import numpy as np
import pytest
import soundfile
import torch

from etude.adapters import artifact, registry
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, Example
from etude.adapters.heads._parts.label_mapping import check_map, data_map, fixed_map, matrix, name_map
from etude.adapters.heads.mapped_tags import MappedTags, MappedTagsConfig
from etude.adapters.inference.session import Session
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.training import engine

SOURCES = ("Speech", "Flute", "Hip hop music", "Rock music", "Rock and roll", "Guitar", "Acoustic guitar", "Mandolin")


def ast():
    kind = registry.find("backbones", "ast")
    return kind(kind.Config(name="ast", weights="random:tiny", window=1.0))


def head(mapping, backbone, labels=("a", "b"), statistics=None, **fields):
    made = MappedTags(MappedTagsConfig(mapping=mapping, **fields), labels, backbone.hidden_size, statistics or {})
    made.bind(backbone)
    return made


def test_fixed_groups_are_the_first_classes_in_order():
    assert fixed_map(("x", "y"), SOURCES, 3) == {"x": ["Speech", "Flute", "Hip hop music"], "y": list(SOURCES[3:6])}
    with pytest.raises(UserError, match=r"2 classes of 5 source classes each need 10, the backbone has 8 \(use 4 or less\)"):
        fixed_map(("x", "y"), SOURCES, 5)


def test_names_find_their_like_and_each_source_serves_once():
    found = name_map(("hiphop", "rock", "guitar", "flute"), SOURCES, 2)
    assert found["hiphop"] == ["Hip hop music"]
    assert found["rock"] == ["Rock music", "Rock and roll"]
    assert found["guitar"] == ["Guitar", "Acoustic guitar"]
    assert found["flute"] == ["Flute"]
    with pytest.raises(UserError, match="no class of the backbone is called like 'zither', 'gong'"):
        name_map(("flute", "zither", "gong"), SOURCES, 2)


def test_maps_by_hand_list_every_wrong_name():
    chosen = {"rock": ["Rock music", "Rock musik"], "folk": ["Banjo"], "flut": ["Flute"]}
    with pytest.raises(UserError) as caught:
        check_map(chosen, ("rock", "folk", "flute"), SOURCES)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert any("'Rock musik' is not a class of the backbone" in line and "Rock music" in line for line in lines)
    assert any("'Banjo' is not a class of the backbone" in line for line in lines)
    assert any("'flut' is not a class of the data" in line for line in lines)
    assert any("lacks the class 'flute'" in line for line in lines)


def test_data_finds_the_sources_that_go_with_a_class():
    generator = np.random.default_rng(0)
    truth = generator.random((200, 2)) < 0.4
    logits = generator.normal(size=(200, len(SOURCES)))
    logits[:, 4] += 3 * truth[:, 0]
    logits[:, 1] += 2 * truth[:, 0]
    logits[:, 7] += 3 * truth[:, 1]
    everything = np.ones_like(truth)
    found = data_map(("x", "y"), SOURCES, 2, logits, truth, everything)
    assert found["x"] == ["Rock and roll", "Flute"]
    assert found["y"][0] == "Mandolin"
    correlations = [np.corrcoef(logits[:, i], truth[:, 1])[0, 1] for i in range(len(SOURCES))]
    best = [i for i in np.argsort(correlations)[::-1] if SOURCES[i] not in found["x"]][:2]
    assert found["y"] == [SOURCES[i] for i in best]
    labelled = everything.copy()
    labelled[:, 0] = np.arange(200) < 100  # the other hundred say nothing of x
    half = data_map(("x", "y"), SOURCES, 2, logits, np.where(labelled, truth, ~truth), labelled)
    assert half["x"] == ["Rock and roll", "Flute"]


def test_a_matrix_sums_or_averages():
    mapped = {"x": ["Flute", "Guitar"], "y": ["Speech"]}
    for mean, value in ((False, 1.0), (True, 0.5)):
        weights = matrix(mapped, ("x", "y"), SOURCES, mean=mean)
        assert np.argwhere(weights).tolist() == [[0, 1], [0, 5], [1, 0]]
        assert (weights[0].max(), weights[1].max()) == (value, 1.0)


def test_the_head_is_sums_of_the_backbones_own_logits_and_trains_nothing():
    backbone = ast()
    made = head("fixed", backbone, group=5)
    assert not list(made.parameters())
    state = backbone(backbone.prepare(torch.randn(2, backbone.window_samples), torch.tensor([16000, 16000])))[-1]
    mixed = backbone.readout(state)
    logits = backbone.classify(mixed)
    assert logits.shape == (2, 10, 527)
    expected = torch.stack([logits[..., :5].sum(-1), logits[..., 5:10].sum(-1)], dim=-1)
    torch.testing.assert_close(made(Context(mixed))["tags"], expected)


def test_a_map_is_kept_with_the_adapter():
    backbone = ast()
    labels = backbone.source_labels
    made = head({"a": [labels[7]], "b": [labels[3], labels[2]]}, backbone)
    again = head("names", backbone, statistics=made.statistics)
    assert torch.equal(made.weights, again.weights)


def test_calibration_takes_the_mean_over_real_frames_of_labelled_clips():
    backbone = ast()
    made = head("data", backbone, group=1)
    assert not made.weights.any()
    torch.manual_seed(0)
    mixed = torch.randn(40, 10, backbone.hidden_size)
    logits = backbone.classify(mixed)
    mask = torch.ones(40, 10, 2)
    mask[:, 6:] = 0
    clips = logits[:, :6].mean(dim=1)
    truth = torch.stack([clips[:, 11] > clips[:, 11].median(), clips[:, 30] > clips[:, 30].median()], dim=-1)
    targets = {"tags": truth[:, None].float(), "tags_mask": mask}
    parts = (slice(0, 25), slice(25, 40))
    made.calibrate(
        Example(Context(mixed[part]), {name: value[part] for name, value in targets.items()}, (), (), 0) for part in parts
    )
    mapped = data_map(("a", "b"), backbone.source_labels, 1, clips.numpy(), truth.numpy(), np.ones((40, 2), bool))
    assert made.statistics["mapping"] == mapped
    assert made.weights.sum(dim=1).tolist() == [1, 1]


def test_a_backbone_without_classes_is_refused():
    kind = registry.find("backbones", "mert")
    with pytest.raises(UserError, match=r"backbone\.name: random:tiny has no classes of its own"):
        head("fixed", kind(kind.Config(name="mert", weights="random:tiny")))


RECIPE = """
name: genres
data: {{name: gtzan, root: {root}}}
backbone: {{name: ast, weights: "random:tiny", window: 1.0}}
method: {{name: reprogramming, form: cnn}}
mix: {{layers: [2]}}
heads: {{mapped_tags: {{mapping: data, activation: softmax, group: 2}}}}
train: {{epochs: 1, batch_size: 2, precision: fp32, metric: mapped_tags.accuracy}}
"""


def test_a_map_from_data_is_found_in_training_and_used_ever_after(tmp_path):
    rng = np.random.default_rng(0)
    splits = {"train": ("blues", "rock", "jazz"), "valid": ("blues", "rock"), "test": ("jazz",)}
    for number, (name, genres) in enumerate(splits.items()):
        lines = [f"{genre}/{genre}.000{number}{index}.wav" for genre in genres for index in (1, 2)]
        (tmp_path / f"{name}_filtered.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            path = tmp_path / "genres" / line
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.uniform(-0.5, 0.5, 24_000), 16_000)
    out = engine.train(parse_recipe(RECIPE.format(root=tmp_path)), tmp_path / "run", tmp_path / "adapter")
    mapped = artifact.load(out).manifest.statistics["mapped_tags"]["mapping"]
    assert len({source for sources in mapped.values() for source in sources}) == 20  # two of their own for each of ten genres
    session = Session(out)
    (head,) = session.heads().values()
    assert head.statistics["mapping"] == mapped
    assert session(tmp_path / "genres" / "jazz" / "jazz.00021.wav").tags
