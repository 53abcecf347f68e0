# The quick start in a container:
#
#   docker build -t tinygrad_llm .
#   docker run --rm tinygrad_llm                                   trains a first model
#   docker run --rm -it -v "$PWD/runs:/work/runs" tinygrad_llm generate
#   docker run --rm -p 127.0.0.1:8000:8000 -e TINYGRAD_LLM_API_KEY tinygrad_llm serve MODEL --host 0.0.0.0
#
# Any host with Docker or Podman will do: the image has Python, NumPy and Numba, and no GPU. The user
# in it is not root; models that it downloads and runs that it writes are in /work.
FROM python:3.12-slim

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY docs/project_urls.py ./docs/
COPY tinygrad_llm ./tinygrad_llm
RUN python -m pip install --no-cache-dir ".[fast,chat,serve]"

RUN useradd --create-home --uid 1000 learner && mkdir -p /work/runs && chown -R learner /work
USER learner
WORKDIR /work
ENV XDG_CACHE_HOME=/work/.cache NUMBA_CACHE_DIR=/work/.cache/numba PYTHONUNBUFFERED=1
EXPOSE 8000
ENTRYPOINT ["tinygrad-llm"]
CMD ["pretrain"]
