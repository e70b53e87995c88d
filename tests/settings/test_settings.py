"""Where settings come from, which ones win, and what a mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from teahouse.settings import (
    DatabaseSettings,
    Network,
    Secret,
    Settings,
    SettingsError,
    check,
    is_loopback,
    sandbox_allowed,
    wechat_mode,
)
from teahouse.settings_sources import leaves, load, variable

LONG_KEY = "k" * 40


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistakes(**given) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**{"environ": {}, **given})
    return str(caught.value)


def test_without_anything_the_defaults_hold():
    assert load(environ={}) == Settings()


def test_a_file_beats_the_defaults_a_variable_the_file_and_an_option_the_variable(empty_directory: Path):
    (empty_directory / "teahouse.toml").write_text("host = '127.0.0.2'\nport = 1\nrealtime_port = 10\n")
    settings = load(environ={"TEAHOUSE_PORT": "2", "TEAHOUSE_REALTIME_PORT": "20"}, options={"realtime_port": 30})
    assert (settings.host, settings.port, settings.realtime_port) == ("127.0.0.2", 2, 30)


def test_an_option_that_was_not_given_changes_nothing():
    assert load(environ={"TEAHOUSE_PORT": "2"}, options={"port": None}).port == 2


def test_nested_names_have_two_underscores_and_lists_have_commas():
    environ = {
        "TEAHOUSE_ACCOUNTS__ARGON2__PASSES": "3",
        "TEAHOUSE_WECHAT__SANDBOX": "true",
        "TEAHOUSE_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.7,",
    }
    settings = load(environ=environ)
    assert settings.accounts.argon2.passes == 3
    assert settings.wechat.sandbox is True
    assert settings.trusted_proxies == (Network("10.0.0.0/8"), Network("192.0.2.7/32"))


def test_an_empty_variable_is_an_empty_list_and_an_empty_address():
    settings = load(environ={"TEAHOUSE_TRUSTED_PROXIES": "", "TEAHOUSE_REDIS__URL": ""})
    assert settings.trusted_proxies == ()
    assert not settings.redis.url


def test_a_file_nests_with_tables(empty_directory: Path):
    (empty_directory / "other.toml").write_text("[http]\nbody_seconds = 2\n[cors]\norigins = ['https://a.example']\n")
    settings = load(config=empty_directory / "other.toml", environ={})
    assert settings.http.body_seconds == 2.0
    assert settings.cors.origins == ("https://a.example",)


def test_origins_of_programs_that_are_no_web_pages_can_be_named():
    named = "https://shop.example,weapp://wechat-game-runtime,capacitor://localhost,file://"
    assert load(environ={"TEAHOUSE_CORS__ORIGINS": named}).cors.origins == tuple(named.split(","))


def test_a_variable_can_name_the_file(empty_directory: Path):
    (empty_directory / "other.toml").write_text("port = 7\n")
    assert load(environ={"TEAHOUSE_CONFIG": str(empty_directory / "other.toml")}).port == 7


def test_every_leaf_can_be_set_by_its_variable():
    for key in leaves():
        name = variable(key)
        assert "there is no such setting" not in mistakes(environ={name: "\x00", "TEAHOUSE_PORT": "no"}), name


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TEAHOUSE_PROT": "1"}, "did you mean TEAHOUSE_PORT?"),
        ({"TEAHOUSE_WECHAT__APP_ID": "1"}, "did you mean TEAHOUSE_WECHAT__APPID?"),
        ({"TEAHOUSE_DATABASE": "1"}, "there is no such setting"),
        ({"TEAHOUSE_PORT_80_TCP": "tcp://10.0.0.1:80"}, "enableServiceLinks: false"),
        ({"TEAHOUSE_PORT": "80a"}, "port (the variable TEAHOUSE_PORT): expected a port from 0 to 65535"),
        ({"TEAHOUSE_PORT": "80a"}, "got '80a'"),
        ({"TEAHOUSE_PORT": "65536"}, "expected a port"),
        ({"TEAHOUSE_PORT": ""}, "expected a port"),
        ({"TEAHOUSE_HTTP__BODY_SECONDS": "nan"}, "expected a number of seconds"),
        ({"TEAHOUSE_HTTP__BODY_SECONDS": "inf"}, "expected a number of seconds"),
        ({"TEAHOUSE_HTTP__BODY_SECONDS": "0"}, "expected a number of seconds"),
        ({"TEAHOUSE_WECHAT__SANDBOX": "perhaps"}, "expected true or false"),
        ({"TEAHOUSE_ACCOUNTS__ALGORITHM": "none"}, "expected one of HS256, EdDSA"),
        ({"TEAHOUSE_TRUSTED_PROXIES": "10.0.0.1/8"}, "a network such as 10.0.0.0/8"),
        ({"TEAHOUSE_CORS__ORIGINS": "https://"}, "an origin such as https://shop.example.com"),
        ({"TEAHOUSE_CORS__ORIGINS": "weapp://game/page"}, "an origin such as https://shop.example.com"),
        ({"TEAHOUSE_CORS__ORIGINS": "shop.example.com"}, "an origin such as https://shop.example.com"),
        ({"TEAHOUSE_DATA_DIR": ""}, "expected a path"),
        ({"TEAHOUSE_ACCESS_LOG": ""}, "stderr, stdout, off, or the path of a file"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_expected(environ: dict[str, str], expected: str):
    assert expected in mistakes(environ=environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot = 1", "did you mean port?"),
        ("[databse]\nurl = 'x'", "did you mean database.url?"),
        ("port = '8000'", "expected a port from 0 to 65535"),
        ("port = true", "expected a port"),
        ("host = 1", "expected a text"),
        ("wechat = 1", "there is no such setting"),
        ("data_dir = 1", "expected a path"),
        ("trusted_proxies = '10.0.0.0/8'", "expected a list"),
        ("port = ", "cannot be read as TOML"),
    ],
)
def test_a_wrong_line_in_the_file_is_named_with_its_file(empty_directory: Path, text: str, expected: str):
    (empty_directory / "teahouse.toml").write_text(text)
    message = mistakes()
    assert expected in message
    assert "teahouse.toml" in message


def test_a_file_that_is_not_text_is_an_error_not_a_crash(empty_directory: Path):
    (empty_directory / "teahouse.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in mistakes()


def test_a_named_file_must_exist(empty_directory: Path):
    assert "there is no such file" in mistakes(config=empty_directory / "missing.toml")


def test_every_mistake_is_told_at_once():
    assert len(mistakes(environ={"TEAHOUSE_PORT": "x", "TEAHOUSE_WORKERS": "0"}).splitlines()) == 2


def test_a_mistake_names_an_option_as_it_is_typed():
    assert "the option --realtime-port" in mistakes(options={"realtime_port": "x"})


def test_the_value_of_a_secret_is_never_told(empty_directory: Path):
    (empty_directory / "teahouse.toml").write_text("[wechat]\nsecret = 20061989\n")
    message = mistakes()
    assert "wechat.secret" in message
    assert "20061989" not in message


def test_a_secret_does_not_show_itself():
    settings = load(environ={"TEAHOUSE_SECRET_KEY": LONG_KEY, "TEAHOUSE_DATABASE__URL": "sqlite:////x/pw-in-here.db"})
    assert LONG_KEY not in f"{settings!r} {settings} {settings.secret_key} {vars(Secret)}"
    assert "pw-in-here" not in repr(settings)
    assert settings.secret_key.reveal() == LONG_KEY


def test_secrets_compare_by_their_text():
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TEAHOUSE_WORKERS": "2"}, "workers > 1 needs TEAHOUSE_REDIS__URL"),
        ({"TEAHOUSE_REDIS__URL": "localhost:6379"}, "expected redis://HOST"),
        ({"TEAHOUSE_REDIS__URL": "http://127.0.0.1"}, "expected redis://HOST"),
        ({"TEAHOUSE_REDIS__URL": "redis://"}, "expected redis://HOST"),
        ({"TEAHOUSE_REDIS__URL": "redis://:6379"}, "expected redis://HOST"),
        ({"TEAHOUSE_REDIS__URL": "redis://a b"}, "expected redis://HOST"),
        ({"TEAHOUSE_REDIS__URL": "unix://relative"}, "expected redis://HOST"),
        ({"TEAHOUSE_DATABASE__URL": "oracle://u:hidden@h/d"}, "database.url: expected mysql://"),
        ({"TEAHOUSE_DATABASE__URL": "mysql://u:hidden@h"}, "database.url: expected mysql://"),
        ({"TEAHOUSE_DATABASE__URL": "mysql://u:hidden@:3306/d"}, "database.url: expected mysql://"),
        ({"TEAHOUSE_DATABASE__URL": "sqlite://"}, "database.url: expected mysql://"),
        ({"TEAHOUSE_DATABASE__URL": "sqlite:///:memory:"}, "database.url: expected mysql://"),
        ({"TEAHOUSE_DATABASE__URL": "shop.db"}, "database.url: expected mysql://"),
        (
            {"TEAHOUSE_DATABASE__URL": "mysql://h/d", "TEAHOUSE_DATABASE__REPLICAS": "postgresql://u:hidden@h/d"},
            "database.replicas: expected addresses",
        ),
        ({"TEAHOUSE_ACCOUNTS__ACCESS_TOKEN_SECONDS": "3600"}, "longer than accounts.session_idle_seconds"),
        ({"TEAHOUSE_DATABASE__REPLICAS": "mysql://u:hidden@h/d"}, "database.replicas"),
        ({"TEAHOUSE_FILES__URL": "s3://bucket"}, "no file storage yet"),
        ({"TEAHOUSE_WECHAT__APPID": "wx1"}, "set TEAHOUSE_WECHAT__SECRET"),
        ({"TEAHOUSE_REALTIME_PORT": "8000"}, "8000 is the HTTP port already"),
        ({"TEAHOUSE_SECRET_KEY": "short"}, "secret_key: shorter than 32 characters"),
        ({"TEAHOUSE_PREVIOUS_SECRET_KEYS": LONG_KEY}, "set without secret_key"),
        ({"TEAHOUSE_SECRET_KEY": LONG_KEY, "TEAHOUSE_PREVIOUS_SECRET_KEYS": "a,b"}, "previous_secret_keys[1]"),
        ({"TEAHOUSE_ACCOUNTS__SESSION_MAX_SECONDS": "60"}, "longer than accounts.session_max_seconds"),
        ({"TEAHOUSE_CORS__ORIGINS": "*,https://a.example"}, "* already means every origin"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(environ: dict[str, str], expected: str):
    message = mistakes(environ=environ)
    assert expected in message
    assert "hidden" not in message


def test_port_0_may_be_given_twice():
    assert load(environ={}, options={"port": 0, "realtime_port": 0}).port == 0


@pytest.mark.parametrize(
    "url", ["mysql://u:p@h/d", "mariadb://h:1/d", "postgresql://h/d?ssl=require", "postgres://h/d"]
)
def test_a_database_on_a_server_may_have_replicas(url: str):
    loaded = load(environ={"TEAHOUSE_DATABASE__URL": url, "TEAHOUSE_DATABASE__REPLICAS": f"{url},{url}"})
    assert [replica.reveal() for replica in loaded.database.replicas] == [url, url]


def test_the_database_is_in_the_data_directory_unless_it_is_said_otherwise(empty_directory: Path):
    assert load(environ={}, options={"data_dir": "d"}).database_url == f"sqlite:///{empty_directory}/d/teahouse.db"
    assert load(environ={"TEAHOUSE_DATABASE__URL": "sqlite:////x.db"}).database_url == "sqlite:////x.db"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_the_sandbox_stands_in_on_loopback_while_there_is_no_appid(host: str):
    settings = load(environ={"TEAHOUSE_HOST": host})
    assert is_loopback(host)
    assert sandbox_allowed(settings)
    assert wechat_mode(settings) == "sandbox"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "shop.example.com", "localhost.example.com"])
def test_the_sandbox_never_stands_in_by_itself_where_others_can_reach_it(host: str):
    settings = load(environ={"TEAHOUSE_HOST": host})
    assert not sandbox_allowed(settings)
    with pytest.raises(SettingsError, match="TEAHOUSE_WECHAT__SANDBOX=true"):
        wechat_mode(settings)


def test_the_sandbox_can_be_spelled_out_anywhere():
    settings = load(environ={"TEAHOUSE_HOST": "0.0.0.0", "TEAHOUSE_WECHAT__SANDBOX": "true"})
    assert wechat_mode(settings) == "sandbox"


def test_an_appid_means_the_platform_even_on_loopback():
    settings = load(environ={"TEAHOUSE_WECHAT__APPID": "wx1", "TEAHOUSE_WECHAT__SECRET": "s"})
    assert not sandbox_allowed(settings)
    assert wechat_mode(settings) == "platform"


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://:hidden@cache:6379/2",
        "rediss://user:hidden@cache.example.com:6380/0?ssl_cert_reqs=required",
        "redis://[::1]:6379",
        "unix:///run/redis.sock",
        "redis+sentinel://one:26379,two:26379/shop",
        "redis+cluster://one:7000,two:7000",
    ],
)
def test_every_way_to_name_a_redis_is_taken_and_lets_many_workers_run(url: str):
    settings = load(environ={"TEAHOUSE_REDIS__URL": url, "TEAHOUSE_WORKERS": "4"})
    assert settings.redis.url.reveal() == url
    assert settings.workers == 4


def test_a_password_in_a_redis_url_that_is_refused_is_not_told():
    assert "hidden" not in mistakes(environ={"TEAHOUSE_REDIS__URL": "http://:hidden@cache"})


@pytest.mark.parametrize(
    "url",
    [
        "mysql://tea:leaf@127.0.0.1:abc/shop",
        "mysql://tea:leaf@127.0.0.1:99999/shop",
        "mysql://tea:le@f@127.0.0.1/shop",
        "postgresql://tea:le@f/x@127.0.0.1/shop",
    ],
)
def test_an_address_of_a_database_that_cannot_be_meant_is_refused_without_its_password(url: str):
    with pytest.raises(SettingsError) as refused:
        check(Settings(database=DatabaseSettings(url=Secret(url))))
    assert "%40" in str(refused.value)
    assert "leaf" not in str(refused.value)
    assert "le@f" not in str(refused.value)
