"""What tells phone systems, payment accounts and API credentials apart on their pages: their forms, and their words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from wtforms import BooleanField

from app.dashboard.changing import EditForm
from app.dashboard.forms import VersionedForm, warn
from app.dashboard.once import OnceForm
from app.extensions import db
from app.identity.access import current_tenant_id
from app.integrations.schemas import Changes
from app.integrations.service import Integrations
from app.schemas import Input


class ConnectionForm(EditForm, OnceForm):
    """To create or change a connection. A subclass has a field for each attribute, the secret among them.

    HEADINGS: what stands above some of the fields: a title, and a sentence.
    """

    HEADINGS: ClassVar[Mapping[str, tuple[str, str]]] = {}

    without_secret = BooleanField()

    def values(self, row: Any = None) -> dict[str, Any] | None:
        """What was typed, for the schema; None if that says nothing, and why is written beside the fields.

        row: what is stored, where something is.
        """
        return self.texts(*self.PLAIN)

    def remark(self, changes: Mapping[str, Any]) -> str | None:
        """What to know of what was typed, now that ``changes`` are stored; what went with them is None."""
        return None


@dataclass(frozen=True)
class Kind:
    """One kind of connection.

    one: what people call it. secret_label: what they call its secret. name_of: what they call this very one.
    sent_to: where its secret is sent, in words. given, changes: what the API takes to create and to change one.
    after_deletion: what deleting one means.
    """

    integrations: Integrations[Any]
    one: str
    secret_label: str
    form: type[ConnectionForm]
    given: type[Input]
    changes: type[Changes]
    name_of: Callable[[Any], str]
    sent_to: Callable[[Any], str]
    after_deletion: str

    def get(self, id: UUID, *, to_change: bool = False) -> Any:
        return self.integrations.get(db.session(), current_tenant_id(), id, to_change=to_change)

    def has_secret(self, row: Any) -> bool:
        return bool(getattr(row, f"{self.integrations.secret}_set"))

    def create(self, form: ConnectionForm, id: UUID) -> Any | None:
        """What was typed, stored under that id; None if something is wrong with it."""
        values = form.values()
        secret = self.integrations.secret
        given = None if values is None else form.read(self.given, values | form.texts(secret))
        if given is None:
            return None
        entered = {name: value for name, value in given.given().items() if value is not None}
        row = self.integrations.create(db.session(), current_tenant_id(), entered, id)
        warn_of(form.remark(entered))
        return row


def update(kind: Kind, row: Any, changes: Mapping[str, Any], form: VersionedForm) -> Any:
    """The row with ``changes`` made, of the version that the form was made for, and what else that brought."""
    return kind.integrations.update(db.session(), current_tenant_id(), row.id, changes, form.sent_version())


def warn_of(remark: str | None) -> None:
    """Tell the user, on the page that comes next, what a form remarked."""
    if remark is not None:
        warn(remark)
