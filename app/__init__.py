"""The ASGI application: the only public door."""
