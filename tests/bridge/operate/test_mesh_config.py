import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge.operate.findings import Finding, Level
from meshbridge.bridge.operate.mesh_config import Served, check_mesh_config, read_mesh_config

MESH = """
configSources:
- address: xds://meshbridge.istio-system.svc:16010
- address: k8s://
"""
PLAIN = Served("0.0.0.0", 16010, tls=False)
TLS = Served("0.0.0.0", 16010, tls=True)


def check(
    text: str, served: Served | None = PLAIN, release: tuple[int, int] | None = (1, 31)
) -> list[Finding]:
    return check_mesh_config(read_mesh_config(text), served, release)


def failures(text: str, served: Served | None = PLAIN, release: tuple[int, int] | None = (1, 31)) -> str:
    return "\n".join(one.text for one in check(text, served, release) if one.level is Level.FAILED)


def with_tls(mode: str, extra: str = "caCertificates: PEM") -> str:
    return (
        "configSources:\n- address: xds://bridge:16010\n"
        f"  tlsSettings: {{mode: {mode}, {extra}}}\n- address: k8s://\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        MESH,
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  mesh: |\n" + MESH.replace("\n", "\n    "),
        "kind: IstioOperator\nspec:\n  meshConfig:\n" + MESH.replace("\n", "\n    "),
        "global: {}\nmeshConfig:\n" + MESH.replace("\n", "\n  "),
        "# a comment\n---\n" + MESH,
    ],
    ids=["text", "configmap", "operator", "values", "second document"],
)
def test_mesh_config_is_found_in_every_form_it_comes_in(text: str) -> None:
    assert [one.level for one in check(text)] == [Level.OK, Level.OK, Level.OK]


@pytest.mark.parametrize(
    "text", ["", "[]", "kind: Pod\nmetadata: {}", "a: [", "kind: ConfigMap\ndata: {x: y}"]
)
def test_text_without_a_mesh_config_says_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"holds no mesh configuration|is not YAML"):
        read_mesh_config(text)


def test_nested_specs_are_followed_only_so_far() -> None:
    with pytest.raises(ValueError, match="holds no mesh configuration"):
        read_mesh_config("spec: {spec: {spec: {spec: {spec: {meshConfig: {}}}}}}")


def test_no_config_sources_fail_with_what_to_add() -> None:
    assert "add xds://BRIDGE:16010 and k8s://" in failures("rootNamespace: istio-system")


def test_missing_kubernetes_source_fails() -> None:
    assert "k8s:// is missing" in failures("configSources: [{address: 'xds://bridge:16010'}]")


def test_near_miss_of_the_kubernetes_address_fails() -> None:
    text = "configSources: [{address: 'xds://bridge:16010'}, {address: 'k8s:///'}]"

    assert '"k8s:///" has to be exactly k8s://' in failures(text)


def test_other_port_than_the_bridge_listens_on_fails() -> None:
    assert "none of xds://bridge:15010, k8s:// is the bridge" in failures(
        "configSources: [{address: 'xds://bridge:15010'}, {address: 'k8s://'}]"
    )


def test_without_the_bridges_settings_the_first_server_is_taken_for_it() -> None:
    found = check("configSources: [{address: 'xds://bridge:15010'}, {address: 'k8s://'}]", served=None)

    assert [one.level for one in found] == [Level.OK, Level.OK]


@pytest.mark.parametrize("address", ["bridge:16010", "grpc://bridge:16010", ""])
def test_address_that_istiod_ignores_fails(address: str) -> None:
    assert "istiod ignores it" in failures(
        f"configSources: [{{address: '{address}'}}, {{address: 'k8s://'}}]"
    )


@pytest.mark.parametrize("address", ["xds://bridge", "xds://bridge:port"])
def test_address_without_a_port_fails(address: str) -> None:
    assert "needs a port" in failures(f"configSources: [{{address: '{address}'}}, {{address: 'k8s://'}}]")


def test_malformed_sources_are_no_sources() -> None:
    assert "configSources is empty" in failures("configSources: [3, text]")
    assert "configSources is empty" in failures("configSources: text")


@pytest.mark.parametrize("mode", ["MUTUAL", "ISTIO_MUTUAL"])
def test_mode_that_istiod_ignores_fails(mode: str) -> None:
    assert f"ignores mode {mode} and speaks plaintext" in failures(with_tls(mode))


def test_simple_tls_before_its_first_release_fails() -> None:
    assert "istiod 1.25 speaks plaintext" in failures(with_tls("SIMPLE"), TLS, (1, 25))


@pytest.mark.parametrize("release", [(1, 26), (2, 0), None])
def test_simple_tls_of_both_is_fine(release: tuple[int, int] | None) -> None:
    assert failures(with_tls("SIMPLE"), TLS, release) == ""


def test_simple_tls_without_an_authority_is_a_warning() -> None:
    found = check(with_tls("SIMPLE", "sni: bridge"), TLS)

    assert [one.level for one in found] == [Level.OK, Level.OK, Level.WARNING, Level.OK]


def test_tls_of_one_side_alone_fails() -> None:
    assert "istiod comes in plaintext" in failures(MESH, TLS)
    assert "the bridge plaintext only" in failures(with_tls("SIMPLE"), PLAIN)


def test_bridge_that_wants_client_certificates_fails() -> None:
    wanting = Served("", 16010, tls=True, wants_certificates=True)

    assert "istiod has none" in failures(with_tls("SIMPLE"), wanting)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_config_sources_give_findings(value: object) -> None:
    found = check_mesh_config({"configSources": value}, PLAIN, None)

    assert any(one.level is Level.FAILED for one in found)
