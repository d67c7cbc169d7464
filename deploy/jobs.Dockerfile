# Everything but the server: training, `deliver` beside a server, and the MLflow server of deploy/compose.yaml.
# The build context is this project:
#
#   docker build --file deploy/jobs.Dockerfile --tag polystilts-jobs .
#
# Pin the base by its digest as in deploy/Dockerfile.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY requirements.lock /srv/requirements.lock
# One of the packages (seqeval) comes as source; it is plain Python.
RUN python -m venv /srv/venv
RUN /srv/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --use-pep517 --requirement /srv/requirements.lock
# What `mlflow server --app-name basic-auth` asks for.
RUN /srv/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check "mlflow[auth]==3.17.2"

FROM ${PYTHON_IMAGE}
# `mlflow run` asks git for the commit of a project.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY --from=build --chown=0:0 /srv/venv /srv/venv
COPY --chown=0:0 MLproject conda.yaml /srv/project/
COPY --chown=0:0 polystilts /srv/project/polystilts
COPY --chown=0:0 pipelines /srv/project/pipelines
COPY --chown=0:0 serving /srv/project/serving
COPY --chown=0:0 presets /srv/project/presets
# A named volume takes the owner of the folder that it is mounted over.
RUN install --directory --owner 10001 --group 10001 /models /mlflow /outputs
# The project is importable from wherever a job is started: MLflow's Kubernetes backend has a folder of its own.
ENV PATH=/srv/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/srv/project \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    TMPDIR=/tmp \
    MLFLOW_DISABLE_TELEMETRY=true \
    BENTOML_DO_NOT_TRACK=True \
    DO_NOT_TRACK=true
WORKDIR /srv/project
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["python", "-m", "pipelines.deliver", "--models", "/models", "--watch", "30"]
