"""The settings as `watcher config show` lists them: name, value, where it comes from."""

from enum import StrEnum
from typing import NamedTuple

from pydantic import SecretStr

from change_history.partition import Partition
from config import uri
from config.settings import Settings
from config.sources import PREFIX

_UNSET = {
    "mongodb_uri": "(none: an embedded replica set)",
    "history_uri": "(as WATCHER_MONGODB_URI)",
    "partition": "(none: the whole stream)",
}


class Described(NamedTuple):
    """One setting as shown to the operator."""

    name: str  # as in the environment, for example WATCHER_BATCH_SIZE
    value: str  # secrets masked
    source: str  # for example `environment` or `default`


def describe(settings: Settings) -> list[Described]:
    """List every setting with its value, secrets masked, and its source.

    Args:
        settings: As made by `config.settings.load`.

    Returns:
        In the order in which the settings are declared.
    """
    return [
        Described(PREFIX + name.upper(), _shown(name, getattr(settings, name)), settings.origin(name))
        for name in Settings.model_fields
    ]


def _shown(name: str, value: object) -> str:
    match value:
        case None:
            return _UNSET[name]
        case SecretStr():
            return uri.mask(value.get_secret_value())
        case StrEnum():
            return value.value
        case Partition():
            return str(value)
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
