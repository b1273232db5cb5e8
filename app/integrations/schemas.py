"""What comes in and goes out of every kind of integration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from app.integrations.service import Notice
from app.schemas import Input, Output, Version, not_required


class Changes(Input):
    """What a change may have on top of the fields that it changes."""

    version: Version = not_required(
        strict=True, description="The version that the change was made for: 409 if the object has another one by now"
    )


class DeleteQuery(BaseModel):
    """The query parameters of every deletion."""

    model_config = ConfigDict(extra="forbid")

    version: Version = not_required(description="The version that is to be deleted: 409 if it is another one by now")


class Written(Output):
    """What the answer to a change says on top of the object."""

    notices: list[Notice] = Field(
        [], description="What the change brought with it that was not asked for, such as a secret that was removed"
    )

    @classmethod
    def changed(cls, row: Any, notices: list[Notice]) -> Self:
        """The answer to a change of ``row``."""
        answer = cls.model_validate(row)
        answer.notices = notices
        return answer

    @classmethod
    def created(cls, row: Any, given: Mapping[str, Any]) -> Self:
        """The answer to the creation of ``row`` from the fields that the request had."""
        return cls.changed(row, [])
