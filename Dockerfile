# One image for coordinator, workers and Flower; docker-compose.yml says which it is.

FROM python:3.13-slim AS wheel
WORKDIR /source
COPY requirements.lock ./
RUN python -m venv /build && /build/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY executor executor
COPY rollback rollback
COPY workers workers
RUN /build/bin/python -m hatchling build -t wheel -d /wheels

FROM python:3.13-slim AS installed
COPY requirements-runtime.lock ./
RUN python -m venv /opt/rex && /opt/rex/bin/pip install --no-cache-dir --require-hashes -r requirements-runtime.lock
COPY --from=wheel /wheels /wheels
RUN /opt/rex/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM python:3.13-slim
RUN groupadd --gid 10001 rex \
    && useradd --uid 10001 --gid rex --no-create-home --home-dir /var/lib/rex --shell /usr/sbin/nologin rex \
    && install --directory --owner rex --group rex --mode 0700 /var/lib/rex
COPY --from=installed /opt/rex /opt/rex
ENV PATH=/opt/rex/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 REX_STATE_DIR=/var/lib/rex
USER rex
WORKDIR /var/lib/rex
VOLUME /var/lib/rex
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["rex", "doctor", "--json"]
CMD ["rex", "coordinator"]
