# The image of the service: docs/deploy/docker.md. No secret belongs in here; they are given when it is run.

FROM python:3.11-slim-bookworm AS build
RUN python -m venv /opt/venv
# Clients of stores of secrets: --build-arg EXTRAS=aws, vault, or "aws vault".
ARG EXTRAS=""
COPY requirements.txt requirements-aws.txt requirements-vault.txt ./
# Ready-made packages alone, and those that the hashes name: nothing is compiled.
RUN for extra in $EXTRAS; do set -- "$@" -r "requirements-$extra.txt"; done; \
    /opt/venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt "$@"
WORKDIR /srv/audiapro
COPY wsgi.py gunicorn.conf.py generate_keys.py .flaskenv .env.example ./
COPY migrations migrations
COPY app app
COPY deploy/docker/healthcheck.py ./
# Compiled now, since nothing can be written where it runs.
RUN /opt/venv/bin/python -m compileall -q app migrations wsgi.py
# Files come with the modes of the checkout, and after `umask 077` nobody but root could read them.
RUN chmod -R a+rX .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/audiapro /srv/audiapro
WORKDIR /srv/audiapro
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PORT=8000
# A number, so that `runAsNonRoot` can tell; of nobody else. The files are root's: the service cannot change itself.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "healthcheck.py"]
# Without a shell in between: SIGTERM reaches gunicorn, which lets requests finish for 25 seconds.
CMD ["gunicorn", "wsgi:app"]
