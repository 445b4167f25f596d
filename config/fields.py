"""The types of the settings: the description of their allowed values, and the check."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from change_history.partition import Partition
from change_history.redaction_rules import Rule
from config import ages, checks


@dataclass(frozen=True)
class Allowed:
    """Metadata of a type: its allowed values, as the end of "… must be …".

    Args:
        text: A noun phrase, for example ``a port number``.
    """

    text: str


def _redact_key(value: object) -> object:
    checks.redact_key(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return value


def _uri(value: object) -> object:
    checks.connection_string(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return value


_GLOBS_TEXT = "comma-separated `database.collection` globs such as shop.*,crm.people"

Globs = Annotated[tuple[str, ...], NoDecode, BeforeValidator(checks.globs), Allowed(_GLOBS_TEXT)]
SomeGlobs = Annotated[tuple[str, ...], NoDecode, BeforeValidator(checks.some_globs), Allowed(_GLOBS_TEXT)]
Database = Annotated[str, BeforeValidator(checks.database), Allowed("the name of a database of its own")]
Stream = Annotated[str, BeforeValidator(checks.stream), Allowed("a name of letters, digits, '.', '_' and '-'")]
ContextCollection = Annotated[
    str, BeforeValidator(checks.context_collection), Allowed("the name of a collection, without a database")
]
ActorFields = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(checks.actor_fields),
    Allowed("comma-separated fields, each with companions after colons, such as updated_by:updated_at,meta.user"),
]
OnePartition = Annotated[
    Partition | None, NoDecode, BeforeValidator(checks.partition), Allowed("I/N, the I-th of N partitions, such as 2/4")
]
Retention = Annotated[
    tuple[ages.Rule, ...],
    NoDecode,
    BeforeValidator(checks.retention),
    Allowed("comma-separated rules `glob=age` such as shop.sessions=30d,shop.*=2y; the first that fits counts"),
]
Age = Annotated[str | None, BeforeValidator(checks.age), Allowed("an age such as 30d or 2y, or forever")]
Whole = Annotated[int, BeforeValidator(checks.no_bool)]
Host = Annotated[str, BeforeValidator(checks.host), Allowed("an address to listen on, such as 127.0.0.1 or 0.0.0.0")]
Folder = Annotated[Path, BeforeValidator(checks.folder), Allowed("the path of a folder")]
File = Annotated[Path, BeforeValidator(checks.folder), Allowed("the path of a file")]
RootPath = Annotated[
    str, BeforeValidator(checks.root_path), Allowed("a path such as /history, or nothing for the root of a host")
]
HeaderName = Annotated[str, BeforeValidator(checks.header_name), Allowed("the name of a header, X-Forwarded-User")]
Networks = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(checks.networks),
    Allowed("comma-separated addresses and networks such as 127.0.0.1,10.0.0.0/8"),
]
Hosts = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(checks.hosts),
    Allowed("comma-separated host names such as history.example.org"),
]
References = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(checks.references),
    Allowed("comma-separated references such as shop.orders:customer→shop.customers"),
]
FileOrOutput = Annotated[
    Path, BeforeValidator(checks.file_or_output), Allowed("the path of a file, or - for standard output")
]
MongoUri = Annotated[
    SecretStr,
    BeforeValidator(_uri),
    Allowed("mongodb://[user:password@]host[:port]/[?options], user and password percent-encoded"),
]
Redactions = Annotated[
    tuple[Rule, ...],
    NoDecode,
    BeforeValidator(checks.redactions),
    Allowed("comma-separated `namespace:path=how` such as shop.users:password=drop; how is drop, mask or hash"),
]
RedactKey = Annotated[SecretStr, BeforeValidator(_redact_key), Allowed("a secret text of 16 characters or more")]
AnyCase = BeforeValidator(checks.lower)
