"""A served model behind an OpenAI-compatible endpoint (vLLM, SGLang, transformers serve, ...), asked in chat messages.

Log-likelihoods of given texts are no part of that interface, so a served model is asked by the generative protocol.
(Servers that return prompt log-probabilities are reached through lm-eval's backend local-completions.)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx2

from darwin_mri.benchmarks.generation import Reply, chat_message, to_voted_answer
from darwin_mri.benchmarks.items import ChoiceItem, Item, with_choices
from darwin_mri.benchmarks.parameters import REFUSED, SWITCH, Parameters, Refusal, read_refusal
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError, DarwinError, InputError
from darwin_mri.records import Answer, Protocol

KEY_VARIABLE = "OPENAI_API_KEY"  # its value is sent, never stored
PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before the first retry, doubled for each further one up to the longest
TRY_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
FORBIDDEN = {401, 403}
TEXT_PARTS = ("text", "output_text")
REASONING = ("reasoning_content", "reasoning")  # where servers put thoughts, beside the answer


class EndpointEngine:
    """Chat completions of a served model.

    Args:
        url: base of the interface, such as ``http://127.0.0.1:8000/v1``.
        model: the name it serves the model under; None: the only one that the server serves.
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
        self._parameters = Parameters()
        self.model = model or self._only_model()

    def answers(self, items: Sequence[Item], protocol: Protocol) -> Iterator[Answer]:
        """As ``Engine``, as they come.

        Nothing that was paid for is thrown away: items that the server refuses are reported once all others are
        answered; when the server is gone, the answers under way are waited for.

        Raises:
            ConfigError: the protocol is not generative, or the server refuses a parameter that it cannot do without.
            InputError: the server refuses items, or all of the first.
            DarwinError: the server does not answer any more.
        """
        generation = protocol.generation
        if generation is None:
            raise ConfigError("a served model is asked by the generative protocol: add --protocol generate")
        client, stop = self._client(), threading.Event()

        def answer(item: ChoiceItem) -> Answer:
            replies = [self._sample(client, item, protocol, n, stop) for n in range(generation.samples)]
            return to_voted_answer(item, replies, protocol)

        threads = _Threads(with_choices(items), answer, self.concurrency, stop)
        try:
            yield from threads.run()
        finally:
            stop.set()
            client.close()
        if threads.failures:
            gone = next((error for error in threads.failures if not isinstance(error, InputError)), None)
            if gone is None and len(threads.failures) > 1:
                raise InputError(f"{threads.failures[0]} ({len(threads.failures)} items were refused)")
            raise gone or threads.failures[0]

    def _client(self) -> httpx2.Client:
        key = os.environ.get(KEY_VARIABLE)
        if key and not (key.isascii() and key.isprintable()):
            raise InputError(f"{KEY_VARIABLE} holds characters that no key has: set it again")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx2.Client(timeout=self.timeout, headers=headers, trust_env=not self._loopback)

    def _sample(
        self, client: httpx2.Client, item: ChoiceItem, protocol: Protocol, number: int, stop: threading.Event
    ) -> Reply:
        """One generated answer without separate reasoning; its text is empty where the model wrote only that."""
        generation = protocol.generation or Generation()
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": chat_message(item, protocol)}],
            "max_tokens": generation.max_new_tokens,
            "temperature": generation.temperature,
            "seed": number,
            SWITCH: {"enable_thinking": generation.thinking},
        }
        reply = self._post(client, body, item.name, stop)
        try:
            choice = reply["choices"][0]
            message, reason = choice["message"], choice.get("finish_reason")
            content, reasoning = message.get("content"), any(message.get(field) for field in REASONING)
        except (KeyError, IndexError, TypeError, AttributeError):
            raise DarwinError(
                f"{self.url} returned no chat message for {item.name}: it is not OpenAI-compatible"
            ) from None
        if isinstance(content, list):  # the interface's other form: parts, of which some are the answer's text
            parts = [part for part in content if isinstance(part, dict) and part.get("type", "text") in TEXT_PARTS]
            content = "".join(str(part.get("text") or "") for part in parts)
        reason = reason.lower() if isinstance(reason, str) else ""
        # Where nothing tells how it ended, a text without an end of thinking may be all thought.
        thinks = generation.thinking and not reason and not reasoning
        return Reply(content if isinstance(content, str) else "", reason, thinks)

    def _post(self, client: httpx2.Client, body: dict[str, Any], where: str, stop: threading.Event) -> Any:
        """The server's reply to one request, tried again where that may help."""
        problem = ""
        for attempt in range(1 + self.retries):
            if attempt and stop.wait(_pause(attempt)):
                break
            try:
                reply = self._send(client, body, where)
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
                self._require_retryable(reply.status_code, where)
        raise DarwinError(
            f"{self.url} does not answer at {where}: {problem}, tried {1 + self.retries} times; answers so far are"
            " kept, the same command goes on when the server is back"
        )

    def _send(self, client: httpx2.Client, body: dict[str, Any], where: str) -> httpx2.Response:
        """One request, asked again as long as the server refuses parameters that can be met otherwise."""
        thinking, message = body[SWITCH]["enable_thinking"], body["messages"][0]["content"]
        while True:
            sent = self._parameters.apply(body)
            reply = client.post(f"{self.url}/chat/completions", json=sent)
            if reply.status_code not in REFUSED:
                return reply
            refusal = read_refusal(reply, sent, message)
            if refusal is None:
                return self._send_plain(client, sent, reply)
            if not self._parameters.meet(refusal, thinking=thinking):
                self._raise(refusal, reply.status_code, where)

    def _send_plain(self, client: httpx2.Client, sent: dict[str, Any], refused: httpx2.Response) -> httpx2.Response:
        """The request without the switch for thinking, where that is what the server refuses without naming it."""
        if SWITCH not in sent:
            return refused
        plain = {name: value for name, value in sent.items() if name != SWITCH}
        reply = client.post(f"{self.url}/chat/completions", json=plain)
        if not reply.is_success:
            return refused
        if sent[SWITCH]["enable_thinking"]:
            self._raise(Refusal(SWITCH, "", True), refused.status_code, "")
        self._parameters.leave_out(SWITCH)
        return reply

    def _raise(self, refusal: Refusal, status: int, where: str) -> NoReturn:
        if not refusal.unsupported:
            raise InputError(
                f"{self.url} refuses {where} (status {status}; {refusal}): change the setting of this name"
            )
        remedy = "set thinking at the server" if refusal.parameter == SWITCH else "give a value that it takes"
        raise ConfigError(
            f"{self.url} does not take a parameter that decides what is measured (status {status}; {refusal}): {remedy}"
            " or ask another server"
        )

    def _require_retryable(self, status: int, where: str) -> None:
        if status in FORBIDDEN:
            raise DarwinError(f"{self.url} asks for a key (status {status}): set {KEY_VARIABLE}")
        if status not in TRY_AGAIN:
            raise InputError(
                f"{self.url} refuses {where} (status {status}): is it too long for the model, or the model's name"
                " wrong?"
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


class _Threads:
    """Threads that answer items, each taking the next one.

    They end when no item is left, when a failure other than a refused item shows that the server is gone, or when the
    first items are all refused.

    Args:
        items: to be answered.
        answer: asks the server.
        count: number of threads.
        stop: set when they are to end.

    Attributes:
        failures: of single items, or of the server.
    """

    def __init__(
        self, items: Sequence[ChoiceItem], answer: Callable[[ChoiceItem], Answer], count: int, stop: threading.Event
    ) -> None:
        self.answer, self.count, self.stop = answer, min(count, len(items)), stop
        self.refusals = count  # so many failures before any answer end everything
        self.failures: list[BaseException] = []
        self._answered = threading.Event()
        self._todo: SimpleQueue[ChoiceItem] = SimpleQueue()
        self._results: SimpleQueue[Answer | None] = SimpleQueue()  # None: a thread is done
        for item in items:
            self._todo.put(item)

    def run(self) -> Iterator[Answer]:
        """Answers as they come, until all threads have ended."""
        for _ in range(self.count):
            threading.Thread(target=self._work, daemon=True).start()  # daemon: Ctrl-C does not wait for a slow answer
        running = self.count
        while running:
            result = self._results.get()
            if result is None:
                running -= 1
            else:
                yield result

    def _work(self) -> None:
        while not self.stop.is_set():
            try:
                item = self._todo.get_nowait()
            except Empty:
                break
            try:
                self._results.put(self.answer(item))
                self._answered.set()
            except BaseException as error:  # raised by the caller's thread
                self.failures.append(error)
                all_refused = not self._answered.is_set() and len(self.failures) >= self.refusals
                if all_refused or not isinstance(error, InputError):
                    self.stop.set()
        self._results.put(None)


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
