# The Claude Code CLI: its native program alone, as /out/claude. It needs no Node at run time.
#
#   docker build -f docker/claude.Dockerfile -t oneshift-claude docker

ARG NODE=node:20.19.5-bookworm-slim
FROM ${NODE} AS fetch
ARG CLAUDE_VERSION=2.1.197
RUN npm install --global --no-fund --no-audit "@anthropic-ai/claude-code@${CLAUDE_VERSION}" \
    && mkdir /out \
    && cp --dereference "$(npm root --global)/@anthropic-ai/claude-code/bin/claude.exe" /out/claude \
    && /out/claude --version | grep --fixed-strings "${CLAUDE_VERSION}"

FROM scratch
COPY --from=fetch /out /out
