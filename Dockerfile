# dacli in a container. How to build and to run it: docs/docker.md
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# Where torch comes from. https://pypi.org/simple has the build for NVIDIA GPUs, which is gigabytes larger.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=openvino,heic,depth
ENV PATH=/opt/dacli/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/dacli
WORKDIR /build
# First an empty package with the same dependencies: a change of the code then does not install them again.
COPY pyproject.toml ./
RUN mkdir dacli && touch dacli/__init__.py README.md LICENSE weights.toml \
    && pip install --extra-index-url "$TORCH_INDEX" ".[$EXTRAS]"
COPY README.md LICENSE weights.toml ./
COPY dacli ./dacli
RUN pip install --no-deps --force-reinstall .

FROM python:${PYTHON}-slim
COPY --from=build /opt/dacli /opt/dacli
# Both folders can be written by every user, so that `docker run --user` works.
RUN useradd --create-home --uid 1000 dacli && mkdir -m 1777 /cache /work
ENV PATH=/opt/dacli/bin:$PATH DACLI_CACHE=/cache MPLCONFIGDIR=/tmp/matplotlib
VOLUME /cache
WORKDIR /work
USER dacli
ENTRYPOINT ["dacli"]
CMD ["--help"]
