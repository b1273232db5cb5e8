"""What the processes of an installation count while they work, for Prometheus. Knows nothing of the rest of the app.

* :mod:`counted`: every counter, and the one place where each is named
* :mod:`requests`: what every request leaves there
* :mod:`pool`: connections to the database
* :mod:`shared`: where the workers of one server count together

:mod:`app.status` shows it at ``/metrics``, with what the database knows. Each figure is described in
docs/observability.md. No label may take any number of values: no tenant, no path, nothing that a client chooses.
"""
