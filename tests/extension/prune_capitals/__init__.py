"""An extension of prune: a set of questions, a method and a launcher."""
