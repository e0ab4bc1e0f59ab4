# One image for API, worker and MLflow server. On a GPU machine build with TORCH_INDEX_URL left empty: the same pin
# gives the CUDA build there.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
ARG TORCH_INDEX_URL=""
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 OMP_NUM_THREADS=1 \
    FORECASTER_HOME=/var/lib/forecaster FORECASTER_HOST=0.0.0.0
WORKDIR /app
# Dependencies first: they change less often than the code, so a rebuild takes seconds.
COPY constraints.txt pyproject.toml README.md ./
RUN python -m pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} -c constraints.txt torch
RUN mkdir -p forecaster training service && touch forecaster/__init__.py training/__init__.py service/__init__.py \
 && python -m pip install -c constraints.txt '.[postgres,s3]' && python -m pip uninstall -y forecaster
COPY forecaster forecaster
COPY training training
COPY service service
RUN python -m pip install --no-deps -c constraints.txt . \
 && useradd --system --uid 10001 --home-dir /var/lib/forecaster forecaster \
 && mkdir -p /var/lib/forecaster /var/lib/mlflow && chown forecaster /var/lib/forecaster /var/lib/mlflow
USER forecaster
WORKDIR /var/lib/forecaster
EXPOSE 8000
CMD ["forecaster", "serve"]
