"""Chat templates of the shapes that models have, written for the tests, and where a real one may be found."""

import os
from pathlib import Path

CHATML = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
"""A special token before and after each turn, as SmolLM2 and Qwen2 have it."""

BRACKETS = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user and assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
"""BOS once, turns in brackets, a blank before the answer, and no system: as Mistral has it."""

THINKING = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\n' }}"
    "{% if loop.last and message['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '</s>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
"""An empty thought before the last answer, as Qwen3 has it."""

DATED = "{{ '<s>today is ' + strftime_now('%A, %-d %B %Y (%y-%m-%d, %b)') + '\n' }}" + CHATML

REAL = os.environ.get("PRUNE_SMOLLM2")
HAS_NO_REAL = REAL is None or not (Path(REAL) / "tokenizer.json").is_file()
WHY = "PRUNE_SMOLLM2 names no folder of SmolLM2 135M Instruct"
