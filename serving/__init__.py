"""The HTTP server: `polystilts.runtime` behind one ASGI application, packaged by BentoML, without torch."""
