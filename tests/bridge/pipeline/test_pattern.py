import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshbridge.bridge.pipeline.pattern import compile_pattern, is_exact, is_expression


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("web", "web", True),
        ("web", "web-1", False),
        ("web.1", "web-1", False),
        ("web-*", "web-1", True),
        ("web-*", "web-", True),
        ("web-?", "web-1", True),
        ("web-?", "web-12", False),
        ("*[a]*", "x[a]y", True),
        ("*", "two\nlines", True),
        ("/web-[0-9]+/", "web-12", True),
        ("/web/", "web-12", False),
        ("/a|bc/", "ac", False),
        ("/(?i:web)/", "WEB", True),
        ("/", "/", True),
        ("//", "", True),
        ("", "", True),
    ],
)
def test_pattern_speaks_of_the_whole_value(pattern: str, value: str, matches: bool) -> None:
    assert bool(compile_pattern(pattern).fullmatch(value)) is matches


def test_malformed_expression_is_explained() -> None:
    with pytest.raises(ValueError, match=r'"/\(/" is not a regular expression: missing \)'):
        compile_pattern("/(/")


def test_flags_for_a_whole_expression_are_refused_since_expressions_are_joined() -> None:
    with pytest.raises(ValueError, match="global flags not at the start"):
        compile_pattern("/(?i)web/")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_exact_pattern_matches_itself(text: str) -> None:
    if is_exact(text):
        assert compile_pattern(text).fullmatch(text)
        assert not is_expression(text)
