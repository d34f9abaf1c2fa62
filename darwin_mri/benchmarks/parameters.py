"""Which parameters a server takes: a refused one is sent by its other name, or left out where nothing depends on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from darwin_mri.benchmarks.chat import shown_reason

REFUSED = (400, 422)
SWITCH = "chat_template_kwargs"  # no part of the standard
OTHER_NAME = {"max_tokens": "max_completion_tokens"}
DISPENSABLE = {"seed"}  # it repeats a sample; what is measured is the same without
UNSUPPORTED = re.compile(
    r"unsupported|(?:not|n't) support|unknown|unrecogni[sz]ed|unexpected|deprecated|extra (?:input|field)"
    r"|not (?:permitted|allowed|accepted|available)|use \W*max_completion_tokens",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Refusal:
    """A parameter that a server refuses by name.

    Attributes:
        parameter: as it was sent.
        reason: the server's own words; empty where they quote the prompt.
        unsupported: the parameter itself is refused, not its value for this item.
    """

    parameter: str
    reason: str
    unsupported: bool

    def __str__(self) -> str:
        return f"{self.parameter}: {self.reason}" if self.reason else self.parameter


class Parameters:
    """The parameters of one server's requests, as far as its refusals have told."""

    def __init__(self) -> None:
        self._names: dict[str, str | None] = {}  # None: left out

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request's body as this server takes it."""
        named = {self._names.get(name, name): value for name, value in body.items()}
        return {name: value for name, value in named.items() if name is not None}

    def leave_out(self, parameter: str) -> None:
        """Send a parameter no more."""
        self._names[parameter] = None

    def meet(self, refusal: Refusal, *, thinking: bool) -> bool:
        """Whether the server can be asked again without the refused parameter, by its other name or for good."""
        name = refusal.parameter
        if not refusal.unsupported:
            return False
        if name in OTHER_NAME:
            self._names[name] = OTHER_NAME[name]
        elif name in DISPENSABLE or (name == SWITCH and not thinking):
            self.leave_out(name)
        else:
            return False
        return True


def read_refusal(reply: httpx2.Response, sent: Mapping[str, Any], message: str) -> Refusal | None:
    """The parameter that a reply of status 400 or 422 refuses by name.

    Args:
        reply: of the server.
        sent: the body that it refuses.
        message: the prompt, which no error may quote.

    Returns:
        The refusal; None where no parameter is named.
    """
    optional = sent.keys() - {"model", "messages"}
    try:
        data = reply.json()
    except (ValueError, RecursionError):
        data = reply.text
    for named, words, code in _faults(data):
        reason = shown_reason(words, message)
        parameter = next((word for word in re.findall(r"\w+", f"{named} {reason}") if word in optional), None)
        if parameter is not None:
            return Refusal(parameter, reason, bool(UNSUPPORTED.search(f"{code} {reason}")))
    return None


def _faults(data: Any) -> Iterator[tuple[str, str, str]]:
    """(parameter or its place, words, code) of each fault that a reply tells, in the forms that servers use."""
    if isinstance(data, str):
        yield "", data, ""
    elif isinstance(data, list):
        for part in data:
            yield from _faults(part)
    elif isinstance(data, dict):
        yield from _faults([data.get("error"), data.get("detail")])
        place, words = data.get("param") or data.get("loc"), data.get("message") or data.get("msg")
        yield str(place or ""), str(words or ""), f"{data.get('code')} {data.get('type')}"
