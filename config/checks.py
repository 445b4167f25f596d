"""The checks of settings. A check takes the written value and returns the parsed one; pure, and quick to import.

Each raises ValueError for an invalid value; the message says why.
"""

import ipaddress
import re
from pathlib import Path

from change_history.partition import Partition
from change_history.redaction_rules import Rule
from config import ages, uri

_MAX_DATABASE_BYTES = 63
_MAX_NAMESPACE_BYTES = 255
_MAX_HOST = 253
_MAX_PATH_BYTES = 4095
_MAX_STREAM = 200
_MAX_PATH = 1000
_LEAST_KEY = 16
_MAX_QUOTED = 40
_SYSTEM_DATABASES = frozenset({"admin", "config", "local"})
_MAGIC = re.compile(r"[*?\[]")  # a glob may be longer than what it matches
_PATH = re.compile(r"[\w-]+(\.[\w-]+)*")
_STREAM = re.compile(r"[A-Za-z0-9._-]+")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


def _quoted(text: str) -> str:
    """The written value, escaped and shortened, for a message."""
    return repr(text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 1] + "…")


def _database_fault(name: str) -> str | None:
    """The fault of a database name or glob under MongoDB's naming restrictions; None: it is valid."""
    wrong = sorted({character for character in name if character in '/\\. "$\0'})
    if wrong:
        return f"{_quoted(name)} has {' and '.join(map(repr, wrong))}, which no database name may have"
    if not uri.is_text(name):
        return f"{_quoted(name)} is not UTF-8 text"
    if not _MAGIC.search(name) and len(name.encode()) > _MAX_DATABASE_BYTES:
        return f"{_quoted(name)} is longer than {_MAX_DATABASE_BYTES} bytes"
    return None


def _glob_fault(glob: str) -> str | None:
    """The fault of one ``db.coll`` glob; None: it is valid."""
    database, dot, collection = glob.partition(".")
    if not dot:
        whole = "DATABASE" if _quoted(glob) != f"'{glob}'" else glob
        return f"{_quoted(glob)} has no dot; for the whole database write '{whole}.*'"
    if not database or not collection:
        return f"{_quoted(glob)} has an empty part"
    if "$" in collection or "\0" in collection:
        return f"{_quoted(glob)} has '$' or a NUL byte, which no collection name may have"
    if not uri.is_text(collection):
        return f"{_quoted(glob)} is not UTF-8 text"
    if not _MAGIC.search(glob) and len(glob.encode()) > _MAX_NAMESPACE_BYTES:
        return f"{_quoted(glob)} is longer than the {_MAX_NAMESPACE_BYTES} bytes of a namespace"
    return _database_fault(database)


def globs(value: object) -> tuple[str, ...]:
    """Read globs from a comma-separated string or a list, without repetitions, in the order written."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("not a string and not a list of strings")
    found = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    faults = [fault for fault in map(_glob_fault, found) if fault]
    if faults:
        raise ValueError("; ".join(faults))
    return found


def references(value: object) -> tuple[str, ...]:
    """Read references, `shop.orders:customer→shop.customers`, from a comma-separated string or a list."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("not a string and not a list of strings")
    found = []
    for part in (each.strip().replace("->", "→") for each in parts):
        if not part:
            continue
        left, arrow, target = (side.strip() for side in part.partition("→"))
        source, colon, field = (side.strip() for side in left.partition(":"))
        if not (arrow and colon and field and all(source.partition(".")) and all(target.partition("."))):
            raise ValueError(f"{_quoted(part)} is not of the form shop.orders:customer→shop.customers")
        found.append(f"{source}:{field}→{target}")
    return tuple(dict.fromkeys(found))


def redactions(value: object) -> tuple[Rule, ...]:
    """Read rules from a comma-separated string or a list, without repetitions, in the order written."""
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, tuple) and all(isinstance(part, Rule) for part in parts):
        return parts
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("not a string and not a list of strings")
    found, faults = [], []
    for part in dict.fromkeys(part.strip() for part in parts if part.strip()):
        try:
            if not uri.is_text(part):
                raise ValueError(f"{_quoted(part)} is not UTF-8 text")  # noqa: TRY301
            rule = Rule.parse(part)
        except ValueError as error:
            faults.append(str(error))
            continue
        if fault := _glob_fault(rule.namespace):
            faults.append(fault)
        found.append(rule)
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(found)


def redact_key(text: object) -> None:
    """Refuse a secret text that can be guessed."""
    if isinstance(text, str) and not uri.is_text(text):
        raise ValueError("it is not UTF-8 text")
    if isinstance(text, str) and len(set(text)) < _LEAST_KEY // 2:
        raise ValueError("it has too few different characters, and can be guessed")
    if isinstance(text, str) and len(text) < _LEAST_KEY:
        raise ValueError("it is shorter, and can be guessed")


def _never_watched(glob: str) -> str | None:
    """Why nothing that a glob matches can be watched; None: something can."""
    database, _, collection = glob.partition(".")
    if database in _SYSTEM_DATABASES:
        return f"{_quoted(glob)} is in a system database; MongoDB opens no change stream there"
    if collection.startswith("system."):
        return f"{_quoted(glob)} is a system collection; MongoDB opens no change stream there"
    return None


def some_globs(value: object) -> tuple[str, ...]:
    """Globs of which at least one can be watched."""
    found = globs(value)
    if not found:
        raise ValueError("nothing would be watched")
    faults = [fault for fault in map(_never_watched, found) if fault]
    if faults:
        raise ValueError("; ".join(faults))
    return found


def database(value: object) -> object:
    """The name of a database of its own."""
    if isinstance(value, str):
        if not value:
            raise ValueError("the name is empty")
        if not value.isprintable():
            raise ValueError(f"{_quoted(value)} has a character that cannot be printed")
        if value.lower() in _SYSTEM_DATABASES:
            raise ValueError(f"{value!r} is a system database")
        if fault := _database_fault(value):
            raise ValueError(fault)
    return value


