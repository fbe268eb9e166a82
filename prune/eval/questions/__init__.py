"""Questions put to a model: exemplars, prompts, answers, and what fits the window."""
