"""Where secrets come from that are not written down beside the application: AWS, and HashiCorp Vault.

The value of a secret variable may be a reference to what such a store keeps:

* ``aws-secretsmanager://NAME-or-ARN?region=REGION#FIELD``
* ``aws-kms://CIPHERTEXT?region=REGION``
* ``vault://MOUNT/PATH#FIELD``

:mod:`reference` reads those; :mod:`aws` and :mod:`vault` ask the stores, each with its own client, which is imported
when a reference needs it; :mod:`failures` says how that can fail. Nothing of the rest of the application is known here.

A reference leads to its own secret or to a failure: there is no second place where the secret is looked for.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from app.secret_sources.failures import PATIENCE, Failure, Patience, Refused, Unavailable
from app.secret_sources.reference import Location, Reference

__all__ = ["PATIENCE", "Failure", "Patience", "Refused", "Unavailable", "fetch_all"]

LONGEST_SECRET = 65_536  # characters: as much as AWS keeps in one


def fetch_all(
    references: Iterable[Reference], environment: Mapping[str, str], patience: Patience
) -> dict[Reference, str | Failure]:
    """The secret behind each reference, without blanks around it, or why it cannot be had.

    environment: the variables that configure the clients of the stores, ``AWS_…`` and ``VAULT_…``.

    What several references have in common is fetched once. All of it takes ``patience.total`` seconds at most,
    whatever the stores and the network do. No failure repeats anything that a store has sent.
    """
    references = set(references)
    locations = {reference.location for reference in references}
    fetched: dict[Location, Any] = {}

    def fetch_each() -> None:
        for location in sorted(locations, key=repr):
            fetched[location] = _fetch(location, environment, patience)

    if locations:
        # In a thread of its own, because no time-out of a client bounds what it does as a whole: one that is sent a
        # byte now and then waits for ever. Where we stop waiting the process ends, and the thread with it.
        thread = threading.Thread(target=fetch_each, name="secret sources", daemon=True)
        with _process_environment(environment):
            thread.start()
            thread.join(patience.total)
    late = Unavailable(f"there was no answer within {patience.total:g} seconds.")
    return {reference: _value(reference, fetched.get(reference.location, late)) for reference in references}


def _fetch(location: Location, environment: Mapping[str, str], patience: Patience) -> Any:
    """What the store keeps there, or the failure. Only what may pass is tried again."""
    try:
        store = import_module(f"app.secret_sources.{location.client}")
    except ImportError:
        return Refused(
            f"the client of {location.kind} is not installed: "
            f"python -m pip install -r requirements-{location.client}.txt"
        )
    failure: Failure
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.wait * 2 ** (attempt - 1))
        try:
            return store.fetch(location, environment, patience)
        except Unavailable as error:
            failure = error
        except Refused as error:
            return error
        except Exception as error:  # clients raise what they like, and their words may hold what the store has sent
            return Refused(
                f"the client of {location.kind} fails with {type(error).__name__}: "
                "look at the variables that configure it."
            )
    return failure


def _value(reference: Reference, fetched: Any) -> str | Failure:
    """The text that is referred to, out of what was fetched."""
    try:
        return fetched if isinstance(fetched, Failure) else _checked(reference.select(fetched))
    except Refused as error:
        return error


def _checked(text: str) -> str:
    if len(text) > LONGEST_SECRET:
        raise Refused(f"it is longer than {LONGEST_SECRET} characters, which is no such secret.")
    return text.strip()


@contextmanager
def _process_environment(environment: Mapping[str, str]) -> Iterator[None]:
    """AWS's client reads its variables from the process alone: what a ``.env`` file says of it must be there too."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    wanted = {name: value for name, value in environment.items() if name.startswith("AWS_")}
    _replace_aws_variables(wanted)
    try:
        yield
    finally:
        _replace_aws_variables(before)


def _replace_aws_variables(values: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_") and name not in values]:
        del os.environ[name]
    os.environ.update(values)
