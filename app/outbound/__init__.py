"""Requests to addresses that tenants choose: the one way to send them.

A tenant's address may lead into the operator's own network, or to whoever hands out its credentials. So a name is
looked up once, each address that it has is judged, and one of those very addresses is connected to; redirects are
refused, proxies and passwords of the environment are not looked at, and time and size have ends.
"""
