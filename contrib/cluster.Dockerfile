# PostgreSQL under Patroni, and etcd, from Debian's packages: the image of the services of
# docker-compose-cluster.yml but asciid and HAProxy.
FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        etcd-client etcd-server openssl patroni postgresql-15 \
    && rm -rf /var/lib/apt/lists/* \
    && pg_dropcluster 15 main \
    && install -d -o postgres -g postgres -m 700 /var/lib/postgresql/15 \
        /var/lib/postgresql/etcd \
    && install -d -o postgres -g postgres /etc/postgresql /var/run/postgresql
# Named volumes are created with the owner of these directories.
USER postgres
WORKDIR /var/lib/postgresql
