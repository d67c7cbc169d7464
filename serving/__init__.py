"""The HTTP server: the `polystilts.runtime` behind one ASGI application, packaged by BentoML. Never imports torch."""
