# The image of Leyden: docker build -t leyden .   How it is run: compose.yaml and docs/operate.md.
# Debian fixes faults under the same version of a package, so none is pinned (hadolint: DL3008).
# hadolint global ignore=DL3008
FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv
COPY . /src
RUN python3 -m venv /opt/leyden \
    && /opt/leyden/bin/pip install --no-cache-dir /src

FROM debian:12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 libseccomp2 libstdc++6 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/leyden /opt/leyden
RUN groupadd --gid 1000 leyden \
    && useradd --uid 1000 --gid leyden --home-dir /data --no-create-home leyden \
    && install -d -o leyden -g leyden -m 0700 /data /cache
ENV PATH=/opt/leyden/bin:/usr/bin:/bin \
    LEYDEN_CACHEPATH=/cache
USER 1000:1000
VOLUME ["/data", "/cache"]
EXPOSE 1040
STOPSIGNAL SIGTERM
# Another port than 1040 needs another command here. The calling title keeps these calls out of the log.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["leyden", "echo", "127.0.0.1:1040", "--called", "LEYDEN", "--calling", "HEALTHCHECK", "--timeout", "8"]
ENTRYPOINT ["leyden"]
CMD ["run", "--path", "/data"]
