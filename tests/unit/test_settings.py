"""The settings: read from where the operator put them, judged all at once, and never a secret shown."""

from pathlib import Path
from typing import Any

import pytest

from config import connection, sources
from config.settings import LogLevel, PreImages, Settings, SettingsError, describe, load

PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def _working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start in an empty folder, so that no `watcher.toml` is found by chance."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def problems(**overrides: Any) -> list[str]:
    """What `load` finds wrong."""
    with pytest.raises(SettingsError) as caught:
        load(**overrides)
    return caught.value.problems


def test_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    """Without any setting the daemon watches everything on an embedded replica set."""
    settings = load()

    assert settings.mongodb_uri is None
    assert settings.history_database == "change_history"
    assert settings.include == ("*.*",)
    assert settings.exclude == ()
    assert settings.pre_images is PreImages.ENABLE
    assert settings.embedded_dir == tmp_path / "xdg" / "mongo-change-watcher"


def test_a_stronger_source_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Command line, then environment, then file, then secret file, then default; each says where it is from."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("watcher_stream", "batch_size", "http_port", "log_level"):
        (secrets / name).write_text("4\n")
    Path("watcher.toml").write_text('batch_size = 3\nhttp_port = 3\nlog_level = "error"\n')
    monkeypatch.setenv("WATCHER_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("WATCHER_HTTP_PORT", "2")
    monkeypatch.setenv("WATCHER_LOG_LEVEL", "warning")

    settings = load(log_level="debug", stream=None)

    assert (settings.log_level, settings.origin("log_level")) == (LogLevel.DEBUG, "command line")
    assert (settings.http_port, settings.origin("http_port")) == (2, "environment")
    assert (settings.batch_size, settings.origin("batch_size")) == (3, str(Path("watcher.toml").absolute()))
    assert (settings.stream, settings.origin("stream")) == ("4", f"secret file {secrets / 'watcher_stream'}")
    assert (settings.on_gap, settings.origin("on_gap")) == ("reconcile", "default")


def test_every_problem_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator who has five slips learns of five, each as it was written and with what is allowed."""
    Path("watcher.toml").write_text('http_port = true\nbatch_sise = 1\non_gap = "explode"\n')
    monkeypatch.setenv("WATCHER_BATCH_SIZE", "many")
    for name in ("WATCHER_INCULDE", "WATCHER_MONOGDB_RUI", "WATCHER_TRESOR"):
        monkeypatch.setenv(name, "a.b")
    file = Path("watcher.toml").absolute()

    found = problems(stream="a b")

    assert "WATCHER_INCULDE is no setting; did you mean WATCHER_INCLUDE?" in found
    assert "WATCHER_MONOGDB_RUI is no setting; did you mean WATCHER_MONGODB_URI?" in found
    assert "WATCHER_TRESOR is no setting" in found  # and is not like WATCHER_STREAM
    assert f"`batch_sise` in {file} is no setting; did you mean batch_size?" in found
    assert "WATCHER_BATCH_SIZE = 'many': must be a whole number from 1 to 100000" in found
    assert f"`http_port` in {file} = True: must be a whole number from 0 to 65535 (it is true or false)" in found
    assert f"`on_gap` in {file} = 'explode': must be one of reconcile, record, stop" in found
    assert any(each.startswith("--stream = 'a b': must be a name of letters") for each in found)
    assert len(found) == 8


@pytest.mark.parametrize(
    ("glob", "reason"),
    [
        ("shop", "has no dot"),
        (".users", "empty part"),
        ("shop.", "empty part"),
        ("shop.us$ers", "'$'"),
        ("sh/op.users", "'/'"),
        ("shop.a\0b", "NUL"),
        ("a" * 64 + ".b", "63 bytes"),
    ],
)
def test_a_glob_that_can_match_nothing_is_refused(glob: str, reason: str) -> None:
    """A daemon that silently watches nothing would be found out when the history is needed."""
    found = problems(exclude=glob)

    assert len(found) == 1
    assert reason in found[0]


def test_globs_are_read_from_commas_and_lists() -> None:
    """Blanks and repetitions do not matter; collections may have dots."""
    assert load(include=" shop.* ,crm.people.archive,shop.*").include == ("shop.*", "crm.people.archive")
    assert load(include=["shop.*"]).include == ("shop.*",)


def test_an_empty_include_does_not_mean_everything_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compose file that passes on an unset variable is told so."""
    monkeypatch.setenv("WATCHER_INCLUDE", "")

    assert "nothing would be watched" in problems()[0]


def test_an_empty_uri_does_not_start_the_embedded_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset variable in a compose file must not make the daemon watch an empty server of its own."""
    monkeypatch.setenv("WATCHER_MONGODB_URI", "")

    assert "it is empty" in problems()[0]


def test_history_is_not_kept_in_a_system_database() -> None:
    """`admin`, `config` and `local` are the server's."""
    assert "system database" in problems(history_database="local")[0]


def test_kubernetes_service_variables_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service named `watcher` puts WATCHER_PORT and others into each pod; the daemon starts all the same."""
    monkeypatch.setenv("WATCHER_PORT", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("WATCHER_PORT_8080_TCP_ADDR", "10.0.0.1")
    monkeypatch.setenv("WATCHER_SERVICE_HOST", "10.0.0.1")

    assert load().http_port == 8080


def test_sources_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A config file that was asked for and is missing is no reason to go on with defaults."""
    monkeypatch.setenv("WATCHER_SECRETS_DIR", "/nonesuch/secrets")

    found = problems(config_file=tmp_path / "absent.toml")

    assert f"{tmp_path / 'absent.toml'} cannot be read: No such file or directory" in found
    assert "WATCHER_SECRETS_DIR: /nonesuch/secrets cannot be read: No such file or directory" in found


def test_a_misspelt_secret_file_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other programs' secrets in the folder are not ours to judge; one that begins like ours is."""
    (tmp_path / "watcher_mongdb_uri").write_text("mongodb://h/")
    (tmp_path / "postgres_password").write_text(PASSWORD)
    monkeypatch.setenv("WATCHER_SECRETS_DIR", str(tmp_path))

    assert problems() == [f"{tmp_path / 'watcher_mongdb_uri'} is no setting; did you mean watcher_mongodb_uri?"]


def test_malformed_toml_is_placed_but_not_quoted() -> None:
    """The line beside the fault may be a password."""
    Path("watcher.toml").write_text(f'stream = "a"\nmongodb_uri = "mongodb://u:{PASSWORD}@h\n')

    found = problems()

    assert "is not TOML (at line 2, column" in found[0]
    assert PASSWORD not in found[0]


def test_settings_cannot_change_after_they_were_judged() -> None:
    """What was valid at start stays what the daemon runs with."""
    settings = load()

    with pytest.raises(ValueError, match="frozen"):
        settings.batch_size = 1


def test_no_secret_in_any_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in repr, str, JSON, the description or the hash's making; hosts stay readable."""
    monkeypatch.setenv("WATCHER_MONGODB_URI", f"mongodb://ann:{PASSWORD}@db1,db2/?replicaSet=rs0&tls=true")
    settings = load()
    described = {line.name: line for line in describe(settings)}

    rendered = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {described}"

    assert PASSWORD not in rendered
    assert described["WATCHER_MONGODB_URI"].value == "mongodb://***@db1,db2/?replicaSet=rs0&tls=true"
    assert described["WATCHER_MONGODB_URI"].source == "environment"
    assert described["WATCHER_HISTORY_URI"].value == "(as WATCHER_MONGODB_URI)"
    assert list(described) == [f"WATCHER_{name.upper()}" for name in Settings.model_fields]
    assert hash(settings) == hash(load())


def test_a_new_setting_is_not_taken_for_a_mistyped_one() -> None:
    """Where settings come from is known without importing what they are."""
    assert tuple(Settings.model_fields) == sources.NAMES


def as_a_command_reads() -> connection.Connection:
    """The few that are plainly right; else the settings as a whole judge."""
    return connection.read_plain() or load().connection


def test_the_few_settings_of_a_reading_command_are_those_of_the_daemon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`watcher log` read another history than the daemon wrote."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "history_uri").write_text(f"mongodb://u:{PASSWORD}@keeper/\n")
    Path("watcher.toml").write_text('history_database = "past"\nembedded_dir = "~/data"\nbatch_size = 7\n')
    for name, value in (("MONGODB_URI", "mongodb://watched/"), ("SECRETS_DIR", str(secrets))):
        assert connection.read_plain() == load().connection
        monkeypatch.setenv(f"WATCHER_{name}", value)

    found = connection.read_plain()

    assert found is not None
    assert found == load().connection
    assert (found.mongodb_uri, found.history_database) == ("mongodb://watched/", "past")
    assert found.history_uri == f"mongodb://u:{PASSWORD}@keeper/"
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MONGODB_URI", "mongo"),
        ("HISTORY_URI", ""),
        ("HISTORY_DATABASE", "admin"),
        ("EMBEDDED_DIR", " "),
        ("STRAEM", "a"),
    ],
)
def test_a_reading_command_refuses_wrong_settings_in_the_same_words(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readers of one setting would come to differ; and all that is wrong is said, also of other settings."""
    monkeypatch.setenv(f"WATCHER_{name}", value)
    monkeypatch.setenv("WATCHER_BATCH_SIZE", "many")

    with pytest.raises(SettingsError) as caught:
        as_a_command_reads()

    assert caught.value.problems == problems()
    assert any("BATCH_SIZE" in problem for problem in caught.value.problems)


def test_a_wrong_type_in_the_file_is_refused_by_a_reading_command() -> None:
    """A number is no name."""
    Path("watcher.toml").write_text("history_database = 5\n")

    with pytest.raises(SettingsError) as caught:
        as_a_command_reads()

    assert caught.value.problems == problems()


@pytest.mark.parametrize(
    ("name", "said"), [("link", "a link to what lies outside of the folder"), ("folder", "not a file")]
)
def test_a_secret_that_is_no_file_of_the_folder_is_refused(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A link out of the folder could show any file of the machine in a message."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setenv("WATCHER_SECRETS_DIR", str(secrets))
    if name == "link":
        (tmp_path / "elsewhere").write_text("other")
        (secrets / "watcher_stream").symlink_to(tmp_path / "elsewhere")
    else:
        (secrets / "watcher_stream").mkdir()

    assert problems() == [f"WATCHER_SECRETS_DIR: {secrets / 'watcher_stream'} is {said}"]


def test_a_key_that_cannot_sign_is_told_with_all_else_that_is_wrong(tmp_path: Path) -> None:
    """Not after the servers have come up; and not to those who seal nothing."""
    missing = tmp_path / "missing.pem"
    (said,) = problems(seal="on", seal_key_file=str(missing))
    assert said.startswith(f"WATCHER_SEAL_KEY_FILE: {missing} cannot be read")
    assert load(seal_key_file=str(missing)).seal_key_file == missing
