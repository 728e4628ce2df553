"""The catalogue of images: which programs a reference stands for, since the lab pulls nothing from anywhere.

In: an image reference from a container's spec. Out: the image's entry point, command and environment, or an error that
lists what is known. `layer` puts the programs where these paths expect them.
"""

import hashlib
import sys
from pathlib import Path

import msgspec

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class UnknownImageError(Exception):
    """No such image in the catalogue; the text lists the known ones."""


class InvalidReferenceError(Exception):
    """The text is no image reference."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """names: repositories without registry host and tag, the first one is shown to users. entrypoint and command:
    as in an OCI image's configuration. about: one line for the list of known images."""

    names: tuple[str, ...]
    about: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    working_dir: str = ""
    user: int = 0

    @property
    def id(self) -> str:
        """A stable digest, shown as imageID."""
        text = msgspec.json.encode([self.names[0], self.entrypoint, self.command, sorted(self.env.items())])
        return f"tortie.lab/{self.names[0]}@sha256:{hashlib.sha256(text).hexdigest()}"


def _shop(name: str, about: str) -> Image:
    return Image(
        names=(f"tortie/shop-{name}",),
        about=about,
        entrypoint=("/usr/libexec/tortie/shop",),
        command=(name,),
    )


IMAGES: tuple[Image, ...] = (
    Image(
        names=("busybox", "alpine", "debian", "ubuntu", "bash", "netshoot", "nicolaka/netshoot", "network-multitool"),
        about="a shell with the host's commands, and wget, curl, nc, nslookup, ping",
        command=("sh",),
    ),
    Image(
        names=("python",),
        about="the host's Python 3 (standard library)",
        command=("python3",),
        env={"PYTHONUNBUFFERED": "1"},
    ),
    Image(
        names=("curl", "curlimages/curl", "appropriate/curl"),
        about="curl",
        entrypoint=("curl",),
    ),
    Image(
        names=("nginx", "nginx-unprivileged", "nginxinc/nginx-unprivileged", "httpd", "nginxdemos/hello"),
        about="a small web server on port 80 that serves /usr/share/nginx/html",
        command=("nginx", "-g", "daemon off;"),
    ),
    Image(
        names=("agnhost", "e2e-test-images/agnhost", "k8s-staging-test-infra/agnhost"),
        about="the Kubernetes tests' helper: netexec, connect, serve-hostname, pause, porter, echo and others",
        entrypoint=("/agnhost",),
        command=("pause",),
    ),
    Image(
        names=("pause", "google_containers/pause"),
        about="a process that does nothing",
        entrypoint=("/pause",),
    ),
    Image(
        names=("echoserver", "google_containers/echoserver", "hashicorp/http-echo", "http-echo"),
        about="answers every HTTP request with a description of it, on port 8080 (-listen and -text as http-echo)",
        entrypoint=("/usr/libexec/tortie/http-echo",),
    ),
    Image(
        names=("tortie/echo",),
        about="TCP and UDP echo on port 7 (or the ports given as arguments)",
        entrypoint=("/usr/libexec/tortie/echo",),
    ),
    Image(
        names=("tortie/client",),
        about="calls its arguments (http://, tcp://, udp:// URLs) in turn, one line for each result",
        entrypoint=("/usr/libexec/tortie/client",),
    ),
    Image(
        names=("tortie/dns", "coredns", "coredns/coredns"),
        about="the cluster's name service",
        entrypoint=(str(Path(sys.executable).with_name("tortie")), "lab-dns"),
    ),
    _shop("frontend", "demo shop: web front"),
    _shop("cart", "demo shop: carts"),
    _shop("catalog", "demo shop: articles"),
    _shop("payments", "demo shop: payments"),
    _shop("scraper", "demo shop: another team's curious program"),
)

_BY_NAME = {name: image for image in IMAGES for name in image.names}


def repository(reference: str) -> str:
    """`docker.io/library/nginx:1.25@sha256:…` -> `nginx`. Raises InvalidReferenceError."""
    text = reference.strip()
    if not text or text != reference or any(character.isspace() for character in text):
        raise InvalidReferenceError(f"couldn't parse image name {reference!r}: invalid reference format")
    text = text.split("@", 1)[0]
    head, _, tail = text.rpartition("/")
    tail, _, tag = tail.partition(":")
    if (
        not tail
        or tail != tail.lower()
        or (tag and not tag.replace("-", "").replace("_", "").replace(".", "").isalnum())
    ):
        raise InvalidReferenceError(f"couldn't parse image name {reference!r}: invalid reference format")
    parts = [*head.split("/"), tail] if head else [tail]
    # A first part with a dot, a port or the name localhost is a registry's host.
    if len(parts) > 1 and ("." in parts[0] or ":" in parts[0] or parts[0] == "localhost"):
        parts = parts[1:]
    if len(parts) > 1 and parts[0] in ("library", "_"):
        parts = parts[1:]
    return "/".join(parts)


def resolve(reference: str) -> Image:
    """The image that a reference stands for; registry host and tag do not matter. Raises UnknownImageError with the
    list of known images, or InvalidReferenceError."""
    name = repository(reference)
    # Mirrors keep official images below paths of their own: mirror.example/team/nginx is still nginx.
    image = _BY_NAME.get(name) or _BY_NAME.get(name.rpartition("/")[2])
    if image is None:
        raise UnknownImageError(
            f"image {reference!r} is not in the lab's catalogue (the lab pulls no images); known: {known()}"
        )
    return image


def known() -> str:
    """The names of all images, for messages."""
    return ", ".join(sorted(_BY_NAME))
