"""What a repository address, a ref and a commit id may look like: checked before any of them reaches git.

Pure. Everything that could be read as an option, another transport or a second argument is refused here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_SCP = re.compile(
    r"(?P<user>[A-Za-z0-9][A-Za-z0-9._-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>(?!/)[^:]+)", re.ASCII
)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", re.ASCII)
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")


@dataclass(frozen=True, slots=True)
class Address:
    """A checked repository URL. ``url`` holds no password; ``host`` is empty for ``file``."""

    url: str
    scheme: str
    host: str = ""
    port: int | None = None
    user: str | None = None

    @property
    def origin(self) -> str:
        """``host[:port]`` as git writes it in a prompt for credentials."""
        return f"{self.host}:{self.port}" if self.port else self.host


def parse_address(
    url: str,
    *,
    allow_file: bool = False,
    insecure_hosts: Collection[str] = (),
    allowed_hosts: Collection[str] = (),
) -> Address:
    """Check a repository URL. Raises ``ValueError`` with a sentence that never repeats a password.

    ``insecure_hosts`` are admitted over plain http, ``file`` only with ``allow_file``; a non-empty
    ``allowed_hosts`` admits no other host.
    """
    if not url:
        raise ValueError("the URL is empty")
    if _CONTROL.search(url):
        raise ValueError("the URL contains a blank or a control character")
    if url.startswith("-"):
        raise ValueError("the URL begins with '-', which git would read as an option")
    if "::" in url.split("/", 1)[0]:
        raise ValueError("the URL names a transport helper ('::'), which could run any program")
    if "$" in url or "`" in url:
        raise ValueError("the URL contains '$' or '`': write it without variables")
    scp = _SCP.fullmatch(url)
    if scp:
        url = f"ssh://{scp['user']}@{scp['host']}/{scp['path']}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the URL cannot be read: {error}") from None
    scheme = parts.scheme.lower()
    if "::" in url and not (parts.netloc.startswith("[") or "@[" in parts.netloc):
        raise ValueError("the URL contains '::'")
    if scheme == "file":
        return _file_address(url, parts.netloc, parts.path, allow_file)
    if scheme not in ("https", "http", "ssh"):
        raise ValueError(f"scheme '{scheme or url[:20]}' is not allowed, expected https:// or ssh://")
    if parts.password is not None:
        raise ValueError("the URL contains a password: put it in `auth.token` as a reference such as ${env:NAME}")
    if parts.query or parts.fragment:
        raise ValueError("the URL contains a query or a fragment")
    host = (parts.hostname or "").lower()
    _check_host(host, allowed_hosts)
    if scheme == "http" and host not in {h.lower() for h in insecure_hosts}:
        raise ValueError(f"plain http is not allowed for '{host}': use https, or list it in git.allow_insecure_http")
    if parts.username is not None and not _USER.fullmatch(parts.username):
        raise ValueError("the user name in the URL contains characters that are not allowed")
    if not parts.path.strip("/"):
        raise ValueError("the URL names no repository")
    return Address(url, scheme, host, port, parts.username)


def _file_address(url: str, netloc: str, path: str, allowed: bool) -> Address:
    if not allowed:
        raise ValueError("file:// repositories are only admitted with git.allow_file_urls: true")
    if netloc not in ("", "localhost"):
        raise ValueError(f"file:// names the host '{netloc}', expected file:///path")
    if not path.startswith("/"):
        raise ValueError("file:// needs an absolute path")
    return Address(url, "file")


def _check_host(host: str, allowed_hosts: Collection[str]) -> None:
    if not host:
        raise ValueError("the URL names no host")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ValueError("the host name begins with '-' or contains characters that are not allowed") from None
    else:
        if address.is_link_local and host not in allowed_hosts:
            raise ValueError(f"'{host}' is a link-local address (metadata services live there)")
    if allowed_hosts and host not in {h.lower() for h in allowed_hosts}:
        raise ValueError(f"host '{host}' is not in git.allowed_hosts")


def check_ref_name(name: str) -> str:
    """The rules of ``git check-ref-format`` for a branch, tag or full ref. Raises ``ValueError``."""
    if not name:
        raise ValueError("the ref name is empty")
    if name.startswith("-"):
        raise ValueError(f"ref '{name}' begins with '-', which git would read as an option")
    if _REF_FORBIDDEN.search(name):
        raise ValueError(f"ref {name!r} contains a blank, a control character or one of ~^:?*[\\")
    if ".." in name or "@{" in name or "//" in name or name == "@":
        raise ValueError(f"ref '{name}' contains '..', '@{{' or '//'")
    if name.startswith("/") or name.endswith(("/", ".")):
        raise ValueError(f"ref '{name}' begins with '/' or ends with '/' or '.'")
    for part in name.split("/"):
        if part.startswith(".") or part.endswith(".lock"):
            raise ValueError(f"ref '{name}' has a part that begins with '.' or ends with '.lock'")
    return name


def check_commit_id(text: str) -> str:
    """A full lower-case SHA-1 or SHA-256 id. Raises ``ValueError`` for short and other ones."""
    if not SHA.fullmatch(text):
        raise ValueError(f"'{text[:70]}' is not a full commit id (40 or 64 hexadecimal digits in lower case)")
    return text


def check_tree_path(path: str) -> str:
    """A folder within a repository (``""`` is its root), without leading or trailing ``/``. Raises ``ValueError``."""
    path = path.strip("/")
    if path in ("", "."):
        return ""
    for segment in path.split("/"):
        why = unsafe_segment(segment)
        if why:
            raise ValueError(f"path '{path}' {why}")
    return path


_PLAIN_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]*[A-Za-z0-9_-]", re.ASCII)


def unsafe_path(path: str) -> str:
    """Why a path in a tree is not accepted (code ``G036``), empty when it is."""
    if len(path) <= 255 and "/." not in path and "./" not in path and "//" not in path and _PLAIN_PATH.fullmatch(path):
        return ""  # nearly all of them: no part is empty, begins or ends with a dot, or has odd characters
    return next((why for part in path.split("/") if (why := unsafe_segment(part))), "")


def unsafe_segment(segment: str) -> str:
    """Why one part of a path in a tree is not accepted (code ``G036``), empty when it is."""
    if segment in ("", ".", ".."):
        return "has an empty, '.' or '..' part"
    if segment.lower() == ".git":
        return "has a part named .git"
    if "\\" in segment:
        return "contains a backslash"
    if any(ord(character) < 32 or ord(character) == 127 for character in segment):
        return "contains a control character"
    if segment != segment.rstrip(". "):
        return "has a part that ends with a dot or a blank"
    if len(segment) > 1 and segment[1] == ":" and segment[0].isalpha():
        return "begins with a drive letter"
    if len(segment.encode("utf-8", "surrogateescape")) > 255:
        return "has a part longer than 255 bytes"
    if any("\udc80" <= character <= "\udcff" for character in segment):
        return "is not valid UTF-8"
    return ""


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """The text without ``user:password@`` in URLs and without any of the secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "******")
    return re.sub(r"([a-z][a-z0-9+.-]*://)[^/\s@']*:[^/\s@']*@", r"\1******@", text, flags=re.IGNORECASE)
