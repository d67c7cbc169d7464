"""The end of the main job: a server over the models folder, and one request of every kind."""

from __future__ import annotations

from typing import Any

from pipelines.job import Job
from pipelines.provenance import shown
from polystilts.data.roles import evaluation_rows
from polystilts.data.source import Source
from polystilts.tasks import get_task


def show_server(job: Job) -> None:
    """Packages the models folder, serves the bento, asks every endpoint once in several languages, stops it."""
    from pipelines.package import build_bento
    from pipelines.serve import answers_table, ask_every_endpoint, start_server

    store = job.output / "bentos"
    tag = build_bento(job.output / "models", output=store)
    job.say(f"  bento {tag} in {shown(store)}")
    with start_server(bento=tag, home=store) as server, server.client() as client:
        job.say(f"  serving on {server.url}")
        own = _micro_questions(job.source) if job.source.name == "micro" else None
        asked = ask_every_endpoint(client, own) if own else ask_every_endpoint(client)
        job.console.print(answers_table(asked))
    job.say("  server stopped")


def _micro_questions(source: Source) -> dict[str, dict[str, dict[str, Any]]]:
    """Requests in the micro world's own words, from its evaluation rows: its models know no others."""

    def row(task: str, language: str, number: int = 0) -> Any:
        return evaluation_rows(source, get_task(task), language)[number][1]

    pairs = [row("tatoeba", "de", number) for number in (0, 40, 80)]
    return {
        "nli": {
            lang: {"premise": (r := row("xnli", lang)).premise, "hypothesis": r.hypothesis} for lang in ("de", "hi")
        },
        "paraphrase": {"es": {"sentence1": (p := row("pawsx", "es")).premise, "sentence2": p.hypothesis}},
        "pos": {lang: {"tokens": list(row("udpos", lang).tokens)} for lang in ("ru", "tr")},
        "ner": {"sw": {"tokens": list(row("panx", "sw").tokens)}},
        "qa": {lang: {"question": (q := row("xquad", lang)).question, "context": q.context} for lang in ("es", "zh")},
        "choice": {
            lang: {"premise": (c := row("xcopa", lang)).premise, "question": c.question, "choices": list(c.choices)}
            for lang in ("de", "zh")
        },
        "embed": {"sw": {"text": row("tatoeba", "sw").candidate}},
        "align": {"en-de": {"source": [p.query for p in pairs], "target": [p.candidate for p in pairs][::-1]}},
    }
