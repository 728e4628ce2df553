"""The machine's end of a lab: links that the kernel takes away on its own while `down` is at work."""

from collections.abc import Iterator

import pytest

from tortie.lab import underlay
from tortie.lab.state import LabError

ABSENT = "tt-lab-absent"


def _see(monkeypatch: pytest.MonkeyPatch, *answers: bool) -> None:
    seen: Iterator[bool] = iter(answers)
    monkeypatch.setattr(underlay, "_has_link", lambda _namespace, _link: next(seen))


def test_a_link_that_goes_while_it_is_being_removed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _see(monkeypatch, True, False)
    underlay.remove_link(ABSENT)


def test_a_link_that_stays_is_an_error_with_the_kernels_words(monkeypatch: pytest.MonkeyPatch) -> None:
    _see(monkeypatch, True, True)
    with pytest.raises(LabError, match="Cannot find device"):
        underlay.remove_link(ABSENT)
