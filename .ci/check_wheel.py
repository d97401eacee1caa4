"""Compare a wheel with the checkout it was built from, file by file: ``python .ci/check_wheel.py WHEEL``."""

import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = tuple(f"backbones/*/{name}" for name in ("config.json", "model.safetensors", "README.md"))
PATTERNS = ("*.py", "*.yaml", "*.jinja", "py.typed", *WEIGHTS)


def expected() -> set[str]:
    """The paths in the wheel of every source and data file of the mapped folders."""
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    return {
        f"{package.replace('.', '/')}/{file.relative_to(ROOT / folder).as_posix()}"
        for package, folder in mapping.items()
        for pattern in PATTERNS
        for file in (ROOT / folder).rglob(pattern)
    }


def main(wheel: str) -> None:
    """Leave with an error when a file is missing, when one is too many, or when a kind of file is absent altogether."""
    found = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    missing, surplus = sorted(expected() - found), sorted(found - expected())
    if missing or surplus:
        sys.exit(f"{wheel}: missing {missing}, not in the checkout {surplus}")
    outside = {name for name in found if not name.startswith("etude/")}
    if outside:
        sys.exit(f"{wheel}: outside the package: {sorted(outside)}")
    for pattern in PATTERNS:
        if not any(Path(name).match(pattern) for name in found):
            sys.exit(f"{wheel}: no {pattern}")
    print(f"{Path(wheel).name}: {len(found)} files, all under etude/, as in the checkout")


if __name__ == "__main__":
    main(sys.argv[1])
