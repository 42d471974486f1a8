"""The page of a stand-in: one HTML file, whose headers let it load nothing from anywhere else."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from vsbatch_core.adapters.http import Response


@cache
def page() -> Response:
    """Return the response to ``GET /``: the page, and a policy by which it may speak to this server alone."""
    body = files("vsbatch_core.standin").joinpath("page.html").read_bytes()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashed(body, b'script')}",
            f"style-src {_hashed(body, b'style')}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    headers = (
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    )
    return Response(200, headers, body)


def _hashed(body: bytes, tag: bytes) -> str:
    """Return the sources that a policy allows: the elements of this tag in the page, by what they hold."""
    found = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), body, re.DOTALL)
    return " ".join(f"'sha256-{b64encode(sha256(text).digest()).decode()}'" for text in found)
