"""What holds for every test: one core each, nothing phones home, and no test is skipped unseen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

for name in ("MLFLOW_DISABLE_TELEMETRY", "BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK", "HF_HUB_OFFLINE"):
    os.environ.setdefault(name, "1" if name == "HF_HUB_OFFLINE" else "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# The same examples in every run, however slow the machine is; `--hypothesis-profile default` tries others.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("repeatable")

#: The only reason for which CI accepts a skipped test.
EXPECTED_SKIP = "no real benchmark files"


@pytest.fixture(autouse=True)
def no_experiment_is_left_behind() -> Iterator[None]:
    """`mlflow.set_experiment` holds for the process: the next test, with a store of its own, has no such experiment."""
    before = os.environ.get("MLFLOW_EXPERIMENT_ID")
    yield
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    if before is not None:
        os.environ["MLFLOW_EXPERIMENT_ID"] = before
    if fluent := sys.modules.get("mlflow.tracking.fluent"):
        fluent._active_experiment_id = None  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    unexpected = [report for report in skipped if EXPECTED_SKIP not in str(report.longrepr)]
    if os.environ.get("CI") and unexpected:
        terminalreporter.section("skips that CI does not expect")
        for report in unexpected:
            terminalreporter.line(f"{report.nodeid}: {report.longrepr}")
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED  # type: ignore[attr-defined]
