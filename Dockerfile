FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/asciid
COPY setup.py pyproject.toml README.md ./
COPY asciid asciid
COPY twisted twisted
RUN /opt/asciid/bin/pip install --no-cache-dir --disable-pip-version-check ".[tls]"

FROM python:3.13-slim
ENV PATH=/opt/asciid/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ASCIID_STORAGE=/var/lib/asciid
COPY --from=build /opt/asciid /opt/asciid
# Listing the plugins writes twistd's cache of them, which the service's user
# could not do.
RUN twistd --help >/dev/null \
    && useradd --system --uid 999 --home-dir /var/lib/asciid --create-home asciid
USER asciid
WORKDIR /var/lib/asciid
VOLUME ["/var/lib/asciid"]
EXPOSE 4444
STOPSIGNAL SIGTERM
# Ready, not only alive: Docker does nothing about an unhealthy container but say
# so, and one that cannot store images is nothing to wait for or to rely on.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-P", "-m", "asciid.health"]
CMD ["twistd", "--nodaemon", "--pidfile=", "asciid"]
