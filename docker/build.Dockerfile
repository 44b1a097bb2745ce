# The programs, built from source: an image that holds nothing but /out. The services' images copy
# from it, or from any other image with the same /out (the tests bring programs built outside).
#
#   docker build -f docker/build.Dockerfile -t oneshift-build .

ARG RUST=rust:1.95.0-slim-bookworm
FROM ${RUST} AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY tests tests
RUN cargo build --release --locked --bins \
        -p gateway -p workflow -p git-pull -p claude-exec -p operator \
    && mkdir /out \
    && cd target/release \
    && cp gateway workflow git-pull claude-exec operator /out/ \
    && strip /out/*

FROM scratch
COPY --from=build /out /out
