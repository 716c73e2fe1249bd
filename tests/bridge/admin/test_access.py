import pytest

from meshbridge.bridge.admin.access import Asked, Policy, refuse

LOOPBACK = Policy(host="127.0.0.1", has_token=False, has_tls=False, is_loopback=True)
ANYWHERE = Policy(host="0.0.0.0", has_token=False, has_tls=False, is_loopback=False)
TLS = Policy(host="0.0.0.0", has_token=False, has_tls=True, is_loopback=False)
TOKEN = Policy(host="0.0.0.0", has_token=True, has_tls=False, is_loopback=False)


def ask(
    method: str = "GET",
    path: str = "/api/v1/sources",
    host: str = "bridge.example",
    authorization: str = "",
    is_local_socket: bool = False,
) -> Asked:
    return Asked(method, path, host, authorization, is_local_socket)


@pytest.mark.parametrize(
    ("policy", "asked", "status"),
    [
        (LOOPBACK, ask(host="localhost:16080"), None),
        (LOOPBACK, ask("HEAD", host="localhost"), None),
        (LOOPBACK, ask(), 403),
        (LOOPBACK, ask("POST", host="localhost"), 403),
        (LOOPBACK, ask("POST", is_local_socket=True), None),
        (LOOPBACK, ask(path="/readyz"), None),
        (ANYWHERE, ask(), 403),
        (ANYWHERE, ask(host="localhost"), 403),
        (ANYWHERE, ask(path="/healthz"), None),
        (TLS, ask(), None),
        (TLS, ask("DELETE"), 403),
        (TOKEN, ask(), 401),
        (TOKEN, ask(authorization="Bearer right"), None),
        (TOKEN, ask("POST", authorization="bearer  right"), None),
        (TOKEN, ask(authorization="Bearer wröng"), 401),
        (TOKEN, ask(authorization="Bearer \udcff"), 401),
        (TOKEN, ask(authorization="right"), 401),
        (TOKEN, ask(is_local_socket=True), None),
    ],
)
def test_only_those_who_may_get_in(policy: Policy, asked: Asked, status: int | None) -> None:
    refusal = refuse(policy, "right", asked)

    assert (refusal.status if refusal else None) == status


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer x"])
def test_nobody_gets_in_while_the_token_is_unusable(authorization: str) -> None:
    assert refuse(TOKEN, "", ask(authorization=authorization)) is not None


def test_the_host_to_listen_on_is_a_name_of_ours() -> None:
    policy = Policy(host="bridge.localdomain", has_token=False, has_tls=False, is_loopback=True)

    assert refuse(policy, "", ask(host="Bridge.localdomain:16080")) is None
