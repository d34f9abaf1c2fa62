"""A served model behind an OpenAI-compatible endpoint (vLLM, SGLang, transformers serve, ...), asked in chat messages.

Log-likelihoods of given texts are no part of that interface, so a served model is asked by the generative protocol. (Servers that return
prompt log-probabilities are reached through lm-eval's backend local-completions.)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import httpx2

from darwin_mri.benchmarks.generation import chat_message, to_voted_answer
from darwin_mri.benchmarks.items import Item
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError, DarwinError, InputError
from darwin_mri.records import Answer, Protocol

KEY_VARIABLE = "OPENAI_API_KEY"  # its value is sent, never stored
PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before the first retry, doubled for each further one up to the longest
TRY_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
FORBIDDEN = {401, 403}


class EndpointEngine:
    """Chat completions of a served model.

    Args:
        url: base of the interface, such as ``http://127.0.0.1:8000/v1``.
        model: the name it serves the model under; asked of the server when None and it serves just one.
        timeout: seconds to wait for the server's next bytes.
        retries: further tries of a request after a refused connection, a timeout, or a status that says to try again.
        concurrency: requests in flight.

    Raises:
        InputError: no such server, or it serves no model of that name.
    """

    name = "endpoint"

    def __init__(
        self, url: str, model: str | None = None, *, timeout: float = 600.0, retries: int = 4, concurrency: int = 8
    ) -> None:
        self.url, hostname = base_url(url)
        self.timeout, self.retries, self.concurrency = timeout, retries, concurrency
        self._loopback = hostname in ("localhost", "127.0.0.1", "::1")  # no proxy stands between
        self._knows_template = True  # lowered when the server refuses chat_template_kwargs
        self.model = model or self._only_model()

    def answers(self, items: Sequence[Item], protocol: Protocol) -> Iterator[Answer]:
        """As ``Engine``. Items that the server refuses are told once all others are answered; when the server is gone, the answers
        under way are waited for. What was paid for is not thrown away.

        Raises:
            ConfigError: the protocol is not generative.
            InputError: the server refuses items, or all of the first.
            DarwinError: the server does not answer any more.
        """
        if protocol.generation is None:
            raise ConfigError("a served model is asked by the generative protocol: add --protocol generate")
        client, generation = self._client(), protocol.generation
        stop, answered = threading.Event(), threading.Event()
        todo: SimpleQueue[Item] = SimpleQueue()
        results: SimpleQueue[Answer | None] = SimpleQueue()  # None: a worker is done
        failures: list[BaseException] = []
        for item in items:
            todo.put(item)

        def work() -> None:
            while not stop.is_set():
                try:
                    item = todo.get_nowait()
                except Empty:
                    break
                try:
                    texts = [
                        self._sample(client, item, protocol, generation, n, stop) for n in range(generation.samples)
                    ]
                    results.put(to_voted_answer(item, texts, protocol))
                    answered.set()
                except BaseException as error:  # told by the caller's thread
                    failures.append(error)
                    hopeless = not answered.is_set() and len(failures) >= self.concurrency
                    if hopeless or not isinstance(error, InputError):
                        stop.set()
            results.put(None)

        workers = min(self.concurrency, len(items))
        for _ in range(workers):
            threading.Thread(target=work, daemon=True).start()  # daemon: Ctrl-C does not wait for a slow answer
        try:
            while workers:
                result = results.get()
                if result is None:
                    workers -= 1
                else:
                    yield result
        finally:
            stop.set()
            client.close()
        if failures:
            gone = next((error for error in failures if not isinstance(error, InputError)), None)
            if gone is None and len(failures) > 1:
                raise InputError(f"{failures[0]} ({len(failures)} items were refused)")
            raise gone or failures[0]

    def _client(self) -> httpx2.Client:
        key = os.environ.get(KEY_VARIABLE)
        if key and not (key.isascii() and key.isprintable()):
            raise InputError(f"{KEY_VARIABLE} holds characters that no key has: set it again")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx2.Client(timeout=self.timeout, headers=headers, trust_env=not self._loopback)

    def _sample(
        self,
        client: httpx2.Client,
        item: Item,
        protocol: Protocol,
        generation: Generation,
        number: int,
        stop: threading.Event,
    ) -> str:
        """One generated answer without separate reasoning; empty where the model wrote only that."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": chat_message(item, protocol)}],
            "max_tokens": generation.max_new_tokens,
            "temperature": generation.temperature,
            "seed": number,
            "chat_template_kwargs": {"enable_thinking": generation.thinking},
        }
        where = item.name
        reply = self._post(client, body, where, stop)
        try:
            content = reply["choices"][0]["message"].get("content")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise DarwinError(f"{self.url} returned no chat message for {where}: it is not OpenAI-compatible") from None
        if isinstance(content, list):  # the interface's other form: parts, of which some are text
            content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
        return content if isinstance(content, str) else ""

    def _post(self, client: httpx2.Client, body: dict[str, Any], where: str, stop: threading.Event) -> Any:
        """The server's reply to one request, tried again where that may help."""
        problem = ""
        for attempt in range(1 + self.retries):
            if attempt and stop.wait(_pause(attempt)):
                break
            if not self._knows_template:
                body.pop("chat_template_kwargs", None)
            try:
                reply = client.post(f"{self.url}/chat/completions", json=body)
                if reply.status_code in (400, 422) and "chat_template_kwargs" in body:
                    plain = {key: value for key, value in body.items() if key != "chat_template_kwargs"}
                    without = client.post(f"{self.url}/chat/completions", json=plain)
                    if without.is_success:  # the switch is no part of the standard
                        if body["chat_template_kwargs"]["enable_thinking"]:
                            raise InputError(f"{self.url} takes no chat_template_kwargs: set thinking at the server")
                        self._knows_template, reply = False, without
                if reply.is_success:
                    return reply.json()
            except httpx2.TimeoutException:
                problem = f"no answer within {self.timeout:g} s"
            except httpx2.HTTPError as error:
                problem = f"connection failed ({type(error).__name__})"
            except (ValueError, RecursionError):
                problem = "its reply is not JSON"
            else:
                problem = f"status {reply.status_code}"
                if reply.status_code in FORBIDDEN:
                    raise DarwinError(f"{self.url} asks for a key ({problem}): set {KEY_VARIABLE}")
                if reply.status_code not in TRY_AGAIN:
                    raise InputError(
                        f"{self.url} refuses {where} ({problem}): is it too long for the model, or the model's name wrong?"
                    )
        raise DarwinError(
            f"{self.url} does not answer at {where}: {problem}, tried {1 + self.retries} times; answers so far are kept, the same"
            " command goes on when the server is back"
        )

    def _only_model(self) -> str:
        problem = ""
        for attempt in range(1 + self.retries):
            if attempt:
                time.sleep(_pause(attempt))
            try:
                with self._client() as client:
                    reply = client.get(f"{self.url}/models")
                if reply.status_code in FORBIDDEN:
                    raise InputError(f"{self.url} asks for a key (status {reply.status_code}): set {KEY_VARIABLE}")
                reply.raise_for_status()
                names = [str(entry["id"]) for entry in reply.json()["data"]]
            except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
                problem = type(error).__name__
                continue
            if len(names) == 1:
                return names[0]
            served = f"it serves {', '.join(names)}" if names else "it names no model"
            raise InputError(f"{self.url}: {served}: give --endpoint-model")
        raise InputError(f"{self.url} does not answer ({problem}): is the server up? tried {1 + self.retries} times")


def base_url(url: str) -> tuple[str, str]:
    """(base of the interface, host) of an endpoint's URL as a user writes it.

    Raises:
        ConfigError: it is no URL, or carries a password.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:  # brackets without an address, a port that is no number
        sound = False
    if not sound:
        raise ConfigError(f"endpoint '{url}' is no URL: give for example http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise ConfigError(f"the endpoint must not carry a password in its URL: set {KEY_VARIABLE} instead")
    base = url.rstrip("/").removesuffix("/chat/completions")
    return base if parts.path.strip("/") else f"{base}/v1", parts.hostname or ""


def _pause(attempt: int) -> float:
    return min(LONGEST_PAUSE, PAUSE * 2 ** (attempt - 1))
