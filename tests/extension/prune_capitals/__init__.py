"""An extension of prune: a set of questions and a method."""
