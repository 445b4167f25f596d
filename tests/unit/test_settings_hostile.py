"""Every setting wrong in ten ways and more: told by name and source, all at once, and nothing comes of it.

`_WRONG` names every setting, or the first test fails: a new one cannot be forgotten.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from config.settings import Settings, SettingsError, load
from tests.support.daemon import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "hunter2"
USAGE = 2
LONGEST = 500
"""Characters of a sentence about one wrong setting, however long the value."""

_NO_UTF8 = "\udcff"
_RED = "\x1b[31mred"
_HUGE = "9" * 100_000
_NUMBER = [
    *("", " ", "many", "-1", "1.5", "1e3", "0x10", "true", "null", "[1]", "1,000", "100 ms", "%31"),
    *("99999999999999999999", _HUGE, _RED, "\uff11\u0301", "\u202e21", _NO_UTF8),
]
_CHOICE = [
    *("", " ", "perhaps", "true", "1", "null", "[]", "{}", "initial,off", "%6fff", "/etc/passwd"),
    *(_RED, "enаble", "\u202eevas", _NO_UTF8, "x" * 100_000),  # noqa: RUF001 - a Cyrillic letter, as it may be pasted
]
_URI = [
    *("", " ", "localhost:27017", "http://h/", "mongodb://", "mongodb://h:port/", "mongodb://h:99999/", "true"),
    *("mongodb://h/?tsl=true", "mongodb://h/?tls=maybe", "mongodb://h,g/?directConnection=true", "[]"),
    *(f"mongodb://u:{PASSWORD}@@h/", f"mongodb://u:x/{PASSWORD}@h/", f"mongodb://u:%zz{PASSWORD}@h/"),
    *(f"mongodb://u:{PASSWORD}@h/?tlsCAFile=/nonesuch", "mongodb+srv://h:1/", f"mongodb://h{_NO_UTF8}/"),
    *(f"{PASSWORD}{_RED}", PASSWORD * 10_000),
]
_GLOBS = [
    *("shop", ".users", "shop.", "shop.a\0b", "shop.us$ers", "sh/op.a", "sh op.a", 'sh"op.a', "sh\\op.a", "sh\0op.a"),
    *("a" * 64 + ".b", "shop." + "b" * 256, "shop.*,crm", _RED, _NO_UTF8 + ".a", "a." + _NO_UTF8, "x" * 100_000),
]
_HOST = [
    *("", " ", "a b", "h:80", "/tmp/socket", "*", "[::1]", "http://h/", "%00", "-h", "~", "h,g", "a\0b"),
    *("{}", "é", _RED, "\u202eh", _NO_UTF8, "h" * 254),
]
_FILE = ["", " ", "\t", "~nonesuch/x", "a\0b", "/a\0", _NO_UTF8, "/tmp/" + _NO_UTF8, "x" * 4096, _HUGE]
_WRONG: dict[str, list[str]] = {
    "mongodb_uri": _URI,
    "history_uri": _URI,
    "history_database": [
        *("", " ", "admin", "Local", "config", "a.b", "a/b", "a\\b", "a b", 'a"b', "a$b", "a\0b"),
        *("a" * 64, "é" * 32, _HUGE, _RED, "\u202eabc", "a\nb", _NO_UTF8),
    ],
    "include": [*_GLOBS, "", " , ", "admin.*", "config.a", "local.oplog.rs", "shop.system.views"],
    "exclude": _GLOBS,
    "stream": ["", " ", "a b", "a/b", "a,b", "a$b", "a\0b", "[]", "é", "a\n", _RED, "\u202ea", _NO_UTF8, "s" * 201],
    "partition": [
        *("", " ", "1", "2/", "/2", "0/2", "3/2", "1/65", "-1/2", "1/2/3", "1.0/2", "01/2", "a/b", "[]", "%2f"),
        *("1\uff0f2", "\uff11/2", _RED, "\u202e2/1", _NO_UTF8, f"1/{_HUGE}"),
    ],
    "pre_images": _CHOICE,
    "baseline": _CHOICE,
    "on_gap": _CHOICE,
    "snapshots": _CHOICE,
    "retention": [
        *("shop", "shop.*", "=30d", "shop.*=", "shop.*=30", "shop.*=d", "shop.*=0d", "shop.*=-1d", "shop.*=1.5d"),
        *("shop.*=30d,crm", "shop.*=1001y", "shop.*=3 0d", "shop.*=30 days", f"shop.*={_HUGE}d", "shop=30d", "*=1y"),
        *("a.b=30d,a.b=2d", _RED, f"a.{_NO_UTF8}=1d", "shop.us$ers=1d", "a.b=\uff11d", "a.b=1\0d"),
    ],
    "retention_by": _CHOICE,
    "retention_rate": [*_NUMBER, "0", "1000001"],
    "snapshot_retention": [
        *("", " ", "30", "d", "0d", "-1d", "1.5d", "30 days", "1001y", "never", _HUGE, _RED, _NO_UTF8, "a.b=30d"),
    ],
    "context_collection": [
        *(" ", "a$b", "a\0b", "$", "system.a", ".a", "a.", "\t", _RED, "\u202ea", _NO_UTF8, "é" * 200, _HUGE),
    ],
    "actor_fields": [
        *("a b", "a..b", ".a", "a.", "a:", ":a", "a::b", "$a", "a/b", "a\0", _RED, "\u202ea", _NO_UTF8, "a,b c", _HUGE),
    ],
    "actor_sessions": _CHOICE,
    "seal": _CHOICE,
    "seal_interval_s": [*_NUMBER, "0", "61"],
    "seal_key_file": _FILE,
    "seal_file": _FILE,
    "redact": [
        *("shop", "shop.users", "shop.users:p", "shop.users:p=", "p=drop", "shop.users:=drop", "shop.users:a..b=drop"),
        *("shop.users:p=hide", "shop:p=drop", "shop.users:_id=drop", "shop.users:a.$[].b=drop", "a b.c:p=drop"),
        *(f"a.b:{_HUGE}", f"{_HUGE}:p=drop", "[]", _RED, f"a.b:{_RED}=x", f"a.b:{_NO_UTF8}=drop", "a.b:\0=drop"),
    ],
    "redact_key": ["", " ", "short", "x" * 64, "abc" * 30, "0123456789abcde", _NO_UTF8, "ab", "1", "a\0b", _NO_UTF8],
    "batch_size": [*_NUMBER, "0", "100001"],
    "flush_interval_ms": [*_NUMBER, "60001"],
    "http_host": _HOST,
    "http_port": [*_NUMBER, "65536"],
    "log_level": _CHOICE,
    "log_format": _CHOICE,
    "embedded_dir": _FILE,
    "embedded_port": [*_NUMBER, "0", "65536"],
    "report_interval_s": [*_NUMBER, "0", "86401"],
    "serve_host": _HOST,
    "serve_port": [*_NUMBER, "65536"],
    "serve_root_path": [
        "history",
        "http://h/",
        "/a b",
        "/a\0b",
        "/?q",
        "/#f",
        "/%00",
        "/a\nb",
        _RED,
        _NO_UTF8,
        "/\u202ea",
    ],
    "serve_tokens": _FILE,
    "serve_user_header": ["", " ", "X User", "X:User", "X/User", "a\0b", "a\nb", "é", _RED, _NO_UTF8, "X-User,Y", "[]"],
    "serve_trusted_proxies": [
        *(
            "h",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "1.2.3",
            "::/129",
            "10.*",
            "a,10.0.0.1",
            "10.0.0.1,h",
            _RED,
            _NO_UTF8,
            "\0",
        ),
    ],
    "serve_allowed_hosts": [
        "a b",
        "h:80",
        "http://h/",
        "a/b",
        "*",
        "%00",
        "a,b c",
        "a\0b",
        "-h",
        _RED,
        _NO_UTF8,
        "h" * 254,
    ],
    "access_log": _FILE,
    "references": [
        *("shop.orders", "shop.orders:customer", "shop.orders→shop.customers", "orders:customer→shop.customers"),
        *(
            "shop.orders:→shop.customers",
            "shop.orders:customer→customers",
            "a.b:c→d.e,f",
            _RED,
            _NO_UTF8,
            "x" * 100_000,
        ),
    ],
}
_WRONG_TYPES: list[Any] = [
    *(True, False, 1.5, float("nan"), float("inf"), -1, 10**30, [1, 2], ["a", 1], [["a.b"]], {"a": 1}, {}),
    *(date(1979, 5, 27), [f"mongodb://u:{PASSWORD}@h/"], "\0"),
]


def _cases() -> Iterator[Any]:
    for name, values in _WRONG.items():
        for number, value in enumerate(values):
            yield pytest.param(name, value, id=f"{name}-{number}")


@pytest.fixture(autouse=True)
def _working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start in an empty folder, so that no `watcher.toml` is found by chance."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def _problem(**overrides: Any) -> str:
    """The only problem that there is; said in a line that any terminal can take."""
    with pytest.raises(SettingsError) as caught:
        load(**overrides)
    (problem,) = caught.value.problems
    assert problem.isprintable(), repr(problem)
    assert len(problem) < LONGEST
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
    return problem


def test_no_setting_is_forgotten_here() -> None:
    """Each has its wrong values, ten at least."""
    assert list(_WRONG) == list(Settings.model_fields)
    assert min(len(set(values)) for values in _WRONG.values()) >= 10


@pytest.mark.parametrize(("name", "value"), list(_cases()))
def test_a_wrong_value_is_told_with_its_setting(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment, which can hold no NUL, and of the command line."""
    assert _problem(**{name: value}).startswith(f"--{name.replace('_', '-')}")
    if "\0" not in value:
        monkeypatch.setenv(f"WATCHER_{name.upper()}", value)
        assert _problem().startswith(f"WATCHER_{name.upper()}")


