"""A picture that is made while a run goes on is the one that its log makes."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from scenarios.logbook.reader import LogReader
from scenarios.logbook.writer import LogWriter
from scenarios.report.picture import Picture
from scenarios.report.window import Wanted
from scenarios.report.writer import FORMATS, Report, Several, picture_of, rendered
from scenarios.runner import run
from tests.scenarios.logbook.runs import plans


@pytest.mark.parametrize("name", ["holds", "violation", "deadlock", "budget"])
@pytest.mark.parametrize("most", [100, 15_000])
def test_the_run_and_its_log_make_the_same_picture(
    name: str, most: int, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    report = Report(Wanted(most=most))
    both = Several((LogWriter(path), report))
    result = run(plans()[name], log=cast("LogWriter", both))
    picture = report.picture()
    from_log = picture_of(LogReader(path), Wanted(most=most))
    assert rendered(picture, "html") == rendered(from_log, "html")
    assert picture.verdict == result.judgement.verdict.value
    assert [flag.step for flag in picture.flags] == [
        violation.step for violation in result.judgement.violations
    ]
    check_shape(picture)


def check_shape(picture: Picture) -> None:
    """What is true of every picture."""
    rows: dict[tuple[int, int], int] = {}
    for span in picture.spans:
        assert span.row < picture.lanes[span.lane].rows
        assert span.end is None or span.start <= span.end
        assert rows.get((span.lane, span.row), 0) <= span.seq
        rows[span.lane, span.row] = span.end_seq or 1 << 60
    for arrow in picture.arrows:
        section = picture.spans[arrow.section]
        period = picture.spans[arrow.grace_period]
        assert (section.kind, period.kind) == ("section", "grace-period")
        assert period.start <= (section.end or picture.last)
    for name in FORMATS:
        assert rendered(picture, name)
