"""The BentoML service: supervision and packaging around the application.

``bentoml serve serving.service:Polystilts --host 127.0.0.1``
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from types import FrameType

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import logs
from serving.app import create_app
from serving.metrics import Metrics
from serving.runtime import Runtime
from serving.settings import Settings
from serving.tracing import Tracing

settings = Settings.from_environment()
app = create_app(settings=settings)


class Front:
    """Middleware that hands every request to our application, past BentoML's layers.

    A mounted application (``@bentoml.asgi_app``) would leave ``/readyz``, ``/schema.json`` and every unknown path to
    BentoML, with its own bodies; and the layers around it cost a request more than ours does: spans that nobody
    collects, and a timer that lives as long as the longest timeout, for every request.
    """

    def __init__(self, bento: ASGIApp) -> None:
        self.bento = bento

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        # Starlette builds its layers with the first call, which is this one, and then calls what stands here.
        scope["app"].middleware_stack = self
        await self.bento(scope, receive, send)


@bentoml.service(
    name="polystilts",
    workers=1,  # one process a container: a lost one of several would not be noticed there
    traffic={"timeout": 3600},  # deadlines are ours
    metrics={"enabled": False},  # labelled by raw path, they grow without bound
    logging={"access": {"enabled": False}},
)
class Polystilts:
    """Opens the models when the worker starts, lets go of them when it stops."""

    def __init__(self) -> None:
        # Threads of the tokenizer's own would need longer to wake up than most texts take.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        # A thread that computes in Python hands the interpreter on after half a millisecond, not five.
        sys.setswitchinterval(0.0005)
        self.writing = logs.configure(settings.log_level)
        self.tracing = app.state.tracing = Tracing.from_environment()
        metrics: Metrics = app.state.metrics

        def on_swap(key: str, outcome: str, digest: str) -> None:
            metrics.swap(key, outcome)
            logs.audit(f"bundle {outcome}", model=key, digest=digest)

        self.runtime = Runtime.open(
            settings,
            on_swap=on_swap,
            on_batch=lambda engine, rows, needed, padded: metrics.batch(engine.name, rows, needed, padded),
        )
        app.state.runtime = self.runtime
        # What is imported and open by now stays: looking through it for garbage holds every request up for 0.1 s.
        gc.collect()
        gc.freeze()
        self.runtime.watch(settings.watch_seconds)
        drain_on_sigterm(self.runtime, settings.drain_seconds)

    @bentoml.on_shutdown
    def close(self) -> None:
        self.runtime.close()
        self.tracing.close()
        self.writing.close()


def drain_on_sigterm(runtime: Runtime, seconds: float) -> None:
    """SIGTERM ends readiness at once, and the server some seconds later.

    Load balancers need that time to send new requests elsewhere; the server's own handler then stops accepting,
    finishes what is being answered, and ends.
    """
    theirs = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        runtime.drain()
        signal.signal(signal.SIGTERM, theirs)  # a second one does not wait
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()

    if seconds and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, drain)


Polystilts.add_asgi_middleware(Front)  # type: ignore[attr-defined]  # the decorator made it a bentoml.Service
