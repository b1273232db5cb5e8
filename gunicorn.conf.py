"""How gunicorn serves the application. Read by ``gunicorn wsgi:app`` from the working directory."""

import gc
import os
from typing import Any

gc.disable()  # until everything is loaded, which stays: see when_ready

from app.audit.tally import store_counted  # noqa: E402
from app.metrics import shared  # noqa: E402
from app.startup import load_settings_or_exit  # noqa: E402

settings = load_settings_or_exit()
shared.share_among_workers()

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
    """Workers are forked after this. Garbage is not looked for among what is loaded by now: that would be an eighth of
    the time of a start, and would make workers copy memory that they share."""
    gc.freeze()
    gc.enable()
    shared.forget(server.pid)  # it has counted while it loaded the application, and does not serve
    server.log.info("listening on port %s", ", ".join(str(listener.getsockname()[1]) for listener in server.LISTENERS))


def post_fork(server: Any, worker: Any) -> None:
    """No connection is shared across a fork: forget what was inherited, without closing it for the parent."""
    app = server.app.wsgi()
    with app.app_context():
        for engine in app.extensions["sqlalchemy"].engines.values():
            engine.dispose(close=False)
    shared.begin(app)


def child_exit(server: Any, worker: Any) -> None:
    """However it ended: killed, say, for want of memory."""
    shared.forget(worker.pid)


def worker_exit(server: Any, worker: Any) -> None:
    """Store what this process has counted for the audit trail, while it still can."""
    with server.app.wsgi().app_context():
        store_counted()
