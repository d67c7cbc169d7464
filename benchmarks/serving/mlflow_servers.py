"""What MLflow makes of the same weights: `mlflow models serve` of the transformers flavour and of our own pyfunc."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import httpx

from benchmarks.serving.inputs import Texts, Work
from polystilts.errors import PolystiltsError
from polystilts.runtime.folders import read_json, write_json

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class ReferenceFailed(PolystiltsError):
    """A server that we compare with did not start."""

    code = "reference_failed"


def flavours(work: Work) -> dict[str, str]:
    """URIs of the two models, logged once into a store in the work folder."""
    place = work.folder / "mlflow.json"
    if not place.is_file():
        code = "import sys; from benchmarks.serving.mlflow_servers import log_both; log_both(*sys.argv[1:])"
        environment = {**os.environ, **QUIET, "MLFLOW_TRACKING_URI": f"sqlite:///{work.folder / 'mlflow.db'}"}
        arguments = [str(work.checkpoint), str(work.bundle().folder), str(place), (work.folder / "mlruns").as_uri()]
        subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=True)
    return dict(read_json(place))


def log_both(checkpoint: str, bundle: str, place: str, artifacts: str) -> None:
    """Logs both into the store that MLFLOW_TRACKING_URI names and writes their URIs to `place`."""
    import mlflow
    from mlflow.tracking import MlflowClient
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from polystilts.runtime.bundle import open_bundle
    from polystilts.tracking.pyfunc import log_pyfunc

    MlflowClient().create_experiment("benchmark", artifact_location=artifacts)
    mlflow.set_experiment("benchmark")
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    classifier = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(checkpoint))
    packages = [f"{name}=={version(name)}" for name in ("transformers", "torch", "accelerate")]
    theirs = mlflow.transformers.log_model(classifier, name="transformers", pip_requirements=packages)
    ours = log_pyfunc(open_bundle(Path(bundle)))
    write_json(Path(place), {"transformers": theirs.model_uri, "pyfunc": ours.model_uri})


def bodies(flavour: str, texts: Texts) -> list[bytes]:
    """Requests to ``/invocations``: the two texts as one for the pipeline, as columns for the pyfunc."""
    if flavour == "transformers":
        values: Sequence[object] = [{"inputs": [" ".join(pair)]} for pair in texts.pairs]
    else:
        values = [{"dataframe_records": [{"premise": first, "hypothesis": second}]} for first, second in texts.pairs]
    return [json.dumps(value, ensure_ascii=False).encode() for value in values]


@contextlib.contextmanager
def model_server(work: Work, flavour: str, *, seconds: float = 180.0) -> Iterator[tuple[str, int]]:
    """`mlflow models serve` with its defaults until the block ends; gives the URL that answers, and its process.

    Raises:
        ReferenceFailed: it ended or was not ready in time; with its last words.
    """
    uri = flavours(work)[flavour]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **QUIET, "MLFLOW_TRACKING_URI": f"sqlite:///{work.folder / 'mlflow.db'}"}
    # It calls uvicorn by its name, as in an activated environment.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    log = work.folder / f"mlflow-{flavour}.log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=work.folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + seconds
        while not _answers(f"{url}/ping"):
            if process.poll() is not None or time.monotonic() > until:
                words = log.read_text(encoding="utf-8", errors="replace")[-1500:]
                raise ReferenceFailed(f"`mlflow models serve` of {flavour} does not answer:\n{words}")
            time.sleep(0.2)
        yield f"{url}/invocations", process.pid
    finally:
        # Its worker is in its process group, which is its own.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
