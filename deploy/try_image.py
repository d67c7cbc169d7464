"""Runs what `deploy/Dockerfile` says where there is no container engine: ``python -m deploy.try_image``.

A bento of tiny models is built, and the Dockerfile's instructions are followed in a private mount namespace: this
machine's files stand for the base image, read-only, with this Python as /usr/local; /srv is the image's, built by the
RUN lines with the registry's wheels. The start command then runs as the image's user, with everything read-only but a
tmpfs at /tmp and without a network, and must become ready, be healthy, answer, refuse to be changed, and end with
status 0 after SIGTERM. Needs root and Linux; what it cannot show is the base image itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "deploy/Dockerfile"

#: Where the image's own files are; every Debian has the folder.
OWN = "/srv"

READY_SECONDS = 60.0
#: Drain, what is being answered then, and a little.
END_SECONDS = 40.0


@dataclass
class Image:
    """What the last stage of a Dockerfile leaves to the container engine.

    Attributes:
        environment: of ENV.
        user: number of user and group.
        command, health: in exec form.
    """

    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: tuple[int, int] = (0, 0)
    command: Sequence[str] = ()
    health: Sequence[str] = ()


def instructions(text: str, arguments: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, continued lines joined and ``${NAME}`` of ARG replaced.

    Args:
        arguments: as ``--build-arg``.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    known = dict(arguments or {})
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, value = line.partition(" ")
        if name == "ARG":
            key, _, default = value.partition("=")
            known.setdefault(key, default)
        for key, default in known.items():
            value = value.replace("${" + key + "}", default)
        found.append((name, value.strip()))
    return found


def image_of(found: Sequence[tuple[str, str]]) -> Image:
    """What the last stage says of the running container."""
    last = max(number for number, (name, _) in enumerate(found) if name == "FROM")
    image = Image()
    for name, value in found[last + 1 :]:
        if name == "ENV":
            image.environment |= dict(pair.split("=", 1) for pair in shlex.split(value))
        elif name == "WORKDIR":
            image.workdir = value
        elif name == "USER":
            user, _, group = value.partition(":")
            image.user = (int(user), int(group or user))
        elif name == "CMD":
            image.command = json.loads(value)
        elif name == "HEALTHCHECK":
            image.health = json.loads(value.partition("CMD ")[2])
    return image


def mount(scratch: Path, *, writable: bool) -> Path:
    """Mounts the image's file system in this process's own namespace; returns its root."""
    root, own = scratch / "root", scratch / "srv"
    root.mkdir(exist_ok=True)
    own.mkdir(exist_ok=True)
    binds = [("/", root), ("/proc", root / "proc"), ("/dev", root / "dev")]
    prefix = Path(sys.base_prefix).resolve()
    if not prefix.is_relative_to("/usr"):
        binds.append((str(prefix), root / "usr/local"))  # where the base image has its Python
    for source, place in [*binds, (str(own), root / OWN.strip("/"))]:
        _run(["mount", "--bind", source, str(place)])
        if writable and source == str(own):
            continue
        if source not in ("/proc", "/dev"):
            _run(["mount", "-o", "remount,bind,ro", str(place)])
    _run(["mount", "-t", "tmpfs", "-o", "mode=1777,nosuid,nodev", "tmpfs", str(root / "tmp")])
    return root


def within(root: Path, command: Sequence[str], workdir: str, user: tuple[int, int] = (0, 0)) -> list[str]:
    """The command line that runs a command in the image as its user, without privileges to gain."""
    # By its path: it is looked up with the image's PATH otherwise.
    enter = [
        shutil.which("chroot") or "/usr/sbin/chroot",
        str(root),
        "setpriv",
        f"--reuid={user[0]}",
        f"--regid={user[1]}",
        "--clear-groups",
    ]
    if user != (0, 0):
        enter += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return [*enter, "sh", "-c", f'cd {shlex.quote(workdir)} && exec "$@"', "sh", *command]


def build(scratch: Path, context: Path) -> None:
    """Follows COPY and RUN of every stage."""
    root = mount(scratch, writable=True)
    # A machine's own way to its package registry, as a container engine is configured with one.
    passed = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP"))}
    environment = {**passed, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "TMPDIR": "/tmp"}
    for name, value in instructions(DOCKERFILE.read_text("utf-8")):
        if name == "RUN":
            print(f"RUN {value}", flush=True)
            _run(within(root, ["sh", "-c", value], "/"), env=environment)
        elif name == "COPY" and "--from=" not in value:
            *sources, target = [word for word in value.split() if not word.startswith("--")]
            place = scratch / "srv" / Path(target).relative_to(OWN)
            for source in (context / name for name in sources):
                if source.is_dir():
                    shutil.copytree(source, place, dirs_exist_ok=True)
                else:
                    shutil.copyfile(source, place)


def serve(scratch: Path) -> None:
    """Runs the start command as the image does, asks it, and ends it."""
    _run(["ip", "link", "set", "lo", "up"])
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=2)  # RFC 5737: nobody's
    except OSError as error:
        print(f"network: {error.strerror}")
    else:
        raise SystemExit("the network is not cut")
    root = mount(scratch, writable=False)
    image = image_of(instructions(DOCKERFILE.read_text("utf-8")))
    theirs = [path for path in (scratch / "srv").rglob("*") if _changeable(path)]
    if theirs:
        raise SystemExit(f"not owned by root, or writable by others: {theirs[:5]}")
    for place in ("/srv/app/x", "/srv/venv/x", "/etc/x"):
        touched = subprocess.run(within(root, ["touch", place], "/"), capture_output=True, text=True)
        if "Read-only file system" not in touched.stderr:
            raise SystemExit(f"{place} can be written: {touched.stderr}")
    print("file system: read-only, owned by root")
    # This machine's Python may look for its library where the image's user may not go; it is under /usr/local too.
    environment = {**image.environment, "LD_LIBRARY_PATH": "/usr/local/lib"}
    log = scratch / "server.log"
    started = time.monotonic()
    with log.open("wb") as output:
        server = subprocess.Popen(
            within(root, image.command, image.workdir, image.user), env=environment, stdout=output, stderr=output
        )
    try:
        while not _answers("http://127.0.0.1:3000/readyz"):
            if server.poll() is not None or time.monotonic() - started > READY_SECONDS:
                raise SystemExit(f"not ready; its last words:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        print(f"ready after {time.monotonic() - started:.1f} s")
        users = set(Path(f"/proc/{server.pid}/status").read_text().split("Uid:")[1].split("\n")[0].split())
        if users != {str(image.user[0])}:
            raise SystemExit(f"it runs as {users}")
        subprocess.run(within(root, image.health, image.workdir, image.user), env=environment, check=True, timeout=10)
        print("healthy")
        body = json.dumps({"premise": "The cat sleeps.", "hypothesis": "猫在睡觉。"}).encode()
        request = urllib.request.Request(
            "http://127.0.0.1:3000/v1/nli", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            print(f"answer: {json.load(answer)['result']['label']}")
        server.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        status = server.wait(END_SECONDS)
        print(f"ended {time.monotonic() - asked:.1f} s after SIGTERM with status {status}")
        if status != 0:
            raise SystemExit(f"status {status}; its last words:\n{log.read_text()[-3000:]}")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def _changeable(path: Path) -> bool:
    found = path.lstat()
    return found.st_uid != 0 or (not path.is_symlink() and bool(found.st_mode & 0o022))


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, env=env, check=True)


def main() -> None:
    if sys.argv[1:2] == ["build"]:
        return build(Path(sys.argv[2]), Path(sys.argv[3]))
    if sys.argv[1:2] == ["serve"]:
        return serve(Path(sys.argv[2]))
    if os.getuid() != 0 or not shutil.which("unshare"):
        raise SystemExit("namespaces of its own need root on Linux")
    from pipelines.package import build_bento
    from tests.world.bundles import tiny_models

    with tempfile.TemporaryDirectory(prefix="polystilts-image-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)  # for the image's user
        tag = build_bento(tiny_models(scratch / "world", ["xnli"]), output=scratch / "store")
        context = scratch / "store/bentos" / tag.replace(":", "/")
        namespace = ["unshare", "--mount", "--propagation", "private"]
        own = [sys.executable, "-m", "deploy.try_image"]
        subprocess.run([*namespace, *own, "build", folder, str(context)], cwd=ROOT, check=True)
        subprocess.run([*namespace, "--net", *own, "serve", folder], cwd=ROOT, check=True)
    print(f"{tag}: the image's steps work")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None
