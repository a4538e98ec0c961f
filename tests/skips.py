"""The rule for skips: where every tool is installed, a skip is a test that nobody runs, and fails.

MAY_SKIP names the file of those that may skip all the same: one test id per line, its reason behind a #. Without it, on
a laptop, tests skip freely and say which tool they miss.
"""

import os
from collections.abc import Generator
from pathlib import Path

import pytest


def _may_skip(nodeid: str) -> bool:
    path = os.environ.get("MAY_SKIP")
    if path is None:
        return True
    return nodeid in {line.partition("#")[0].strip() for line in Path(path).read_text().splitlines()}


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and not _may_skip(report.nodeid):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = (
            f"{reason}\nNo test may skip here. Install what it misses, or list {report.nodeid} with a reason."
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report
