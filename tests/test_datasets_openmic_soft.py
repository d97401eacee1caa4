"""Soft targets of OpenMIC-2018: they are learned, while counts and scores know only what is a tag and what is not."""

from made_openmic import CLASSES, KEYS, labels, openmic, write_release
from typer.testing import CliRunner

from etude.adapters.recipe.schema import load_recipe
from etude.adapters.training.engine import train
from etude.adapters.training.evaluation import evaluate
from etude.cli.app import app

RECIPE = """
name: clips
data: {{name: openmic2018, root: {root}, validation_share: 0.3}}
backbone: {{name: log_mel, window: 1.0}}
method: {{name: heads_only}}
heads: {{tags: {{hidden: 0}}}}
train: {{epochs: 1, precision: fp32, share: 0.5, metric: tags.openmic_f1}}
"""


def test_counts_and_scores_know_what_is_a_tag_and_what_is_not(tmp_path):
    root = tmp_path / "openmic-2018"
    write_release(root)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=root))
    soft, hard = (
        CliRunner().invoke(app, ["data", "check", str(recipe), f"data.soft={value}"], catch_exceptions=False)
        for value in ("true", "false")
    )
    assert (soft.exit_code, soft.stdout) == (0, hard.stdout), soft.stderr
    adapter = train(load_recipe(str(recipe)), tmp_path / "run", tmp_path / "adapter")
    scores = evaluate(adapter, split="train").scores["tags"]["per_class"]
    truth, mask = labels()
    held = {track.id for track in openmic(root, validation_share=0.3).tracks("train")}
    training = [name in held for name in KEYS]
    expected = ((truth >= 0.5) & mask)[training].sum(axis=0)
    assert [scores[name]["clip"]["ref"] for name in CLASSES] == expected.tolist()
