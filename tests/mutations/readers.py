"""Every reader of files."""

from tests.mutations import data, frames, models, runs, settings

READERS = frames.READERS | models.READERS | data.READERS | runs.READERS | settings.READERS
