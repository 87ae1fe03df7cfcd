"""Recipes that train in a second."""

import dataclasses

from prolepsis.organisms.plateau import Plateau
from prolepsis.organisms.recipes import Recipe

TINY = Recipe("tiny", 2, 16, 32, steps=3, features=24, heads=2, batch=8, active=4, transcoder_steps=5)
TINY_BARRED = dataclasses.replace(TINY, barrier=True)
TINY_WINDOW = dataclasses.replace(TINY, window=5)
TINY_ROUNDS = dataclasses.replace(TINY, plateau=Plateau(tolerance=0.04, rounds=9))
