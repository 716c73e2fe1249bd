"""YAML and JSON to plain values: limits, lines, and scalars as they were written."""

import json
import string
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.inventory.formats import detect, text, yaml_text
from meshbridge.adapters.inventory.formats.options import FormatOptions
from meshbridge.adapters.inventory.formats.record import Format
from meshbridge.adapters.inventory.formats.yaml_text import Vaulted
from meshbridge.schemas.errors import PayloadError


def load(written: str) -> object:
    return yaml_text.load(written, "a.yaml")[0]


LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
)

REFUSED = {
    "a bomb of aliases": (LAUGHS, r"a\.yaml:\d: more than 4000000 values"),
    "an alias inside of its anchor": ("a: &a [*a]", "a.yaml:1: the alias .a has no anchor, or stands inside"),
    "an alias without anchor": ("a: *b", "a.yaml:1: the alias .b has no anchor"),
    "deep nesting in YAML": ("- " * 70 + "x", "a.yaml:1: nested deeper than 64 levels"),
    "deep flow nesting": ("a: " + "[" * 100_000, "a.yaml:1: "),
    "deep block nesting": ("\n".join(" " * n + "a:" for n in range(200)), r"a\.yaml:65: nested deeper"),
    "a repeated key": ("a: 1\nb: 2\na: 3", "a.yaml:3: the key 'a' is there twice"),
    "a Python object": (
        "a: !!python/object/apply:os.system [x]",
        "a.yaml:1: the tag '.*python/object.*' is not known",
    ),
    "a tagged mapping": ("!!set {a, b}", "a.yaml:1: the tag '.*set' is not known"),
    "an unknown tag": ("a: !thing x", "a.yaml:1: the tag '!thing' is not known"),
    "a sequence as a key": ("[a]: x", "a.yaml:1: a key must be a text"),
    "an alias as a key": ("a: &x b\n*x : c", "a.yaml:2: a key must be a text"),
    "a merge of no mapping": ("a:\n  <<: [x]", "a.yaml:2: only mappings can be merged"),
    "an open bracket": ("a: [1", "a.yaml:.: not YAML"),
    "a tab": ("a:\n\t- b", "a.yaml:2: not YAML"),
    "a control character": ("a: \x85\x08", "a.yaml: not YAML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_yaml_that_is_refused(case) -> None:
    written, message = REFUSED[case]

    with pytest.raises(PayloadError, match=message):
        yaml_text.load(written, "a.yaml")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1", 1),
        ("-5", -5),
        ("0", 0),
        ("010", "010"),
        ("1_000", "1_000"),
        ("1.10", "1.10"),
        ("1e3", "1e3"),
        ("22:22", "22:22"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("TRUE", True),
        ("false", False),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!int 1", 1),
        ("!unsafe 1", "1"),
        ("!vault 1", Vaulted()),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("1" * 30, "1" * 30),
    ],
)
def test_scalars_stay_as_they_were_written(written, expected) -> None:
    found = load(f"a: {written}")

    assert found == {"a": expected}
    assert type(found["a"]) is type(expected)


def test_mappings_know_their_line() -> None:
    found = load("a:\n  - b: 1\n\n  - {c: 2}\n")

    assert [item.line for item in found["a"]] == [2, 4]
    assert text.place("a.yaml", found["a"][1], "a[1]") == "a.yaml:4"
    assert text.place("a.json", {}, "a[1]") == "a.json: a[1]"


def test_aliases_and_merges_share_what_they_name() -> None:
    found = load(
        "base: &base {a: 1, b: 2}\none: {<<: *base, b: 3}\n"
        "two: {<<: [*base, {c: 4}]}\nthree: &x text\nfour: *x"
    )

    assert found["one"] == {"a": 1, "b": 3}
    assert found["two"] == {"a": 1, "b": 2, "c": 4}
    assert found["four"] == "text"


def test_anchors_end_with_their_document() -> None:
    with pytest.raises(PayloadError, match="no anchor"):
        yaml_text.load("a: &a 1\n---\nb: *a", "a.yaml")


def test_the_slow_loader_of_pyyaml_does_as_well(monkeypatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")

    assert load("a: [1, {b: no}]") == {"a": [1, {"b": "no"}]}


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(string.printable, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(plain)
def test_what_pyyaml_writes_is_read_back(value) -> None:
    written = yaml.safe_dump(value)

    assert yaml_text.load(written, "a.yaml") == [value]


@given(plain.filter(lambda value: isinstance(value, dict | list)))
def test_json_is_read_back(value) -> None:
    assert text.load(json.dumps(value), "a.json") == [value]


@pytest.mark.parametrize(
    ("written", "name", "message"),
    [
        ('{"a": 1,\n"b" 2}', "a.json", r"a\.json:2: not JSON"),
        ("a: 1", "a.json", r"a\.json:1: not JSON: it begins with neither"),
        ("[" * 100_000, "a.json", r"a\.json: not usable JSON"),
        (f"[{'9' * 5000}]", "a.json", r"a\.json: not usable JSON"),
        ('{"a": {"b": 1, "b": 2}}', "a", "a: the key 'b' is there twice"),
    ],
)
def test_json_that_is_refused(written, name, message) -> None:
    with pytest.raises(PayloadError, match=message):
        text.load(written, name)


def test_flow_style_yaml_that_is_no_json_is_yaml() -> None:
    assert text.load("{a: [b]}", "a.yaml") == [{"a": ["b"]}]
    assert text.load("[a, b]", "command x") == [["a", "b"]]


def test_a_byte_order_mark_is_no_content() -> None:
    assert text.decode(b"\xef\xbb\xbfa", "a.csv") == "a"


def test_control_characters_betray_a_binary_file() -> None:
    with pytest.raises(PayloadError, match="control character 0x07"):
        text.decode(b"a\x07b", "a.csv")


@given(
    st.binary(max_size=200),
    st.sampled_from(["a.csv", "a.json", "a.yaml", "command x"]),
    st.sampled_from(Format),
)
def test_no_bytes_raise_anything_but_a_payload_error(content, name, wanted) -> None:
    options = FormatOptions.model_validate({"ansible": {"groups": {"a": "b"}}})
    with suppress(PayloadError):
        detect.parse(content, name, options, wanted)


@given(plain, st.sampled_from(Format))
def test_no_values_raise_anything_but_a_payload_error(value, wanted) -> None:
    options = FormatOptions.model_validate({"ansible": {"groups": {"a": "b"}}})
    shapes = [
        value,
        [{"targets": value, "labels": value}],
        {"services": [{"name": "a", "instances": [value], "port": value}]},
    ]
    shapes += [
        {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": "a"}, "spec": value}
        for kind in ("ServiceEntry", "WorkloadEntry")
    ]
    shapes += [{"a": {"hosts": {"h": value}, "children": value}}, {"_meta": {"hostvars": value}, "a": value}]
    for shape in shapes:
        with suppress(PayloadError):
            detect.parse(json.dumps(shape).encode(), "a.json", options, wanted)
