"""What makes a document as a whole unusable, and how its format is found."""

import pytest

from meshbridge.adapters.inventory.documents import Failure
from meshbridge.adapters.inventory.formats import checks, detect
from meshbridge.adapters.inventory.formats.options import FormatOptions
from meshbridge.adapters.inventory.formats.record import Format
from meshbridge.schemas.errors import PayloadError


@pytest.mark.parametrize(
    ("content", "wanted", "message"),
    [
        ('service,"address,port', Format.CSV, "a.txt:1: not a CSV line"),
        ("service,address,port,port", Format.CSV, "a.txt:1: the header has a column twice"),
        ("just a text", Format.CSV, "a.txt:1: the header lacks service, address, port"),
        ("just a text", Format.MESHBRIDGE, "a.txt: a mapping with `services` is needed"),
        ("services: text", Format.MESHBRIDGE, "a.txt:1: `services` must be a list"),
        ("targets: []", Format.FILE_SD, "a.txt: a list of target groups is needed"),
        ("just a text", Format.AUTO, "a.txt: none of the known formats"),
        ("[a, b]", Format.AUTO, "a.txt: none of the known formats"),
    ],
)
def test_a_document_that_is_refused(content, wanted, message) -> None:
    with pytest.raises(PayloadError, match=message):
        detect.parse(content.encode(), "a.txt", FormatOptions(), wanted)


@pytest.mark.parametrize(
    "wanted", [Format.AUTO, Format.ISTIO, Format.MESHBRIDGE, Format.FILE_SD, Format.ANSIBLE]
)
@pytest.mark.parametrize("content", ["empty: true", '{"empty": true, "services": []}'])
def test_the_empty_marker_is_understood_in_every_format(content, wanted) -> None:
    assert detect.parse(content.encode(), "a", FormatOptions(), wanted).is_meant_empty


@pytest.mark.parametrize(
    "content", ["", "# nothing", "---\n", "[]", "services: []", "services:", "empty: false"]
)
def test_emptiness_without_the_marker_is_not_meant(content) -> None:
    found = detect.parse(
        content.encode(), "a.yaml", FormatOptions(), Format.AUTO if content else Format.MESHBRIDGE
    )

    assert not found.has_content
    assert not found.is_meant_empty


def test_a_marker_beside_services_does_not_count() -> None:
    text = "empty: true\nservices: [{name: a, port: 80, instances: [{address: 192.0.2.1}]}]"

    found = detect.parse(text.encode(), "a.yaml", FormatOptions())

    assert len(found.records) == 1
    assert not found.is_meant_empty


@pytest.mark.parametrize("text", ["x" * 254, "a\nb"])
def test_names_are_short_and_printable(text) -> None:
    with pytest.raises(checks.Refused):
        checks.word(text, "zone")


def test_messages_show_a_bounded_part_of_what_was_written() -> None:
    assert len(checks.shown("x" * 1000)) == 80


def test_a_failure_shows_its_reason() -> None:
    assert repr(Failure("http", "HTTP status 500")) == "Failure('http', 'HTTP status 500')"
