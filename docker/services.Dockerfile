# One image per service; --target says which: gateway, workflow, git-pull, operator, docker-proxy,
# claude-exec.
#
#   docker build -f docker/services.Dockerfile --target gateway -t oneshift-gateway docker
#
# BINARIES and CLAUDE are images that hold the programs in /out: those of build.Dockerfile and
# claude.Dockerfile, or any others. deploy-swarm.sh builds all of them.

ARG BASE=debian:12.12-slim
ARG BINARIES=oneshift-build
ARG CLAUDE=oneshift-claude

FROM ${BINARIES} AS binaries
FROM ${CLAUDE} AS claude

# What the programs need of Debian: certificate authorities, the C library and its like, and users.
# `gateway` owns the store, `worker` the workspace. Workers share one user because the checkout
# passes from git-pull to the agent and back; what an agent must not reach (the cache, other
# services' secrets and processes) is kept from it by mounts and containers, not by users.
FROM ${BASE} AS debian
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
    && groupadd --gid 10000 gateway \
    && useradd --uid 10000 --gid 10000 --no-create-home --home-dir /nonexistent gateway \
    && groupadd --gid 10001 worker \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent worker

FROM debian AS files
COPY --from=binaries /out /out
RUN mkdir -p /files/etc/ssl/certs /files/tmp /empty \
    && chmod 1777 /files/tmp \
    && cp /etc/passwd /etc/group /etc/nsswitch.conf /files/etc/ \
    && cp /etc/ssl/certs/ca-certificates.crt /files/etc/ssl/certs/ \
    && for program in /out/*; do ldd "$program"; done \
        | grep --only-matching '/[^ ]*\.so[^ ]*' | sort --unique \
        | xargs cp --dereference --parents --target-directory /files

FROM scratch AS minimal
COPY --from=files /files/ /
ARG VERSION=unknown
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="oneshift" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

FROM minimal AS gateway
COPY --from=binaries /out/gateway /usr/local/bin/gateway
COPY --from=files --chown=10000:10000 /empty /data
ENV ONESHIFT_DATA=/data
USER 10000:10000
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/local/bin/gateway", "health"]
ENTRYPOINT ["/usr/local/bin/gateway"]

FROM minimal AS workflow
COPY --from=binaries /out/workflow /usr/local/bin/workflow
USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/local/bin/workflow", "health"]
ENTRYPOINT ["/usr/local/bin/workflow"]

FROM minimal AS git-pull
COPY --from=binaries /out/git-pull /usr/local/bin/git-pull
COPY --from=files --chown=10001:10001 /empty /workspace
COPY --from=files --chown=10001:10001 /empty /workspace/cache
COPY --from=files --chown=10001:10001 /empty /workspace/jobs
USER 10001:10001
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/local/bin/git-pull", "health"]
ENTRYPOINT ["/usr/local/bin/git-pull"]

FROM minimal AS operator
COPY --from=binaries /out/operator /usr/local/bin/operator
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/local/bin/operator", "health"]
ENTRYPOINT ["/usr/local/bin/operator"]

# The only holder of the Docker socket: lets the operator look, and change services, and no more.
FROM debian AS docker-proxy
RUN apt-get update \
    && apt-get install --yes --no-install-recommends haproxy \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
COPY docker-proxy.cfg /etc/haproxy/haproxy.cfg
EXPOSE 2375
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]
ARG VERSION=unknown
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="oneshift docker-proxy" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

# The agent's world: what it expects of a machine that builds and tests software. For a project's
# own toolchain, build FROM this image (docs/swarm.md says how).
FROM debian AS claude-exec
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential bzip2 curl file git jq less make openssh-client patch pkg-config procps \
        python3 ripgrep rsync unzip xz-utils zip \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
COPY --from=claude /out/claude /usr/local/bin/claude
COPY --from=binaries /out/claude-exec /usr/local/bin/claude-exec
COPY --from=files --chown=10001:10001 /empty /workspace
COPY --from=files --chown=10001:10001 /empty /workspace/cache
COPY --from=files --chown=10001:10001 /empty /workspace/jobs
# The container is what keeps the agent in: inside it, it need not ask.
ENV ONESHIFT_AGENT_BYPASS_PERMISSIONS=1
# Agents share this container's user, and on one node the workspace: each is kept to its own job.
ENV ONESHIFT_AGENT_CONFINED=1
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/local/bin/claude-exec", "health"]
ENTRYPOINT ["/usr/local/bin/claude-exec"]
ARG VERSION=unknown
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="oneshift claude-exec" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
