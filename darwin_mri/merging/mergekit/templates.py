"""The chat template that a recipe asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from darwin_mri.checkpoints.verify import read_json_object
from darwin_mri.errors import ConfigError
from darwin_mri.merging.chat_files import TEMPLATE_FILES

AUTO = "auto"
SHORT = 20  # characters of what is no template, as in mergekit
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ALPACA = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
    "{% else %}{{ '### Response:\\n' + message['content'] + '\\n\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
)
NAMED = {"chatml": CHATML, "alpaca": ALPACA}


def chosen_template(asked: str | None, folders: Sequence[Path], where: str) -> str | None:
    """The text of the child's chat template.

    Args:
        asked: ``auto`` for the one that most models have, a name, or a template; None keeps the model's own.
        folders: of the recipe's models.
        where: the recipe, for an error's line.

    Returns:
        The text; None where the child keeps the template that comes with its tokenizer.

    Raises:
        ConfigError: an unknown name, or what is no template.
    """
    if asked is None:
        return None
    if asked == AUTO:
        texts = Counter(text for folder in folders if (text := own_template(folder)))
        return texts.most_common(1)[0][0] if texts else None
    if asked in NAMED:
        return NAMED[asked]
    if len(asked) < SHORT or "{" not in asked:
        raise ConfigError(
            f"{where}: chat_template {asked!r} is not known here: choose auto, {', '.join(NAMED)}, or give its text"
        )
    return asked


def own_template(folder: Path) -> str:
    """The default chat template of a model, without space around it; empty where it has none."""
    text, jsons = TEMPLATE_FILES
    if (folder / text).is_file():
        return (folder / text).read_text(encoding="utf-8", errors="replace").strip()
    for name in (jsons, "tokenizer_config.json"):
        if (folder / name).is_file():
            template = read_json_object(folder, name).get("chat_template")
            if isinstance(template, list):
                template = next((one["template"] for one in template if one.get("name") == "default"), None)
            if isinstance(template, str):
                return template.strip()
    return ""
