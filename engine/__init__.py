"""What the Rasa engine needs of ours: its channel, its working memory, its graph components and two repairs.

Nothing else of the project imports Rasa, and nothing here imports the rest of the project: the engine has an
environment of its own.
"""

from engine import repairs

repairs.apply()
