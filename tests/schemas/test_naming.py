import re
import string
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshbridge.schemas import naming

Rule = Callable[[str], str]

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
TEXT = r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
SUBDOMAIN = rf"(?=[^/]{{1,253}}(/|$)){LABEL}(\.{LABEL})*"
NAME = r"(?=[^/]{1,253}(/|$))[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
LEGAL = {
    naming.dns_label: re.compile(LABEL),
    naming.host: re.compile(rf"(?!(.*\.)?[0-9]+$){SUBDOMAIN}"),
    naming.resource_name: re.compile(NAME),
    naming.label_key: re.compile(rf"({NAME}/)?{TEXT}"),
    naming.label_value: re.compile(rf"({TEXT})?"),
}
labels = st.from_regex(LABEL, fullmatch=True)
label_texts = st.from_regex(TEXT, fullmatch=True)
subdomains = st.lists(labels, min_size=1, max_size=3).map(".".join)
legal_texts = {
    naming.dns_label: labels,
    naming.host: st.builds("{}.{}".format, subdomains, st.sampled_from(["mesh", "a1", "1a", "x-2"])),
    naming.resource_name: subdomains,
    naming.label_key: st.one_of(label_texts, st.builds("{}/{}".format, subdomains, label_texts)),
    naming.label_value: st.one_of(st.just(""), label_texts),
}
rules = pytest.mark.parametrize("rule", LEGAL, ids=lambda rule: rule.__name__)
texts = st.one_of(
    st.text(max_size=300),
    st.text("ab1-._/:A Ü*", max_size=80),
    st.text(string.ascii_lowercase + string.digits + ".-", min_size=240, max_size=600),
)


@rules
@given(text=texts)
@example(text="")
@example(text="10.0.0.1")
@example(text="a." * 200)
@example(text="\ud800")
def test_any_text_becomes_legal_and_a_second_time_changes_nothing(rule: Rule, text: str) -> None:
    once = rule(text)

    assert LEGAL[rule].fullmatch(once)
    assert rule(once) == once


@rules
@given(data=st.data())
def test_legal_text_is_unchanged(rule: Rule, data: st.DataObject) -> None:
    text = data.draw(legal_texts[rule])

    assert rule(text) == text


@rules
def test_two_long_texts_stay_different(rule: Rule) -> None:
    left, right = rule("a" * 400 + "x"), rule("a" * 400 + "y")

    assert left != right


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        (naming.dns_label, "Order_Service", "order-service"),
        (naming.dns_label, "com.acme.Order:1.0", "com-acme-order-1-0"),
        (naming.dns_label, "Bücher", "bucher"),
        (naming.dns_label, "--a--", "a"),
        (naming.host, "Orders.Legacy.Mesh", "orders.legacy.mesh"),
        (naming.host, "orders.mesh.", "orders.mesh"),
        (naming.host, "a..b", "a.b"),
        (naming.host, "10.0.0.1", "10.0.0.1.mesh"),
        (naming.host, "orders.1", "orders.1.mesh"),
        (naming.host, "2001:db8::1", "2001-db8-1"),
        (naming.host, "::1", "1.mesh"),
        (naming.resource_name, "VM_7.eu", "vm-7.eu"),
        (naming.label_key, "Acme Corp/cost centre", "acme-corp/cost-centre"),
        (naming.label_key, "a/b/c", "a/b-c"),
        (naming.label_key, "/version", "version"),
        (naming.label_key, "_x_", "x"),
        (naming.label_value, "1.2.3+build 7", "1.2.3-build-7"),
        (naming.label_value, "***", ""),
        (naming.label_value, "", ""),
    ],
)
def test_text_becomes(rule: Rule, text: str, expected: str) -> None:
    assert rule(text) == expected


@pytest.mark.parametrize("rule", [naming.dns_label, naming.host, naming.resource_name, naming.label_key])
def test_texts_without_one_usable_character_get_different_names(rule: Rule) -> None:
    names = {rule("服务"), rule("用户"), rule(""), rule("***")}

    assert len(names) == 4
    assert all(name.startswith("unnamed-") for name in names)


def test_long_host_keeps_its_domain() -> None:
    found = naming.host("first." + "middle." * 60 + "legacy.mesh")

    assert len(found) <= 253
    assert found.startswith("first-")
    assert found.endswith(".middle.legacy.mesh")


@pytest.mark.parametrize(
    ("predicate", "yes", "no"),
    [
        (naming.is_dns_label, "a-1", "a.b"),
        (naming.is_dns_label, "a" * 63, "a" * 64),
        (naming.is_subdomain, "a.b-c.1", "a..b"),
        (naming.is_subdomain, "a" * 253, "a" * 254),
        (naming.is_label_key, "acme.io/Name_1", "acme.io/"),
        (naming.is_label_key, "Name_1", "Acme/x"),
        (naming.is_label_key, "a/b", "a/b/c"),
        (naming.is_label_value, "", "-a"),
        (naming.is_label_value, "v1.2_A", "v 1"),
        (naming.is_label_value, "a" * 63, "a" * 64),
    ],
)
def test_predicate_accepts_and_refuses(predicate: Callable[[str], bool], yes: str, no: str) -> None:
    assert predicate(yes)
    assert not predicate(no)
