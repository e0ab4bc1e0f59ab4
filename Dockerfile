# One image for the API, the worker and the MLflow server.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}

# No index given: the package index's own build of torch, which on Linux brings CUDA and runs without a GPU too.
# PyTorch's index of CPU builds makes the image several gigabytes smaller.
ARG TORCH_INDEX_URL=""

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# Dependencies before code: they change less often, so that most rebuilds take seconds.
WORKDIR /app
COPY constraints.txt ./
RUN python -m pip install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} -c constraints.txt torch
COPY docker/list-requirements.py pyproject.toml ./
RUN python list-requirements.py postgres s3 >requirements.txt \
 && python -m pip install -c constraints.txt -r requirements.txt

# The data folders exist, and belong to the user, so that a volume mounted there is writable.
RUN groupadd --system --gid 10001 forecaster \
 && useradd --system --uid 10001 --gid 10001 --create-home forecaster \
 && install -d -o forecaster -g forecaster -m 0750 /var/lib/forecaster /var/lib/mlflow

COPY README.md ./
COPY forecaster forecaster
COPY training training
COPY service service
RUN python -m pip install --no-deps . && rm -rf build ./*.egg-info

ENV FORECASTER_HOME=/var/lib/forecaster \
    FORECASTER_HOST=0.0.0.0 \
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false \
    MLFLOW_DISABLE_TELEMETRY=true
USER forecaster
WORKDIR /home/forecaster
EXPOSE 8000
CMD ["forecaster", "serve"]
