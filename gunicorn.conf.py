"""How gunicorn serves the application. Read by ``gunicorn wsgi:app`` from the working directory."""

import os
from typing import Any

from app.audit.tally import store_counted
from app.startup import load_settings_or_exit

settings = load_settings_or_exit()

# A platform's router must reach the port in production; on a developer's machine nobody else should.
bind = f"{'0.0.0.0' if settings.environment == 'production' else '127.0.0.1'}:{settings.port}"  # noqa: S104
workers = settings.web_concurrency
worker_class = "gthread"
threads = 4

# The application is loaded once, before the port is opened: if it refuses to start, so does gunicorn, instead of
# starting workers again and again behind an open port.
preload_app = True

graceful_timeout = 25  # platforms kill after 30 seconds

# Where workers show that they are alive, by touching a file all the time: in memory, which also is there to be written
# to where nothing else is.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# A proxy on this machine is believed what it says in these headers. Ours say nothing there, but not every one of them
# removes what a client says.
forwarder_headers = ""
accesslog = None  # the router logs requests
control_socket_disable = True


def when_ready(server: Any) -> None:
    server.log.info("listening on port %s", ", ".join(str(listener.getsockname()[1]) for listener in server.LISTENERS))


def post_fork(server: Any, worker: Any) -> None:
    """No connection is shared across a fork: forget what was inherited, without closing it for the parent."""
    app = server.app.wsgi()
    with app.app_context():
        for engine in app.extensions["sqlalchemy"].engines.values():
            engine.dispose(close=False)


def worker_exit(server: Any, worker: Any) -> None:
    """Store what this process has counted for the audit trail, while it still can."""
    with server.app.wsgi().app_context():
        store_counted()
