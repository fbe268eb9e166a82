"""lm-eval's tasks, by lm-eval's own definitions: the edge to lm_eval."""
