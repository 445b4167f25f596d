"""Our packages have plain names; whoever installs a namesake beside us must be found out."""

from __future__ import annotations

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
