"""Files of real models: which ones a subject needs, whether they are here, and how they come here (imports no torch).

``plan`` says it, ``fetch`` downloads what is missing; :mod:`prolepsis.hub.files` reads a transcoder that is only partly
here. Nothing asks the network unless it is told to.
"""

from prolepsis.hub.plan import Part, Plan, RemoteFile, plan

__all__ = ["Part", "Plan", "RemoteFile", "plan"]
