"""A dress rehearsal of the gpu tier: random checkpoints in the shapes and files of the paper's subjects, run offline.

Nothing is learned from the verdicts but that there is none in favour of a claim. What is learned is whether every
experiment comes through at the real shapes, by the loading that real weights take, in how much memory and time.
"""
