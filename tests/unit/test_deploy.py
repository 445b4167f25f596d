"""What stands in deployment files agrees with the program, and the programs that read them accept it."""

import re
import shutil
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings
from config.sources import CONFIG_VARIABLE, SECRETS_VARIABLE
from tests.support.systemd import analyze
from watcher.cli import exit_codes

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "watcher.service"
PROGRAM = "/opt/watcher/bin/watcher"
MOST_EXPOSURE = 1.5  # of 10; systemd calls less than 2 "OK"


def unit_lines(name: str) -> list[str]:
    """The values of one directive of the unit, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def dockerfile(instruction: str) -> list[str]:
    """The arguments of one instruction of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [re.sub(r"\s+", " ", found) for found in re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """It ignores what it does not know, with a line in a log that nobody reads; hardening would be gone."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(PROGRAM, shutil.which("true") or "/bin/true"))

    done = analyze("verify", "--man=no", str(copy))

    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_unit_stays_hardened() -> None:
    """A directive that is dropped for a trial must not stay so unseen."""
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE * 10:.0f}", "--no-pager", str(UNIT))

    assert done.returncode == 0, done.stdout


def test_what_a_restart_cannot_cure_is_not_restarted() -> None:
    """Else systemd would try every five seconds, for ever; and what a restart cures must be restarted."""
    (prevented,) = unit_lines("RestartPreventExitStatus")
    codes = {int(word) for word in prevented.split() if word.isdigit()}
    all_codes = {value for name, value in vars(exit_codes).items() if name.isupper()}

    incurable = {
        exit_codes.USAGE,
        exit_codes.POSITION_REFUSED,
        exit_codes.POSITION_LOST,
        exit_codes.FATAL,
        exit_codes.ABORTED,
    }
    assert codes == incurable
    of_commands = {exit_codes.NOT_FOUND, exit_codes.BUSY, exit_codes.REMAINING, exit_codes.UNKNOWN}
    of_commands |= {exit_codes.DIFFERENT, exit_codes.UNHEALTHY, exit_codes.UNCHECKED, exit_codes.REFUSED}
    assert all_codes - codes - of_commands == {exit_codes.OK, exit_codes.UNEXPECTED, exit_codes.UNREACHABLE}


def test_the_unit_runs_what_the_docs_install() -> None:
    """And what the image holds at the same place."""
    docs = (ROOT / "docs" / "deployment.md").read_text()

    assert unit_lines("ExecStart") == [f"{PROGRAM} run"]
    assert "python3 -m venv /opt/watcher" in docs
    assert any(entry.startswith("PATH=/opt/watcher/bin:") for entry in dockerfile("ENV"))


@pytest.mark.parametrize(
    "path",
    [
        "deploy/watcher.service",
        "deploy/compose.yaml",
        "deploy/kubernetes/deployment.yaml",
        "Dockerfile",
        "docs/deployment.md",
        "docs/operations.md",
    ],
)
def test_every_setting_that_is_named_exists(path: str) -> None:
    """A misspelt one is refused by the daemon, but only once somebody has installed it."""
    known = {f"WATCHER_{name.upper()}" for name in Settings.model_fields} | {CONFIG_VARIABLE, SECRETS_VARIABLE}

    assert set(re.findall(r"\bWATCHER_(?!TEST_)[A-Z_]+\b", (ROOT / path).read_text())) - known == set()


def test_compose_keeps_the_daemon_without_privileges() -> None:
    """Whoever copies the file copies that too."""
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]

    assert services.keys() == {"mongo", "initiate", "watcher", "web"}
    assert services["web"]["profiles"] == ["web"]  # tests/unit/test_web_deploy.py
    for name in ("initiate", "watcher"):
        service = services[name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in services["mongo"]["ports"])


def test_the_image_runs_as_a_numbered_user_and_ends_by_sigterm() -> None:
    """Kubernetes can verify `runAsNonRoot` only of a number."""
    assert dockerfile("USER") == ["65532:65532"]
    assert dockerfile("STOPSIGNAL") == ["SIGTERM"]
    assert (dockerfile("ENTRYPOINT"), dockerfile("CMD")) == (['["watcher"]'], ['["run"]'])


def test_the_image_is_labelled_with_the_version_of_the_package() -> None:
    """An inventory would name the wrong one."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert f"VERSION={version}" in dockerfile("ARG")


def test_every_package_reaches_the_image_and_nothing_else_does() -> None:
    """A new package that .dockerignore keeps out would be missing at run time only."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert "*" in lines
    built_by = {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "deploy/requirements.txt"}
    assert allowed == {*packages["packages"], *built_by}
    assert not any(fnmatch(name, pattern) for name in (".env", "watcher.toml", ".git", "tests") for pattern in allowed)


def test_the_table_of_exit_statuses_has_each_of_them() -> None:
    """An operator looked up 8, 9, 10 and 11 in vain."""
    table = (ROOT / "docs/deployment.md").read_text().partition("## Exit status")[2]
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}

    assert rows == {value for name, value in vars(exit_codes).items() if name.isupper()}
