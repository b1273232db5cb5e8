"""Models of kinds that the app does not have, or not yet: other owners, mixins, history, structured values."""

from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from app.encryption import encrypted
from app.encryption.registry import KeyRegistry


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


registry = KeyRegistry(Base.metadata)


class Company(Base):
    __tablename__ = "companies"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)


class Person(Base):
    """Owns itself, and its secret is bound to its own id."""

    __tablename__ = "people"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    totp_secret = encrypted("people.totp_secret", owner="id")


class ApiToken(Base):
    """Belongs to a person."""

    __tablename__ = "api_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("people.id"))
    token = encrypted("api_tokens.token", owner="person_id")


class Setting(Base):
    """Belongs to the platform; its primary key is a name."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(primary_key=True)
    value = encrypted("settings.value", owner=None, row="name", structured=True)


class HasPin:
    """A mixin that brings an encrypted attribute along."""

    pin = encrypted("devices.pin", owner="company_id")


class Device(HasPin, Base):
    """A mixin's secret and one of its own; belongs to a company, once it is sold."""

    __tablename__ = "devices"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    company_id: Mapped[UUID | None] = mapped_column(ForeignKey("companies.id"))
    kind: Mapped[str] = mapped_column(default="device")
    label: Mapped[str | None]
    options = encrypted("devices.options", owner="company_id", structured=True)
    company: Mapped[Company | None] = relationship()

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "device"}  # noqa: RUF012


class Gateway(Device):
    """A kind of device, in the same table."""

    __mapper_args__ = {"polymorphic_identity": "gateway"}  # noqa: RUF012


class DeviceVersion(Base):
    """What a device was before: a row a version, whose secret is bound to the id of the device."""

    __tablename__ = "device_versions"

    number: Mapped[int] = mapped_column(primary_key=True)
    device_id: Mapped[UUID]
    company_id: Mapped[UUID]
    pin = encrypted("device_versions.pin", owner="company_id", row="device_id")
