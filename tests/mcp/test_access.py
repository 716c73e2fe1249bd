import pytest

from meshbridge.mcp.access import AllowRule, Identity, identity, scopes_for
from meshbridge.mcp.view import EVERYTHING, Scope
from meshbridge.schemas.resource import Kind

ISTIOD = "spiffe://cluster.local/ns/istio-system/sa/istiod"
WORKLOADS = Scope(kinds=frozenset({Kind.WORKLOAD_ENTRY}))
LEGACY = Scope(namespaces=frozenset({"legacy"}))


def test_identity_is_read_from_what_grpc_knows() -> None:
    found = identity(
        {
            "x509_subject_alternative_name": [ISTIOD.encode(), b"istiod.svc", b"\xff"],
            "x509_common_name": [b"istiod"],
        }
    )

    assert found == Identity((ISTIOD,), ("istiod.svc", "\ufffd"), "istiod")
    assert str(found) == ISTIOD


def test_client_without_certificate_has_no_identity() -> None:
    assert str(identity({})) == ""


@pytest.mark.parametrize(
    ("rule", "client", "matches"),
    [
        (AllowRule(spiffe=ISTIOD), Identity((ISTIOD,)), True),
        (AllowRule(spiffe="spiffe://*/ns/istio-system/sa/istiod*"), Identity((ISTIOD + "-blue",)), True),
        (AllowRule(spiffe="spiffe://cluster.local/ns/*"), Identity((ISTIOD,)), False),
        (AllowRule(spiffe=ISTIOD), Identity((ISTIOD + "-evil",)), False),
        (
            AllowRule(spiffe="spiffe://cluster.local/ns/istio-system/sa/istiod."),
            Identity((ISTIOD + "x",)),
            False,
        ),
        (AllowRule(spiffe="*"), Identity((), ("a",), "b"), False),
        (AllowRule(san="*.mesh.test"), Identity((), ("Bridge.MESH.test",)), True),
        (AllowRule(san="*.mesh.test"), Identity((), ("a.b.mesh.test",)), False),
        (AllowRule(san="*"), Identity((ISTIOD,)), False),
        (AllowRule(common_name="audit*"), Identity(common_name="audit 7.eu/x"), True),
        (AllowRule(common_name="*"), Identity(), False),
        (AllowRule(common_name="audit"), Identity(common_name="audit\n"), False),
    ],
)
def test_pattern_matches_whole_names_and_no_separator(
    rule: AllowRule, client: Identity, matches: bool
) -> None:
    assert rule.matches(client) is matches


def test_no_rules_allow_everything() -> None:
    assert scopes_for(Identity(), []) == EVERYTHING


def test_client_that_no_rule_is_about_may_see_nothing() -> None:
    assert scopes_for(Identity(), [AllowRule(spiffe="*")]) == frozenset()


def test_rules_about_one_client_add_up() -> None:
    rules = [AllowRule(common_name="a*", scope=WORKLOADS), AllowRule(common_name="*b", scope=LEGACY)]

    assert scopes_for(Identity(common_name="ab"), rules) == {WORKLOADS, LEGACY}
    assert scopes_for(Identity(common_name="a"), rules) == {WORKLOADS}


def test_rule_without_bounds_makes_the_others_pointless() -> None:
    rules = [AllowRule(common_name="a", scope=WORKLOADS), AllowRule(common_name="a")]

    assert scopes_for(Identity(common_name="a"), rules) == EVERYTHING
