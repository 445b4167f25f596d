"""How `watcher serve` is deployed agrees with the program, and the programs that read the files accept them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from config.settings import load
from tests.support.systemd import analyze
from watcher.cli import exit_codes
from watcher.web.access import PROBES

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "watcher-web.service"
FOLDER = ROOT / "deploy" / "kubernetes-web"
PROGRAM = "/opt/watcher/bin/watcher"
MANIFESTS: dict[str, dict[str, Any]] = {
    each["kind"]: each
    for name in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    for each in yaml.safe_load_all((FOLDER / name).read_text())
}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["web"]


def test_systemd_understands_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    """What it does not know it ignores, and hardening would be gone."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(PROGRAM, shutil.which("true") or "/bin/true"))
    done = analyze("verify", "--man=no", str(copy))
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []

    exposed = analyze("security", "--offline=true", "--threshold=15", "--no-pager", str(UNIT))
    assert exposed.returncode == 0, exposed.stdout


def test_what_a_restart_cannot_cure_is_not_restarted() -> None:
    """Wrong settings, and an address that cannot be listened on."""
    (prevented,) = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert {int(word) for word in prevented.split() if word.isdigit()} == {exit_codes.USAGE, exit_codes.FATAL}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_kubernetes_accepts_every_manifest(kind: str) -> None:
    """With no field too many."""
    kubernetes_validate.validate(MANIFESTS[kind], kubernetes_validate.latest_version(), strict=True)


def test_what_is_deployed_asks_who_somebody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off loopback, with tokens; or it would not start."""
    (container,) = MANIFESTS["Deployment"]["spec"]["template"]["spec"]["containers"]
    told = {each["name"]: each["value"] for each in container["env"] if each["name"] != "WATCHER_SECRETS_DIR"}
    for environment in (told, COMPOSE["environment"]):
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            settings = load()
        assert settings.serve_host == "0.0.0.0"
        assert settings.serve_tokens is not None


def test_the_probes_ask_what_is_answered_without_a_token() -> None:
    """Or a pod would never be ready."""
    (container,) = MANIFESTS["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
    assert paths == PROBES
    assert COMPOSE["healthcheck"]["test"] == ["CMD", "watcher", "health", "--serve"]
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["ports"])
