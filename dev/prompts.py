"""Writes docs/prompts.md: what each prompt makes of rows, from the code that makes it.

    python -m dev.prompts

A test compares the file with `render()`. Rows are those of data=sample, and the tokenizer is the embedded model's, to which
a chat template is given here, so that the text depends on nothing but the code.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from prune.calib.build import build
from prune.calib.recipe import Recipe
from prune.config.calib import CalibConfig, Compat, PromptConfig, PromptStyle
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.config.model import ModelConfig
from prune.data.sources.source import open_source
from prune.eval.plan import plan_metrics
from prune.eval.questions.settings import QuestionSettings
from prune.models.files import EMBEDDED_FOLDER

FILE = Path(__file__).resolve().parents[1] / "docs" / "prompts.md"

SAMPLE = DataConfig(name=DataSource.sample)
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

HEAD = """# Prompts

Made by `python -m dev.prompts` from the code; a test fails when it is out of date.

A prompt says how rows of a question set become calibration sequences of `calib.seq_len` tokens. Raw text (`c4`,
`pile`, ...) and the controls have no prompt: whichever is asked for, it is one cell. What each set asks stands in
[protocols.md](protocols.md). Below are sequences as they were built from the rows of `data=sample` by the tokenizer
of the embedded model, whose BOS is `<s>` and which was given a chat template of the usual form for this page.

| `prompt` | a sequence holds | knobs |
|---|---|---|
| `icl` | pairs of question and answer until it is full, the last one cut | `num_shots`, `separator`, `bos` |
| `cot` | the same with the rationale before the answer | the same |
| `single` | one pair, the rest padding; a longer one is cut | `bos` |
| `zero_shot` | one question without its answer, the rest padding | `bos` |
| `chat` | conversations in the model's chat template until full, the last one cut | `num_shots`, `rationale`, `system` |
| `autoregressive` | one question and the beginning of its answer, the rest padding | `rationale`, `bos` |

Where rationales are written, `num_cot_steps` keeps those with that many sentences. With `num_shots` a sequence holds
that many pairs, and the rest is padding. Padding stands on the left (`padding_side=right`: on the right), is hidden
from attention and left out of every statistic; with `calib.compat=study` it enters both.
"""

CHAT = """The user asks with the question as the other prompts write it, the assistant answers. The tokens are those of the
tokenizer's `apply_chat_template(tokenize=True)`, special tokens among them, and no BOS is added: the template puts it
where it belongs. A row that spells a special token has that token, as there. Three choices of ours:

- Without `num_shots` each row is a conversation of its own, and whole conversations follow one another until the
  sequence is full, as models are trained on them: the last one is cut, none goes on in the next sequence, and there
  is no padding. One conversation of forty questions would be a text that no such model has seen.
- With `num_shots=k` a sequence is one conversation of k questions and answers, the rest padding; what does not fit is
  cut.
- A template that writes today's date is told 26 July 2024 on every day, so that one row has one row of tokens.

`system` is said before each conversation that has no system turn of its own; without it the template decides. A set
of your own conversations (`calib.messages`) goes through the same template, each row as it is; `num_shots` then
counts whole conversations, so that `num_shots=1` is one a sequence. A row that the template refuses is an error, or
left out and counted with `calib.bad_rows=skip`. A model without a template is "not applicable", and so is
`calib.compat=study`: the study has no conversations.
"""

AUTOREGRESSIVE = """The study's form: a row gives a sequence for each token of its answer, which ends with that token. The
answer begins where the tokens of the pair leave those of the question alone. What is longer than a sequence is left
out. The study pads and lets padding count: `calib.compat=study`. Its code finds only answers that begin with Llama
2's ` (`, from each bracket on, and may draw a row twice.
"""

STUDY = """## Padding that counts: `calib.real_tokens`

`calib.compat=study calib.real_tokens=512` fills 512 tokens of each sequence and pads the rest, as the study's
`data_seqlen` does for C4: there padding is seen and counts in the statistics. It works for every set. Without
`compat=study` padding counts nothing, `calib.seq_len=512` is the same set, and the line says so.
"""

SCORES = """## Scores in chat form

`eval.chat=true` puts the questions of a score in the same template, exemplars as turns, and has the answer begin
where the template has it begin, so that neither its own line break nor a space of ours is measured. The bytes of
`bpb` are those of the answer's text. Such scores have names of their own (`acc_chat/gsm8k`, `bpb_chat/gsm8k`), so
that both forms stand beside each other; perplexities and lm-eval's tasks stay as they are. `eval.num_fewshot=0` asks
without exemplars.
"""


def render() -> str:
    """The whole file."""
    parts = [HEAD]
    for style in PromptStyle:
        parts += [f"## {style.value}\n", *_examples(style)]
    parts += [STUDY, SCORES, f"The first prompt of `bpb_chat/svamp`:\n\n{_block(_first_prompt())}"]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _examples(style: PromptStyle) -> Iterator[str]:
    if style is PromptStyle.chat:
        yield CHAT
        yield f"Without knobs:\n\n{_block(_sequence(style))}"
        yield f"`prompt.num_shots=2 prompt.rationale=true prompt.system='Be brief.'`:\n\n{_block(_shots())}"
        return
    if style is PromptStyle.autoregressive:
        yield AUTOREGRESSIVE
        ends = "\n\n".join(_block(_sequence(style, number)) for number in range(3))
        yield f"The first three sequences:\n\n{ends}"
        return
    yield _block(_sequence(style))


def _shots() -> str:
    asked = PromptConfig(name=PromptStyle.chat, num_shots=2, rationale=True, system="Be brief.")
    return _decoded(asked, 0)


def _sequence(style: PromptStyle, number: int = 0) -> str:
    return _decoded(PromptConfig(name=style), number)


def _decoded(prompt: PromptConfig, number: int) -> str:
    """The real tokens of one sequence as text."""
    calib = CalibConfig(name="svamp", num_samples=4, seq_len=160, compat=Compat.none)
    tokenizer = _tokenizer()
    recipe = Recipe(calib, prompt, SAMPLE, ModelConfig(name="tiny"))
    made = build(recipe, open_source(SAMPLE), tokenizer)
    return str(tokenizer.decode(made.tokens_NL[number][made.real_NL[number]].tolist()))


def _first_prompt() -> str:
    config = EvalConfig(name="prompts", tasks=["svamp"], protocols=[EvalProtocol.bpb], num_fewshot=1, chat=True)
    settings = plan_metrics(config, SAMPLE)[0].settings
    assert isinstance(settings, QuestionSettings)
    return settings.questions(open_source(SAMPLE)).written(_tokenizer()).texts[0]


def _tokenizer() -> Any:
    tokenizer = AutoTokenizer.from_pretrained(str(EMBEDDED_FOLDER))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