@pytest.mark.parametrize("value", _WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_wrong_type_in_the_file_is_told_with_its_setting(name: str, value: Any) -> None:
    """A list where one value belongs, a table, a date, a number for a name."""
    text = str(value).lower() if isinstance(value, bool | float) else str(value)
    if isinstance(value, list | dict | str):
        text = json.dumps(value) if not isinstance(value, dict) else "{ " + ", ".join(f"{k} = 1" for k in value) + " }"
    Path("watcher.toml").write_text(f"{name} = {text}\n")

    assert _problem().startswith(f"`{name}` in {Path('watcher.toml').absolute()}")


@pytest.mark.parametrize("name", [name for name, values in _WRONG.items() if values is not _FILE])
def test_a_wrong_secret_file_is_told_with_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any setting may come from one."""
    (tmp_path / f"watcher_{name}").write_text(f"{PASSWORD} $ {PASSWORD}" if "uri" in name else "no $ value")
    monkeypatch.setenv("WATCHER_SECRETS_DIR", str(tmp_path))

    assert _problem().startswith(str(tmp_path / f"watcher_{name}"))


def _watcher(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "watcher", *arguments]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("command", [("run",), ("config", "show"), ("doctor",)])
def test_everything_wrong_at_once_ends_the_command_before_it_begins(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 2, a line for each setting, no secret, no traceback, and no embedded server."""
    for name, values in _WRONG.items():
        monkeypatch.setenv(f"WATCHER_{name.upper()}", next(value for value in values[::-1] if "\0" not in value))
    data = tmp_path / "data"
    monkeypatch.setenv("XDG_DATA_HOME", str(data))

    done = _watcher(*command)

    assert done.returncode == USAGE
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == [
        f"WATCHER_{name.upper()}" for name in Settings.model_fields
    ]
    assert PASSWORD not in done.stderr
    assert "Traceback" not in done.stderr
    assert not data.exists()


def test_wrong_options_of_the_command_line_are_named_as_such() -> None:
    """Those that `watcher run` offers, all at once."""
    done = _watcher("run", "--include", "shop", "--exclude", "a b.c", "--stream", "a b")

    assert done.returncode == USAGE
    for option in ("--include = 'shop'", "--exclude = 'a b.c'", "--stream = 'a b'"):
        assert f"watcher: {option}: must be" in done.stderr
