from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.accounts import names
from teahouse.problems import PasswordTooEasy, ValidationFailed


@pytest.mark.parametrize("name", ["ada", "Ada.Lovelace-1815", "张三", "李_四9", "x" * 64, "42", "a_"])
def test_names_in_latin_and_chinese_are_allowed_as_they_are(name):
    assert names.username(name) == name == unicodedata.normalize("NFKC", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "x" * 65,
        "x" * 1_000_000,
        " ada",
        "a da",
        "-ada",
        "_ada",
        "ada.",
        "ada\n",
        "ada\x00",
        "ad\u200ba",  # zero width space
        "a\u202eda",  # right-to-left override
        "ad\ufe0fa",  # variation selector
        "\u3164\u3164\u3164",  # Hangul filler: a letter that shows nothing
        "ада",  # Cyrillic, looks like Latin
        "ａｄａ",  # full width
        "adá",
        "ada😀",
        "a/b",
        "a@b",
        "a<b>",
        "\ud800\ud800",
    ],
)
def test_names_that_mislead_or_do_not_fit_are_refused(name):
    with pytest.raises(ValidationFailed) as refused:
        names.username(name)
    assert [error.pointer for error in refused.value.errors] == ["/username"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ada", "aDA"), ("straße", "STRASSE"), ("ａｄａ", "ada"), ("é", "e\u0301"), ("Σίσυφος", "σίσυφοσ")],
)
def test_names_that_differ_in_case_or_form_only_are_the_same(one, other):
    assert names.username_key(one) == names.username_key(other)


@given(st.text(max_size=300))
def test_a_key_always_exists_and_fits_its_column(text):
    key = names.username_key(text)
    assert len(key) <= 255
    assert "\0" not in key


@given(st.from_regex(names.USERNAME, fullmatch=True))
def test_an_allowed_name_is_its_own_form_and_fits_its_column(name):
    assert names.username(name) == name
    assert names.username_key(name) == name.casefold()
    assert len(name) <= 64


def test_a_password_is_the_same_from_every_keyboard():
    assert names.password("pa\u0301ssword", name="ada") == names.presented_password("p\u00e1ssword")


@pytest.mark.parametrize("password", ["short", "x" * 129])
def test_passwords_that_are_too_short_or_too_long_are_refused(password):
    with pytest.raises(ValidationFailed):
        names.password(password, name="ada")


def test_the_username_is_no_password():
    with pytest.raises(PasswordTooEasy):
        names.password("ADA-Lovelace", name="ada-lovelace")


def test_whatever_was_typed_can_be_hashed():
    assert names.presented_password("\ud800")


@pytest.mark.parametrize("nickname", ["小明", "Ada Lovelace", "👩‍💻", "a", "Ярослав é"])
def test_nicknames_may_be_what_people_use(nickname):
    assert names.nickname(nickname) == nickname


@pytest.mark.parametrize(
    "nickname", ["", "   ", " Ada", "Ada ", "x" * 65, "a\n", "a\nb", "a\u202eb", "a\x00b", "\u3164"]
)
def test_nicknames_that_hide_something_are_refused(nickname):
    with pytest.raises(ValidationFailed):
        names.nickname(nickname)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/",
        "https://cdn.example.com/a.png?x=1",
        "https://e.com:8443#a",
        "http://127.0.0.1:8000/v1/files/1/content",
        "/v1/files/1/content",
    ],
)
def test_avatars_are_on_the_web(url):
    assert names.avatar_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example/x",
        "/\\evil.example",
        "https://user:pw@example.com/",
        "https://",
        "https://[::1",
        "https://e.com/\n",
        "https:///path",
        "a b",
        "https://例え.jp/",
        "ftp://example.com/a",
        "relative.png",
        "https://e.com/" + "x" * 1024,
        'https://e.com/"onload=',
        "https://e.com/\r\nx",
    ],
)
def test_avatars_that_could_run_in_somebodys_page_are_refused(url):
    with pytest.raises(ValidationFailed):
        names.avatar_url(url)
