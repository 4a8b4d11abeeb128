"""The hot store of several machines: QuestDB."""
