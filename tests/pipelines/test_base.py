"""Where the encoder comes from: a folder, or the hub's cache with the network off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).resolve().parents[2]


def pretrain(base: str, tmp_path: Path, preset: Path) -> subprocess.CompletedProcess[str]:
    """Runs the entry point against a hub cache of one model."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }
    command = [sys.executable, "-m", "pipelines.pretrain", "--preset", str(preset), "--base", base]
    command += ["--output", str(tmp_path / "outputs")]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)


def test_a_hub_model_is_taken_from_the_cache_at_its_pinned_commit(tmp_path: Path, preset: Path, encoder: Path) -> None:
    snapshot = tmp_path / "cache/models--owner--name/snapshots" / COMMIT
    shutil.copytree(encoder, snapshot)
    result = pretrain(f"owner/name@{COMMIT}", tmp_path, preset)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.splitlines()[-1]) == snapshot

    missing = pretrain(f"owner/other@{COMMIT}", tmp_path, preset)
    assert missing.returncode == 1
    assert "cannot get owner/other from the hub, nor find it in the cache" in missing.stderr
    assert "Traceback" not in missing.stderr
