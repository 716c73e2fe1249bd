import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from meshbridge.bridge.config import document, problems
from meshbridge.bridge.config.document import Node, parse
from meshbridge.bridge.config.loading import load, loads
from meshbridge.bridge.config.models import Config
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.settings import Name

SOURCES = "sources: [{name: vms, kind: inventory, files: [a.yaml]}]\n"

Refused = Callable[[bytes | str], list[str]]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Load a content that is refused and give its problems, the file's name cut off."""

    def problems_of(content: bytes | str) -> list[str]:
        file = tmp_path / "config.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ConfigError) as raised:
            load(file, {"TOKEN": "s3cr3t-value"})
        return [problem.removeprefix(str(file)) for problem in raised.value.problems]

    return problems_of


def test_missing_file_is_one_clear_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: can't be read: No such file or directory"):
        load(tmp_path / "absent.yaml", {})


def test_folder_and_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="is not a regular file"):
            load(path, {})


def test_unreadable_file_is_one_clear_problem(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")

    with pytest.raises(ConfigError, match=r"loop\.yaml: can't be read: Too many levels"):
        load(tmp_path / "loop.yaml", {})


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n"])
def test_empty_file_says_so(refused: Refused, content: str) -> None:
    (problem,) = refused(content)

    assert "the file is empty" in problem or "must be a mapping" in problem


def test_file_that_is_not_utf8_gives_the_line(refused: Refused) -> None:
    assert refused(b"sources:\n  - name: \xff\xfe\n") == [":2: is not UTF-8 text"]


def test_binary_file_is_refused(refused: Refused) -> None:
    assert refused(b"a: b\nc: \x00\x01\x02\n") == [":2: not valid YAML: control characters are not allowed"]


def test_byte_order_mark_is_fine() -> None:
    assert loads(b"\xef\xbb\xbf" + SOURCES.encode(), "c.yaml", {}).sources[0].name == "vms"


def test_huge_file_is_refused_unread(refused: Refused) -> None:
    assert refused(b"#" * (document.MAX_BYTES + 1)) == [": is larger than 4 MiB"]


def test_deep_nesting_is_refused_with_its_line(refused: Refused) -> None:
    assert refused("\na: " + "[" * 100 + "]" * 100) == [":2: nested deeper than 32 levels"]
    assert refused("a:\n" + "[" * 100_000) == [":2: not valid YAML: exceeded maximum nesting depth"]


def test_aliases_that_multiply_are_refused(refused: Refused) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))

    (problem,) = refused(bomb)

    assert "more than 200000 values, aliases counted in full" in problem


def test_too_many_values_are_refused(refused: Refused) -> None:
    (problem,) = refused(f"a: [{','.join(['1'] * 410_000)}]")

    assert problem == ":1: more than 200000 values"


def test_aliases_within_bounds_work() -> None:
    text = SOURCES + "rules:\n  - {match: &m {service: a}, drop: true}\n  - {match: *m, keep: true}\n"

    first, second = loads(text.encode(), "c.yaml", {}).rules

    assert first.match == second.match


def test_syntax_error_shows_nothing_of_the_file(refused: Refused) -> None:
    (problem,) = refused("password: hunter2\ntoken: 'hunter3\n")

    assert "hunter" not in problem
    assert "not valid YAML" in problem


@pytest.mark.parametrize(
    "text",
    [
        "safety: {hold: '${TOKEN}'}",
        "admin: {listen: 'x ${TOKEN} y'}",
        "log: {level: '${TOKEN}'}",
        "log: '${TOKEN}'",
    ],
)
def test_value_from_the_environment_is_never_shown(refused: Refused, text: str) -> None:
    (problem,) = refused(SOURCES + text)

    assert "s3cr3t-value" not in problem
    assert "${TOKEN}" in problem


def test_credentials_of_an_address_are_never_shown(refused: Refused) -> None:
    (problem,) = refused(SOURCES + "safety: {hold: 'https://user:hunter2@host/'}")

    assert "hunter2" not in problem
    assert "//***@host/" in problem


def test_credentials_of_a_url_are_never_shown(refused: Refused) -> None:
    (problem,) = refused("sources: [{name: vms, kind: inventory, urls: ['https://user:hunter2@host/']}]")

    assert problem.startswith(":1: sources[0].urls[0]: must match ^https?://")
    assert "hunter2" not in problem


def test_value_of_a_secret_is_never_shown(refused: Refused) -> None:
    (problem,) = refused(
        "sources:\n- name: vms\n  kind: inventory\n  files: [a.yaml]\n"
        "  probe: {http: {headers: {Authorization: 4711}}}\n"
    )

    assert problem == ":5: sources[0].probe.http.headers.Authorization: must be a text; put it in quotes"


def test_long_value_is_cut(refused: Refused) -> None:
    (problem,) = refused(SOURCES + f"safety: {{min_removed: {'x' * 500}}}")

    assert f"({'x' * 80}...)" in problem


def test_path_quotes_keys_that_need_it(refused: Refused) -> None:
    (problem,) = refused(SOURCES + "rules:\n  - set: {labels: {a.b/c: 1}}\n")

    assert problem.startswith(':3: rules[0].set.labels."a.b/c": must be a text')


def test_nothing_where_a_text_is_needed(refused: Refused) -> None:
    (problem,) = refused(SOURCES + "defaults:\n  region:\n")

    assert problem.startswith(":3: defaults.region: must be a text (nothing is written;")


def test_list_where_a_text_is_needed(refused: Refused) -> None:
    assert refused(SOURCES + "defaults: {region: [a]}\n") == [":2: defaults.region: must be a text"]


def test_duplicate_names_are_told_beside_other_mistakes(refused: Refused) -> None:
    found = refused(
        "sources:\n- {name: a, kind: inventory, nope: 1}\n- {name: a, kind: inventory}\n- {}\n- 7\n"
    )

    assert any(':3: sources[1].name: the name "a" is taken by sources[0]' in problem for problem in found)
    assert any(":2: sources[0].nope: unknown key" in problem for problem in found)


def test_names_that_repeat_are_refused_by_the_model_too() -> None:
    source = {"name": "vms", "kind": "inventory", "files": ["a.yaml"]}

    with pytest.raises(ValidationError, match=r'the name "vms" is taken by sources\[0\]'):
        Config.model_validate({"sources": [source, source]})


def test_dates_and_odd_booleans_stay_what_people_meant() -> None:
    root, found = parse("on: 2024-01-01\nyes: [1, 1.5, true, null, '5']\n", {})

    assert isinstance(root, Node)
    assert root.value == {"on": "2024-01-01", "yes": [1, 1.5, True, None, "5"]}
    assert found == []


def test_pattern_of_names_has_words_of_its_own() -> None:
    assert problems.NAME_PATTERN in str(Name)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="abc{}[]:,-&*!|>'\"%@`#? \n\t0$\0é", max_size=60))
def test_any_text_gives_problems_rather_than_a_crash(text: str) -> None:
    found: tuple[str, ...] = ()

    try:
        loads(text.encode(), "c.yaml", {})
    except ConfigError as error:
        found = error.problems

    assert found  # No text of these letters has sources.
    assert all(problem.startswith("c.yaml:") for problem in found)
