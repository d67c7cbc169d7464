"""Whether the tracking server is there, asked without MLflow: its client retries in silence for minutes."""

from __future__ import annotations

import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from polystilts.errors import TrackerUnreachable


def check_tracker(uri: str, *, seconds: float = 3.0) -> None:
    """Asks the tracking server, or looks at the database's folder.

    Raises:
        TrackerUnreachable: no answer in time, or a database file that cannot be written.
    """
    parts = urllib.parse.urlsplit(uri)
    shown = f"{parts.scheme}://{parts.hostname}:{parts.port}" if parts.password else uri
    if parts.scheme in ("http", "https"):
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=seconds).close()
        except urllib.error.HTTPError:
            return  # it answers, if not on that path; credentials are MLflow's business
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise TrackerUnreachable(
                f"tracking server {shown} did not answer within {seconds:g} s: {reason}",
                param="MLFLOW_TRACKING_URI",
                limit=seconds,
                given=shown,
            ) from None
    elif parts.scheme == "sqlite":
        folder = Path(uri.removeprefix("sqlite:///") or ".").absolute().parent
        if not os.access(folder, os.W_OK):
            raise TrackerUnreachable(
                f"cannot write the tracking database in {folder}", param="MLFLOW_TRACKING_URI", given=shown
            )
