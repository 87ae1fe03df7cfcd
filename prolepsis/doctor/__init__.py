"""Whether a run on real models can start here, and what it will take."""
