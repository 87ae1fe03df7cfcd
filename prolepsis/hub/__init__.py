"""Files of real models: which ones a subject needs, whether they are here, and how they come here (imports no torch).

``plan`` says which there are, ``gather`` downloads those that are missing if it may, and :mod:`prolepsis.hub.files`
reads a transcoder that is only partly here. Nothing asks the network unless it is told to.
"""

from prolepsis.hub.gathering import Gathered, gather
from prolepsis.hub.planning import Part, Plan, plan
from prolepsis.hub.remote import RemoteFile, in_words
from prolepsis.hub.room import NoRoom, Room, without_room

__all__ = ["Gathered", "NoRoom", "Part", "Plan", "RemoteFile", "Room", "gather", "in_words", "plan", "without_room"]
