"""The prompt of a chat model: rendered by its own template, and looked at before anything is asked."""

from __future__ import annotations

from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.generation import inside_thought
from darwin_mri.benchmarks.template_limits import TemplateLimitError, render_within_limits
from darwin_mri.errors import InputError

REASON_LENGTH = 200  # characters of a foreign reason that are shown
QUOTED_WORDS = 3  # so many words of a message in a row are a quotation


class Prompt(NamedTuple):
    """What a chat model reads.

    Attributes:
        text: the whole prompt.
        opens_thought: whether it ends inside a thought, which the model's text then goes on with.
        in_parts: whether the template took the message only as a list of parts.
    """

    text: str
    opens_thought: bool = False
    in_parts: bool = False


def render_chat(
    tokenizer: PreTrainedTokenizerBase, message: str, where: str, *, thinking: bool, **switches: Any
) -> Prompt:
    """One user message by the tokenizer's chat template, ready for the answer.

    Templates that drop plain text get the message as a list of parts.

    Args:
        tokenizer: with a chat template.
        message: of the user.
        where: the model or the item, for messages.
        thinking: the template's switch of this name, where it has one.
        switches: further ones.

    Returns:
        The prompt, which holds the message but for white space.

    Raises:
        InputError: it does so in neither form, or the template fails, or does not end within its limits.
    """
    render: Any = tokenizer.apply_chat_template
    switches["enable_thinking"] = thinking
    faults: list[str] = []
    for content in (message, [{"type": "text", "text": message}]):
        chat = [{"role": "user", "content": content}]
        try:
            text = render_within_limits(render, chat, tokenize=False, add_generation_prompt=True, **switches)
        except TemplateLimitError as error:
            raise InputError(
                f"{where}: the model's chat template {error}: mend the template, or use --protocol loglikelihood"
            ) from None
        except Exception as error:  # a template is a program, and can fail in any way
            faults.append(f"fails ({shown_reason(str(error), message) or type(error).__name__})")
            continue
        if _squeezed(message) in _squeezed(text):
            end = message.rstrip().rpartition("\n")[2].strip()
            return Prompt(text, inside_thought(text.rpartition(end)[2]), isinstance(content, list))
        faults.append("leaves the question out of the prompt" if text.strip() else "renders an empty prompt")
    raise InputError(
        f"{where}: the model's chat template {faults[0]}, and with the text as a list of parts it {faults[1]}:"
        " mend the template, or use --protocol loglikelihood"
    )


def shown_reason(reason: str, message: str) -> str:
    """The first line of a foreign reason, short; empty where it quotes the message, which no error may show."""
    line = next((line.strip() for line in reason.splitlines() if line.strip()), "")
    flat, words = " ".join(reason.split()), message.split()
    runs = (words[start : start + QUOTED_WORDS] for start in range(max(1, len(words) - QUOTED_WORDS + 1)))
    return "" if any(" ".join(run) in flat for run in runs if run) else line[:REASON_LENGTH]


def _squeezed(text: str) -> str:
    """Without white space, which templates trim."""
    return "".join(text.split())
