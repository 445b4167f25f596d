"""The settings: one frozen tree, the same for the daemon and for every command.

Each one is ``WATCHER_<NAME>`` in the environment, the lower-case name in ``watcher.toml``, and
``--<name-with-dashes>`` where a command offers it. `docs/configuration.md` lists them for operators.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from change_history.bson.redacted import How, key_from
from change_history.partition import Partition, checkpoint_of
from config import fields, problems, sources, uri
from config.connection import Connection, data_folder

SettingsError = sources.SettingsError

_UNSET = {
    "mongodb_uri": "(none: an embedded replica set)",
    "history_uri": "(as WATCHER_MONGODB_URI)",
    "partition": "(none: the whole stream)",
    "seal_key_file": "(none: seals are not signed)",
    "seal_file": "(none: seals are kept in the database only)",
    "redact_key": "(none)",
    "serve_tokens": "(none)",
    "serve_user_header": "(none)",
    "access_log": "(none)",
    "snapshot_retention": "(none: as long as their history)",
}


class PreImages(StrEnum):
    """What to do about change-stream pre-images of watched collections."""

    ENABLE = "enable"  # turn them on, also for collections made later
    USE = "use"  # use them where they are on already
    OFF = "off"  # do not ask for them


class Baseline(StrEnum):
    """What to do about documents that exist before watching begins."""

    INITIAL = "initial"  # record their state once, while streaming
    OFF = "off"


class OnGap(StrEnum):
    """What to do when events were lost for good."""

    RECONCILE = "reconcile"  # record the gap, then bring history level with the documents
    RECORD = "record"  # record the gap and go on
    STOP = "stop"  # end with exit code 6; the gap is recorded once somebody has decided


class Snapshots(StrEnum):
    """What to do about long histories of single documents."""

    ON = "on"  # keep whole states of long-lived documents, so that asking for one as of a moment stays fast
    OFF = "off"  # fold the whole history every time


class RetentionBy(StrEnum):
    """Who expires history by the rules of `retention`."""

    DAEMON = "daemon"  # the daemon that leads, beside the stream
    COMMAND = "command"  # only `watcher retention run --yes`


class ActorSessions(StrEnum):
    """What to do about changes of which no application says who made them."""

    ON = "on"  # name the database user, told by the session of the write
    OFF = "off"


class Seal(StrEnum):
    """What to do about proof that history is what was recorded."""

    ON = "on"  # seal what enters history, beside the stream
    OFF = "off"


class LogLevel(StrEnum):
    """The least severe log line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks."""

    AUTO = "auto"  # console on a terminal, JSON elsewhere
    CONSOLE = "console"
    JSON = "json"


class Settings(BaseSettings):
    """What the operator says. Made by `load`; `repr`, `str` and hash never show a secret."""

    model_config = SettingsConfigDict(
        env_prefix="WATCHER_",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    mongodb_uri: fields.MongoUri | None = None
    """The watched deployment, a replica set or sharded cluster; without it an embedded replica set is started."""

    history_uri: fields.MongoUri | None = None
    """The deployment that keeps the history; without it, the watched one."""

    history_database: fields.Database = "change_history"
    """The database that keeps the history."""

    include: fields.SomeGlobs = ("*.*",)
    """Namespaces to watch."""

    exclude: fields.Globs = ()
    """Namespaces not to watch, though included."""

    stream: fields.Stream = "default"
    """The name of the checkpoint, so that several daemons can share one history."""

    partition: fields.OnePartition = None
    """The partition of the stream that is recorded, `I/N`; without it, the whole."""

    pre_images: Annotated[PreImages, fields.AnyCase] = PreImages.ENABLE
    """Whether pre-images, the source of old values, are turned on for watched collections."""

    baseline: Annotated[Baseline, fields.AnyCase] = Baseline.INITIAL
    """Whether the state of existing documents is recorded once."""

    on_gap: Annotated[OnGap, fields.AnyCase] = OnGap.RECONCILE
    """What follows when events were lost for good."""

    snapshots: Annotated[Snapshots, fields.AnyCase] = Snapshots.ON
    """Whether whole states of long-lived documents are kept beside their history."""

    retention: fields.Retention = ()
    """How long history is kept, by namespace; what fits no rule is kept for ever."""

    retention_by: Annotated[RetentionBy, fields.AnyCase] = RetentionBy.DAEMON
    """Who removes expired history."""

    retention_rate: fields.Whole = Field(default=20_000, ge=1, le=1_000_000)
    """The most events that are expired in a second."""

    snapshot_retention: fields.Age = None
    """How long snapshots are kept; without it, as long as the history that they stand for."""

    context_collection: fields.ContextCollection = "watcher_context"
    """The collection, in each database, in which applications say who writes, within the transaction; empty: none."""

    actor_fields: fields.ActorFields = ()
    """Fields of a document that name who wrote it, each with companions that change whenever it is written."""

    actor_sessions: Annotated[ActorSessions, fields.AnyCase] = ActorSessions.OFF
    """Whether the database user who wrote is looked up, by the session of the write."""

    seal: Annotated[Seal, fields.AnyCase] = Seal.OFF
    """Whether what enters history is sealed, so that a later change of it is found."""

    seal_interval_s: fields.Whole = Field(default=30, ge=1, le=60)
    """How often what has entered history is sealed, in seconds."""

    seal_key_file: fields.File | None = None
    """The file of the private key that seals are signed with: Ed25519, PEM."""

    seal_file: fields.FileOrOutput | None = None
    """The file that each seal is appended to as a line of JSON; `-`: standard output."""

    redact: fields.Redactions = ()
    """What is withheld of the values that are recorded, `namespace:path=how`."""

    redact_key: fields.RedactKey | None = None
    """The key of the digests that `redact` has made; a secret."""

    batch_size: fields.Whole = Field(default=1000, ge=1, le=100_000)
    """The most events in one write."""

    flush_interval_ms: fields.Whole = Field(default=0, ge=0, le=60_000)
    """The longest an event waits for company before it is written, in milliseconds; 0: not at all."""

    http_host: fields.Host = "127.0.0.1"
    """The address that answers `/live`, `/ready` and `/metrics`."""

    http_port: fields.Whole = Field(default=8080, ge=0, le=65_535)
    """The TCP port of these answers; 0: none."""

    log_level: Annotated[LogLevel, fields.AnyCase] = LogLevel.INFO
    """The least severe log line that is written."""

    log_format: Annotated[LogFormat, fields.AnyCase] = LogFormat.AUTO
    """How a log line looks."""

    embedded_dir: fields.Folder = Field(default_factory=data_folder)
    """The folder of the embedded replica set; used only without `mongodb_uri`."""

    embedded_port: fields.Whole = Field(default=27_117, ge=1, le=65_535)
    """The TCP port of the embedded replica set on 127.0.0.1; used only without `mongodb_uri`."""

    report_interval_s: fields.Whole = Field(default=60, ge=1, le=86_400)
    """How often the log says how many events were recorded and how far behind it is, in seconds."""

    serve_host: fields.Host = "127.0.0.1"
    """The address at which `watcher serve` answers."""

    serve_port: fields.Whole = Field(default=8090, ge=0, le=65_535)
    """Its TCP port; 0: any free one."""

    serve_root_path: fields.RootPath = ""
    """The path under which a proxy shows it."""

    serve_tokens: fields.File | None = None
    """The file of those who may read."""

    serve_user_header: fields.HeaderName | None = None
    """The name of the header in which a trusted proxy names a signed-on user."""

    serve_trusted_proxies: fields.Networks = ()
    """Addresses and networks of the proxies whose headers are believed."""

    serve_allowed_hosts: fields.Hosts = ()
    """Names under which it is asked for, besides those of this machine."""

    access_log: fields.File | None = None
    """The file that gets a line for every reading of documents."""

    references: fields.References = ()
    """Which fields hold the `_id` of a document of another collection."""

    _origins: dict[str, sources.Origin] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller alone: `load` reads the outside and remembers where each came from."""
        return (init_settings,)

    @property
    def recorded_partition(self) -> Partition | None:
        """The partition of the stream that is recorded; None: the whole."""
        return self.partition if self.partition is not None and self.partition.total > 1 else None

    @property
    def hash_key(self) -> bytes | None:
        """The key of digests, as `change_history.bson.redacted` takes it; None: there is none."""
        return key_from(self.redact_key.get_secret_value()) if self.redact_key is not None else None

    @property
    def checkpoint(self) -> str:
        """The name of the checkpoint: the stream's, and the partition's if there is one."""
        return checkpoint_of(self.stream, self.recorded_partition)

    @property
    def connection(self) -> Connection:
        """Where history is kept."""
        watched, history = (
            uri.get_secret_value() if uri is not None else None for uri in (self.mongodb_uri, self.history_uri)
        )
        return Connection(watched, history, self.history_database, self.embedded_dir)

    def origin(self, name: str) -> str:
        """Say where a setting comes from.

        Returns:
            A phrase such as ``environment``, ``/etc/watcher.toml`` or ``default``.
        """
        return self._origins[name].place if name in self._origins else "default"


