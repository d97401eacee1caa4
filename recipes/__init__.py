"""The packaged recipes, one YAML file each."""

from pathlib import Path


def packaged() -> dict[str, Path]:
    """Recipe name -> its file, sorted by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
