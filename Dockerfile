# The daemon and the commands, without the embedded mongod. How to run it: docs/deployment.md.
#
# The base needs Python 3.11 or newer with pip and venv; one that has apt-get gives the build stage a C compiler:
#   docker build --build-arg BASE_IMAGE=registry.example/python:3.11-slim -t mongo-change-watcher .
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src
# Without pip of its own: the environment is all that goes into the image.
RUN python -m venv --without-pip /opt/watcher
# The dependencies first: they change seldom, and their layer is then found in the cache.
# Exactly those of the lock (`make lock`), by digest; what it does not name is refused.
COPY deploy/requirements.txt deploy/
RUN python -m pip --python /opt/watcher install --no-cache-dir --require-hashes --requirement deploy/requirements.txt
# What compiles the fast path (docs/architecture.md). Where it cannot be had, the daemon does without, and says so.
RUN (apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
 && (test -e "$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
     || apt-get install -y -qq --no-install-recommends libpython3-dev)) >/dev/null \
 || echo "no C compiler: the image will be without the fast path" >&2
COPY . .
RUN python -m pip --python /opt/watcher install --no-cache-dir --no-deps .

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mongo-change-watcher" \
      org.opencontainers.image.description="Every change of every MongoDB document, recorded field by field." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The same base, hence the same interpreter at the same path, which the environment links to.
COPY --from=build /opt/watcher /opt/watcher
# Nothing is imported from the working directory, nothing is written, and no log line waits in a buffer.
ENV PATH=/opt/watcher/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A watcher.toml mounted here is read.
WORKDIR /etc/watcher
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
# Liveness, not readiness: what acts on an unhealthy container replaces it, and while MongoDB is away that cures nothing.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["watcher", "health", "--live"]
ENTRYPOINT ["watcher"]
CMD ["run"]
