"""When a file that is not there counts as gone."""

from meshbridge.adapters.inventory.presence import Presence, Verdict

A, B = "/vms/a.csv", "/vms/b.csv"


def test_a_missing_file_counts_as_gone_only_after_the_settle_time() -> None:
    presence = Presence(1.0, allow_empty=False)

    assert presence.judge({"/vms": [A]}, [A, B], now=10.0) == Verdict(again_in=1.0)
    assert presence.judge({"/vms": [A]}, [A, B], now=10.5) == Verdict(again_in=0.5)
    assert presence.judge({"/vms": [A]}, [A, B], now=11.0) == Verdict(gone=(B,))


def test_a_file_that_returns_starts_anew() -> None:
    presence = Presence(1.0, allow_empty=False)
    presence.judge({"/vms": [A]}, [A, B], now=10.0)
    presence.judge({"/vms": [A, B]}, [A, B], now=10.9)

    assert presence.judge({"/vms": [A]}, [A, B], now=11.5) == Verdict(again_in=1.0)


def test_a_pattern_that_finds_nothing_any_more_keeps_its_files() -> None:
    presence = Presence(0.0, allow_empty=False)

    assert presence.judge({"/vms": []}, [A, B], now=1.0) == Verdict(silent=("/vms",))


def test_a_file_that_another_pattern_names_too_needs_both_to_be_silent() -> None:
    presence = Presence(0.0, allow_empty=False)

    assert presence.judge({"/vms": [B], A: []}, [A, B], now=1.0) == Verdict(gone=(A,))


def test_allow_empty_takes_silence_for_deletion() -> None:
    presence = Presence(0.0, allow_empty=True)

    assert presence.judge({"/vms": []}, [A], now=1.0) == Verdict(gone=(A,))


def test_a_file_no_pattern_names_is_gone() -> None:
    assert Presence(0.0, allow_empty=False).judge({"/other": []}, [A], now=1.0) == Verdict(gone=(A,))
