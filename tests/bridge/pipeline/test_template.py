import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshbridge.bridge.pipeline.template import MAPPINGS, VARIABLES, Variable, compile_template

PLAIN = st.text(st.characters(exclude_characters="{}"), max_size=12)
KEYS = st.text(st.characters(exclude_characters="{}|:"), min_size=1, max_size=12)
NAMES = st.sampled_from(VARIABLES) | st.builds("{}.{}".format, st.sampled_from(MAPPINGS), KEYS)
PIECES = st.one_of(
    PLAIN,
    st.sampled_from(["{{", "}}"]),
    st.builds("{{{}}}".format, NAMES),
    st.builds("{{{}|{}}}".format, NAMES, PLAIN),
)


def test_variables_are_filled_in_from_a_mapping() -> None:
    template = compile_template("{service}.{source}.mesh")

    assert template.render({"service": "shop", "source": "vms"}) == "shop.vms.mesh"


def test_variables_are_filled_in_by_a_function_that_gets_the_whole_name() -> None:
    template = compile_template("{metadata.a.b}/{labels.x}")

    assert template.render(str.upper) == "METADATA.A.B/LABELS.X"


@pytest.mark.parametrize("variables", [{}, {"metadata.zone": ""}])
def test_missing_and_empty_values_give_the_default(variables: dict[str, str]) -> None:
    assert compile_template("{metadata.zone|eu-1a}").render(variables) == "eu-1a"
    assert compile_template("[{metadata.zone}]").render(variables) == "[]"
    assert compile_template("{metadata.zone|eu-1a}").render(lambda name: variables.get(name, "")) == "eu-1a"


def test_doubled_braces_are_literal() -> None:
    template = compile_template("{{service}} is {service}")

    assert template.render({"service": "shop"}) == "{service} is shop"
    assert template.parts == ("{service} is ", Variable("service"))


def test_template_shows_its_text_and_variables() -> None:
    template = compile_template("{service}-{metadata.zone|a}")

    assert str(template) == "{service}-{metadata.zone|a}"
    assert template.variables() == ("service", "metadata.zone")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{sevice}.mesh", 'unknown variable "{sevice}", known are address, .*; did you mean "service"?'),
        ("{metdata.zone}", 'unknown variable "{metdata.zone}", .*; did you mean "metadata"?'),
        ("{service.name}", 'unknown variable "{service.name}"'),
        ("{metadata}", '"{metadata}" lacks a key; write {metadata.KEY}'),
        ("{metadata.}", '"{metadata.}" lacks a key'),
        ("{metadata|x}", '"{metadata|x}" lacks a key'),
        ("{}", 'unknown variable "{}"'),
        ("{ service }", 'unknown variable "{ service }"'),
        ("{service", '"{" without its partner in "{service"; write "{{" for a literal brace'),
        ("service}", '"}" without its partner in "service}"; write "}}" for a literal brace'),
        ("{a{service}}", '"{" without its partner'),
    ],
)
def test_mistake_is_explained_when_the_template_is_compiled(text: str, words: str) -> None:
    with pytest.raises(
        ValueError,
        match=words.replace("{", r"\{").replace("}", r"\}").replace("|", r"\|").replace("?", r"\?"),
    ):
        compile_template(text)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES), st.dictionaries(NAMES, st.text()))
def test_template_with_known_variables_always_renders(pieces: list[str], variables: dict[str, str]) -> None:
    template = compile_template("".join(pieces))

    assert template.render(variables) == template.render(lambda name: variables.get(name, ""))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="{}|.abservic ", max_size=20))
def test_any_text_compiles_or_is_explained(text: str) -> None:
    explained = False

    try:
        compile_template(text).render({})
    except ValueError as error:
        explained = bool(str(error))

    assert explained or compile_template(text).text == text


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_escaped_text_renders_as_itself(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")

    assert compile_template(escaped).render({}) == text
