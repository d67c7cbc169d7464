"""One thin module per MLproject entry point: parse, check, one call."""

import os

# Nothing phones home unless a user turns it on again (docs/architecture.md).
for _name in ("MLFLOW_DISABLE_TELEMETRY", "BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK"):
    os.environ.setdefault(_name, "true")

# MLflow's own bars and notes would drown what the job says.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
