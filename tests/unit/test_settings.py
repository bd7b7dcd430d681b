"""Settings: where they are read, which are refused, and with which words."""

from datetime import timedelta
from pathlib import Path

import pytest

from config.settings import (
    Settings,
    SettingsInvalid,
    available,
    effective,
    load_settings,
    mask_url,
    named_fields,
)
from config.sources import PROCESS_VARIABLES, variable


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own, so that no file of the person who runs the tests is read."""
    return {"HOME": str(tmp_path)}


def problems(environ: dict[str, str], config_file: Path | None = None) -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(config_file, environ)
    return caught.value.problems


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "some.toml"
    file.write_text(text)
    return file


def test_defaults_are_those_of_the_design(home: dict[str, str]) -> None:
    """What nobody sets has the value that the design gives, in units that can be read."""
    settings = load_settings(environ=home)
    assert settings.execution.default_timeout == timedelta(seconds=30)
    assert settings.execution.max_retries == 3
    assert settings.execution.parallel_limit == 5
    assert settings.rollback.rollback_timeout == timedelta(minutes=1)
    assert settings.monitoring.thresholds.latency == timedelta(seconds=1)
    assert settings.user_interaction.default_approval_behavior == "ask"
    assert settings.broker_url is None
    assert settings.ledger_url is None


def test_environment_goes_before_file_and_file_before_default(home: dict[str, str], tmp_path: Path) -> None:
    """Each value comes from the strongest source that has it, and its source is known."""
    file = written(tmp_path, '[execution]\nparallel_limit = 7\ndefault_timeout = "5s"\n')
    settings = load_settings(file, {**home, "REX_EXECUTION__PARALLEL_LIMIT": "9"})
    assert settings.execution.parallel_limit == 9
    assert settings.execution.default_timeout == timedelta(seconds=5)
    sources = {entry.name: entry.source for entry in effective(settings)}
    assert sources["execution.parallel_limit"] == "REX_EXECUTION__PARALLEL_LIMIT"
    assert sources["execution.default_timeout"] == f"{file}: execution.default_timeout"
    assert sources["execution.max_retries"] == "default"


def test_a_named_file_goes_before_the_file_in_the_home(home: dict[str, str], tmp_path: Path) -> None:
    """The file of the person is read always, the named one on top of it."""
    (tmp_path / ".config" / "rex").mkdir(parents=True)
    (tmp_path / ".config" / "rex" / "rex.toml").write_text("[execution]\nparallel_limit = 7\nmax_retries = 2\n")
    named = written(tmp_path, "[execution]\nparallel_limit = 8\n")
    settings = load_settings(environ={**home, "REX_CONFIG": str(named)})
    assert (settings.execution.parallel_limit, settings.execution.max_retries) == (8, 2)


def test_a_file_in_the_working_directory_is_not_read(
    home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command means the same in every folder."""
    (tmp_path / "rex.toml").write_text("[execution]\nparallel_limit = 7\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ=home).execution.parallel_limit == 5


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("REX_EXECUTION__PARALEL_LIMIT", "REX_EXECUTION__PARALLEL_LIMIT"),
        ("REX_BROKER_URI", "REX_BROKER_URL"),
        ("REX_EXECUTION_FUSE", "REX_EXECUTION__FUSE"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest(home: dict[str, str], name: str, hint: str) -> None:
    """A slip of the pen in the environment is an error, not a setting without effect."""
    assert problems({**home, name: "1"}) == [f"{name}: no such setting (did you mean {hint}?)"]


def test_variables_for_single_processes_are_no_settings(home: dict[str, str]) -> None:
    """What a parent gives its child, or compose its server, passes."""
    names = [name for name in PROCESS_VARIABLES if name != "REX_CONFIG"]
    assert load_settings(environ={**home, **dict.fromkeys(names, "1")}) == load_settings(environ=home)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[execution]\nfuze = true\n", "execution.fuze: no such setting (did you mean execution.fuse?)"),
        ("[excution]\nfuse = true\n", "excution: no such setting"),
        ("execution = 5\n", "execution: no such setting"),
        ("[execution\n", "line 1"),
        ("[execution]\ndefault_timeout = 30000\n", "write 30000ms or 30000s"),
        ('[execution]\ndefault_timeout = "0s"\n', "greater than"),
        ('[execution]\ndefault_timeout = "999999999999h"\n', "less than or equal"),
        ('[execution]\ndefault_timeout = "5 minutes"\n', "such as 250ms, 30s, 5m or 2h"),
        ("[execution]\nparallel_limit = 0\n", "greater than or equal to 1"),
        ("[execution]\nretry_multiplier = nan\n", "execution.retry_multiplier: "),
        ('[distributed]\nlease_silence = "100ms"\n', "distributed: lease_renewal must be below gone_silence"),
        ('[distributed]\nparent_silence = "1h"\n', "distributed: parent_silence must lie between"),
        ('state_dir = "here"\n', "state_dir must be an absolute path"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(
    home: dict[str, str], tmp_path: Path, text: str, said: str
) -> None:
    """Wrong files are refused whole, and the message says what to change."""
    assert said in problems(home, written(tmp_path, text))[0]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_named_file_that_cannot_be_read_is_refused(
    home: dict[str, str], tmp_path: Path, content: bytes | None
) -> None:
    """Missing or not text: the path is in the message."""
    file = tmp_path / "named.toml"
    if content is not None:
        file.write_bytes(content)
    assert problems(home, file)[0].startswith(f"{file}: ")
    assert problems(home, tmp_path)[0] == f"{tmp_path}: cannot be read: Is a directory"


def test_all_mistakes_are_named_at_once(home: dict[str, str]) -> None:
    """Nobody has to correct one setting to learn of the next."""
    wrong = {**home, "REX_EXECUTION__MAX_RETRIES": "many", "REX_EXECUTION__TIMEOUT": "7200000"}
    assert [text.partition(":")[0] for text in problems(wrong)] == [
        "REX_EXECUTION__MAX_RETRIES",
        "REX_EXECUTION__TIMEOUT",
    ]


def test_what_is_not_built_is_refused_even_at_its_default(home: dict[str, str]) -> None:
    """A setting either has an effect or says that it has none yet."""
    later = {name: field for name, field in named_fields() if not available(field)}
    assert {name.partition(".")[0] for name in later} >= {"security", "resources", "user_interaction"}
    assert all((field.description or "").startswith("Not available yet") for field in later.values())
    for name in later:
        assert problems({**home, variable(name): "true"}) == [
            f"{variable(name)}: {name} is not available yet; take it out"
        ]


def test_every_setting_says_what_it_does() -> None:
    """The reference page is made from these descriptions."""
    assert [name for name, field in named_fields() if not field.description] == []


def test_empty_variables_count_as_not_set(home: dict[str, str]) -> None:
    """Compose files hand on variables that nobody set as empty text."""
    assert load_settings(environ={**home, "REX_BROKER_URL": ""}).broker_url is None


def test_the_ledger_lives_with_the_broker_where_that_can_be(home: dict[str, str]) -> None:
    """One address is enough; a second one moves the ledger to another server."""
    for url in (
        "redis://h:6379/0",
        "rediss://h",
        "redis+socket:///run/v.sock?virtual_host=0",
        "sentinel://h1,h2:26380/0?master=rex",
    ):
        assert load_settings(environ={**home, "REX_BROKER_URL": url}).ledger_url == url
    alone = problems({**home, "REX_BROKER_URL": "amqp://u:hunter2@h"})[0]
    assert "set REX_LEDGER_URL to the Valkey or Redis" in alone
    assert "hunter2" not in alone
    other = load_settings(environ={**home, "REX_BROKER_URL": "amqp://h", "REX_LEDGER_URL": "redis://l"})
    assert (other.broker_url, other.ledger_url) == ("amqp://h", "redis://l")
    assert (
        "ledger_url must begin with"
        in problems({**home, "REX_BROKER_URL": "amqp://h", "REX_LEDGER_URL": "amqp://h"})[0]
    )
    both = load_settings(environ={**home, "REX_BROKER_URL": "redis://h", "REX_LEDGER_URL": "redis://l"})
    assert both.ledger_url == "redis://l"
    assert "broker_url is not" in problems({**home, "REX_LEDGER_URL": "redis://l"})[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://u:hunter2@h",
        "redis://:hunter2@h:port",
        "redis://:hunter2/x@h",
        "redis://u:12/hunter2@h:6379/0",
        "amqp://u:1?hunter2=x@h",
        "redis://",
        "hunter2",
        "redis+socket://",
        "sentinel://:hunter2@h1,/0?master=rex",
        "amqp://u:hunter2@h1:5672,h2:x/v",
    ],
)
def test_a_wrong_address_is_refused_without_its_password(home: dict[str, str], url: str) -> None:
    """Error messages end up in logs."""
    said = problems({**home, "REX_BROKER_URL": url})
    assert said[0].startswith("broker_url ")
    assert "hunter2" not in said[0]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:pw@h:6379/0", "redis://:***@h:6379/0"),
        ("rediss://user:p@w/x@h/1?a=b", "rediss://user:***@h/1?a=b"),
        (
            "sentinel://:pw@h1:1,h2:2/0?master=rex&sentinel_password=pw2",
            "sentinel://:***@h1:1,h2:2/0?master=rex&sentinel_password=***",
        ),
        ("redis+socket://:pw@/run/v.sock?virtual_host=0", "redis+socket://:***@/run/v.sock?virtual_host=0"),
        (
            "redis+socket:///run/v.sock?password=pw&virtual_host=0",
            "redis+socket:///run/v.sock?password=***&virtual_host=0",
        ),
    ],
)
def test_addresses_are_shown_without_their_password(home: dict[str, str], url: str, shown: str) -> None:
    """What `rex doctor` prints can be sent to somebody else."""
    assert mask_url(url) == shown
    entries = {entry.name: entry.value for entry in effective(Settings(broker_url=url))} if "@w/" not in url else {}
    assert entries.get("broker_url", shown) == entries.get("ledger_url", shown) == shown


def test_state_lies_below_the_state_directory_of_the_person(home: dict[str, str], tmp_path: Path) -> None:
    """XDG's variable, else ~/.local/state."""
    assert load_settings(environ=home).state_dir == tmp_path / ".local" / "state" / "rex"
    assert load_settings(environ={**home, "XDG_STATE_HOME": "/s"}).state_dir == Path("/s/rex")
    assert load_settings(environ={**home, "REX_STATE_DIR": "/var/lib/rex"}).state_dir == Path("/var/lib/rex")


def test_settings_cannot_be_changed(home: dict[str, str]) -> None:
    """One process has one set of settings from start to end."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings(environ=home).execution.fuse = False  # type: ignore[misc]
