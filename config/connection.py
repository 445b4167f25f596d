"""The connection to the history: the only settings that a reading command needs.

Importing all settings takes as long as answering a query. So these few are read here from the same sources and checked
by the same rules; if anything is not clearly valid, all settings are loaded and checked instead.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import checks, sources


@dataclass(frozen=True, repr=False)
class Connection:
    """Where history is kept. Has no `repr`: connection strings hold passwords.

    Args:
        mongodb_uri: The watched deployment; None: the embedded one.
        history_uri: The deployment that keeps the history; None: the watched one.
    """

    mongodb_uri: str | None
    history_uri: str | None
    history_database: str
    embedded_dir: Path


def read_plain(config_file: Path | None = None) -> Connection | None:
    """Read the connection settings; None: they are not clearly valid, and all settings have to be loaded."""
    gathered = sources.gather(config_file, {})
    if gathered.problems:
        return None
    try:
        return _checked(gathered.values)
    except ValueError:
        return None


def _checked(values: dict[str, Any]) -> Connection:
    """Check the values.

    Raises:
        ValueError: they are not clearly valid.
    """
    uris = [values.get(name) for name in ("mongodb_uri", "history_uri")]
    database, folder = values.get("history_database", "change_history"), values.get("embedded_dir")
    if not all(isinstance(value, str) for value in (*uris, database, folder) if value is not None):
        raise ValueError
    for uri in uris:
        checks.connection_string(uri)
    checks.database(database)
    embedded_dir = checks.folder(folder) if folder is not None else data_folder()
    return Connection(uris[0], uris[1], database, Path(str(embedded_dir)))


def data_folder() -> Path:
    """The per-user data folder: ``$XDG_DATA_HOME`` or ``~/.local/share`` on Linux; a user without a home has none."""
    import platformdirs

    try:
        return platformdirs.user_data_path("mongo-change-watcher", appauthor=False)
    except RuntimeError:
        return Path("/var/lib/mongo-change-watcher")
