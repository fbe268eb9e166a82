"""The embedded model: a Llama of a million parameters with its own tokenizer, for demonstrations and tests.

The folder of this package loads with transformers. It is NOT a research model; README.md says how it was trained.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
"""Where the model's files lie."""
