"""Connection strings: what is wrong is said, what is secret is not."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from config import uri
from config.settings import SettingsError, load
from tests.support.servers import Authority

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    "good",
    [
        "mongodb://h",
        "mongodb://h:1,g:2/db?replicaSet=rs0",
        "mongodb://u:p%40ss@h/?authSource=admin",
        "mongodb://[::1]:27017/",
        "mongodb+srv://u:p@cluster.example.net/db?retryWrites=true&srvMaxHosts=2",
    ],
)
def test_what_the_driver_reads_is_accepted(good: str) -> None:
    """Without asking a name server or connecting."""
    assert uri.fault(good) is None


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("localhost:27017", "must begin with mongodb://"),
        ("mongodb://h/?tsl=true", "tsl"),
        (f"mongodb://u:{PASSWORD}@h/?tsl=true", "'tsl'"),
        ("mongodb://h/?tls=maybe", "true"),
        ("mongodb://h/?datetime_conversion=maybe", "option has a value"),
        (f"mongodb://u:{PASSWORD}@h/?datetime_conversion=maybe", "option has a value"),
        ("mongodb://h/?appName=w&srvMaxHosts=2", "only allowed with"),
        ("mongodb://h,g/?directConnection=true", "multiple hosts"),
        ("mongodb+srv://h:27017/", "without a port"),
        ("mongodb://h/?tlsCAFile=/nonesuch", "No such file"),
    ],
)
def test_a_slip_is_explained(bad: str, reason: str) -> None:
    """A misspelt `tls` must not connect in the clear."""
    assert reason in str(uri.fault(bad))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("localhost", "it must begin with mongodb:// or mongodb+srv://, for example mongodb://localhost:27017"),
        ("mongodb+srv://h:27017/", "mongodb+srv:// takes one host name, without a port"),
    ],
)
def test_the_mask_hides_no_advice(monkeypatch: pytest.MonkeyPatch, wrong: str, reason: str) -> None:
    """Whoever reads that it must begin with asterisks learns nothing."""
    monkeypatch.setenv("WATCHER_MONGODB_URI", wrong)
    with pytest.raises(SettingsError) as refused:
        load()

    assert reason in str(refused.value)


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile"])
def test_a_file_without_a_certificate_is_found_before_the_start(option: str, tmp_path: Path) -> None:
    """The driver reads it only when it connects, and the daemon would be restarted for ever."""
    (tmp_path / "a.pem").write_text("-----BEGIN NONSENSE-----")

    assert "certificate or key is unusable" in str(uri.fault(f"mongodb://h/?tls=true&{option}={tmp_path}/a.pem"))


def test_a_certificate_is_accepted_and_its_key_without_its_password_is_not(tmp_path: Path) -> None:
    """OpenSSL would ask for it at the terminal, which a service has not."""
    authority = Authority(tmp_path)
    caller = authority.issue("caller", "callers")
    assert uri.fault(f"mongodb://h/?{authority.options(caller)[1:]}") is None

    key = load_pem_private_key(caller.file.read_bytes(), None)
    locked = BestAvailableEncryption(PASSWORD.encode())
    certificate = caller.file.read_bytes().partition(b"-----BEGIN CERTIFICATE")
    caller.file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked) + certificate[1] + certificate[2]
    )
    options = authority.options(caller)[1:]
    assert "the key's password wrong" in str(uri.fault(f"mongodb://h/?{options}"))
    assert "the key's password wrong" in str(uri.fault(f"mongodb://h/?{options}&tlsCertificateKeyFilePassword=other"))
    assert uri.fault(f"mongodb://h/?{options}&tlsCertificateKeyFilePassword={PASSWORD}") is None


@pytest.mark.parametrize(
    "malformed",
    [
        f"mongodb://u:x/{PASSWORD}@h/",
        f"mongodb://u:x:{PASSWORD}@h/",
        f"mongodb://u:x@{PASSWORD}@h/",
        f"mongodb://u:x/{PASSWORD}@h",
        f"mongodb://u:{PASSWORD}",
        f"mongodb://u:x?{PASSWORD}@h",
        f"mongodb://u:x?{PASSWORD}=1&b=2@h/",
        f"mongodb://u:%zz{PASSWORD}@h/",
        f"{PASSWORD}",
    ],
)
def test_an_unescaped_password_is_not_quoted(malformed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own message would quote what follows a stray '/' or ':'."""
    monkeypatch.setenv("WATCHER_MONGODB_URI", malformed)

    with pytest.raises(SettingsError) as caught:
        load()

    assert "WATCHER_MONGODB_URI" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("plain", "masked"),
    [
        ("mongodb://db1:1,db2:2/?replicaSet=rs0", "mongodb://db1:1,db2:2/?replicaSet=rs0"),
        (f"mongodb+srv://ann:{PASSWORD}@c.example.net/x", "mongodb+srv://***@c.example.net/x"),
        (f"mongodb://h/?tlsCertificateKeyFilePassword={PASSWORD}", "mongodb://h/?tlsCertificateKeyFilePassword=***"),
        (
            f"mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:{PASSWORD}&w=1",
            "mongodb://h/?authMechanismProperties=***&w=1",
        ),
        (f"mongodb://h/?{PASSWORD}", "mongodb://h/?***"),
        (f"mongodb://u:x/{PASSWORD}@h/", "mongodb://***"),
        (PASSWORD, "***"),
    ],
)
def test_masking_keeps_hosts_and_hides_credentials(plain: str, masked: str) -> None:
    """Also in options, and in strings that are not well-formed."""
    assert uri.mask(plain) == masked
