"""Our packages have plain names; whoever installs a namesake beside us must be found out."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = "mongo-change-watcher"
PACKAGES = ["change_history", "config", "models", "watcher"]


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_owns_a_package_of_ours(name: str) -> None:
    """Two wheels with one package: pip installs the second over the first without a word."""
    # An editable install lists no packages, hence the default.
    assert set(packages_distributions().get(name, [OURS])) == {OURS}
    found = find_spec(name)
    assert found is not None
    assert found.origin == str(ROOT / name / "__init__.py")


def test_a_production_install_brings_no_server_and_no_test_tools() -> None:
    """They come with the extra and the dependency groups alone."""
    always = [line for line in requires(OURS) or [] if "extra ==" not in line]

    assert not [line for line in always if line.startswith(("fiftyone", "pytest", "testcontainers", "hypothesis"))]


def test_the_models_can_be_copied_into_an_application(tmp_path: Path) -> None:
    """As a folder of any name, with nothing of ours beside it."""
    shutil.copytree(ROOT / "models", tmp_path / "app" / "change_models", ignore=shutil.ignore_patterns("__pycache__"))
    program = "from app.change_models import HistoryMixin, HistoryModel; print(HistoryModel.__module__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:] = [{str(tmp_path)!r}, *{_without_ours()!r}]; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "app.change_models.history"


def test_the_models_import_nothing_of_ours() -> None:
    """Relative imports only, as the copy above needs."""
    for file in (ROOT / "models").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").partition(".")[0] not in PACKAGES, file


def _without_ours() -> list[str]:
    """This interpreter's path without the checkout."""
    return [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]
