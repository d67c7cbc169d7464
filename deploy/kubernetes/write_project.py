"""Writes the MLproject of this folder from the main one: ``python deploy/kubernetes/write_project.py``.

MLflow's Kubernetes backend runs projects with a `docker_env` only, and refuses one that has a `conda_env` beside it.
"""

from __future__ import annotations

from pathlib import Path

HEAD = """\
# Written by write_project.py from the main MLproject: the same entry points in an image that holds the code.
#   mlflow run deploy/kubernetes --backend kubernetes --backend-config deploy/kubernetes/backend.json -P output=/outputs
# MLflow builds an image over this one on the machine where the command is given, and pushes it to `repository-uri`.
name: polystilts
docker_env:
  image: registry.example.org/polystilts-jobs:latest
  environment: [[MLFLOW_DISABLE_TELEMETRY, "true"], [DO_NOT_TRACK, "true"]]
"""


def project(main: str) -> str:
    """The text of this folder's MLproject.

    Args:
        main: the text of the main one.
    """
    return HEAD + main[main.index("\nentry_points:") :]


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    (here / "MLproject").write_text(project((here.parents[1] / "MLproject").read_text("utf-8")), encoding="utf-8")
