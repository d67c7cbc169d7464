"""The page at ``/``: what the server answers, and a curl line for each."""

from __future__ import annotations

import json
import shlex
from collections.abc import Set
from html import escape

from serving.endpoints import ENDPOINTS
from serving.examples import EXAMPLES

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Polystilts</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin: 2rem 0 0; font-size: 1.1rem }
p { margin: .2rem 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
pre { padding: .7rem 1rem; border: 1px solid #8886; border-radius: .4rem }
.none { opacity: .6 }
</style>
<h1>Polystilts</h1>
<p>Multilingual inference over HTTP.
<a href="v1/models">Models</a> · <a href="openapi.json">OpenAPI</a> · <a href="readyz">Readiness</a></p>
<p>Several items at once: <code>{"items": [&hellip;]}</code>. Offsets are code points.</p>
"""


def page(base_url: str, answered: Set[str]) -> str:
    """The page as HTML.

    Args:
        base_url: by which the client reached the server.
        answered: names of the endpoints that have a model.
    """
    parts = [_HEAD]
    for endpoint in ENDPOINTS:
        there = endpoint.name in answered
        note = "" if there else f" (no model; train the target {escape(endpoint.targets[0])})"
        parts.append(f"<section{'' if there else ' class=none'}><h2>POST {endpoint.path}</h2>")
        parts.append(f"<p>{escape(endpoint.summary)}{note}</p>")
        language, example = list(EXAMPLES[endpoint.name].items())[-1]
        body = shlex.quote(json.dumps(example, ensure_ascii=False))
        address = shlex.quote(base_url + endpoint.path)
        curl = f"curl {address} -H 'Content-Type: application/json' \\\n  -d {body}"
        parts.append(f'<pre lang="{language}" dir="ltr">{escape(curl)}</pre></section>')
    return "\n".join([*parts, "</html>\n"])
