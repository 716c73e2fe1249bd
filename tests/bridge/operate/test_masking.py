import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge.operate.masking import MASK, mask, scrub

SECRET = "s3same-0pen"


@pytest.mark.parametrize(
    "document",
    [
        {"password": SECRET},
        {"token": SECRET},
        {"a": [{"clientSecret": SECRET}]},
        {"api_key": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"headers": {"X-Whatever": SECRET}},
        {"command": ["/bin/list", "--with", SECRET]},
        {"urls": [f"http://user:{SECRET}@eureka:8761/eureka"]},
        {"url": f"http://vms/list?format=json&access_token={SECRET}&x=1"},
        f"can't read http://u:{SECRET}@h/ twice",
    ],
)
def test_whatever_sounds_like_a_secret_is_hidden(document: object) -> None:
    found = json.dumps(mask(document))

    assert SECRET not in found
    assert MASK in found


@pytest.mark.parametrize(
    "document",
    [
        {"token_file": "/etc/meshbridge/token", "password": "", "token": None, "secrets": {"a": 1}},
        {"hosts": "zk1:2181,zk2:2181/chroot", "url": "http://h/path?format=json", "n": 3, "x": True},
        {"command": ["/bin/list"], "headers": [], "keys": ["version"]},
    ],
)
def test_everything_else_stays(document: object) -> None:
    assert mask(document) == document


def test_known_secrets_are_found_wherever_they_stand() -> None:
    assert scrub(f"it said {SECRET}!", [SECRET, "it"]) == f"it said {MASK}!"


@given(st.text(min_size=4), st.text(), st.text())
def test_a_scrubbed_text_never_holds_the_secret(secret: str, before: str, after: str) -> None:
    found = scrub(f"{before}{secret}{after}", [secret])

    assert secret not in found.replace(MASK, "\0") or secret in MASK
