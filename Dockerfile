# For a CPU: docker build -t darwin-mri .
# For a GPU: docker build -t darwin-mri:cuda --build-arg DEVICE=cuda .
# Then:      docker run --rm --gpus all -v "$PWD:/work" darwin-mri:cuda breed --config my.yaml
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY . .
RUN python -m pip install --no-cache-dir 'build>=1.2,<2' \
 && python -m build --wheel --outdir /wheels .

FROM python:${PYTHON}-slim
ARG DEVICE=cpu
ARG EXTRAS=bench,gguf,pareto
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /tmp/wheels
# On PyPI torch for Linux comes with CUDA's libraries; the driver is the host's. Its version is that of constraints.txt.
# hadolint ignore=DL3013
RUN torch="$(grep '^torch==' /tmp/constraints.txt)" \
 && case "$DEVICE" in \
      cpu) python -m pip install --no-cache-dir --index-url "$CPU_INDEX" "$torch" ;; \
      cuda) python -m pip install --no-cache-dir "$torch" ;; \
      *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 1 ;; \
    esac
RUN python -m pip install --no-cache-dir --constraint /tmp/constraints.txt "$(echo /tmp/wheels/*.whl)[$EXTRAS]" \
 && rm -r /tmp/wheels /tmp/constraints.txt \
 && useradd --create-home --uid 1000 user
USER 1000
WORKDIR /work
ENTRYPOINT ["darwin-mri"]
CMD ["--help"]
