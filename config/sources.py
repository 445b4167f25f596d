"""Where settings come from: command line, environment, TOML file, secret files, in this order."""

import difflib
import os
import re
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SecretsSettingsSource

PREFIX = "WATCHER_"
CONFIG_VARIABLE = "WATCHER_CONFIG"
SECRETS_VARIABLE = "WATCHER_SECRETS_DIR"
DEFAULT_FILE = Path("watcher.toml")

# Kubernetes puts such variables into every pod beside a Service called `watcher`.
_SERVICE_LINK = re.compile(r"WATCHER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True)
class Origin:
    """Where one value was found.

    Args:
        place: The source, for example ``environment``.
        written: The setting as the operator wrote it there, for example ``WATCHER_BATCH_SIZE``.
    """

    place: str
    written: str


@dataclass
class Gathered:
    """All that was read, before any value is judged."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
        """Take over the values that no stronger source has given."""
        for name in values.keys() - self.values.keys():
            self.values[name] = values[name]
            self.origins[name] = origins[name]


def gather(model: type[BaseSettings], config_file: Path | None, overrides: Mapping[str, Any]) -> Gathered:
    """Read every source, the strongest first.

    Args:
        model: The settings class, for its field names.
        config_file: The TOML file of ``--config``, if given.
        overrides: Values of the command line; None means not given.

    Returns:
        The values as written, their origins, and what is wrong with the sources themselves.
    """
    gathered = Gathered()
    given = {name: value for name, value in overrides.items() if value is not None}
    gathered.add(given, {name: Origin("command line", f"--{name.replace('_', '-')}") for name in given})
    _add_environment(gathered, model)
    _add_file(gathered, model, config_file)
    _add_secrets(gathered, model)
    return gathered


def _add_environment(gathered: Gathered, model: type[BaseSettings]) -> None:
    values = EnvSettingsSource(model)()
    gathered.add(values, {name: Origin("environment", PREFIX + name.upper()) for name in values})
    known = {PREFIX + name.upper() for name in model.model_fields} | {CONFIG_VARIABLE, SECRETS_VARIABLE}
    for name, value in sorted(os.environ.items()):
        upper = name.upper()
        foreign = _SERVICE_LINK.fullmatch(upper) or _SERVICE_ADDRESS.match(value)
        if upper.startswith(PREFIX) and upper not in known and not foreign and not upper.startswith("WATCHER_TEST_"):
            gathered.problems.append(f"{name} is no setting{_suggest(upper, known)}")


def _add_file(gathered: Gathered, model: type[BaseSettings], config_file: Path | None) -> None:
    path = config_file
    if path is None and (named := os.environ.get(CONFIG_VARIABLE)):
        path = Path(named)
    if path is None and not DEFAULT_FILE.is_file():
        return
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
    known = set(model.model_fields)
    for name in sorted(values.keys() - known):
        gathered.problems.append(f"`{name}` in {path} is no setting{_suggest(name, known)}")
    values = {name: value for name, value in values.items() if name in known}
    gathered.add(values, {name: Origin(str(path), f"`{name}` in {path}") for name in values})


def _add_secrets(gathered: Gathered, model: type[BaseSettings]) -> None:
    if not (named := os.environ.get(SECRETS_VARIABLE)):
        return
    folder = Path(named).absolute()
    try:
        present = [entry.name for entry in folder.iterdir()]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pydantic only warns of a secret that it does not take
            short = SecretsSettingsSource(model, folder, env_prefix="")()
            long = SecretsSettingsSource(model, folder)()
    except OSError as error:
        gathered.problems.append(f"{SECRETS_VARIABLE}: {error.filename or folder} cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        gathered.problems.append(f"{SECRETS_VARIABLE}: a file in {folder} is not UTF-8 text")
        return
    except UserWarning as warning:
        gathered.problems.append(f"{SECRETS_VARIABLE}: {warning}")
        return
    for values, prefix in ((long, PREFIX.lower()), (short, "")):
        files = {name: str(folder / (prefix + name)) for name in values}
        gathered.add(values, {name: Origin(f"secret file {file}", file) for name, file in files.items()})
    known = {PREFIX.lower() + name for name in model.model_fields}
    # Other programs' secrets may lie in the same folder, so only names that begin like ours are judged.
    for name in sorted(name for name in present if name.lower().startswith(PREFIX.lower())):
        if name.lower() not in known:
            gathered.problems.append(f"{folder / name} is no setting{_suggest(name.lower(), known)}")


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""
