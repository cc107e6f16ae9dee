import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from search.store.complaints import explained, without_password
from trainer.errors import ConfigError

SECRET = "S3cr3t"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:S3cr3t@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db?sslmode=require", "postgresql://me@host/db?sslmode=require"),
        ("sqlite:////home/me@work/a b#c%20d.db", "sqlite:////home/me@work/a b#c%20d.db"),
        ("sqlite:/one/slash.db", "sqlite:/one/slash.db"),
        ("postgresql:/joe:S3cr3t@host/db", "postgresql:***@host/db"),
        ("memory", "memory"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_url_without_its_password_says_where_it_leads(url, shown):
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:{}@host:port/db",
        "postgresql://me:a@{}@host/db",
        "postgresql://me:{}@b@host:port/db",
        "postgresql://me:{}",
        "postgresql:me:{}@host/db",
        "postgresql//me:{}@host/db",
        "postgresql:///me:{}@host/db",
        "postgresql://m/e:{}@host/db",
        "postgresql://me:{}%40host/db",
        "postgresql://me@host/db?password={}&sslpassword={}",
        "postgresql://me@host/db?pass={}",
        "postgresql://host/db?user=me:{}@host",
        "mysql+pymysql:/me:{}@host/db",
        "sqlite:/me:{}@host/db",
        " postgresql://me:{}@host/db",
        "MYSQL:me:{}@host/db",
        "me:{}@host/db",
    ],
)
def test_no_shape_of_a_url_shows_its_password(url):
    assert SECRET not in without_password(url.replace("{}", SECRET))


@given(
    st.sampled_from(["postgresql:", "mysql:", "postgres+x:", ":", "x:y:"]),
    st.sampled_from(["", "/", "//", "///", "?", "@", "me@", "a/b"]),
    st.sampled_from(["", "a", "?", "#", "@", ":", "/"]),
    st.sampled_from(["", "host", "host:port", "host/db", "@x", "?a=b"]),
)
def test_what_stands_between_the_first_colon_and_the_last_at_is_hidden(scheme, slashes, more, rest):
    assert SECRET not in without_password(f"{scheme}{slashes}me:{more}{SECRET}@{rest}")


def test_the_words_of_a_driver_lose_the_password():
    with (
        pytest.raises(ConfigError, match="check user and password") as caught,
        explained(f"postgresql://me:{SECRET}@host/db"),
    ):
        raise OperationalError("connect", {}, Exception(f"password {SECRET}\nis wrong"))
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
