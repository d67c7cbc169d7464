"""What holds for every test: one core each, nothing phones home, and no test is skipped unseen."""

from __future__ import annotations

import os

import pytest

for name in ("MLFLOW_DISABLE_TELEMETRY", "BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK", "HF_HUB_OFFLINE"):
    os.environ.setdefault(name, "1" if name == "HF_HUB_OFFLINE" else "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

#: The only reason for which CI accepts a skipped test.
EXPECTED_SKIP = "no real benchmark files"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    unexpected = [report for report in skipped if EXPECTED_SKIP not in str(report.longrepr)]
    if os.environ.get("CI") and unexpected:
        terminalreporter.section("skips that CI does not expect")
        for report in unexpected:
            terminalreporter.line(f"{report.nodeid}: {report.longrepr}")
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED  # type: ignore[attr-defined]