def stream(value: object) -> object:
    """The name of a stream."""
    if isinstance(value, str) and not _STREAM.fullmatch(value):
        raise ValueError("the name is empty" if not value else "it has other characters")
    if isinstance(value, str) and len(value) > _MAX_STREAM:
        raise ValueError(f"it is longer than {_MAX_STREAM} characters")
    return value


def context_collection(value: object) -> object:
    """The name of a collection; or nothing."""
    if not isinstance(value, str) or not value:
        return value
    if "$" in value or "\0" in value or not uri.is_text(value):
        raise ValueError(f"{_quoted(value)} has '$' or a NUL byte, or is not UTF-8, which no collection name may be")
    if value.startswith((".", "system.")) or value.endswith(".") or not value.strip() or not value.isprintable():
        raise ValueError(f"{_quoted(value)} is no name that a collection of yours can have")
    if len(value.encode()) > _MAX_NAMESPACE_BYTES - 2:
        raise ValueError(f"{_quoted(value)} is longer than a name may be")
    return value


def actor_fields(value: object) -> tuple[str, ...]:
    """Read fields from a comma-separated string or a list, without repetitions, in the order written."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("not a string and not a list of strings")
    found = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    for field in found:
        for path in field.split(":"):
            if not _PATH.fullmatch(path) or len(path) > _MAX_PATH:
                raise ValueError(f"{_quoted(field)} has a part that is no path: keys of letters, digits, '_' and '-'")
    return found


def partition(value: object) -> object:
    """A partition, `I/N`."""
    if value is None or isinstance(value, Partition):
        return value
    if not isinstance(value, str):
        raise ValueError("it is not of the form I/N")  # noqa: TRY004 - pydantic turns only ValueError into a problem
    return Partition.parse(value)


def retention(value: object) -> tuple[ages.Rule, ...]:
    """Rules `glob=age` from a comma-separated string or a list, in the order written."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str | ages.Rule) for part in parts):
        raise ValueError("not a string and not a list of strings")
    found: list[ages.Rule] = []
    faults: list[str] = []
    for part in (str(part).strip() for part in parts):
        glob, equals, age = (each.strip() for each in part.partition("="))
        if not part:
            continue
        if not equals:
            faults.append(f"{_quoted(part)} has no '='; write for example shop.sessions=30d")
            continue
        try:
            fault = _glob_fault(glob)
            if age.lower() != ages.FOREVER:
                ages.seconds(age)
        except ValueError as error:
            fault = f"{_quoted(part)}: {error}"
        if fault:
            faults.append(fault)
        elif glob in {rule.glob for rule in found}:
            faults.append(f"{_quoted(glob)} is there twice, and the first rule that fits counts")
        else:
            found.append(ages.Rule(glob, age.lower()))
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(found)


def age(value: object) -> object:
    """An age, or None: for ever."""
    if isinstance(value, str):
        if value.strip().lower() == ages.FOREVER:
            return None
        ages.seconds(value)
        return value.strip().lower()
    return value


def no_bool(value: object) -> object:
    """A whole number: no `true`."""
    # Python counts True as 1; `batch_size = true` is a slip of the pen.
    if isinstance(value, bool):
        raise ValueError("it is true or false")  # noqa: TRY004 - pydantic turns only ValueError into a problem
    return value


def lower(value: object) -> object:
    """A word in any case."""
    return value.lower() if isinstance(value, str) else value


def connection_string(text: object) -> object:
    """A connection string that the driver can read."""
    if isinstance(text, str) and not uri.is_text(text):
        raise ValueError("it is not UTF-8 text")
    if isinstance(text, str) and (fault := uri.fault(text)):
        raise ValueError(fault)
    return text


def host(value: object) -> object:
    """An address to listen on."""
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("the name is empty")
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if len(value) > _MAX_HOST or not _HOST_NAME.fullmatch(value):
            raise ValueError("it is no IP address and no host name") from None
    return value


def _several(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("not a string and not a list of strings")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def hosts(value: object) -> tuple[str, ...]:
    """Names or addresses of hosts."""
    found = _several(value)
    for name in found:
        host(name.removeprefix("[").removesuffix("]"))
    return found


def networks(value: object) -> tuple[str, ...]:
    """Addresses and networks."""
    found = _several(value)
    for each in found:
        ipaddress.ip_network(each)
    return found


def root_path(value: object) -> object:
    """A path that begins with a slash and ends with none."""
    if isinstance(value, str):
        plain = value.rstrip("/")
        if not _ROOT_PATH.fullmatch(plain):
            raise ValueError("it is no plain path that begins with a slash")
        return plain
    return value


def header_name(value: object) -> object:
    """The name of a header."""
    if isinstance(value, str) and not _HEADER.fullmatch(value):
        raise ValueError("it has other characters than letters, digits and hyphens")
    return value


def folder(value: object) -> object:
    """The absolute path of a folder."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("the path is empty")
    if isinstance(value, str) and ("\0" in value or not uri.is_text(value)):
        raise ValueError("it has a NUL byte, or is not UTF-8 text")
    if isinstance(value, str) and len(value.encode()) > _MAX_PATH_BYTES:
        raise ValueError(f"it is longer than {_MAX_PATH_BYTES} bytes")
    if isinstance(value, str | Path):
        try:
            return Path(value).expanduser().absolute()
        except RuntimeError:
            raise ValueError("'~' names no home folder of this user; write the whole path") from None
    return value


def file_or_output(value: object) -> object:
    """The absolute path of a file, or `-`."""
    return Path("-") if value == "-" else folder(value)
