# One image for brokers and coordinator members; docker-compose.yml shows how they make a cluster.
#
#   docker build -t ottla .
#   docker run -p 9092:9092 ottla      one broker with its own coordinator

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/ottla \
 && /opt/ottla/bin/python -m pip install --quiet --no-cache-dir . \
 && /opt/ottla/bin/python -m pip uninstall --quiet --yes pip setuptools

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --home-dir /var/lib/ottla ottla \
 && mkdir -p /var/lib/ottla \
 && chown ottla:ottla /var/lib/ottla
COPY --from=build /opt/ottla /opt/ottla
COPY config/logging.yaml docker/*.properties /etc/ottla/
COPY docker/entrypoint.sh /usr/local/bin/ottla
ENV PATH=/opt/ottla/bin:$PATH \
    OTTLA_RUN_DIR=/tmp/ottla \
    PYTHONUNBUFFERED=1
USER ottla
WORKDIR /var/lib/ottla
VOLUME /var/lib/ottla
EXPOSE 9092 2181
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=6 \
  CMD ["/opt/ottla/bin/python", "-m", "ottla.scripts.health"]
ENTRYPOINT ["ottla"]
CMD ["server", "/etc/ottla/single.properties"]
