"""What goes out of every kind of integration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field

from app.integrations.service import Notice
from app.schemas import Output


class Written(Output):
    """What the answer to a change says on top of the object."""

    notices: list[Notice] = Field([], description="What the change brought with it")

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
