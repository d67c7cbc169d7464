"""The files of deploy/ against what they speak of: images, manifests, proxies, alerts, dashboard, runbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.projects._project_spec import load_project

from deploy.kubernetes.write_project import project
from deploy.try_image import image_of, instructions
from pipelines.cli import parse
from pipelines.deliver import Deliver
from pipelines.serve import GRACE
from serving import keys
from serving.metrics import Metrics, error_codes
from serving.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = instructions((DEPLOY / "Dockerfile").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
NGINX = (DEPLOY / "nginx.conf").read_text()
ENVOY = yaml.safe_load((DEPLOY / "envoy.yaml").read_text())
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
ALERTS = [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
RUNBOOK = (ROOT / "docs/runbook.md").read_text()


def documents(name: str) -> dict[str, dict[str, Any]]:
    """The objects of a manifest by kind."""
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


def pods(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod specification inside a manifest."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for inner in value.values():
            yield from pods(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pods(inner)


def test_the_image_has_two_stages_and_no_compiler() -> None:
    stages = [value for name, value in DOCKERFILE if name == "FROM"]
    assert len(stages) == 2 and stages[0].endswith(" AS build")
    last = DOCKERFILE[max(i for i, (name, _) in enumerate(DOCKERFILE) if name == "FROM") :]
    # Nothing is run in the stage that is shipped, so nothing is installed there.
    assert not [value for name, value in last if name == "RUN"]
    assert [value for name, value in last if name == "COPY"] == ["--from=build --chown=0:0 /srv /srv"]
    runs = " ".join(value for name, value in DOCKERFILE if name == "RUN")
    assert "--require-hashes" in runs and "--only-binary :all:" in runs and "apt" not in runs
    assert all(name == name.upper() for name, _ in DOCKERFILE)


def test_the_cuda_lock_differs_in_the_runtime_alone() -> None:
    def pins(name: str, form: str) -> set[str]:
        return set(re.findall(form, (ROOT / "serving" / name).read_text(), re.MULTILINE))

    for kind, form in (("txt", r"^[a-z0-9-]+==\S+$"), ("lock", r"^[a-z0-9-]+==[^ \\]+")):
        ours, cuda = pins(f"requirements.{kind}", form), pins(f"requirements-gpu.{kind}", form)
        assert {pin.split("==")[0] for pin in ours ^ cuda} == {"onnxruntime", "onnxruntime-gpu"}
        assert {pin.split("==")[0] for pin in cuda - ours} == {"onnxruntime-gpu"}


def test_the_image_is_run_by_nobody_and_writes_to_tmp_alone() -> None:
    image = image_of(DOCKERFILE)
    assert image.user == (10001, 10001)
    assert {image.environment[name] for name in ("HOME", "TMPDIR")} == {"/tmp"}
    assert image.environment["BENTOML_HOME"].startswith("/tmp/")
    # One malloc arena a thread would cost memory; a killed worker must end the container; nothing phones home.
    assert image.environment["MALLOC_ARENA_MAX"] == "2"
    assert image.environment["BENTOML_CONTAINERIZED"] == "True"
    assert image.environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert image.environment["FORWARDED_ALLOW_IPS"] == ""  # uvicorn would believe whoever is on loopback
    assert list(image.command[:3]) == ["bentoml", "serve", "serving.service:Polystilts"]
    assert image.command[image.command.index("--timeout-graceful-shutdown") + 1] == str(GRACE)
    assert "/livez" in image.health[-1]
    port = int(image.command[image.command.index("--port") + 1])
    assert port > 1023 and ("EXPOSE", str(port)) in DOCKERFILE and f":{port}/" in image.health[-1]


def test_the_parser_of_dockerfiles() -> None:
    text = "# one\nARG A=1\nFROM x:${A} AS build\nRUN a \\\n    b\nFROM y\nENV A=b \\\n  C='d e'\nUSER 7\n"
    assert instructions(text, {"A": "2"})[1] == ("FROM", "x:2 AS build")
    assert ("RUN", "a b") in instructions(text)
    image = image_of(instructions(text))
    assert image.environment == {"A": "b", "C": "d e"} and image.user == (7, 7)


def test_the_job_image_copies_what_is_there() -> None:
    found = instructions((DEPLOY / "jobs.Dockerfile").read_text())
    copied = [word for name, value in found if name == "COPY" and "--from" not in value for word in value.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied if not word.startswith("--"))
    assert image_of(found).user == (10001, 10001)
    mlflow = next(value for _, value in found if "mlflow[auth]" in value)
    assert re.search(r"^mlflow==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[1] in mlflow  # type: ignore[index]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_container_is_hardened(path: Path) -> None:
    found = [pod for one in yaml.safe_load_all(path.read_text()) for pod in pods(one)]
    assert found
    for pod in found:
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
            assert context["runAsNonRoot"] is True and context["runAsUser"] == 10001
            assert container["resources"]["requests"] and "memory" in container["resources"]["limits"]
            if path.name == "job.yaml":
                continue  # a training writes where it likes
            assert context["readOnlyRootFilesystem"] is True and context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            assert mounts["/tmp"]["emptyDir"]["medium"] == "Memory"


def test_the_deployment_drains_and_is_probed() -> None:
    found = documents("serving.yaml")
    pod = found["Deployment"]["spec"]["template"]["spec"]
    server = pod["containers"][0]
    pause = int(server["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = Settings.model_fields["drain_seconds"].default
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + GRACE
    assert server["readinessProbe"]["httpGet"]["path"] == server["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert server["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert found["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    scaled = found["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert scaled == "polystilts_queue_ms" and scaled in metric_labels()
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == server["ports"][0]["name"]


def test_every_deliverer_is_called_with_options_it_has() -> None:
    commands = [COMPOSE["services"]["deliver"]["command"]]
    commands += [list(image_of(instructions((DEPLOY / "jobs.Dockerfile").read_text())).command)]
    for path in MANIFESTS:
        for one in yaml.safe_load_all(path.read_text()):
            for pod in pods(one):
                containers = [*pod.get("initContainers", ()), *pod["containers"]]
                commands += [c["command"] for c in containers if c["name"] == "deliver"]
    assert len(commands) == 4
    for command in commands:
        assert command[:3] == ["python", "-m", "pipelines.deliver"]
        assert parse(Deliver, command[3:], program="deliver").models == "/models"


def test_the_project_for_kubernetes_has_the_entry_points_of_the_main_one() -> None:
    main = (ROOT / "MLproject").read_text()
    ours = DEPLOY / "kubernetes/MLproject"
    assert ours.read_text() == project(main), "run: python deploy/kubernetes/write_project.py"
    loaded = load_project(str(ours.parent))
    assert loaded.docker_env["image"]
    assert set(loaded._entry_points) == set(yaml.safe_load(main)["entry_points"])
    backend = json.loads((DEPLOY / "kubernetes/backend.json").read_text())
    template = yaml.safe_load((ROOT / backend["kube-job-template-path"]).read_text())
    assert template["kind"] == "Job" and template["metadata"]["namespace"]


def test_compose_is_closed_to_the_outside() -> None:
    services = COMPOSE["services"]
    for name in ("server", "deliver", "mlflow"):
        assert services[name]["read_only"] and services[name]["tmpfs"] == ["/tmp"], name
        assert services[name]["cap_drop"] == ["ALL"] and services[name]["user"] == "10001:10001"
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert services["server"]["volumes"] == services["deliver"]["volumes"] == ["models:/models"]
    assert (
        int(services["server"]["stop_grace_period"].rstrip("s"))
        > Settings.model_fields["drain_seconds"].default + GRACE
    )
    used = {config["source"] for service in services.values() for config in service.get("configs", ())}
    assert used == set(COMPOSE["configs"])
    assert all((DEPLOY / config["file"]).is_file() for config in COMPOSE["configs"].values() if "file" in config)
    assert set(COMPOSE["volumes"]) == {"models", "mlflow", "prometheus"}
    # The name by which Prometheus asks is one that the server listens to.
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]
    host = scraped["static_configs"][0]["targets"][0].split(":")[0]
    assert host in Settings.from_environment(services["server"]["environment"]).hosts
    assert scraped["job_name"] == "polystilts"


def test_compose_starts_mlflow_for_a_team() -> None:
    options = dict(word.lstrip("-").partition("=")[::2] for word in COMPOSE["services"]["mlflow"]["command"][2:])
    tracker = COMPOSE["services"]["deliver"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert tracker in options["allowed-hosts"].split(",")
    assert options["cors-allowed-origins"] and options["app-name"] == "basic-auth" and "serve-artifacts" in options


def test_settings_that_are_named_exist() -> None:
    names = {f"POLYSTILTS_{name.upper()}" for name in Settings.model_fields}
    files = [*DEPLOY.rglob("*"), ROOT / "docs/runbook.md", ROOT / "docs/upgrade.md"]
    named = {
        (path.name, name)
        for path in files
        if path.is_file() and path.suffix != ".pyc"
        for name in re.findall(r"POLYSTILTS_[A-Z_]+", path.read_text())
    }
    assert named and {name for _, name in named} <= names, {one for one in named if one[1] not in names}


def test_proxies_have_the_limits_of_the_server() -> None:
    fields = Settings.model_fields
    sizes = {"1m": 1 << 20, "8m": 8 << 20}
    found = [sizes[size] for size in re.findall(r"client_max_body_size (\w+);", NGINX)]
    assert found == [fields["body_bytes"].default, fields["align_body_bytes"].default]
    http = ENVOY["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert http["http_filters"][0]["typed_config"]["max_request_bytes"] == fields["body_bytes"].default
    routes = http["route_config"]["virtual_hosts"][0]["routes"]
    align = next(route for route in routes if route["match"] == {"path": "/v1/align"})
    buffer = align["typed_per_filter_config"]["envoy.filters.http.buffer"]["buffer"]
    assert buffer["max_request_bytes"] == fields["align_body_bytes"].default
    longest = fields["longest_timeout_ms"].default / 1000
    assert int(re.search(r"proxy_read_timeout (\d+)s", NGINX)[1]) > longest  # type: ignore[index]
    assert all(float(r["route"]["timeout"].rstrip("s")) > longest for r in routes if "route" in r)
    for directive in ("client_header_timeout", "client_body_timeout", "proxy_buffering off", "proxy_set_header Host"):
        assert directive in NGINX
    assert {"request_headers_timeout", "request_timeout", "stream_idle_timeout"} <= http.keys()
    # What is for the operator is reached past the proxy.
    for path in ("/metrics", "/v1/refresh"):
        assert f"location = {path} " in NGINX
        assert next(r for r in routes if r["match"] == {"path": path})["direct_response"]["status"] == 404


def test_clients_behind_a_proxy_are_told_apart() -> None:
    environment = COMPOSE["services"]["server"]["environment"]
    assert [environment["FORWARDED_ALLOW_IPS"]] == [
        c["gateway"] for c in COMPOSE["networks"]["default"]["ipam"]["config"]
    ]
    # Each proxy says itself who the client is, whatever the client says.
    assert re.findall(r"proxy_set_header X-Forwarded-For (.+);", NGINX) == ["$remote_addr"]
    http = ENVOY["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert http["use_remote_address"]
    for pod in (pod for path in MANIFESTS for pod in pods(list(yaml.safe_load_all(path.read_text())))):
        for container in pod["containers"]:
            names = {entry["name"]: entry.get("value") for entry in container.get("env", ())}
            if "POLYSTILTS_HOSTS" in names:
                assert "POLYSTILTS_KEYS" in names or names["FORWARDED_ALLOW_IPS"]


def metric_labels() -> dict[str, set[str]]:
    """Labels by the name of every series of the server."""
    metrics = Metrics(routes=[], queue_ms=float, lanes_busy=float, models=list, memory=lambda: {"pss": 1.0})
    found: dict[str, set[str]] = {}
    for collector in list(metrics.registry._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            labels_of = labels | set(getattr(family, "_labelnames", ()))
            names = {
                "counter": [f"{family.name}_total"],
                "histogram": [f"{family.name}_{end}" for end in ("bucket", "sum", "count")],
                "gauge": [family.name],
            }[family.type]
            for name in names:
                found[name] = labels_of | ({"le"} if name.endswith("_bucket") else set())
    return found


def expressions() -> dict[str, str]:
    """What is asked of Prometheus, by where."""
    found = {rule["alert"]: rule["expr"] for rule in ALERTS}
    board = json.loads((DEPLOY / "grafana.json").read_text())
    for panel in board["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    found |= {f"variable {v['name']}": v["query"] for v in board["templating"]["list"] if v["type"] == "query"}
    found |= {f"annotation {a['name']}": a["expr"] for a in board["annotations"]["list"]}
    return found


def test_the_names_of_metrics_are_those_of_the_server() -> None:
    labels = metric_labels()
    assert keys.Unauthorised.code in error_codes()  # the codes are those of what is imported
    assert {"polystilts_requests_total", "polystilts_models", "polystilts_request_seconds_bucket"} <= labels.keys()
    used = set()
    for where, text in expressions().items():
        for name, selector in re.findall(r"(polystilts_[a-z_]+)(?:\{([^}]*)\})?", text):
            assert name in labels, f"{where}: no metric {name}"
            used.add(name)
            for label in re.findall(r"(\w+)(?==|!=|=~|!~)", re.sub(r'"[^"]*"', "", selector)):
                assert label in labels[name] | {"instance", "job"}, f"{where}: {name} has no label {label}"
        for code in re.findall(r'code="(\w+)"', text):
            assert code in error_codes(), f"{where}: no error {code}"
    # Nothing is measured that nobody looks at.
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in labels}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} == families


def test_every_alert_has_its_page_in_the_runbook() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names) > 8
    assert re.findall(r"^## (Polystilts\w+)$", RUNBOOK, re.MULTILINE) == names
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket") and rule["for"] and rule["annotations"]["summary"]


def test_the_dashboard_has_no_panel_over_another() -> None:
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
