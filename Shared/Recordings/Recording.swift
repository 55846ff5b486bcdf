// Reading of recordings.
