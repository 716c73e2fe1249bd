import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge.pipeline.filters import FILTERS, compile_filter
from meshbridge.bridge.pipeline.template import compile_template


@pytest.mark.parametrize(
    ("written", "value", "seen"),
    [
        ("lower", "Shop", "shop"),
        ("upper", "shop", "SHOP"),
        ("dns", "Shop_One", "shop-one"),
        ("dns", "", ""),
        ("replace(_,-)", "a_b_c", "a-b-c"),
        ("replace(.,)", "1.2", "12"),
        ("map(prod=production,test=staging)", "prod", "production"),
        ("map(prod=production,test=staging)", "dev", "dev"),
        ("map(prod=p,*=other)", "dev", "other"),
        ("map(prod=p,*=other)", "", ""),
        ("map(=none)", "", "none"),
        ("before(-)", "shop-v2", "shop"),
        ("before(-)", "shop", "shop"),
        ("after(-)", "shop-v2-x", "v2-x"),
        ("after(-)", "shop", ""),
        ("last(.)", "com.acme.OrderService", "OrderService"),
        ("last(.)", "shop", "shop"),
        ("prefix(v)", "2", "v2"),
        ("prefix(v)", "", ""),
        ("suffix(.mesh)", "shop", "shop.mesh"),
        ("suffix(.mesh)", "", ""),
        ("cut(3)", "abcdef", "abc"),
        ("times(0.01)", "100", "1"),
        ("times(0.01)", "5", "1"),
        ("times(100)", "3", "300"),
        ("times(1000)", "9999999999", str(2**31 - 1)),
        ("times(2)", "0", "0"),
        ("times(2)", "many", ""),
        ("times(2)", "", ""),
    ],
)
def test_filter_changes_a_value(written: str, value: str, seen: str) -> None:
    assert compile_filter(written)(value) == seen


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("lowr", 'unknown filter "lowr", known are .*lower.*; did you mean "lower"'),
        ("", 'unknown filter ""'),
        ("lower(", 'unknown filter "lower\\("'),
        ("lower(x)", 'filter "lower\\(x\\)" is written lower'),
        ("replace(a)", r'filter "replace\(a\)" is written replace\(OLD,NEW\)'),
        ("replace(,a)", "nothing to replace"),
        ("map(a)", r"is written map\(VALUE=NEW"),
        ("cut(x)", "needs a number of characters"),
        ("cut(0)", "needs a number of characters"),
        ("times(x)", "needs a number above 0"),
        ("times(-1)", "needs a number above 0"),
        ("times(nan)", "needs a number above 0"),
    ],
)
def test_mistake_in_a_filter_is_explained(written: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compile_filter(written)


@pytest.mark.parametrize(
    ("text", "value", "seen"),
    [
        ("{service:lower:replace(_,-)}.mesh", "Shop_One", "shop-one.mesh"),
        ("{service:after(-)|none}", "shop", "none"),
        ("{service:replace(|,-)}", "a|b", "a-b"),
        ("{service|a:b}", "", "a:b"),
        ("{service|(x)}", "", "(x)"),
    ],
)
def test_filters_come_before_the_default(text: str, value: str, seen: str) -> None:
    assert compile_template(text).render({"service": value}) == seen


@pytest.mark.parametrize("text", ["{service:replace(a,(b))}", "{service:lower)}", "{service:lower(}"])
def test_filter_with_odd_parentheses_is_explained(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not written|unknown filter"):
        compile_template(text)


def test_template_that_lacks_what_it_needs_is_empty() -> None:
    template = compile_template("x-{metadata.a|b}", ("metadata.c",))

    assert template.render({"metadata.a": "1"}) == ""
    assert template.render({"metadata.c": "1"}) == "x-b"
    assert template.variables() == ("metadata.a", "metadata.c")


@given(st.text(max_size=30), st.sampled_from([f"{name}(a,b)" for name in FILTERS] + [*FILTERS]))
def test_no_value_breaks_a_filter(value: str, written: str) -> None:
    try:
        change = compile_filter(written)
    except ValueError:
        return

    assert isinstance(change(value), str)
