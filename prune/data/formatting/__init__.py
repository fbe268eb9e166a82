"""Pieces that several datasets build their questions and answers from."""
