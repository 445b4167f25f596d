"""MongoDB connection strings: checked and shown without ever repeating a credential."""

import os
import re
import ssl
import warnings
from collections.abc import Mapping
from typing import Any

from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.uri_parser import parse_uri

_SCHEMES = ("mongodb://", "mongodb+srv://")
_SRV_ONLY = re.compile(r"(?i)^srv(ServiceName|MaxHosts|AllowedHostsSuffix)=")
_OPTION = re.compile(r"(?:^|[&;])([\w.]+)=")
# Hosts with numeric ports or none, then a database and options without '@': no room for a password.
_HOST = r"(?:\[[0-9a-fA-F:]+\]|[\w.%-]+)(?::\d+)?"
_NOTHING_SECRET = re.compile(rf"{_HOST}(?:,{_HOST})*(?:[/?][^@]*)?")
_OPTION_SEPARATORS = re.compile(r"([&;])")
# Names of options whose values authenticate somebody, for example `tlsCertificateKeyFilePassword`,
# `authMechanismProperties` (it carries AWS session tokens) and `proxyUsername`.
_SECRET_OPTION = re.compile(r"(?i)password|properties|token|secret|username|passphrase")

MASK = "***"


def is_text(value: str) -> bool:
    """Whether a text is valid Unicode: bytes of the environment that are not UTF-8 become lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def fault(uri: str) -> str | None:
    """The fault of a connection string, found without a lookup or a connection.

    The driver's own messages are not passed on: for an unescaped password they quote a part of it.

    Returns:
        A phrase without credentials, or None where the driver can read the string.
    """
    scheme = next((scheme for scheme in _SCHEMES if uri.startswith(scheme)), None)
    if not uri.strip():
        return "it is empty; leave it out instead"
    if scheme is None:
        return "it must begin with mongodb:// or mongodb+srv://, for example mongodb://localhost:27017"
    rest = uri.removeprefix(scheme)
    if scheme == "mongodb+srv://":
        # The driver would ask the name server here; the same string without `+srv` has the same grammar.
        hosts = rest.partition("/")[0].rpartition("@")[2]
        if "," in hosts or ":" in hosts:
            return "mongodb+srv:// takes one host name, without a port"
        path, mark, options = rest.partition("?")
        rest = path + mark + "&".join(part for part in options.split("&") if not _SRV_ONLY.match(part))
    try:
        with warnings.catch_warnings():
            # By default, the driver only warns of an unknown or wrong option: `tsl=true` would connect in the clear.
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message=".*compression")  # the driver does without, soundly
            parsed = parse_uri("mongodb://" + rest, validate=True, warn=True)
        _load_certificates(parsed["options"])
    except OSError as error:
        unusable = isinstance(error, ssl.SSLError)  # its text may be missing
        said = os.strerror(error.errno) if error.errno else error.strerror  # the driver may have its own text
        reason = "its certificate or key is unusable, or the key's password wrong" if unusable else said
        return f"a file that its options name cannot be read: {reason}"
    except (PyMongoError, ValueError, TypeError, LookupError, UserWarning) as error:
        return _reason(rest, error)
    return None


def _load_certificates(options: Mapping[str, Any]) -> None:
    """Read the files of TLS as the driver will: it does so only when it connects, and then fails without advice.

    Raises:
        ssl.SSLError: their content is invalid.
        OSError: one cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("tlsCAFile", "tlsCRLFile"):
        if name in options:
            context.load_verify_locations(options[name])
    if "tlsCertificateKeyFile" in options:
        # An empty password if there is none; otherwise OpenSSL would ask at the terminal.
        context.load_cert_chain(
            options["tlsCertificateKeyFile"], password=options.get("tlsCertificateKeyFilePassword") or ""
        )


def _reason(rest: str, error: Exception) -> str:
    """Explain the driver's refusal in words that cannot hold a part of the string's secrets."""
    # With an '@' behind the '?', what looks like an option may be the end of an unescaped password.
    if "@" not in rest.partition("?")[2] and (unknown := _unknown_option(rest)):
        return f"the driver knows no option {unknown!r}"
    bare = isinstance(error, LookupError)  # of the value, or of words that the driver's version chose
    if _NOTHING_SECRET.fullmatch(rest) and not _SECRET_OPTION.search(rest) and not bare:
        return str(error).rstrip(".")
    if "option" in str(error).lower() or bare or isinstance(error, UserWarning):
        return "an option has a value the driver refuses"
    return "the driver cannot read it"


def _unknown_option(rest: str) -> str | None:
    """The first option that the driver does not know: some of its versions refuse it without naming it."""
    for option in _OPTION.finditer(rest.partition("?")[2]):
        try:
            with warnings.catch_warnings(action="ignore"):
                # By itself, so that no rule about two of them can be what is broken; without its value, too.
                parse_uri(f"mongodb://h/?{option[1]}=1", validate=True, warn=False)
        except ConfigurationError as error:
            if str(error).startswith("Unknown option"):
                return option[1]
        except (PyMongoError, ValueError, TypeError, LookupError, OSError):
            continue  # a "1" does not suit it, so it is known
    return None


def mask(uri: str) -> str:
    """Hide the credentials of a connection string; hosts, database and harmless options stay readable.

    Args:
        uri: Any string; of one that cannot be understood nothing is shown.

    Returns:
        For example ``mongodb://***@db1,db2/?replicaSet=rs0``.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme + separator not in _SCHEMES:
        return MASK
    # As the driver splits it: up to the first '/', then at the last '@'; a '?' may be part of a password.
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    if slash and "@" in path.partition("?")[0]:
        return scheme + separator + MASK  # an unescaped '/' in the password
    shown, mark, options = (hosts + slash + path).partition("?")
    masked = "".join(_mask_option(piece) for piece in _OPTION_SEPARATORS.split(options))
    return scheme + separator + (MASK + at if credentials or at else "") + shown + mark + masked


def _mask_option(piece: str) -> str:
    if not piece or piece in "&;":
        return piece
    name, equals, value = piece.partition("=")
    if not equals:
        return MASK
    return name + equals + (MASK if _SECRET_OPTION.search(name) else value)
