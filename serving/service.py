"""The BentoML service: supervision and packaging around the application.

``bentoml serve serving.service:Polystilts --host 127.0.0.1``
"""

from __future__ import annotations

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app import create_app
from serving.runtime import Runtime
from serving.settings import Settings

settings = Settings.from_environment()
app = create_app(settings=settings)


class Front:
    """Middleware that hands every request to our application.

    A mounted application (``@bentoml.asgi_app``) would leave ``/readyz``, ``/schema.json`` and every unknown
    path to BentoML, with its own bodies.
    """

    def __init__(self, bento: ASGIApp) -> None:
        self.bento = bento

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.bento if scope["type"] == "lifespan" else app)(scope, receive, send)


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
        self.runtime = Runtime.open(settings.models, threads=settings.threads, public_key=settings.public_key)
        app.state.runtime = self.runtime

    @bentoml.on_shutdown
    def close(self) -> None:
        self.runtime.close()


Polystilts.add_asgi_middleware(Front)  # type: ignore[attr-defined]  # the decorator made it a bentoml.Service
