# The service as an image. Needs BuildKit, which is Docker's default since 23.0.
#
#   docker build -t auditlog .
#   docker run --name auditlog -d -p 127.0.0.1:8080:8080 -v auditlog:/var/lib/auditlog --stop-timeout 40 auditlog
#   docker exec auditlog auditlog keys create --organization org_abc123 --scope read --scope write
#
# A digest pins each image for all its platforms, its tag says what that is. Move both stages to a new Debian together:
# the binary needs the C library that it was linked with, or a newer one.

FROM rust:1.95.0-slim-trixie@sha256:e14e87345b4d5964ddcc3491d27ee046a0f23820f340c3c1e24da6880141f7c0 AS build
WORKDIR /build
COPY . .
ENV CARGO_TARGET_DIR=/target
# Cargo compares times, and the files of another checkout may be older than what the cache holds: hence `touch`.
RUN --mount=type=cache,id=auditlog-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=auditlog-target,target=/target,sharing=locked \
    find . -type f -exec touch {} + \
    && cargo build --release --locked \
    && cp /target/release/auditlog /auditlog

FROM debian:trixie-20260918-slim@sha256:a99cfc517144bc59b1978475ec53b46ecabec7e43635402ee5b77cc54cd1b20a
# The roots that client commands trust when they call an https:// endpoint.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /auditlog /usr/local/bin/
# A new named volume takes this owner over; a directory of the host must be given to 10001 by hand.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/auditlog
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
# Here lies sqlite://auditlog.db, the default of AUDITLOG_DATABASE_URL. That is not set, since it would forbid
# AUDITLOG_DATABASE_URL_FILE and override the configuration file.
WORKDIR /var/lib/auditlog
VOLUME /var/lib/auditlog
ENV AUDITLOG_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Asks AUDITLOG_ENDPOINT: set it too where AUDITLOG_LISTEN names another port. It fails while the database does not answer;
# whatever restarts unhealthy containers should ask /livez instead.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["auditlog", "health"]
ENTRYPOINT ["auditlog"]
# SIGTERM drains for up to 31 seconds, and Docker kills after 10: hence `--stop-timeout`.
CMD ["serve"]
