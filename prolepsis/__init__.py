"""Verifies the claims of a paper on a model, and asks what else each measurement could have said."""