def load(config_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings from everywhere: overrides, environment, TOML file, secret files, defaults.

    Args:
        config_file: The TOML file; without it ``$WATCHER_CONFIG``, else ``watcher.toml`` in the working
            directory if there is one.
        overrides: Settings of the command line by field name; None means not given.

    Raises:
        SettingsError: Something is wrong; `problems` lists everything that is.
    """
    gathered = sources.gather(config_file, overrides)
    found = list(gathered.problems)
    try:
        settings = Settings(**gathered.values)
    except ValidationError as error:
        found += problems.explain(error, Settings, gathered)
        settings = None
    if settings is not None and settings.redact_key is None:
        hashing = [str(rule) for rule in settings.redact if rule.how is How.HASH]
        if hashing:
            found.append(
                f"{sources.PREFIX}REDACT_KEY is missing: {','.join(hashing)} needs a key, without which a digest "
                "tells what can be guessed. Make one with `openssl rand -hex 32`, and keep it with the other secrets"
            )
    if settings is not None and settings.seal is Seal.ON and settings.seal_key_file is not None:
        found += _key_problems(settings.seal_key_file)
    if found or settings is None:
        # Without the cause: pydantic's error holds what was read, secrets too.
        raise SettingsError(found) from None
    settings._origins.update(gathered.origins)  # noqa: SLF001 - private to the readers, not to their maker
    return settings


def _key_problems(file: Path) -> list[str]:
    """What is wrong with the key to sign seals with: known before any server is asked."""
    from change_history.seals.seal import SealKeyError, load_key

    try:
        load_key(file)
    except SealKeyError as error:
        return [f"{sources.PREFIX}SEAL_KEY_FILE: {error}"]
    return []


class DescribedSetting(NamedTuple):
    """One setting as shown to the operator."""

    name: str  # as in the environment, for example WATCHER_BATCH_SIZE
    value: str  # secrets masked
    source: str  # for example `environment` or `default`


def describe(settings: Settings) -> list[DescribedSetting]:
    """List every setting with its value, secrets masked, and its source.

    Returns:
        In the order in which the settings are declared.
    """
    return [
        DescribedSetting(sources.PREFIX + name.upper(), _shown(name, getattr(settings, name)), settings.origin(name))
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
            return ",".join(map(str, value))
        case _:
            return str(value)
