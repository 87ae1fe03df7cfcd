"""Files of real models: which ones a subject needs, whether they are here, and how they come here (imports no torch).

``plan`` says which there are, ``gather`` downloads those that are missing if it may, and :mod:`prolepsis.hub.files`
reads a transcoder that is only partly here. Nothing asks the network unless it is told to.
"""

from prolepsis.hub.download import lack_of_room
from prolepsis.hub.gathering import Gathered, gather
from prolepsis.hub.planning import Part, Plan, RemoteFile, in_words, plan

__all__ = ["Gathered", "Part", "Plan", "RemoteFile", "gather", "in_words", "lack_of_room", "plan"]
