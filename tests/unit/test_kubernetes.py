"""The Kubernetes manifests are valid, and agree with the program and with each other."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from config.settings import load
from config.sources import SECRETS_VARIABLE
from watcher.health.http import Answers
from watcher.health.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
VERSIONS = ["1.28", "1.31", kubernetes_validate.latest_version()]


def manifests() -> Iterator[dict[str, Any]]:
    """Every resource that Kustomize would apply."""
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


BY_KIND: dict[str, dict[str, Any]] = {each["kind"]: each for each in manifests()}
POD: dict[str, Any] = BY_KIND["Deployment"]["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
ENVIRONMENT: dict[str, str] = {each["name"]: each["value"] for each in CONTAINER["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", BY_KIND)
def test_kubernetes_accepts_every_manifest(kind: str, version: str) -> None:
    """With no field too many: an unknown one is dropped there without a word, and hardening with it."""
    kubernetes_validate.validate(BY_KIND[kind], version, strict=True)


def test_a_misspelt_field_is_found() -> None:
    """So that the test above can fail."""
    wrong = {**BY_KIND["ServiceAccount"], "automountServiceAccountTokn": False}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_is_applied_and_nothing_is_missing() -> None:
    """A policy that Kustomize does not list protects nobody."""
    files = {file.name for file in FOLDER.iterdir()} - {"kustomization.yaml"}

    assert set(KUSTOMIZATION["resources"]) == files
    assert BY_KIND.keys() == {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}


def test_the_image_is_the_one_of_this_version() -> None:
    """Whoever applies an old checkout gets the old program."""
    (image,) = KUSTOMIZATION["images"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert (image["name"], image["newTag"]) == (CONTAINER["image"], version)


def test_all_parts_mean_the_same_pods() -> None:
    """A selector that selects nothing is valid."""
    labels = BY_KIND["Deployment"]["spec"]["template"]["metadata"]["labels"]

    assert BY_KIND["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert BY_KIND["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert BY_KIND["Service"]["spec"]["selector"] == labels
    assert POD["serviceAccountName"] == BY_KIND["ServiceAccount"]["metadata"]["name"]


def test_one_stands_by_through_updates_and_drains() -> None:
    """The point of two; and with MongoDB away, when none is ready, a node can still be drained."""
    spec = BY_KIND["Deployment"]["spec"]
    budget = BY_KIND["PodDisruptionBudget"]["spec"]

    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]["maxUnavailable"]) == (2, 0)
    assert (budget["minAvailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert POD["terminationGracePeriodSeconds"] > 30


def test_the_pod_has_no_privileges() -> None:
    """Whoever copies the file copies that too."""
    security = POD["securityContext"]
    assert security["runAsNonRoot"]
    assert (security["runAsUser"], security["fsGroup"]) == (65532, 65532)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    assert BY_KIND["ServiceAccount"]["automountServiceAccountToken"] is False
    assert {"requests", "limits"} <= CONTAINER["resources"].keys()
    assert not any(POD.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))


def test_variables_about_services_do_not_look_like_settings() -> None:
    """Kubernetes tells of a service `watcher` by variables that begin as ours do; the daemon would not start."""
    assert POD["enableServiceLinks"] is False


def test_probes_ask_what_is_answered_where_it_is_served() -> None:
    """Liveness is not readiness: with MongoDB away, a restart every minute would cure nothing."""
    answered = Answers(Progress(), "default")._paths
    (port,) = CONTAINER["ports"]
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")}

    assert (probes["liveness"]["path"], probes["readiness"]["path"]) == ("/live", "/ready")
    assert {probe["path"] for probe in probes.values()} <= answered.keys()
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert ENVIRONMENT["WATCHER_HTTP_PORT"] == str(port["containerPort"])
    assert ENVIRONMENT["WATCHER_HTTP_HOST"] == "0.0.0.0"
    (served,) = BY_KIND["Service"]["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    assert BY_KIND["Service"]["spec"]["publishNotReadyAddresses"]
    (ingress,) = BY_KIND["NetworkPolicy"]["spec"]["ingress"]
    assert [each["port"] for each in ingress["ports"]] == [port["name"]]
    assert ingress["from"]


def test_settings_are_read_from_a_secret_as_kubernetes_mounts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links into a hidden folder, that is replaced as a whole when the secret changes; a newline at the end."""
    (volume,) = POD["volumes"]
    (mount,) = CONTAINER["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert ENVIRONMENT[SECRETS_VARIABLE] == mount["mountPath"]
    assert volume["secret"]["defaultMode"] & 0o007 == 0
    (tmp_path / "..2026_11_24").mkdir()
    (tmp_path / "..2026_11_24" / "mongodb_uri").write_text("mongodb://u:word@db1/?replicaSet=rs0\n")
    (tmp_path / "..data").symlink_to("..2026_11_24")
    (tmp_path / "mongodb_uri").symlink_to("..data/mongodb_uri")
    for name, value in {**ENVIRONMENT, SECRETS_VARIABLE: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)

    settings = load()

    assert settings.mongodb_uri is not None
    assert settings.mongodb_uri.get_secret_value() == "mongodb://u:word@db1/?replicaSet=rs0"
    assert (settings.http_host, settings.http_port, settings.include) == ("0.0.0.0", 8080, ("*.*",))
