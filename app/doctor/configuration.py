"""What the variables say of the installation."""

from __future__ import annotations

from collections.abc import Iterator

from flask import current_app

from app.config import Settings
from app.doctor.findings import Finding, failure, ok, warning
from app.outbound.addresses import overlaps_loopback


def check(settings: Settings) -> Iterator[Finding]:
    """That there is a configuration at all means that nothing in it was refused: see :mod:`app.config`."""
    yield _environment(settings)
    yield from _files(settings)
    yield _public_url(settings)
    yield _proxies(settings)
    yield _origins(settings)
    yield _outbound(settings)
    yield ok("sign-up", "anybody can make a tenant" if settings.sign_up_open else "closed")
    yield ok("metrics", "for whoever has METRICS_TOKEN" if settings.metrics_token else "nobody can read them")


def _environment(settings: Settings) -> Finding:
    subject = "environment"
    if current_app.debug:
        return failure(subject, "Debug mode is on: visitors can run code. Unset FLASK_DEBUG.")
    if settings.environment != "production":
        return warning(subject, "This is a development installation: set APP_ENV=production where people use it.")
    return ok(subject, "production, debug mode off")


def _files(settings: Settings) -> Iterator[Finding]:
    """Those that hold secrets: whom they are open to."""
    if not settings.warnings:
        yield ok("files", "secret files are open to their owner alone")
    for text in settings.warnings:
        yield failure("files", text)


def _public_url(settings: Settings) -> Finding:
    subject = "public address"
    if settings.public_url is None:
        return warning(subject, "PUBLIC_URL is not set: mails with links cannot be sent. Set it to https://your.name.")
    return ok(subject, settings.public_url)


def _proxies(settings: Settings) -> Finding:
    subject, hops = "proxies", settings.trusted_proxy_hops
    if hops == 0 and (settings.public_url or "").startswith("https://"):
        return warning(
            subject,
            "PUBLIC_URL is https, so a proxy ends TLS, but TRUSTED_PROXY_HOPS is 0: all clients count as one address, "
            "and share its limits. Set it to the number of proxies in front, 1 on most platforms.",
        )
    believed = "the address of a client is who connects" if hops == 0 else f"{hops} in front say who the client is"
    return ok(subject, believed)


def _origins(settings: Settings) -> Finding:
    subject = "CORS"
    if not settings.cors_origins:
        return ok(subject, "no other web origin may use the API")
    plain = [origin for origin in settings.cors_origins if origin.startswith("http://")]
    if plain and settings.environment == "production":
        return warning(subject, f"Whoever is on the way can speak for {', '.join(plain)}: list origins with https.")
    return ok(subject, f"allowed: {', '.join(settings.cors_origins)}")


def _outbound(settings: Settings) -> Finding:
    subject, networks = "tenants' PBXs", settings.outbound_networks
    if not networks:
        return ok(subject, "only public addresses are connected to")
    if overlaps_loopback(networks):
        return warning(
            subject,
            "OUTBOUND_ALLOWED_NETWORKS has this machine itself: every tenant can have requests sent to what listens on "
            "it. List the networks of PBXs alone.",
        )
    return ok(subject, f"besides public addresses: {', '.join(map(str, networks))}")
