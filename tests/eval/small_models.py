"""Small tokenizers and models, made here: no file, no network."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BOS, EOS = "<s>", "</s>"


def make_tokenizer(alphabet: str | None = None, *, bos: bool = True, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """One token for each byte (or each character of `alphabet`, and one for a blank line)."""
    byte_level = {"\n": "\u010a", " ": "\u0120"}
    characters = [byte_level.get(character, character) for character in alphabet or ""]
    newline = byte_level["\n"]
    tokens = [BOS, EOS, *(characters or sorted(pre_tokenizers.ByteLevel.alphabet()))]
    merges = [(newline, newline)] if characters else []
    tokens += ["".join(merge) for merge in merges]
    core = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=BOS if bos else None, eos_token=EOS)


def make_llama(vocab_size: int, *, seed: int = 0, window: int = 512) -> LlamaForCausalLM:
    """A random Llama whose choices vary with its input."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config).eval()


def make_follower(tokenizer: PreTrainedTokenizerFast, follows: dict[str, str]) -> LlamaForCausalLM:
    """A Llama that writes, after a token, the token that `follows` names, and after any other itself again.

    Embeddings are unit vectors, blocks add nothing, and the head maps each unit vector to the token that follows.
    """
    size = len(tokenizer)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size + size % 2,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=4096,
    )
    model = LlamaForCausalLM(config).eval()
    after = {
        tokenizer.convert_tokens_to_ids(left): tokenizer.convert_tokens_to_ids(right) for left, right in follows.items()
    }
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, config.hidden_size))
        model.lm_head.weight.zero_()
        for token in range(size):
            model.lm_head.weight[after.get(token, token), token] = 1
    return model


def ignore_progress(num_done: int, num_all: int) -> None:
    """Progress that nobody watches."""
