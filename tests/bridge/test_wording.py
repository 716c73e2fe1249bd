from meshbridge.bridge.wording import did_you_mean, listing


def test_close_word_is_suggested_whatever_its_case() -> None:
    assert did_you_mean("SORUCES", ["sources", "rules"]) == '; did you mean "sources"?'
    assert did_you_mean("static", ["STATIC", "DNS"]) == '; did you mean "STATIC"?'


def test_nothing_is_suggested_when_nothing_is_close() -> None:
    assert did_you_mean("x", ["sources", "rules"]) == ""


def test_listing_is_sorted() -> None:
    assert listing({"b", "a"}) == "a, b"
