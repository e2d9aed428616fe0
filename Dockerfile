# The command `ezlink` and its built-in server.
#
#   docker build -t ezlink .
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" --user "$(id -u):$(id -g)" \
#     -e EZLINK_API_KEY ezlink swap me.jpg photos --output swapped
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8080:8080 \
#     ezlink serve --host 0.0.0.0 --port 8080

FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/ezlink \
 && /opt/ezlink/bin/pip install --no-cache-dir '.[local,images,speed]' \
 && /opt/ezlink/bin/python -m compileall -q /opt/ezlink/lib \
 && /opt/ezlink/bin/pip uninstall --yes pip

# The same image as above, which has the Python that the environment links to, and no
# compiler: packages come built, or are built in the first stage.
FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin ezlink
COPY --from=build /opt/ezlink /opt/ezlink
# Nothing is written outside /work and /tmp, so the root may be read-only.
ENV PATH=/opt/ezlink/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /work
USER 10001:10001
STOPSIGNAL SIGINT
ENTRYPOINT ["ezlink"]
CMD ["--help"]
