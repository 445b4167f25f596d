"""The sources of settings: command line, environment, TOML file, secret files, in this order."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PREFIX = "WATCHER_"
CONFIG_VARIABLE = "WATCHER_CONFIG"
SECRETS_VARIABLE = "WATCHER_SECRETS_DIR"
DEFAULT_FILE = Path("watcher.toml")

NAMES = (
    "mongodb_uri",
    "history_uri",
    "history_database",
    "include",
    "exclude",
    "stream",
    "partition",
    "pre_images",
    "baseline",
    "on_gap",
    "snapshots",
    "retention",
    "retention_by",
    "retention_rate",
    "snapshot_retention",
    "context_collection",
    "actor_fields",
    "actor_sessions",
    "seal",
    "seal_interval_s",
    "seal_key_file",
    "seal_file",
    "redact",
    "redact_key",
    "batch_size",
    "flush_interval_ms",
    "http_host",
    "http_port",
    "log_level",
    "log_format",
    "embedded_dir",
    "embedded_port",
    "report_interval_s",
    "serve_host",
    "serve_port",
    "serve_root_path",
    "serve_tokens",
    "serve_user_header",
    "serve_trusted_proxies",
    "serve_allowed_hosts",
    "access_log",
    "references",
)
"""All settings, in the order of `config.settings.Settings`, whose import takes long."""

# Kubernetes puts such variables into every pod beside a Service called `watcher`.
_SERVICE_LINK = re.compile(r"WATCHER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


class SettingsError(Exception):
    """The settings are invalid and nothing was started.

    Args:
        problems: One sentence for each, naming the setting as written, its value unless secret, and what is allowed.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{count} with the settings:{lines}")


@dataclass(frozen=True)
class Origin:
    """The source of one value.

    Args:
        place: The source, for example ``environment``.
        written: The setting as the operator wrote it there, for example ``WATCHER_BATCH_SIZE``.
    """

    place: str
    written: str


@dataclass
class Gathered:
    """The values from all sources, before they are checked."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
        """Add the values that no stronger source has given."""
        for name in values.keys() - self.values.keys():
            self.values[name] = values[name]
            self.origins[name] = origins[name]


def gather(config_file: Path | None, overrides: Mapping[str, Any]) -> Gathered:
    """Read every source, the strongest first.

    Returns:
        The values as written, their origins, and the faults of the sources themselves.
    """
    gathered = Gathered()
    given = {name: value for name, value in overrides.items() if value is not None}
    gathered.add(given, {name: Origin("command line", f"--{name.replace('_', '-')}") for name in given})
    _add_environment(gathered)
    _add_file(gathered, config_file)
    _add_secrets(gathered)
    return gathered


def _add_environment(gathered: Gathered) -> None:
    found = {name.upper(): value for name, value in os.environ.items()}
    values = {name: found[PREFIX + name.upper()] for name in NAMES if PREFIX + name.upper() in found}
    gathered.add(values, {name: Origin("environment", PREFIX + name.upper()) for name in values})
    known = {PREFIX + name.upper() for name in NAMES} | {CONFIG_VARIABLE, SECRETS_VARIABLE}
    for name, value in sorted(os.environ.items()):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known or upper.startswith("WATCHER_TEST_"):
            continue
        if not _SERVICE_LINK.fullmatch(upper) and not _SERVICE_ADDRESS.match(value):
            gathered.problems.append(f"{name} is no setting{_suggest(upper, known)}")


def _add_file(gathered: Gathered, config_file: Path | None) -> None:
    path = config_file
    if path is None and (named := os.environ.get(CONFIG_VARIABLE)):
        path = Path(named)
    if path is None and not DEFAULT_FILE.is_file():
        return
    import tomllib

    path = (path or DEFAULT_FILE).absolute()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        gathered.problems.append(f"{path} cannot be read: {error.strerror}")
        return
    except tomllib.TOMLDecodeError as error:
        # Only the place is repeated: the text beside it may be a password.
        where = re.search(r"\(at .*\)$", str(error))
        gathered.problems.append(f"{path} is not TOML {where[0] if where else ''}".rstrip())
        return
    except UnicodeDecodeError:
        gathered.problems.append(f"{path} is not UTF-8 text")
        return
    known = set(NAMES)
    for name in sorted(values.keys() - known):
        gathered.problems.append(f"`{name}` in {path} is no setting{_suggest(name, known)}")
    values = {name: value for name, value in values.items() if name in known}
    gathered.add(values, {name: Origin(str(path), f"`{name}` in {path}") for name in values})


def _add_secrets(gathered: Gathered) -> None:
    if not (named := os.environ.get(SECRETS_VARIABLE)):
        return
    folder = Path(named).absolute()
    try:
        present = sorted(folder.iterdir(), reverse=True)
        files = {path.name.lower(): path for path in present}
        values = {key: _secret(files[key], folder) for key in _SECRET_NAMES if key in files}
    except OSError as error:
        gathered.problems.append(f"{SECRETS_VARIABLE}: {error.filename or folder} cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        gathered.problems.append(f"{SECRETS_VARIABLE}: a file in {folder} is not UTF-8 text")
        return
    except (ValueError, RuntimeError) as error:
        gathered.problems.append(f"{SECRETS_VARIABLE}: {error}")
        return
    for prefix in (PREFIX.lower(), ""):
        found = {name: values[prefix + name] for name in NAMES if prefix + name in values}
        paths = {name: str(folder / (prefix + name)) for name in found}
        gathered.add(found, {name: Origin(f"secret file {path}", path) for name, path in paths.items()})
    known = {PREFIX.lower() + name for name in NAMES}
    # Other programs' secrets may be in the same folder, so only names with our prefix are checked.
    for path in reversed(present):
        if path.name.lower().startswith(PREFIX.lower()) and path.name.lower() not in known:
            gathered.problems.append(f"{path} is no setting{_suggest(path.name.lower(), known)}")


_SECRET_NAMES = [prefix + name for prefix in (PREFIX.lower(), "") for name in NAMES]


def _secret(path: Path, folder: Path) -> str:
    """The content of a secret file.

    Raises:
        ValueError: it is no file, or is outside the folder.
        RuntimeError: its symbolic link leads to itself.
        OSError: it cannot be read.
    """
    if folder.resolve() not in path.resolve().parents:
        raise ValueError(f"{path} is a link to what lies outside of the folder")
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    return path.read_text(encoding="utf-8").strip()


def _suggest(name: str, known: Iterable[str]) -> str:
    import difflib

    # The common prefix makes no name more likely than another.
    plain = {other.lower().removeprefix(PREFIX.lower()): other for other in sorted(known)}
    near = difflib.get_close_matches(name.lower().removeprefix(PREFIX.lower()), plain, n=1, cutoff=0.7)
    return f"; did you mean {plain[near[0]]}?" if near else ""
