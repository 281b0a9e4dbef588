FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/asciid
COPY setup.py pyproject.toml README.md ./
COPY asciid asciid
COPY twisted twisted
# TLS is for a port that asks for it; otherwise its libraries are not loaded.
RUN /opt/asciid/bin/pip install --no-cache-dir --disable-pip-version-check ".[png,postgresql,tls]"

FROM python:3.13-slim
ENV PATH=/opt/asciid/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ASCIID_STORAGE=/var/lib/asciid
COPY --from=build /opt/asciid /opt/asciid
# The font of PNG files covers lines, blocks and the glyphs of code page 437.
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/*
# Writes twistd's plugin cache, for which the service's user has no permission.
RUN twistd --help >/dev/null \
    && useradd --system --uid 999 --home-dir /var/lib/asciid --create-home asciid
USER asciid
WORKDIR /var/lib/asciid
VOLUME ["/var/lib/asciid"]
EXPOSE 4444
STOPSIGNAL SIGTERM
# Readiness, not liveness: Docker only reports the result, and dependent containers
# should wait until images can be stored.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-P", "-m", "asciid.health"]
CMD ["twistd", "--nodaemon", "--pidfile=", "asciid"]
